"""Comparison of two Arrow tables by key; the failure message is the product."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

RELATIVE_TOLERANCE = 1e-9
SHOWN = 10


def assert_same(actual: pa.Table, expected: pa.Table, key: list[str], name: str = "table") -> None:
    """Fail unless both tables have the same columns, of the same kind, and the same row for each key.

    Decimals, dates, times, text, lists, structs and maps must be equal; doubles to 1e-9, relative. Neither the order of
    rows and columns nor the order of a map's entries counts. `name` stands in the message.
    """
    faults = _schema_faults(actual.schema, expected.schema)
    if not faults:
        columns = [column for column in expected.column_names if column not in key]
        faults = _row_faults(_rows_by_key(actual, key), _rows_by_key(expected, key), columns)
    if faults:
        hidden = [f"… and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise AssertionError("\n  ".join([f"{name}: {len(faults)} differences", *faults[:SHOWN], *hidden]))


def without_field(table: pa.Table, column: str, field: str) -> pa.Table:
    """Return the table without one field of the structs in a list column: what is told in words is not compared."""
    wanted = [other for other in table.schema.field(column).type.value_type if other.name != field]
    rows = [
        None if row is None else [{other.name: entry[other.name] for other in wanted} for entry in row]
        for row in table[column].to_pylist()
    ]
    place = table.column_names.index(column)
    return table.set_column(place, column, pa.array(rows, pa.list_(pa.struct(wanted))))


def _schema_faults(actual: pa.Schema, expected: pa.Schema) -> list[str]:
    faults = [f"column {c}: missing" for c in expected.names if c not in actual.names]
    faults += [f"column {c}: not expected" for c in actual.names if c not in expected.names]
    for column in (c for c in expected.names if c in actual.names):
        found, wanted = _kind(actual.field(column).type), _kind(expected.field(column).type)
        if found != wanted:
            faults.append(f"column {column}: type is {found}, expected {wanted}")
    return faults


def _kind(type_: pa.DataType) -> str:
    """Return what must agree of a type: a decimal's scale, not the width in which an engine keeps an integer."""
    of = pa.types
    if of.is_map(type_):
        return f"map<{_kind(type_.key_type)}, {_kind(type_.item_type)}>"
    if of.is_list(type_) or of.is_large_list(type_):
        return f"list<{_kind(type_.value_type)}>"
    if of.is_struct(type_):
        return f"struct<{', '.join(f'{field.name}: {_kind(field.type)}' for field in type_)}>"
    if of.is_decimal(type_):
        return f"decimal(…, {type_.scale})"
    kinds = {
        "integer": (of.is_integer,),
        "text": (of.is_string, of.is_large_string, of.is_string_view),
        "timestamp": (of.is_timestamp,),
    }
    return next((kind for kind, tests in kinds.items() if any(test(type_) for test in tests)), str(type_))


def _rows_by_key(table: pa.Table, key: list[str]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    maps = [field.name for field in table.schema if pa.types.is_map(field.type)]
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        row.update({column: dict(row[column]) for column in maps if row[column] is not None})
        row.update({column: _in_utc(row[column]) for column in times if row[column] is not None})
        rows.setdefault(tuple(row[column] for column in key), []).append(row)
    return rows


def _in_utc(moment: datetime) -> datetime:
    """Return the instant in UTC; one without a zone is in UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _row_faults(
    actual: dict[tuple[Any, ...], list[dict[str, Any]]],
    expected: dict[tuple[Any, ...], list[dict[str, Any]]],
    columns: list[str],
) -> list[str]:
    faults = [f"{_shown(k)}: missing" for k in expected if k not in actual]
    faults += [f"{_shown(k)}: not expected" for k in actual if k not in expected]
    for side, rows in (("actual", actual), ("expected", expected)):
        faults += [f"{_shown(k)}: {len(found)} rows in {side}" for k, found in rows.items() if len(found) > 1]
    for k in (k for k in expected if k in actual):
        found, wanted = actual[k][0], expected[k][0]
        faults += [
            f"{_shown(k)}.{column}: {found[column]!r}, expected {wanted[column]!r}"
            for column in columns
            if not _equal(found[column], wanted[column])
        ]
    return faults


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, float) and isinstance(wanted, float):
        both_nan = math.isnan(found) and math.isnan(wanted)
        return both_nan or math.isclose(found, wanted, rel_tol=RELATIVE_TOLERANCE)
    return bool(found == wanted)


def _shown(key: tuple[Any, ...]) -> str:
    return "(" + ", ".join(str(part) for part in key) + ")"
