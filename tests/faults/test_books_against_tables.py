"""Tables removed, put back, appended to: healed from what they are made of, or told. And every table as its contract says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from books_lake import assert_whole, foreign, remove, rows_of, run
from cloudlake.common.clock import now_utc
from cloudlake.common.config import Config
from cloudlake.common.lake.books import Books, restore_line
from cloudlake.common.lake.small import noted
from cloudlake.common.lake.storage import for_sql
from cloudlake.common.lake.tables import committing
from cloudlake.common.quality import quarantine
from cloudlake.runs import trust
from cloudlake.runs.declaring import declared_tables
from deltalake import DeltaTable, write_deltalake


def test_tables_that_are_removed_come_back_from_what_they_are_made_of(
    config: Config, answers: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    remove(
        config, "silver.support_tickets", "silver.users__memory", "bronze.users", "quarantine.users", "gold.usage_daily"
    )
    remove(config, "serving.org_daily_usage", "speed.usage_increments", "ops.landed_files")
    assert run(config) == 0
    said = capsys.readouterr().err
    assert "silver.support_tickets: the table is gone" in said and "told anew from bronze" in said
    assert_whole(config, answers)
    assert rows_of(config, "speed.usage_increments") == answers["speed.usage_increments"]
    assert run(config) == 0
    assert "every table is as the books say" in capsys.readouterr().err


def test_events_that_are_removed_or_put_back_older_are_made_anew(
    config: Config, answers: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    entered = [row["quarantine_id"] for row in quarantine.open_rows(config.lake, "quarantine.usage_events")][:2]
    quarantine.resolve(
        config.lake,
        config.registry,
        "quarantine.usage_events",
        entered,
        quarantine.REPLAYED,
        now_utc(),
        {"run_id": "r"},
    )
    Books.of(config.lake).path.unlink()  # a lake that another release left, without marks
    silver = Path(config.lake.path("silver.usage_events"))
    for entry in (silver / "_delta_log").iterdir():
        if entry.is_file() and f"{0:020d}" not in entry.name:
            entry.unlink()  # as it was when it was made
    remove(config, "bronze.usage_events", "ops.reconciliation")
    assert run(config) == 0
    assert "2 refused line(s) that had been replayed into it are open again" in capsys.readouterr().err
    assert_whole(config, answers)


def test_a_data_file_that_is_gone_is_made_anew(config: Config, answers: dict[str, list[str]]) -> None:
    for name in ("silver.usage_events", "silver.support_tickets", "silver.users", "gold.user_activity"):
        Path(DeltaTable(config.lake.path(name)).file_uris()[0]).unlink()
    assert run(config) == 0
    assert_whole(config, answers)


def test_what_landed_and_is_gone_stops_the_run_and_is_named(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    before = (config.lake.root / "published.json").read_text()
    users = config.landing / "users.csv"
    content = users.read_bytes()
    users.unlink()
    remove(config, "bronze.users")
    try:
        assert run(config) == 1
    finally:
        users.write_bytes(content)
    said = capsys.readouterr().err
    assert re.search(r"bronze.users: the table is gone.*landing zone no longer has 1 file\(s\).*users.csv", said)
    assert (config.lake.root / "published.json").read_text() == before


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("silver.usage_events", "usage_events"), ("silver.support_tickets", "support_tickets"), ("bronze.users", "")],
)
def test_rows_of_another_program_stop_the_run_until_the_line_that_it_names_is_typed(
    config: Config, answers: dict[str, list[str]], capsys: pytest.CaptureFixture[str], name: str, remedy: str
) -> None:
    before = (config.lake.root / "published.json").read_text()
    foreign(config, name)
    assert run(config) == 1
    said = capsys.readouterr().err
    assert re.search(rf"{name}: another program changed the table: version \d+ \(WRITE\): 1 row\(s\)", said)
    assert (config.lake.root / "published.json").read_text() == before
    if remedy:
        assert f"--full-reload --jobs {remedy}" in said
        assert run(config, "--full-reload", "--jobs", remedy) == 0
    else:
        (finding,) = trust.compared(config, [name])
        line = restore_line(config.lake, finding)
        assert line in said
        subprocess.run(["bash", "-c", line], check=True)
    assert run(config) == 0
    assert_whole(config, answers)


def test_what_another_program_writes_into_a_derived_table_is_made_anew(
    config: Config, answers: dict[str, list[str]]
) -> None:
    for name in ("gold.usage_daily", "serving.org_daily_usage", "speed.usage_increments"):
        foreign(config, name)
    assert run(config) == 0
    assert_whole(config, answers)
    assert rows_of(config, "speed.usage_increments") == answers["speed.usage_increments"]


# --- every table as its contract says ------------------------------------------------------------------------------


def existing(config: Config) -> list[Any]:
    return [table for table in declared_tables(config) if config.lake.exists(table.name)]


def test_every_table_is_described_and_laid_out_as_its_contract_says(built: Config) -> None:
    tables = existing(built)
    assert {"silver.users", "silver.users__memory", "quarantine.users", "bronze.usage_events"} <= {
        t.name for t in tables
    }
    for table in tables:
        delta = DeltaTable(built.lake.path(table.name))
        assert built.lake.undeclared(table) == [], table.name
        assert delta.metadata().partition_columns == list(table.layout.partition), table.name
        assert built.lake.leaking(table) == [], table.name
        for file in delta.file_uris() if table.layout.cluster else ():
            keys = pq.ParquetFile(file).read(columns=list(table.layout.cluster)).to_pylist()
            assert keys == sorted(keys, key=lambda row: tuple(row.values())), table.name


def addresses(landing: Path) -> set[bytes]:
    found = {m for file in landing.rglob("*users.csv") for m in re.findall(rb'[^\s,"]+@[^\s,"]+', file.read_bytes())}
    return {address.lower() for address in found}


def logs_with(lake: Path, wanted: set[bytes]) -> set[str]:
    found = set()
    for file in lake.rglob("_delta_log/*"):
        if file.suffix == ".parquet":
            text = str(pq.read_table(file).to_pylist()).lower().encode()
        else:
            text = file.read_bytes().lower() if file.is_file() else b""
        if any(address in text for address in wanted):
            found.add(str(file.relative_to(lake)))
    return found


def test_no_log_holds_an_address_that_landed_checkpoints_included(config: Config) -> None:
    wanted = addresses(config.landing)
    assert len(wanted) > 20
    users = config.lake.path("silver.users")
    assert any(wanted & {str(m).encode() for m in config.lake.read_small("silver.users")["email"].to_pylist()})
    for name in ("silver.users", "silver.users__memory", "bronze.users", "quarantine.users"):
        DeltaTable(config.lake.path(name)).create_checkpoint()
    assert list(Path(users).glob("_delta_log/*.checkpoint.parquet"))
    assert logs_with(config.lake.root, wanted) == set()


def test_a_history_that_was_made_without_its_contract_is_brought_to_it(
    config: Config, answers: dict[str, list[str]], capsys: pytest.CaptureFixture[str], spark: Any
) -> None:
    lake = config.lake
    for name in ("silver.users", "silver.users__memory"):
        path, rows, note = lake.path(name), lake.read_small(name), lake.last_note(name)
        before = DeltaTable(path).metadata()
        plain = rows.cast(pa.schema([field.remove_metadata() for field in rows.schema]).remove_metadata())
        shutil.rmtree(path)
        write_deltalake(path, plain, partition_by=before.partition_columns, commit_properties=noted(note))
        with committing(spark, path, note):
            text = before.configuration["cloudlake.scd2"]
            spark.sql(f"ALTER TABLE {for_sql(path)} SET TBLPROPERTIES ('cloudlake.scd2' = '{text}')")
    for record in ("books.json", "declared.json"):
        (lake.root / "ops" / record).unlink(missing_ok=True)
    assert lake.leaking(config.registry["silver.users"]) == ["email"]
    assert run(config) == 0
    assert "written anew without statistics of email" in capsys.readouterr().err
    assert_whole(config, answers)
    for table in existing(config):
        assert lake.undeclared(table) == [] and lake.leaking(table) == [], table.name
