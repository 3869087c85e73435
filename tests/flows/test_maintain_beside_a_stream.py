"""Upkeep and a copy beside a stream: nothing lost, nothing twice, what is served lawful, the files of every table bounded."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from cloudlake.common.clock import now_utc
from cloudlake.common.config import Config
from cloudlake.common.lake.pruning import entries_of
from cloudlake.runs.stream_run import serve_stream, take_once
from cloudlake.runs.upkeep_run import unread_versions
from cloudlake.serving import live_org_daily_usage
from cloudlake.streaming.pipeline import run_once
from cloudlake.upkeep.maintain import Maintained, maintain
from flow import ROOT, assert_the_law_holds, cloudlake, event_line, land_events, opened, versions, wait_for
from pyspark.sql import DataFrame, SparkSession

TABLES = ("bronze.usage_events", "silver.usage_events", "speed.usage_increments", "ops.reconciliation", "ops.landed_files")
BUSINESS = ("event_id", "event_time", "org_id", "cost_usd", "value", "usage_date")
ROUNDS, LINES, COPIED_AT = 24, 5, 11
LANDED = ROUNDS * (LINES + 1)
COPY = (sys.executable, str(ROOT / "scripts" / "copy_lake.py"))
RUN = ("batch", "--jobs", "usage_events", "usage_daily", "org_daily_usage_by_service", "serving")


@dataclass
class Streamed:
    """A lake whose stream has ended, what upkeep did meanwhile, and a copy that was made in the middle."""

    config: Config
    spark: SparkSession
    copy: Path
    kept: list[Maintained] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)

    def upkeep(self) -> None:
        # By this clock all but the last four seconds is older than the hours that are kept.
        now = now_utc() + timedelta(hours=self.config.settings.retention.live_hours, seconds=-4)
        self.kept.append(maintain(self.config, lambda: self.spark, now, unread=unread_versions(self.config)))


def quick(config: Config) -> Config:
    trigger = config.stream.trigger.model_copy(update={"interval_seconds": 0.2})
    monitor = config.stream.monitor.model_copy(update={"heartbeat_seconds": 0.2, "metrics_port": 0})
    stream = config.stream.model_copy(update={"trigger": trigger, "monitor": monitor})
    return Config(config.conf, config.landing, config.lake, config.settings, stream, config.registry)


def lines(number: int) -> list[str]:
    """Lines of one file: new events, and one that the file before held."""
    return [event_line(number * LINES + n) for n in range(LINES)] + [event_line(max(0, number * LINES - 1))]


def silver(config: Config, spark: SparkSession) -> DataFrame:
    return config.lake.read(spark, "silver.usage_events").select(*BUSINESS)


def landed(config: Config) -> int:
    return sum(row["landed"] for row in config.lake.rows("ops.reconciliation"))


@pytest.fixture(scope="module")
def streamed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamed]:
    folder = tmp_path_factory.mktemp("streamed")
    (folder / "landing").mkdir()
    ran = Streamed(quick(opened(folder / "lake", folder / "landing")), spark, folder / "copy")
    stop, copying = threading.Event(), threading.Thread(target=lambda: subprocess.run([*COPY, folder / "lake", ran.copy], check=True))
    stream = threading.Thread(target=lambda: serve_stream(lambda: spark, ran.config, "run", stop, ran.faults.append))
    stream.start()
    try:
        for number in range(ROUNDS):
            land_events(ran.config.landing, f"{number:03d}.jsonl", lines(number))
            wait_for(lambda: len(ran.config.lake.rows("ops.landed_files")) > number)  # noqa: B023
            if number == COPIED_AT:
                copying.start()
            if number % 8 == 7:
                ran.upkeep()
        wait_for(lambda: landed(ran.config) == LANDED)
    finally:
        stop.set()
        stream.join(60)
    copying.join(60)
    yield ran


@pytest.fixture(scope="module")
def clean(streamed: Streamed, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The same landing zone, taken at once to a lake of its own."""
    config = opened(tmp_path_factory.mktemp("clean"), streamed.config.landing)
    run_once(lambda: streamed.spark, config, "clean")
    return config


def assert_same(found: DataFrame, expected: DataFrame) -> None:
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True, ignore_metadata=True)


def test_a_stream_that_runs_through_it_loses_and_doubles_nothing(streamed: Streamed, clean: Config) -> None:
    config, spark = streamed.config, streamed.spark
    assert streamed.faults == [], "the stream was never started again"
    assert not [fault for one in streamed.kept for fault in one.faults]
    assert sum(table.pruned for one in streamed.kept for table in one.tables) > ROUNDS, "files went while it ran"
    counted = config.lake.rows("ops.reconciliation")
    sums = {name: sum(row[name] for row in counted) for name in ("landed", "accepted", "quarantined", "duplicates")}
    assert sums == {"landed": LANDED, "accepted": ROUNDS * LINES, "quarantined": 0, "duplicates": ROUNDS}
    assert_same(silver(config, spark), silver(clean, spark))
    assert config.lake.count("bronze.usage_events") == LANDED


def test_a_copy_made_meanwhile_goes_on_elsewhere_and_nothing_that_had_landed_is_lost(
    streamed: Streamed, clean: Config, tmp_path: Path
) -> None:
    spark = streamed.spark
    shutil.copytree(streamed.config.landing, tmp_path / "landing")
    shutil.move(streamed.copy, tmp_path / "lake")
    shutil.rmtree(tmp_path / "lake" / "checkpoints" / "bronze_usage_events", ignore_errors=True)  # it names the old landing zone
    restored = opened(tmp_path / "lake", tmp_path / "landing")
    assert 0 < landed(restored) < LANDED, "it was copied in the middle"
    take_once(lambda: spark, restored, "restored")
    assert_same(silver(restored, spark), silver(clean, spark))
    assert landed(restored) == LANDED
    assert live_org_daily_usage(restored).equals(live_org_daily_usage(streamed.config))


def test_after_it_files_are_few_what_is_served_is_lawful_and_nothing_is_built_again(streamed: Streamed) -> None:
    config, spark = streamed.config, streamed.spark
    time.sleep(4.1)
    streamed.upkeep()
    assert all(config.lake.file_count(name) <= 3 for name in TABLES), "fewer are not worth a commit"
    assert all(len(entries_of(config.lake.path(name))) <= 14 for name in TABLES)
    assert cloudlake(config.lake.root, config.landing, *RUN) == 0
    assert_the_law_holds(spark, config)
    before = versions(config)
    streamed.upkeep()
    assert cloudlake(config.lake.root, config.landing, *RUN) == 0
    after = versions(config)
    assert {n: v for n, v in after.items() if n.startswith("gold.")} == {n: v for n, v in before.items() if n.startswith("gold.")}
    land_events(config.landing, "last.jsonl", [event_line(10_000)])
    assert run_once(lambda: spark, config, "last").accepted == 1
    assert config.lake.count("silver.usage_events") == ROUNDS * LINES + 1
