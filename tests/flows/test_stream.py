"""Landing → bronze → silver, quarantine and increments, on small lakes: what is new, repeated, refused or reported."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from cloudlake.common.config import Config, load_config
from cloudlake.common.errors import CloudlakeError, ConfigurationError
from cloudlake.common.usage import MEASURES, measures, sum_measures
from cloudlake.runs.background import stream_state
from cloudlake.runs.stream_run import serve_stream
from cloudlake.streaming import silver_events
from cloudlake.streaming.bronze_events import BronzeQuery
from cloudlake.streaming.monitor import heartbeat
from cloudlake.streaming.pipeline import reload_events, run_once
from cloudlake.streaming.silver_events import SilverQuery
from flow import wait_for
from pyspark.sql import DataFrame, SparkSession

BUSINESS = [
    "event_id",
    "event_time",
    "org_id",
    "resource_id",
    "service",
    "region",
    "metric",
    "value",
    "unit",
    "unit_imputed",
    "cost_usd",
    "carbon_kg",
    "genai_tokens",
    "schema_version",
    "quality_flags",
]


def event(number: int, day: int = 1, **changes: Any) -> str:
    """The line of an event; its cost is its number, in cents."""
    fields = {
        "event_id": f"evt_{number}",
        "timestamp": f"2025-08-{day:02d}T10:{number % 60:02d}:00Z",
        "org_id": f"org_{number % 3}",
        "resource_id": None,
        "service": "compute",
        "region": "us-east",
        "metric": "cpu_hours",
        "value": number,
        "unit": "hours",
        "cost_usd_increment": number / 100,
        "schema_version": 1,
    }
    return json.dumps(fields | changes)


class Land:
    """A landing zone and a lake of their own."""

    def __init__(self, root: Path, spark: SparkSession, landing: str = "landing") -> None:
        self.root, self.spark = root, spark
        self.landing = root / landing
        self.folder = self.landing / "usage_events_stream"
        self.folder.mkdir(parents=True)

    @property
    def config(self) -> Config:
        return load_config(lake=str(self.root / "lake"), landing=str(self.landing))

    def put(self, name: str, lines: Iterable[str], end: str = "\n") -> Path:
        path = self.folder / name
        path.write_text("".join(line + end for line in lines))
        return path

    def run(self) -> tuple[int, int, int, int]:
        done = run_once(lambda: self.spark, self.config, "run")
        return done.landed, done.accepted, done.quarantined, done.duplicates

    def read(self, table: str) -> DataFrame:
        return self.config.lake.read(self.spark, table)

    def silver(self) -> DataFrame:
        return self.read("silver.usage_events").select(*BUSINESS)

    def refused(self) -> dict[str, list[str]]:
        return {row["payload"]: row["reasons"] for row in self.config.lake.rows("quarantine.usage_events")}

    def checkpoint(self, job: str) -> Path:
        return self.root / "lake" / "checkpoints" / job


MakeLand = Callable[..., Land]


@pytest.fixture
def make(tmp_path: Path, spark: SparkSession) -> MakeLand:
    return lambda name, landing="landing": Land(tmp_path / name, spark, landing)


def no_session() -> SparkSession:
    raise AssertionError("Spark was asked for")


def assert_lawful(land: Land) -> None:
    """Increments are silver's sums load by load, the counts add up, and bronze's lines are all accounted for."""
    silver, increments = land.read("silver.usage_events"), land.read("speed.usage_increments")
    by_load = ["load_id", "org_id", "service", "region"]
    expected = silver.groupBy(*by_load).agg(*measures())
    found = increments.groupBy(*by_load).agg(*sum_measures())
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True, ignore_metadata=True)
    assert increments.columns[-len(MEASURES) :] == list(MEASURES)
    newest: dict[str, dict[str, Any]] = {}
    for row in sorted(land.config.lake.rows("ops.reconciliation"), key=lambda row: row["counted_at"]):
        newest[row["delivery"]] = row
    totals = {
        name: sum(row[name] for row in newest.values()) for name in ("landed", "accepted", "quarantined", "duplicates")
    }
    assert totals["landed"] == totals["accepted"] + totals["quarantined"] + totals["duplicates"]
    assert totals["landed"] == land.read("bronze.usage_events").count()
    assert totals["accepted"] == silver.count() == silver.select("event_id", "usage_date").distinct().count()
    refused = land.config.lake.rows("quarantine.usage_events")
    assert totals["quarantined"] == len(refused) == len({row["quarantine_id"] for row in refused})


FIRST = [
    *(event(n, day=1 + n % 3) for n in range(40)),
    event(1, day=2),  # to the byte
    event(2, day=3, unit=None, service=" COMPUTE "),  # conforms to the same content, so it is a repeat
    event(3, day=1, cost_usd_increment=99),  # another content: the smaller line wins, and that is the cheap one
    event(4, day=9),  # the id on another date is another event
    "broken",
    "broken",
    event(50, service="quantum"),
    event(51, value=None),
]
SECOND = [
    event(5, day=3),
    event(6, day=1, region="eu-west"),
    "broken",
    event(3, day=1, cost_usd_increment=99),
    event(3, day=1, cost_usd_increment=98),
    event(60, day=1),
    event(61, day=20),
]


def test_repeats_and_contradictions_are_settled_within_and_across_micro_batches(make: MakeLand) -> None:
    land = make("a")
    land.put("one.jsonl", FIRST)
    assert land.run() == (48, 42, 3, 3)
    land.put("two.jsonl", SECOND)
    assert land.run() == (7, 2, 2, 3)
    assert land.refused() == {
        "broken": ["malformed_json"],
        event(50, service="quantum"): ["service_unknown"],
        event(3, day=1, cost_usd_increment=99): ["event_id_conflict"],
        event(6, day=1, region="eu-west"): ["event_id_conflict"],
        event(3, day=1, cost_usd_increment=98): ["event_id_conflict"],
    }
    silver = {(row["event_id"], row["usage_date"].day): row for row in land.read("silver.usage_events").collect()}
    assert (silver["evt_3", 1]["cost_usd"], silver["evt_6", 1]["region"]) == (Decimal("0.03"), "us-east")
    assert {("evt_4", 2), ("evt_4", 9), ("evt_60", 1), ("evt_61", 20)} <= set(silver)
    assert {row["load_id"] for row in silver.values()} == {1_000_000_000, 1_000_000_001}
    assert silver["evt_51", 1]["quality_flags"] == ["value_missing"]
    assert silver["evt_60", 1]["_source_file"] == "usage_events_stream/two.jsonl"
    assert_lawful(land)
    assert run_once(no_session, land.config, "run").landed == 0, "nothing new needs no Spark"
    assert land.config.lake.version("silver.usage_events") == 2, "nothing new commits nothing"


def test_the_order_of_lines_and_files_within_a_micro_batch_does_not_matter(make: MakeLand) -> None:
    one, other = make("one"), make("other")
    shuffled = random.Random(7).sample(FIRST, len(FIRST))
    one.put("a.jsonl", FIRST)
    other.put("a.jsonl", shuffled[:20])
    other.put("b.jsonl", shuffled[20:])
    assert one.run() == other.run()
    assert one.refused() == other.refused()
    assert_df_equality(one.silver(), other.silver(), ignore_row_order=True)


def test_lines_reach_bronze_to_the_byte_whatever_the_file_is_called(make: MakeLand) -> None:
    land = make("a", landing="b c+d%20é")
    land.put("x y+z%41.jsonl", [event(1), "", "  ", event(2)], end="\r\n")
    land.put("tail.jsonl", [event(3)], end="")
    (land.folder / "bytes.jsonl").write_bytes(b'\xff\xfe\r\n{"a":\rb}\n')
    land.put("empty.jsonl", [])
    for ignored in (".hidden.jsonl", "_part.jsonl", "growing.jsonl.tmp", "notes.txt"):
        land.put(ignored, ["ignored"])
    (land.folder / "nested").mkdir()
    (land.folder / "nested" / "deep.jsonl").write_text("ignored\n")
    (land.folder / "zipped.jsonl.gz").write_bytes(b"no gzip at all")
    done = run_once(lambda: land.spark, land.config, "run")
    assert (done.landed, done.accepted, done.quarantined) == (5, 3, 2)
    assert ["zipped.jsonl.gz" in text for text in done.warnings] == [True]
    lines = land.read("bronze.usage_events").selectExpr("cast(raw as binary) as raw", "_source_file").collect()
    found = sorted((row["_source_file"].removeprefix("usage_events_stream/"), bytes(row["raw"])) for row in lines)
    assert found == [
        ("bytes.jsonl", b'{"a":\rb}'),
        ("bytes.jsonl", b"\xff\xfe"),
        ("tail.jsonl", event(3).encode()),
        ("x y+z%41.jsonl", event(1).encode()),
        ("x y+z%41.jsonl", event(2).encode()),
    ]
    assert_lawful(land)


def test_grown_and_old_files_are_seen_and_missing_folders_told(make: MakeLand) -> None:
    land = make("a")
    assert "no .jsonl files" in run_once(lambda: land.spark, land.config, "run").warnings[0]
    grown = land.put("grown.jsonl", [event(1)])
    assert land.run() == (1, 1, 0, 0)
    old = land.put("old.jsonl", [event(2)])
    os.utime(old, (946684800, 946684800))
    with grown.open("a") as more:
        more.write(event(3) + "\n")
    done = run_once(lambda: land.spark, land.config, "run")
    assert done.accepted == 1, "a file as old as the century is read all the same"
    assert [text.split(":")[0] for text in done.warnings] == ["usage_events_stream/grown.jsonl"]
    grown.rename(grown.with_name("renamed.jsonl"))
    assert land.run() == (2, 1, 0, 1), "under a new name, what was read already is a repeat"
    shutil.rmtree(land.folder)
    assert "no such folder" in run_once(lambda: land.spark, land.config, "run").warnings[0]
    elsewhere = load_config(lake=str(land.root / "lake"), landing=str(land.root))
    with pytest.raises(CloudlakeError, match=r"reads its events from .* Give the other landing zone a lake of its own"):
        run_once(lambda: land.spark, elsewhere, "run")
    with pytest.raises(ConfigurationError, match="no such landing folder"):
        run_once(lambda: land.spark, load_config(lake=str(land.root / "lake"), landing="/nowhere"), "run")
    (land.root / "a:[b]").mkdir()
    with pytest.raises(ConfigurationError, match=r"a colon and one of .* give it another name"):
        run_once(lambda: land.spark, load_config(lake=str(land.root / "lake"), landing=str(land.root / "a:[b]")), "run")


def test_lost_checkpoints_and_commit_files_change_nothing(make: MakeLand) -> None:
    undisturbed, land = make("undisturbed"), make("disturbed")
    for one in (undisturbed, land):
        one.put("one.jsonl", FIRST)
        one.run()
    for job in ("bronze_usage_events", "silver_usage_events"):
        for name in ("0", ".0.crc"):
            (land.checkpoint(job) / "commits" / name).unlink()
    land.run()
    assert_lawful(land)
    shutil.rmtree(land.checkpoint("bronze_usage_events"))
    land.run()
    shutil.rmtree(land.checkpoint("silver_usage_events"))
    for one in (undisturbed, land):
        one.put("two.jsonl", SECOND)
        one.run()
    shutil.rmtree(land.root / "lake" / "checkpoints")
    for one in (undisturbed, land):
        one.put("three.jsonl", [event(70), event(5, day=3), "worse"])
        assert one.run() == (3, 1, 1, 1)
    assert_df_equality(land.silver(), undisturbed.silver(), ignore_row_order=True)
    assert land.refused() == undisturbed.refused()
    loads = sorted(row[0] for row in land.read("silver.usage_events").select("load_id").distinct().collect())
    assert loads == [1_000_000_000, 2_000_000_000, 3_000_000_000]
    assert_lawful(land)


def quick(config: Config, **restart: Any) -> Config:
    """Settings that do not keep a test waiting."""
    stream = config.stream
    changed = stream.model_copy(
        update={
            "trigger": stream.trigger.model_copy(update={"interval_seconds": 0.2}),
            "restart": stream.restart.model_copy(update={"first_seconds": 0.1, **restart}),
            "monitor": stream.monitor.model_copy(update={"heartbeat_seconds": 0.2, "metrics_port": free_port()}),
        }
    )
    return Config(config.conf, config.landing, config.lake, config.settings, changed, config.registry)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def metrics_at(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_the_continuous_stream_takes_files_as_they_come_recovers_and_ends_its_batch_when_told(
    make: MakeLand, monkeypatch: pytest.MonkeyPatch
) -> None:
    land = make("a")
    stop, results = threading.Event(), []
    config = quick(land.config)
    take, failures = SilverQuery.take, ["the network is away"]

    def take_unless_it_fails(self: SilverQuery, lines: DataFrame, batch_id: int) -> None:
        if failures:
            raise OSError(failures.pop())
        take(self, lines, batch_id)

    monkeypatch.setattr(SilverQuery, "take", take_unless_it_fails)

    def stream() -> None:
        results.append(serve_stream(lambda: land.spark, config, "run", stop, print))

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        wait_for(lambda: heartbeat(config.lake).get("state") == "running")  # The folder is empty when it starts.
        assert int((config.lake.root / "run" / "stream.pid").read_text()) == os.getpid()
        land.put("a.jsonl", FIRST)
        wait_for(lambda: len(config.lake.rows("ops.reconciliation")) >= 1)
        land.put("b.jsonl", SECOND)
        wait_for(lambda: heartbeat(config.lake).get("landed") == 55 and heartbeat(config.lake)["lag_files"] == 0)
        metrics = metrics_at(config.stream.monitor.metrics_port)
    finally:
        stop.set()
        thread.join(60)
    assert [(done.landed, done.accepted, done.quarantined, done.duplicates) for done in results] == [(55, 44, 5, 6)]
    assert land.run() == (0, 0, 0, 0), "the micro-batches at hand ended with their entry in the checkpoint"
    assert_lawful(land)
    assert metrics['cloudlake_stream_lines_total{outcome="quarantined"}'] == 5
    assert metrics["cloudlake_stream_restarts_total"] == 1 and metrics["cloudlake_stream_lag_files"] == 0
    rows = sorted(config.lake.rows("ops.stream_progress"), key=lambda row: row["at"])
    life = [(row["event"], row["error"]) for row in rows if row["event"] != "progress"]
    assert [name for name, _ in life] == ["started", "died", "started", "stopped"]
    assert "the network is away" in life[1][1]
    assert "stream_restarted" in {row["rule"] for row in config.lake.rows("speed.alerts")}
    assert sum(row["accepted"] or 0 for row in rows) == 44
    assert {row["query"] for row in rows if row["event"] == "progress"} == {"bronze_usage_events", "silver_usage_events"}
    state = heartbeat(config.lake)
    assert (state["state"], state["restarts"], state["last_batch"]["landed"] > 0) == ("stopped", 1, True)


def test_a_stream_that_keeps_dying_is_given_up_with_the_reason(make: MakeLand, monkeypatch: pytest.MonkeyPatch) -> None:
    land = make("a")
    land.put("a.jsonl", FIRST)
    config = quick(land.config, limit=1)

    def take(self: BronzeQuery, lines: DataFrame, batch_id: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(BronzeQuery, "take", take)
    with pytest.raises(CloudlakeError, match=r"died 2 time\(s\) in a row .* the disk is full"):
        serve_stream(lambda: land.spark, config, "run", threading.Event(), print)
    events = sorted(config.lake.rows("ops.stream_progress"), key=lambda row: row["at"])
    assert [row["event"] for row in events] == ["started", "died", "started", "gave_up"]
    found = stream_state(config, datetime.now(UTC))
    assert not found["running"] and found["lag_files"] == 1
    assert "the stream gave up: No space left on device" in found["problem"]


def test_a_reload_makes_the_same_table_from_bronze_whatever_became_of_it(
    make: MakeLand, monkeypatch: pytest.MonkeyPatch
) -> None:
    land = make("a")
    for name, lines in (("one.jsonl", FIRST), ("two.jsonl", SECOND)):
        land.put(name, lines)
        land.run()
    lake = land.config.lake
    columns = [*BUSINESS, "_source_file", "_ingested_at"]
    before = land.read("silver.usage_events").select(*columns).toArrow()
    refused, increments = land.refused(), lake.version("speed.usage_increments")
    lake.delete("silver.usage_events", "event_id IN ('evt_3', 'evt_60')")
    monkeypatch.setattr(silver_events, "crash_point", crash_at("reload_after_silver"))
    with pytest.raises(InterruptedError):
        reload_events(lambda: land.spark, land.config, "reload")
    monkeypatch.undo()
    assert land.run() == (0, 0, 0, 0), "what the reload had not written down is caught up"
    done = reload_events(lambda: land.spark, land.config, "reload")
    assert (done.landed, done.accepted, done.quarantined, done.duplicates) == (55, 44, 5, 6)
    key = [("event_id", "ascending"), ("event_time", "ascending")]
    assert land.read("silver.usage_events").select(*columns).toArrow().sort_by(key).equals(before.sort_by(key))
    assert land.refused() == refused and lake.version("speed.usage_increments") == increments
    loads = {row["load_id"] for row in lake.rows("silver.usage_events")}
    assert len(loads) == 1 and loads.pop() % 1_000_000_000 == 0
    counted = [row for row in lake.rows("ops.reconciliation") if row["table"] == "silver.usage_events"]
    assert [(row["landed"], row["accepted"]) for row in counted] == [(55, 44)]
    land.put("three.jsonl", [event(70), event(5, day=3), "broken", "worse"])
    assert land.run() == (4, 1, 1, 2)
    newest = max(row["load_id"] for row in lake.rows("silver.usage_events"))
    assert newest // 1_000_000_000 > int(counted[0]["delivery"]) // 1_000_000_000, "a generation of its own"


def crash_at(point: str) -> Callable[[str], None]:
    def crash_point(name: str) -> None:
        if name == point:
            raise InterruptedError(name)

    return crash_point
