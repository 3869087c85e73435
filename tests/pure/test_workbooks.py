"""Excel workbooks, saved by LibreOffice 7.4, are in bronze what the plain CSV is; what has no value is refused, not emptied.

workbooks/ holds them, two beside the CSV files they were made from. `users.xlsx` has its rows on the second sheet, from B3 on, with a
formula that divides by zero, one that adds 0.1 and 0.2, and a cell beside the table.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cloudlake.batch.bronze import ingestion
from cloudlake.batch.bronze.dialects import kinds_of
from cloudlake.batch.bronze.exports import read_export
from cloudlake.batch.bronze.scanning import FileRefusedError
from cloudlake.batch.bronze.sheets import within
from cloudlake.common.config import Config, load_config
from cloudlake.common.contracts.dialect import Dialect
from cloudlake.common.contracts.table import Table

ROOT = Path(__file__).resolve().parents[2]
WORKBOOKS = Path(__file__).with_name("workbooks")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A lake whose two sources come as workbooks."""
    conf, landing = tmp_path / "conf", tmp_path / "landing"
    shutil.copytree(ROOT / "conf", conf)
    landing.mkdir()
    bronze = conf / "bronze.yaml"
    told = bronze.read_text(encoding="utf-8")
    for source in ("billing_monthly", "support_tickets"):
        told = told.replace(f"file: {source}.csv", f"file: {source}.xlsx")
        shutil.copy(WORKBOOKS / f"{source}.xlsx", landing)
    bronze.write_text(told, encoding="utf-8")
    return load_config(str(conf), str(tmp_path / "lake"), str(landing))


def as_read(config: Config, table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """A row of bronze as silver reads it: a number is its value, however many zeros end it."""
    kinds = kinds_of(config.registry, table)
    return {name: Decimal(text) if text and kinds.get(name) == "number" else text for name, text in row.items()}


@pytest.mark.parametrize("source", ["billing_monthly", "support_tickets"])
def test_a_workbook_is_in_bronze_what_the_csv_it_was_made_from_is(source: str, config: Config) -> None:
    table = config.registry[f"bronze.{source}"]
    result = ingestion.ingest(config, table, now=datetime.now(UTC), run_id="r1")
    assert not result.fault
    plain = read_export((WORKBOOKS / f"{source}.csv").read_bytes(), load_config(str(ROOT / "conf")).registry[table.name]).rows.to_pylist()
    stored = [{name: row[name] for name in plain[0]} for row in config.lake.rows(table.name)]
    assert len(stored) > 20
    assert [as_read(config, table, row) for row in stored] == [as_read(config, table, row) for row in plain]
    assert ingestion.ingest(config, table, now=datetime.now(UTC), run_id="r2").skipped


def users(config: Config, **dialect: Any) -> Table:
    return config.registry["bronze.users"].model_copy(update={"file": "users.xlsx", "dialect": Dialect(**dialect)})


def test_a_cell_that_holds_an_error_and_one_beside_the_table_refuse_their_row_and_no_other(config: Config) -> None:
    rows = {row["user_id"]: row for row in read_export((WORKBOOKS / "users.xlsx").read_bytes(), users(config, sheet="Export")).rows.to_pylist()}
    assert rows["u1"] == {"user_id": "u1", "org_id": "o1", "email": "a@example.com", "role": "admin", "active": "True",
                          "created_at": "2025-08-01 14:05:06", "last_login": None, "_corrupt_record": None}  # fmt: skip
    assert rows["u2"]["_corrupt_record"] == "u2,o1,#DIV/0!,viewer,False,2025-08-01,"
    assert rows[None]["_corrupt_record"] == 'u3,o1,"comma, ""quote""\nline",0.3,True,2025-08-02,,stray'
    assert rows["u4"] == dict.fromkeys(rows["u1"]) | {"user_id": "u4", "org_id": "1234567", "role": "0.000001234"}
    assert len(rows) == 4, "an empty row is none"


def test_a_workbook_that_cannot_be_read_is_refused_with_what_was_found(config: Config) -> None:
    whole = (WORKBOOKS / "users.xlsx").read_bytes()
    for dialect, said in (({"sheet": "Exprot"}, "no sheet 'Exprot' (found: Notes, Export)"), ({}, "key column missing: user_id")):
        with pytest.raises(FileRefusedError) as refused:
            read_export(whole, users(config, **dialect))
        assert said in str(refused.value)
    for content, most, said in ((whole[:3000], 1 << 20, "was cut"), (b"user_id,org_id\n", 1 << 20, "no Excel workbook"), (whole, 1000, "unpacks to")):
        with pytest.raises(FileRefusedError, match=said):
            within(content, most)
