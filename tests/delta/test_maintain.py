"""Upkeep lets go of what nobody can read any more, and of nothing else. Real tables, no Spark."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cloudlake.common.clock import now_utc
from cloudlake.common.config import Config
from cloudlake.common.lake import pruning
from cloudlake.common.lake.duck import connected
from cloudlake.common.live import BATCH_VIEW
from cloudlake.common.quality.checks import facts_of, tables_in, with_views
from cloudlake.runs.record import reconciliation
from cloudlake.runs.upkeep_run import run_maintain
from cloudlake.serving import live_org_daily_usage, published
from cloudlake.serving.publication import publish, rollback
from cloudlake.streaming import rebuilding
from cloudlake.upkeep.maintain import Maintained, maintain
from deltalake import DeltaTable
from flow import ROOT
from live_lake import LONG_AGO, commit, opened, spread, write_masters

LOADS = 24
EVENTS, INCREMENTS, COUNTS = "silver.usage_events", "speed.usage_increments", "ops.reconciliation"
G = 10**9


@pytest.fixture(scope="module")
def often_committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose stream has committed often, and whose mart was published after each of four loads."""
    folder = tmp_path_factory.mktemp("often")
    config = opened(folder)
    write_masters(config, LONG_AGO + timedelta(days=3000))
    events = spread(LOADS * 4, 72)[::-1]
    for load in range(LOADS):
        commit(config, G + load, events[load * 4 : load * 4 + 4])
        count_load(config, G + load, now_utc())
        if load % 6 == 0:
            rows = live_org_daily_usage(config).drop_columns(["speed_events"])
            config.lake.create(config.registry[BATCH_VIEW])
            note = {"run_id": f"run{load}", "load_id": G + load, "inputs": {EVENTS: config.lake.version(EVENTS)}}
            config.lake.replace_small(rows, config.registry[BATCH_VIEW], note=note)
            publish(config, f"run{load}")
    return folder


@pytest.fixture
def config(often_committed: Path, tmp_path: Path) -> Config:
    shutil.copytree(often_committed, tmp_path, dirs_exist_ok=True)
    return opened(tmp_path)


def count_load(config: Config, load_id: int, at: datetime) -> None:
    numbers = dict.fromkeys(("landed", "accepted", "inserted"), 4)
    zeros = dict.fromkeys(("quarantined", "duplicates", "changed", "unchanged", "superseded"), 0)
    version = load_id - G
    row = {
        "table": EVENTS, "delivery": str(load_id), "run_id": "s", "counted_at": at, "reasons": '{"late": 1}', "flags": "{}",
        "from_version": version, "to_version": version,
    }  # fmt: skip
    config.lake.append_small([row | numbers | zeros], config.registry[COUNTS], {"load_id": load_id})


def kept_at(config: Config, now: datetime, **more: Any) -> Maintained:
    """Upkeep as if the clock said so."""

    def no_session() -> Any:
        raise AssertionError("Spark was asked for")

    return maintain(config, no_session, now, unread=more.pop("unread", {}), **more)


def contents(config: Config) -> dict[str, pa.Table]:
    """Every row of every table, in an order of its own, but the counts of purged increments."""
    names = [name for name in config.registry.tables if config.lake.exists(name)]
    rows = {name: config.lake.read_small(name) for name in names}
    return {name: sorted(map(repr, found.select(sorted(found.column_names)).to_pylist())) for name, found in rows.items()}


def later(**span: float) -> datetime:
    return now_utc() + timedelta(**span)


def test_small_files_become_few_the_log_short_and_no_row_or_answer_changes(config: Config) -> None:
    rows, answer = contents(config), live_org_daily_usage(config)
    assert config.lake.file_count(COUNTS) == LOADS, "as a stream leaves them"
    done = kept_at(config, later(hours=3))
    assert not done.faults
    found = contents(config)
    gone = set(rows.pop(INCREMENTS)) - set(found.pop(INCREMENTS))
    assert found == rows
    assert gone, "increments that every publication holds"
    assert live_org_daily_usage(config).equals(answer)
    for name in (EVENTS, INCREMENTS, COUNTS):
        days = len(config.lake.partition_values(EVENTS, "usage_date")) if name == EVENTS else 1
        assert config.lake.file_count(name) <= 3 * days
        # The mart was made from an earlier version of the events: what has changed since is told by it.
        assert name == EVENTS or len(pruning.entries_of(config.lake.path(name))) <= 2
        data = {str(file) for file, _ in pruning._data_below(config.lake.path(name))}
        assert name == EVENTS or len(data) == config.lake.file_count(name), "nothing lies beside what it is made of"
    again = kept_at(config, later(hours=3))
    assert [kept for kept in again.tables if kept.is_changed] == [], "a second time finds nothing to do"


