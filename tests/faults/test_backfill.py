"""A span of dates made anew equals what a clean run makes, inside and outside, wherever it is killed; counts move with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from books_lake import assert_whole, rows_of, run
from cloudlake.common.config import Config, load_config
from cloudlake.common.errors import CloudlakeError, ConfigurationError
from cloudlake.common.lake.duck import connected
from cloudlake.common.quality.checks import facts_of, tables_in, with_views
from cloudlake.streaming import backfilling
from cloudlake.streaming.backfilling import backfill_events
from cloudlake.streaming.pipeline import reload_events, run_once
from cloudlake.upkeep.run_history import recorded_run, recorded_runs
from flow import ROOT, assert_the_law_holds, cloudlake, event_line, land_events
from pyspark.sql import SparkSession

EVENTS, REFUSED = "silver.usage_events", "quarantine.usage_events"
POINTS = ("backfill_after_quarantine", "backfill_after_silver", "backfill_after_reconciliation")
DAYS = [date(2025, 8, day) for day in (1, 2, 3, 4)]
SPAN = (DAYS[1], DAYS[2])


# --- the events, on lakes of a few lines ---------------------------------------------------------------------------------


def lines(number: int) -> list[str]:
    """A file with new events of four days, repeats, a contradiction, and lines that are refused, some of them twice."""

    def line(n: int, **changes: Any) -> str:
        return event_line(n, timestamp=f"2025-08-{1 + n % 4:02d}T10:00:00Z", value=n, **changes)

    first = number * 12
    new = [line(n) for n in range(first, first + 12)]
    refused = [line(900 + number * 8 + n, cost_usd_increment=-5) for n in range(4)]
    alike = [line(900 + number * 8, cost_usd_increment=-5.0), line(901, cost_usd_increment=-5)]
    return [*new, line(first), line(max(0, first - 2)), line(first + 1, region="eu-west"), *refused, *alike, "broken"]


def streamed(folder: Path, spark: SparkSession, conf: Path = ROOT / "conf", files: int = 2, *, at_once: bool = False) -> Config:
    config = load_config(str(conf), str(folder / "lake"), str(folder / "landing"))
    for number in range(files):
        land_events(config.landing, f"{number}.jsonl", lines(number))
        if not at_once or number == files - 1:
            run_once(lambda: spark, config, f"run {number}")
    return config


def totals(config: Config) -> dict[str, int]:
    rows = config.lake.rows("ops.reconciliation")
    assert all(row["landed"] == row["accepted"] + row["quarantined"] + row["duplicates"] for row in rows)
    assert min(min(row[name] for name in ("landed", "accepted", "quarantined", "duplicates")) for row in rows) >= 0
    return {name: sum(row[name] for row in rows) for name in ("landed", "accepted", "quarantined", "duplicates")}


def off(config: Config) -> int:
    """What the audit of silver.usage_events finds against its counts, load by load."""
    measure = facts_of(config.registry[EVENTS])["rows_as_counted"].measure
    views = {name.replace(".", "_"): config.lake.dataset(name) for name in tables_in(measure)}
    with connected(**views) as connection:
        return int(connection.sql(with_views(measure)).fetchall()[0][0])


def waiting(config: Config) -> list[str]:
    return sorted(row["quarantine_id"] for row in config.lake.rows(REFUSED) if row["status"] == "open")


class Crash(Exception):
    """Stands for a kill: nothing after it is written."""


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def at(wanted: str) -> None:
        def crash_point(name: str) -> None:
            if name == wanted:
                raise Crash(name)

        monkeypatch.setattr(backfilling, "crash_point", crash_point)

    return at


def test_events_of_a_span_equal_those_of_a_clean_run_wherever_it_is_killed_and_what_rules_now_say_follows(
    spark: SparkSession, tmp_path: Path, crash_at: Callable[[str], None]
) -> None:
    config = streamed(tmp_path / "span", spark)
    events, refused, counts = rows_of(config, EVENTS), waiting(config), totals(config)
    inside = f"usage_date >= DATE'{SPAN[0]}' AND usage_date <= DATE'{SPAN[1]}' AND event_id < 'extra_000009'"
    config.lake.delete(EVENTS, inside, config.lake.last_note(EVENTS))
    assert off(config) > 3
    for point in POINTS:
        crash_at(point)
        with pytest.raises(Crash, match=point):
            backfill_events(lambda: spark, config, "killed", *SPAN)
    crash_at("")
    assert run_once(lambda: spark, config, "goes on").landed == 0
    assert off(config) == 0 and totals(config) == counts
    version = config.lake.version(EVENTS)
    outside = f"usage_date = DATE'{DAYS[3]}' AND event_id < 'extra_000009'"
    config.lake.delete(EVENTS, outside, config.lake.last_note(EVENTS))
    missing = off(config)
    backfill_events(lambda: spark, config, "again", *SPAN)
    assert config.lake.version(EVENTS) == version + 2, "one commit"
    assert off(config) == missing > 0, "what lacks on other dates is still found"

    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf)
    silver = (conf / "silver.yaml").read_text()
    rules = (("when: exact_cost < -0.01", "when: exact_cost < -9"), ("column: value, range: [0, null]", "column: value, range: [2, 905]"))
    for old, new in rules:
        assert silver.count(old) == 1
        silver = silver.replace(old, new)
    (conf / "silver.yaml").write_text(silver)
    judged = load_config(str(conf), str(config.lake.root), str(config.landing))
    crash_at("backfill_after_silver")
    with pytest.raises(Crash):
        backfill_events(lambda: spark, judged, "other rules", *SPAN)
    crash_at("")
    backfill_events(lambda: spark, judged, "other rules", DAYS[0], DAYS[3])
    made = streamed(tmp_path / "made", spark, conf, at_once=True)
    assert rows_of(config, EVENTS) == rows_of(made, EVENTS) != events
    assert waiting(config) == waiting(made) != refused
    assert off(config) == 0 and totals(config) == totals(made)

    assert_lost_counts_are_written_again(config)
    with pytest.raises(ConfigurationError, match="has no event of these dates"):
        backfill_events(lambda: spark, config, "none", date(2025, 7, 1), date(2025, 7, 2))


def assert_lost_counts_are_written_again(config: Config) -> None:
    from cloudlake.streaming.rebuilding import recount

    before = totals(config)
    shutil.rmtree(config.lake.path("ops.reconciliation"))
    recount(config)
    assert off(config) == 0 and totals(config) == before


def test_silver_is_not_made_anew_from_lines_that_bronze_no_longer_holds(spark: SparkSession, tmp_path: Path) -> None:
    config = streamed(tmp_path, spark, files=1)
    before = rows_of(config, EVENTS)
    (today,) = config.lake.partition_values("bronze.usage_events", "ingest_date")
    config.lake.delete("bronze.usage_events", "raw = 'broken'", {"purged": 1})
    land_events(config.landing, "1.jsonl", lines(1))
    for made in (
        lambda: reload_events(lambda: spark, config, "reload"),
        lambda: backfill_events(lambda: spark, config, "backfill", date.fromisoformat(today), date.fromisoformat(today)),
    ):
        with pytest.raises(CloudlakeError, match=r"bronze.usage_events lacks 1 line\(s\).*retention.bronze"):
            made()
        assert rows_of(config, EVENTS) == before
    with pytest.raises(ConfigurationError, match="has no event"):  # of later dates bronze has every line
        backfill_events(lambda: spark, config, "backfill", date(2099, 1, 1), date(2099, 1, 2))
    run_once(lambda: spark, config, "goes on")
    assert len(rows_of(config, EVENTS)) > len(before)


# --- the command, on the lake that the tests of this room share -----------------------------------------------------------


def span(table: str, first: date, last: date) -> list[str]:
    return ["backfill", "--table", table, "--from", str(first), "--to", str(last)]


def backfill(config: Config, *arguments: Any) -> int:
    return cloudlake(config.lake.root, config.landing, *arguments)


def days_of(config: Config) -> list[date]:
    return sorted(map(date.fromisoformat, config.lake.partition_values(EVENTS, "usage_date")))


def test_what_is_built_on_a_span_of_events_follows_and_a_killed_backfill_is_typed_again(
    config: Config, answers: dict[str, list[str]], spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = days_of(config)[2:4]
    lost = f"usage_date >= DATE'{first}' AND usage_date <= DATE'{last}' AND service = 'compute'"
    config.lake.delete(EVENTS, lost, config.lake.last_note(EVENTS))
    assert len(rows_of(config, EVENTS)) < len(answers[EVENTS])
    folders = ["--lake", str(config.lake.root), "--landing", str(config.landing)]
    command = [sys.executable, "-m", "cloudlake.cli", *span(EVENTS, first, last), *folders]
    environment = os.environ | {"CLOUDLAKE_CRASH_AT": "backfill_after_silver", "PYTHONPATH": str(ROOT / ".typing")}
    killed = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert backfill(config, *span(EVENTS, first, last)) == 0
    assert_whole(config, answers)
    assert off(config) == 0
    assert_the_law_holds(spark, config)
    batch, backfilled, interrupted = recorded_runs(config)[:3]
    assert (batch.kind, backfilled.kind, interrupted.status) == ("batch", "backfill", "interrupted")
    assert recorded_run(config, batch.run_id).asked["again"] == {EVENTS: [str(first), str(last)]}
    assert run(config) == 0
    assert_whole(config, answers)

    before = {name: config.lake.version(name) for name in config.registry.tables}
    capsys.readouterr()
    assert backfill(config, *span(EVENTS, first, last), "--dry-run") == 0
    assert "events of 2 of these 2 date(s)" in (said := capsys.readouterr().out) and "gold.usage_daily" in said
    for arguments, error in (
        (span(EVENTS, last, first), "it is before --from"),
        (span("bronze.users", first, last), "only tables of silver and gold"),
        (span("silver.usage_event", first, last), "silver.usage_events"),
        (span("silver.billing_monthly", first, last), "the lake has no such table yet"),
        (span("gold.usage_daily", date(2019, 1, 1), date(2019, 2, 1)), "have dates from"),
        (span(EVENTS, date(1019, 1, 1), last), "dates lie between"),
    ):
        assert backfill(config, *arguments) == 2
        assert error in capsys.readouterr().err
    assert {name: config.lake.version(name) for name in config.registry.tables} == before


def test_records_histories_and_parts_of_marts_are_made_anew(
    config: Config, answers: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    lake, day = config.lake, days_of(config)[1]
    lake.delete("gold.usage_daily", f"usage_date = DATE'{day}'", lake.last_note("gold.usage_daily"))
    created = sorted(row["created_at"].date() for row in lake.rows("silver.support_tickets"))
    first, last = created[len(created) // 4], created[-1]
    lake.delete("silver.support_tickets", f"created_at >= '{first}T00:00:00Z'", lake.last_note("silver.support_tickets"))
    lake.delete("silver.users", "is_current", lake.last_note("silver.users"))
    assert backfill(config, *span("gold.usage_daily", day, day)) == 0
    assert backfill(config, *span("silver.support_tickets", first, last)) == 0
    assert backfill(config, *span("silver.users", day, day)) == 0
    assert_whole(config, answers)
    assert not list((lake.root / "aside").glob("*")), "what was put aside meanwhile is gone"
    lake.delete("quarantine.support_tickets", "true", {"run_id": "r"})
    capsys.readouterr()
    assert backfill(config, *span("silver.support_tickets", first, last)) == 1
    assert "--full-reload --jobs support_tickets" in capsys.readouterr().err
    assert backfill(config, *span("silver.support_tickets", date(2019, 1, 1), date(2019, 1, 2))) != 0
