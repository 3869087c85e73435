"""A stream killed between any two commits of a micro-batch, then run again, leaves the tables of an undisturbed one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from cloudlake.common.config import Config, load_config
from cloudlake.common.usage import measures, sum_measures
from cloudlake.streaming import bronze_events, silver_events
from cloudlake.streaming.pipeline import run_once
from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]
POINTS = [
    "stream_after_bronze",
    "stream_after_quarantine",
    "stream_after_silver",
    "stream_after_increments",
    "stream_after_reconciliation",
]
RUN = """
import sys, threading
from cloudlake.common.config import load_config
from cloudlake.common.session import start_session
from cloudlake.streaming.monitor import Monitor
from cloudlake.streaming.pipeline import run_continuously, run_once
session, config = start_session("crash"), load_config(lake=sys.argv[1], landing=sys.argv[2])
print("ready", flush=True)
if sys.argv[3] == "once":
    run_once(lambda: session, config, "killed")
else:
    run_continuously(lambda: session, config, "killed", threading.Event(), Monitor(config, "killed"))
"""


def event(number: int, day: int, **changes: Any) -> str:
    fields = {
        "event_id": f"evt_{number}",
        "timestamp": f"2025-08-{day:02d}T{number % 24:02d}:00:00Z",
        "org_id": f"org_{number % 3}",
        "service": "genai",
        "region": "us-east",
        "metric": "requests",
        "value": number,
        "cost_usd_increment": number / 100,
        "schema_version": 2,
        "carbon_kg": 0.5,
    }
    return json.dumps(fields | changes)


def land(landing: Path, name: str, seed: int) -> None:
    """A file with new events, repeats of its own and of earlier files, contradictions and broken lines.

    The right content of an event is the smaller line, so it wins however a crash cuts the files into micro-batches.
    """
    folder = landing / "usage_events_stream"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [event(n, 1 + n % 4) for n in range(seed * 20, seed * 20 + 30)]
    lines += [event(n, 1 + n % 4, value=-1) for n in range(seed, seed + 5)]
    lines += [event(seed * 20, 1 + seed * 20 % 4, region="us-west"), "broken", f"broken {seed}", f"broken {seed}"]
    draft = folder / f".{name}.tmp"
    draft.write_text("\n".join(lines) + "\n")
    draft.replace(folder / name)


def start(lake: Path, landing: Path, mode: str, point: str = "") -> subprocess.Popen[str]:
    """A stream in a process group of its own, as soon as its Spark is up."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "CLOUDLAKE_CRASH_AT": point}
    command = [sys.executable, "-c", RUN, str(lake), str(landing), mode]
    with (lake.parent / "killed.log").open("a") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n", (lake.parent / "killed.log").read_text()[-3000:]
    return process


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the whole group, Python and JVM."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    assert process.stdout is not None
    process.stdout.close()


def die(lake: Path, landing: Path, point: str) -> None:
    process = start(lake, landing, "once", point)
    process.wait(300)
    assert process.returncode == -signal.SIGKILL, f"{point} was not reached: {(lake.parent / 'killed.log').read_text()[-3000:]}"
    kill(process)


def lose_last_commit(lake: Path) -> None:
    """Delete the newest entry of every checkpoint's commit log, with its checksum: the sink committed, the query not."""
    for folder in (lake / "checkpoints").glob("*/commits"):
        newest = max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=None)
        if newest is not None:
            for name in (str(newest), f".{newest}.crc"):
                (folder / name).unlink(missing_ok=True)


def lose_checkpoints(lake: Path) -> None:
    shutil.rmtree(lake / "checkpoints", ignore_errors=True)


def totals(config: Config) -> dict[str, int]:
    newest: dict[str, dict[str, Any]] = {}
    for row in sorted(config.lake.rows("ops.reconciliation"), key=lambda row: row["counted_at"]):
        newest[row["delivery"]] = row
    names = ("landed", "accepted", "quarantined", "duplicates")
    return {name: sum(row[name] for row in newest.values()) for name in names}