def test_a_dry_run_says_what_a_run_does_and_does_nothing(config: Config) -> None:
    now = later(hours=3)
    before = sorted(str(file) for file in config.lake.root.rglob("*"))
    said = kept_at(config, now, dry_run=True)
    assert sorted(str(file) for file in config.lake.root.rglob("*")) == before
    done = kept_at(config, now)
    told = [(kept.table, kept.rows, kept.files[1]) for kept in said.tables]
    assert told == [(kept.table, kept.rows, kept.files[1]) for kept in done.tables]


def test_readers_that_started_an_hour_ago_finish_and_older_states_go(config: Config) -> None:
    path = config.lake.path(EVENTS)
    reader = DeltaTable(path).to_pyarrow_dataset()
    before = DeltaTable(path).version()
    expected = reader.count_rows()
    kept_at(config, later(hours=1))
    assert config.lake.version(EVENTS) > before, "it was compacted under the reader"
    assert reader.to_table().num_rows == expected
    assert DeltaTable(path, version=before).to_pyarrow_dataset().count_rows() == expected, "time travel within retention"
    kept_at(config, later(hours=3))
    with pytest.raises(FileNotFoundError):
        reader.to_table()


def test_the_oldest_kept_publication_can_be_put_in_force_again(config: Config) -> None:
    first = config.lake.read_small(BATCH_VIEW, 1)
    assert first.num_rows < config.lake.read_small(BATCH_VIEW).num_rows
    kept_at(config, later(days=400))
    rollback(config, "run0")
    version = published(config.lake).version(BATCH_VIEW)
    assert config.lake.read_small(BATCH_VIEW, version).equals(first)
    assert live_org_daily_usage(config)["events"].to_pylist(), "the increments since then are there"
    total = sum(live_org_daily_usage(config)["events"].to_pylist())
    assert total == LOADS * 4


def test_a_publication_names_the_compacted_version_and_a_run_with_nothing_new_publishes_nothing(config: Config) -> None:
    contract = config.registry[BATCH_VIEW]
    rows = config.lake.read_small(BATCH_VIEW)
    parts = [rows.slice(n, 1) for n in range(rows.num_rows)]
    config.lake.replace_small(rows.slice(0, 0), contract, note={"run_id": "p", "load_id": G + LOADS - 1})
    for part in parts:
        config.lake.append_small(part.to_pylist(), contract, {"run_id": "p", "load_id": G + LOADS - 1})
    publish(config, "p")
    kept_at(config, later(hours=1))
    assert config.lake.file_count(BATCH_VIEW) == 1
    assert published(config.lake).version(BATCH_VIEW) == config.lake.version(BATCH_VIEW)
    assert publish(config, "q").skipped
    rollback(config)
    rollback(config, "p")
    assert sorted(config.lake.rows(BATCH_VIEW), key=repr) == sorted(rows.to_pylist(), key=repr)


def test_what_a_stream_has_not_read_stays_commit_by_commit(config: Config) -> None:
    unread = config.lake.version(EVENTS) - 5
    added = [name for version in range(unread, unread + 6) for name in config.lake.files_added(EVENTS, version)]
    assert len(added) >= 6
    kept_at(config, later(days=40), unread={EVENTS: unread})
    assert all(config.lake.files_added(EVENTS, version) for version in range(unread, unread + 6))
    there = {file.name for file, _ in pruning._data_below(config.lake.path(EVENTS))}
    assert set(added) <= there


def off(config: Config) -> int:
    """What the audit of silver.usage_events finds against its counts."""
    measure = facts_of(config.registry[EVENTS])["rows_as_counted"].measure
    with connected(**{name.replace(".", "_"): config.lake.dataset(name) for name in tables_in(measure)}) as connection:
        return int(connection.sql(with_views(measure)).fetchall()[0][0])


