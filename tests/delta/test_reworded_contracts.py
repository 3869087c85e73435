"""A lake outlives its contracts: a column that conf/ describes otherwise, or gives another type, is written all the same."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from cloudlake.common.contracts.loading import load_registry
from cloudlake.common.contracts.schemas import arrow_schema
from cloudlake.common.lake.small import Revision
from cloudlake.common.lake.tables import Lake
from flow import ROOT


def test_rows_are_appended_revised_and_replaced_after_a_description_was_reworded(tmp_path: Path) -> None:
    lake, old = Lake(tmp_path), load_registry(ROOT / "conf")["ops.landed_files"]
    first = dict.fromkeys(old.columns) | {"source": "users", "path": "users.csv", "status": "ingested"}
    lake.append_small([first], old)
    columns = {
        name: column.model_copy(update={"description": f"{column.description} indeed"})
        for name, column in old.columns.items()
    }
    new = old.model_copy(update={"columns": columns})
    lake.append_small([first | {"path": "2025-09-02/users.csv"}], new)
    assert lake.count(old.name) == 2
    row = pa.Table.from_pylist([first | {"path": "2025-09-03/users.csv"}], arrow_schema(new))
    lake.revise(new.model_copy(update={"key": ("path",)}), lambda kept: Revision(row))
    assert lake.count(old.name) == 3
    lake.replace_small(row, new)
    assert [kept["path"] for kept in lake.rows(old.name)] == ["2025-09-03/users.csv"]


def test_a_table_takes_a_note_and_is_replaced_after_a_column_was_given_another_type(tmp_path: Path) -> None:
    lake, old = Lake(tmp_path), load_registry(ROOT / "conf")["gold.carbon_footprint"]
    finer = old.columns["carbon_kg_per_usd"].model_copy(update={"type": "decimal(30,12)"})
    new = old.model_copy(update={"columns": {**old.columns, "carbon_kg_per_usd": finer}})
    lake.append_small([{"carbon_kg_per_usd": Decimal("0.25")}], old)
    lake.note_only(new, {"stale": "run"})
    assert lake.last_note(old.name) == {"stale": "run"} and lake.count(old.name) == 1
    row = pa.Table.from_pylist([{"carbon_kg_per_usd": Decimal("0.000000000001")}], arrow_schema(new))
    lake.replace_small(row, new)
    assert [kept["carbon_kg_per_usd"] for kept in lake.rows(old.name)] == [Decimal("0.000000000001")]
