"""A stream killed between any two commits of a micro-batch, then run again, leaves the tables of an undisturbed one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from cloudlake.common.config import Config, load_config
from cloudlake.common.usage import measures, sum_measures
from cloudlake.streaming import bronze_events, silver_events
from cloudlake.streaming.streaming_pipeline import run_once
from pyspark.sql import SparkSession

pytestmark = pytest.mark.soak  # many restarts: several minutes on two cores

ROOT = Path(__file__).resolve().parents[2]
POINTS = [
    "stream_after_bronze",
    "stream_after_quarantine",
    "stream_after_silver",
    "stream_after_increments",
    "stream_after_reconciliation",
]
RUN = """
import sys
from cloudlake.common.config import load_config
from cloudlake.common.session import start_session
from cloudlake.streaming import bronze_events, silver_events
from cloudlake.streaming.streaming_pipeline import run_once
run_once(start_session("crash"), load_config(lake=sys.argv[1], landing=sys.argv[2]), "killed")
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
    (folder / name).write_text("\n".join(lines) + "\n")


def die(lake: Path, landing: Path, point: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "CLOUDLAKE_CRASH_AT": point}
    command = [sys.executable, "-c", RUN, str(lake), str(landing)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, f"{point} was not reached:\n{done.stderr[-3000:]}"


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


def assert_equals_a_clean_run(spark: SparkSession, config: Config, tmp_path: Path, files: int) -> None:
    clean = load_config(lake=str(tmp_path / "clean"), landing=str(tmp_path / "again"))
    for number in range(files):
        land(tmp_path / "again", f"{number}.jsonl", number)
    run_once(spark, clean, "clean")
    run_once(spark, config, "last")
    assert_equal(spark, config, clean)


@pytest.mark.parametrize(
    ("points", "loses_checkpoint"),
    [(POINTS, False), (["stream_after_quarantine", "stream_after_silver", "stream_after_reconciliation"], True)],
    ids=["checkpoint kept", "checkpoint lost as well"],
)
def test_a_stream_that_dies_at_every_point_in_turn_ends_as_if_nothing_had_happened(
    spark: SparkSession, tmp_path: Path, crash_at: Callable[[str], None], points: list[str], loses_checkpoint: bool
) -> None:
    landing, lake = tmp_path / "landing", tmp_path / "lake"
    config = load_config(lake=str(lake), landing=str(landing))
    for number, point in enumerate(points):
        land(landing, f"{number}.jsonl", number)
        crash_at(point)
        with pytest.raises(Crash, match=point):
            run_once(spark, config, "dies")
        if loses_checkpoint:
            shutil.rmtree(lake / "checkpoints")
    crash_at("")
    assert_equals_a_clean_run(spark, config, tmp_path, len(points))


@pytest.mark.parametrize(
    "points", [["stream_after_silver"], pytest.param(POINTS, marks=pytest.mark.soak)], ids=["one", "every one"]
)
def test_a_killed_process_leaves_a_lake_that_the_next_one_goes_on_with(
    spark: SparkSession, tmp_path: Path, points: list[str]
) -> None:
    landing, lake = tmp_path / "landing", tmp_path / "lake"
    for number, point in enumerate(points):
        land(landing, f"{number}.jsonl", number)
        die(lake, landing, point)
    assert_equals_a_clean_run(spark, load_config(lake=str(lake), landing=str(landing)), tmp_path, len(points))