def assert_equal(spark: SparkSession, found: Config, expected: Config) -> None:
    assert totals(found) == totals(expected)
    kept = {
        "bronze.usage_events": ["raw", "_source_file"],
        "silver.usage_events": [
            c for c in found.registry["silver.usage_events"].columns if c not in ("load_id", "_ingested_at")
        ],
        "quarantine.usage_events": ["quarantine_id", "payload", "reasons", "_source_file", "status"],
    }
    for table, columns in kept.items():
        one, other = (config.lake.read(spark, table).select(*columns) for config in (found, expected))
        assert_df_equality(one, other, ignore_row_order=True)
    silver, increments = found.lake.read(spark, "silver.usage_events"), found.lake.read(spark, "speed.usage_increments")
    key = ["load_id", "org_id", "service", "region"]
    assert_df_equality(
        increments.groupBy(*key).agg(*sum_measures()),
        silver.groupBy(*key).agg(*measures()),
        ignore_row_order=True,
        ignore_nullable=True,
        ignore_metadata=True,
    )


class Crash(Exception):
    """Stands for a kill: nothing after it is written."""


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    wanted = [""]

    def crash_point(name: str) -> None:
        if name == wanted[0]:
            raise Crash(name)

    monkeypatch.setattr(bronze_events, "crash_point", crash_point)
    monkeypatch.setattr(silver_events, "crash_point", crash_point)

    def at(name: str) -> None:
        wanted[0] = name

    return at


def name_of(number: int) -> str:
    return f"{number:03d}.jsonl"


def assert_equals_a_clean_run(spark: SparkSession, config: Config, tmp_path: Path, files: int) -> None:
    clean = load_config(lake=str(tmp_path / "clean"), landing=str(tmp_path / "again"))
    for number in range(files):
        land(tmp_path / "again", name_of(number), number)
    run_once(lambda: spark, clean, "clean")
    run_once(lambda: spark, config, "last")
    assert_equal(spark, config, clean)


def test_a_stream_that_dies_at_every_point_in_turn_ends_as_if_nothing_had_happened(
    spark: SparkSession, tmp_path: Path, crash_at: Callable[[str], None]
) -> None:
    landing, lake = tmp_path / "landing", tmp_path / "lake"
    config = load_config(lake=str(lake), landing=str(landing))
    losses = {2: lose_last_commit, 3: lose_checkpoints, 4: lose_checkpoints}
    for number, point in enumerate(POINTS):
        land(landing, name_of(number), number)
        crash_at(point)
        with pytest.raises(Crash, match=point):
            run_once(lambda: spark, config, "dies")
        losses.get(number, lambda lake: None)(lake)
    crash_at("")
    assert_equals_a_clean_run(spark, config, tmp_path, len(POINTS))


@pytest.mark.soak
def test_a_killed_process_leaves_a_lake_that_the_next_one_goes_on_with(spark: SparkSession, tmp_path: Path) -> None:
    landing, lake = tmp_path / "landing", tmp_path / "lake"
    lake.mkdir()
    for number, point in enumerate(POINTS):
        land(landing, name_of(number), number)
        die(lake, landing, point)
    config = load_config(lake=str(lake), landing=str(landing))
    assert_equals_a_clean_run(spark, config, tmp_path, len(POINTS))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_kills_at_random_moments_lose_and_double_nothing(spark: SparkSession, tmp_path: Path, rounds: int) -> None:
    landing, lake = tmp_path / "landing", tmp_path / "lake"
    lake.mkdir()
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    draw = random.Random(seed)
    losses = [lambda lake: None, lose_last_commit, lose_checkpoints]
    for number in range(rounds):
        land(landing, name_of(2 * number), 2 * number)
        process = start(lake, landing, "continuously")
        time.sleep(draw.uniform(0, 6))
        land(landing, name_of(2 * number + 1), 2 * number + 1)
        time.sleep(draw.uniform(0, 6))
        kill(process)
        losses[number % len(losses)](lake)
    assert_equals_a_clean_run(spark, load_config(lake=str(lake), landing=str(landing)), tmp_path, 2 * rounds)
