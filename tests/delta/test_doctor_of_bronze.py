"""Damage to what landed, and to the records of it: found, named, mended by the line that is named. Runs that need no Spark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudlake.cli.main import main
from cloudlake.common.clock import now_utc
from cloudlake.common.config import Config
from cloudlake.runs.health import examine
from cloudlake.upkeep.findings import Finding
from cloudlake.upkeep.run_history import recorded_run
from deltalake import DeltaTable, write_deltalake
from flow import deliver, given_back, opened
from lines_typed import log_of, newest_entry, type_in

BRONZE = "--jobs", "bronze"
KILLED = {
    "pid": 1,
    "host": "h",
    "run_id": "20250101T000000Z-abcdef",
    "since": "2025-01-01T00:00:00+00:00",
    "command": "x batch",
}


def batch(config: Config) -> int:
    return main(["batch", *BRONZE, "--lake", str(config.lake.root), "--landing", str(config.landing)])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("bronze")
    deliver(root / "landing", 7, orgs=6, days=2, events=2, files=1)
    shutil.rmtree(root / "landing" / "usage_events_stream")
    config = opened(root / "lake", root / "landing")
    assert batch(config) == 0
    return config


@pytest.fixture
def config(built: Config) -> Iterator[Config]:
    """The lake, given back as it was."""
    with given_back(built):
        yield built


def rows_of(config: Config) -> dict[str, list[str]]:
    tables = [table for table in config.registry.layer("bronze") if table.file]
    return {t.name: sorted(json.dumps(row, default=str) for row in config.lake.rows(t.name)) for t in tables}


def business(rows: list[str]) -> list[str]:
    plain = [{k: v for k, v in json.loads(row).items() if k not in ("_ingested_at", "_run_id")} for row in rows]
    return sorted(map(str, plain))


def found(config: Config) -> dict[str, Finding]:
    return {f"{finding.kind} {finding.where}": finding for finding in examine(config, now_utc())}


def test_logs_that_are_empty_cut_or_have_a_gap_stop_a_run_and_are_mended(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(config)
    assert found(config) == {}
    newest_entry(config, "bronze.users").write_bytes(b"")
    entry = newest_entry(config, "ops.job_runs")
    entry.write_bytes(entry.read_bytes()[:100])
    (log_of(config, "bronze.resources") / f"{0:020d}.json").unlink()
    DeltaTable(config.lake.path("bronze.nps_surveys")).create_checkpoint()
    (checkpoint,) = log_of(config, "bronze.nps_surveys").glob("*.checkpoint.parquet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:50])
    assert batch(config) == 1
    said = capsys.readouterr().err
    assert "bronze.users: log entry 00000000000000000001.json is empty" in said and "Nothing was started" in said
    wrong = found(config)
    assert set(wrong) == {
        "log_entry bronze.users", "log_entry ops.job_runs", "log_gap bronze.resources", "log_checkpoint bronze.nps_surveys",
    }  # fmt: skip
    type_in(wrong["log_entry bronze.users"].line.partition(" && ")[0], config)
    assert capsys.readouterr().out.count("mended: ") == 3
    type_in(wrong["log_gap bronze.resources"].line, config, "bronze")
    assert rows_of(config) == rows and found(config) == {}


def test_an_empty_entry_under_a_later_one_is_not_taken_for_whole(config: Config) -> None:
    rows = rows_of(config)
    lake, name = config.lake, "bronze.users"
    lake.append_small([{"user_id": "x"}], config.registry[name], {"run_id": "r"})
    (log_of(config, name) / f"{1:020d}.json").write_bytes(b"")
    (key,) = found(config)
    assert key == "log_broken bronze.users"
    type_in(found(config)[key].line, config, "bronze")
    assert rows_of(config) == rows and found(config) == {}


def test_tables_files_and_foreign_rows_and_what_the_dead_left(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, lake = rows_of(config), config.lake
    shutil.rmtree(lake.path("bronze.resources"))
    for name in ("bronze.users", "ops.landed_files"):
        Path(DeltaTable(lake.path(name)).file_uris()[0].removeprefix("file://")).unlink()
    tickets = lake.path("bronze.support_tickets")
    write_deltalake(tickets, lake.read_small("bronze.support_tickets").slice(0, 1), mode="append")
    (lake.root / ".locks" / "batch.lock").write_text(json.dumps(KILLED))
    (lake.root / "run").mkdir()
    (lake.root / "run" / "stream.pid").write_text("1\n")
    (lake.root / "published.json").write_text("{")
    wrong = found(config)
    assert {key.split()[0] for key in wrong} == {
        "table_gone", "file_gone", "foreign_rows", "dead_lock", "dead_pid", "publication_damaged",
    }  # fmt: skip
    assert {key for key in wrong if key.startswith("file_gone")} == {
        "file_gone bronze.users",
        "file_gone ops.landed_files",
    }
    type_in(wrong["foreign_rows bronze.support_tickets"].line, config)
    (lake.root / "published.json").unlink()
    assert main(["doctor", "--fix", "--lake", str(lake.root), "--landing", str(config.landing)]) == 1
    assert capsys.readouterr().out.count("mended: ") == 2
    assert recorded_run(config, KILLED["run_id"]).run.status == "interrupted"
    wrong = found(config)
    assert {key.split()[0] for key in wrong} == {"table_gone", "file_gone"}
    type_in(wrong["table_gone bronze.resources"].line, config, "bronze")
    # The record of bronze.resources and the table are both lost: it has landed anew, in this run.
    assert {name: business(now) for name, now in rows_of(config).items()} == {
        name: business(was) for name, was in rows.items()
    }
    assert found(config) == {}
    assert main(["doctor", "--fix", "--lake", str(lake.root), "--landing", str(config.landing)]) == 0
    assert "Nothing is wrong." in capsys.readouterr().out


def test_a_table_that_is_put_back_older_takes_what_it_lacks_from_the_landing_zone(config: Config) -> None:
    table, users = Path(config.lake.path("bronze.users")), config.landing / "users.csv"
    older, content = table.with_name("older"), users.read_bytes()
    shutil.copytree(table, older)
    try:
        users.write_bytes(content + content.splitlines(keepends=True)[1])
        assert batch(config) == 0
        newer = rows_of(config)
        shutil.rmtree(table)
        older.rename(table)
        ((key, finding),) = found(config).items()
        assert key == "table_older bronze.users" and "What landed may be missing" in finding.means
        type_in(finding.line, config, "bronze")
        assert {n: business(rows) for n, rows in rows_of(config).items()} == {n: business(rows) for n, rows in newer.items()}
        assert found(config) == {}
    finally:
        users.write_bytes(content)


def test_what_landed_since_is_named_and_a_landing_zone_that_is_not_there(config: Config) -> None:
    rows, older = rows_of(config), config.lake.root.with_name("older")
    shutil.copytree(config.lake.root, older)
    users = config.landing / "users.csv"
    content = users.read_bytes()
    try:
        users.write_bytes(content + content.splitlines(keepends=True)[1])
        assert batch(config) == 0
        newer = rows_of(config)
        shutil.rmtree(config.lake.root)
        older.rename(config.lake.root)
        ((key, finding),) = found(config).items()
        assert key == f"landing_unread {config.landing}" and "users.csv" in finding.what
        type_in(finding.line, config, "bronze")
        assert business(rows_of(config)["bronze.users"]) == business(newer["bronze.users"])
        assert len(newer["bronze.users"]) > len(rows["bronze.users"])
    finally:
        users.write_bytes(content)
    elsewhere = opened(config.lake.root, config.landing.with_name("nowhere"))
    assert any(key.startswith("landing_gone") for key in found(elsewhere))
