"""The runs as people ask for them: what failed, what was killed, where its log is, and the line that resumes it. No Spark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cloudlake.cli.main import main
from cloudlake.common.config import Config, load_config
from cloudlake.common.errors import ConfigurationError
from cloudlake.common.lake.locks import holders, process_lock
from cloudlake.common.steps import StepResult
from cloudlake.runs.record import record_killed, record_step, record_trace
from cloudlake.runs.steps import StepRecord
from cloudlake.serving.publication import publish
from cloudlake.serving.queries import answer, open_reader
from cloudlake.upkeep.run_history import recorded_run, recorded_runs
from deltalake import DeltaTable

AT = datetime(2025, 8, 31, 2, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
ASKED = {"jobs": ["silver", "gold"], "as_of": "2025-08-30", "full_reload": True, "lake": "/data/our lake"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(lake=str(tmp_path / "lake"), landing=str(tmp_path))


def note(config: Config, run_id: str, step: str, status: str, error: str = "", **detail: Any) -> None:
    record = StepRecord(step, status, AT, AT + timedelta(seconds=3), StepResult(7, 5, 2), error)
    record_step(config.lake, config.registry, run_id, record, detail)


def shown(config: Config, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["runs", "--lake", str(config.lake.root), *arguments]) == 0
    return capsys.readouterr().out


def test_a_failed_run_is_told_with_its_step_error_log_and_the_line_that_resumes_it(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no run is recorded yet" in shown(config, capsys)
    note(config, "20250830T020000Z-aaaaaa", "run", "done")
    note(config, "20250831T020000Z-bbbbbb", "silver.users", "done")
    note(config, "20250831T020000Z-bbbbbb", "gold.user_activity", "failed", "it went [wrong]")
    note(config, "20250831T020000Z-bbbbbb", "run", "failed", "it went [wrong]", **ASKED)
    failure = StepRecord("gold.user_activity", "failed", AT, AT, StepResult(), failure=ValueError("deep down"))
    record_trace(config.lake, "20250831T020000Z-bbbbbb", failure)
    assert [(run.run_id[:8], run.status) for run in recorded_runs(config)] == [
        ("20250831", "failed"),
        ("20250830", "done"),
    ]
    assert [run.failed_steps for run in recorded_runs(config, failed=True)] == [("gold.user_activity",)]
    said = shown(config, capsys, "20250831")
    log = config.lake.root / "logs" / "20250831T020000Z-bbbbbb.log"
    assert "it went [wrong]" in said and f"log:      {log}" in said and "ValueError: deep down" in log.read_text()
    line = "scripts/run_batch_pipeline.sh --jobs silver gold --as-of 2025-08-30 --full-reload --lake '/data/our lake'"
    assert f"to go on: {line}\n" in said
    plain = json.loads(shown(config, capsys, "20250831", "--json"))
    assert plain["resume"] == line and [step["step"] for step in plain["steps"]] == [
        "gold.user_activity",
        "silver.users",
    ]
    assert json.loads(shown(config, capsys, "--failed", "--json"))[0]["run_id"].startswith("20250831")
    assert recorded_run(config, "20250830T020000Z-aaaaaa").resume == "", "nothing is left to do"
    with pytest.raises(ConfigurationError, match="2 runs have an id that begins so"):
        recorded_run(config, "2025083")
    with pytest.raises(ConfigurationError, match="did you mean '20250830T020000Z-aaaaaa'"):
        recorded_run(config, "20250830T020000Z-aaaaab")


HOLD = """
import sys, time
from cloudlake.common.config import load_config
from cloudlake.common.lake.locks import process_lock
sys.argv = ["submit.py", "batch"]
with process_lock(load_config(lake=sys.stdin.readline().strip()).lake, "batch", "20250831T020000Z-cccccc"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_run_is_interrupted_and_stays_so_when_another_has_its_lock(config: Config) -> None:
    note(config, "20250831T020000Z-cccccc", "books", "done", asked={"jobs": ["all"], "landing": "/in"})
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as holding:
        assert holding.stdin and holding.stdout
        holding.stdin.write(f"{config.lake.root}\n")
        holding.stdin.flush()
        assert holding.stdout.readline() == "held\n"
        (run,) = recorded_runs(config)
        assert (run.kind, run.status, run.seconds) == ("batch", "running", None)
        os.kill(holding.pid, signal.SIGKILL)
    for _ in range(100):
        if not any(holder.alive for holder in holders(config.lake)):
            break
        time.sleep(0.05)
    details = recorded_run(config, "20250831")
    assert (details.run.kind, details.run.status) == ("batch", "interrupted")
    assert details.resume == "scripts/run_batch_pipeline.sh --landing /in"
    with process_lock(config.lake, "batch", "20250901T020000Z-dddddd") as left:
        record_killed(config, left)
        record_killed(config, left)
        assert [(run.run_id[:8], run.status) for run in recorded_runs(config)] == [
            ("20250901", "running"),
            ("20250831", "interrupted"),
        ]
    (run,) = recorded_runs(config, failed=True)
    assert f"process {holding.pid} on" in run.error and "was killed" in run.error
    assert config.lake.count("ops.job_runs", "step", ["run"]) == 1
    config.lake.append_small([{"orgs_billed": 1}], config.registry["gold.revenue_monthly"], {"run_id": "r"})
    publish(config, "r")
    with open_reader(config) as reader:
        (asked,) = answer(reader, "runs").rows()
    assert (asked["kind"], asked["status"], asked["steps"]) == ("batch", "interrupted", 1)


def test_the_newest_runs_are_read_from_the_files_that_hold_them_and_no_other(config: Config) -> None:
    for number in range(6):
        note(config, f"2025083{number}T020000Z-aaaaaa", "run", "done")
    lake, path = config.lake, Path(config.lake.path("ops.job_runs"))
    least = lake.least_of_newest("ops.job_runs", "run_id", 2)
    assert least == "20250834T020000Z-aaaaaa"
    for action in pa.table(DeltaTable(str(path)).get_add_actions(flatten=True)).to_pylist():
        if action["max.run_id"] < least:
            (path / action["path"]).unlink()
    assert len(lake.read_small("ops.job_runs", filters=[("run_id", ">=", least)])) == 2
    assert lake.least_of_newest("ops.gates", "run_id", 2) is None
