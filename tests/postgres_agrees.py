"""PostgreSQL against the lake, value by value: what was published there is read back and compared with the Delta tables."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from adbc_driver_postgresql import dbapi
from cloudlake.common.config import Config
from cloudlake.common.contracts.table import Table
from cloudlake.common.contracts.types import parse_type
from cloudlake.serving import published
from cloudlake.serving.queries import open_reader

ROOT = Path(__file__).resolve().parents[1]
Rows = Counter[Any]


def assert_postgres_is(config: Config, dsn: str, schema: str = "cloudlake") -> None:
    """Every published table has the lake's rows there, each column's values equal: numbers, texts, lists, JSON."""
    in_force = published(config.lake)
    compared = 0
    with dbapi.connect(dsn) as connection:
        for table, expected in _of_the_lake(config):
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT {', '.join(_named(table))} FROM {schema}.{table.short_name}")
                found = cursor.fetch_arrow_table()
            left, right = _rows(table, expected), _rows(table, found)
            assert left == right, f"{table.name}: only in the lake {left - right}, only there {right - left}"
            compared += 1
    assert compared == len(in_force.tables) + len(config.registry.layer("serving"))


def nightly(folder: Path) -> Path:
    """Return a conf folder whose batch runs publish to PostgreSQL as their last step."""
    conf = folder / "conf"
    shutil.copytree(ROOT / "conf", conf)
    settings = conf / "lake.yaml"
    told = settings.read_text(encoding="utf-8")
    assert "nightly: false" in told
    settings.write_text(told.replace("nightly: false", "nightly: true"), encoding="utf-8")
    return conf


def _named(table: Table) -> list[str]:
    # A list of numerics has no Arrow type, and a numeric comes as its text.
    return [
        f'"{name}"::text[]' if _kind(c.type) == "list" and "decimal" in c.type else f'"{name}"'
        for name, c in table.columns.items()
    ]


def _of_the_lake(config: Config) -> Iterator[tuple[Table, pa.Table]]:
    in_force = published(config.lake)
    for table in config.registry.layer("gold"):
        if table.name in in_force.tables:
            yield table, config.lake.read_small(table.name, in_force.version(table.name))
    with open_reader(config) as reader:
        for table in config.registry.layer("serving"):
            yield table, reader.run(f"SELECT * FROM {table.name}")


def _rows(table: Table, rows: pa.Table) -> Rows:
    there = [(rows[n] if n in rows.column_names else pa.nulls(len(rows)), c.type) for n, c in table.columns.items()]
    columns = [[_value(value, kind) for value in column.to_pylist()] for column, kind in there]
    return Counter(zip(*columns, strict=True))


def _kind(declared: str) -> str:
    kind = parse_type(declared)
    if isinstance(kind, str):
        return kind
    return "list" if isinstance(kind.get("elementType"), str) else "json"


def _value(value: Any, declared: str) -> Any:
    """Return a value so that it is equal, and hashed alike, from either side."""
    kind = _kind(declared)
    if value is None:
        return None
    if kind == "list":
        return tuple(_plain(v) for v in value)
    if kind == "json":
        if isinstance(value, str):  # from PostgreSQL
            value = json.loads(value, parse_float=Decimal)
        elif declared.startswith("map"):
            value = dict(value)
        return json.dumps(_plain(value), sort_keys=True)
    if kind.startswith("decimal"):
        number = Decimal(value)
        scale = -int(number.as_tuple().exponent)
        assert scale == int(kind.partition(",")[2].rstrip(")")), (value, declared)
        return number
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(name): _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return f"number {Decimal(repr(value) if isinstance(value, float) else value).normalize() + 0}"
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return value.isoformat()
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