def test_counts_of_old_micro_batches_are_summed_by_run_and_day_and_tables_are_still_compared_with_them(config: Config) -> None:
    lake = config.lake
    file = {"table": "silver.users", "delivery": "users.csv@s@r", "run_id": "r", "counted_at": later(days=-90), "landed": 1, "accepted": 1,
            "quarantined": 0, "duplicates": 0}  # fmt: skip
    lake.append_small([file], config.registry[COUNTS], {"run_id": "r"})
    totals = reconciliation(config)
    kept_at(config, later(days=6))
    assert lake.count(COUNTS) == LOADS + 1, "the counts of the last days stay, load by load"
    for load in range(4):
        commit(config, G + LOADS + load, spread(4, 1))
        count_load(config, G + LOADS + load, later(days=9, hours=load))
    before, totals = {row["delivery"]: row for row in lake.rows(COUNTS)}, reconciliation(config)
    assert off(config) == 0
    expected = kept_at(config, later(days=20), dry_run=True)
    done = kept_at(config, later(days=20))
    assert [one.rows for one in done.tables if one.table == COUNTS] == [one.rows for one in expected.tables if one.table == COUNTS] != [0]
    after = {row["delivery"]: row for row in lake.rows(COUNTS)}
    assert len(after) == 1 + 1 + 4 and after["users.csv@s@r"] == before["users.csv@s@r"]
    whole = after[str(G + LOADS - 1)]
    assert (whole["landed"], whole["inserted"], whole["from_version"], whole["to_version"]) == (LOADS * 4, LOADS * 4, 0, LOADS - 1)
    assert json.loads(whole["reasons"]) == {"late": LOADS}
    assert reconciliation(config) == totals and off(config) == 0
    assert all(one.rows == 0 for one in kept_at(config, later(days=20)).tables), "a second time there is nothing to do"

    for load in (3, LOADS - 1):
        counts = {"landed": 4, "accepted": 4, "quarantined": 0, "duplicates": 0}
        noted = {"load_id": G + load, "run_id": "s", "counts": counts, "from_version": load, "to_version": load}
        lake.note_only(config.registry[EVENTS], noted)
    rebuilding.recount(config)
    assert len(lake.rows(COUNTS)) == len(after), "a load that is in a sum is not counted again"
    lake.delete(EVENTS, f"load_id = {G + 3}", lake.last_note(EVENTS))
    assert off(config) == 4
    count_load(config, G + LOADS + 9, later(days=10))
    assert off(config) == 8


def test_records_reports_logs_and_payloads_go_when_their_time_is_over(config: Config) -> None:
    old, new = now_utc() - timedelta(days=120), now_utc()
    lake, root = config.lake, config.lake.root
    for at, run in ((old, "old"), (new, "new")):
        lake.append_small(
            [{"run_id": run, "step": "run", "status": "done", "started_at": at, "ended_at": at}],
            config.registry["ops.job_runs"],
        )
    closed = now_utc() - timedelta(days=400)
    lake.append_small(
        [
            {"quarantine_id": str(n), "payload": "somebody", "reasons": ["x"], "status": status, "resolved_at": at}
            for n, (status, at) in enumerate([("open", None), ("replayed", closed), ("discarded", new)])
        ],
        config.registry["quarantine.users"],
    )
    files = {}
    for name in ("reports/{}.json", "logs/nightly-{}.log", "run/stream.log.{}", "quality/gold.gone{}.html"):
        for age in (100, 1):
            file = root / name.format(age)
            file.parent.mkdir(exist_ok=True)
            file.write_text("x")
            modified = (now_utc() - timedelta(days=age)).timestamp()
            os.utime(file, (modified, modified))
            files[file] = age
    kept_at(config, now_utc())
    assert [row["run_id"] for row in lake.rows("ops.job_runs")] == ["new"]
    payloads = {row["quarantine_id"]: row["payload"] for row in lake.rows("quarantine.users")}
    assert payloads == {"0": "somebody", "1": None, "2": "somebody"}
    assert {file for file in files if file.exists()} == {file for file, age in files.items() if age == 1}


def test_a_long_log_of_the_stream_is_put_aside_while_it_is_written(config: Config) -> None:
    log = config.lake.root / "run" / "stream.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("a") as writer:
        writer.write("x" * (11 << 20))
        writer.flush()
        kept_at(config, now_utc())
        writer.write("and on")
    assert log.read_text() == "and on"
    assert [file.stat().st_size for file in log.parent.glob("stream.log.2*")] == [11 << 20]


def test_a_table_that_lacks_a_file_is_left_alone_and_named_and_the_others_are_done(config: Config) -> None:
    name = "silver.resources"
    for _ in range(3):
        config.lake.append_small(config.lake.rows(name)[:1], config.registry[name])
    gone, *kept = [file for file, _ in pruning._data_below(config.lake.path(name))]
    gone.unlink()
    done = run_maintain(config)
    (fault,) = done.faults
    assert name in fault and gone.name in fault
    assert all(file.exists() for file in kept)
    assert config.lake.file_count(INCREMENTS) <= 3
    (row,) = config.lake.rows("ops.job_runs")
    assert (row["step"], row["status"]) == ("maintain", "failed") and gone.name in row["error"]


@pytest.mark.parametrize("point", ["maintain_after_partition", "maintain_after_compaction", "maintain_after_table"])
def test_killed_in_the_middle_it_goes_on_the_next_time(config: Config, point: str) -> None:
    rows = contents(config)
    command = [sys.executable, "-m", "cloudlake.cli", "maintain", "--lake", str(config.lake.root), "--landing", str(config.landing)]
    environment = os.environ | {"CLOUDLAKE_CRASH_AT": point, "PYTHONPATH": str(ROOT / ".typing")}
    assert subprocess.run(command, env=environment, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert not run_maintain(config).faults
    found = contents(config)
    for name in (INCREMENTS, "ops.job_runs"):
        rows.pop(name, None), found.pop(name, None)
    assert found == rows
    assert config.lake.file_count(COUNTS) == 1
