"""Room for numbers in Arrow's tables, as `room` has it in Spark's; apart from it, because readers start without Spark."""

from __future__ import annotations

import pyarrow as pa

from ..errors import QualityGateError
from .schemas import arrow_schema
from .table import Table

NO_ROOM = "which has no room in"
REMEDY = (
    "the table was not replaced; find what it is made from and correct it at its source, or widen the type in conf/"
)


def arrow_in_declared_types(rows: pa.Table, table: Table) -> pa.Table:
    """Return the columns of the contract in its types.

    Raises:
        QualityGateError: a number has no room; with the table, the key, the column and the number.
    """
    schema = arrow_schema(table)
    rows = rows.select(table.column_names)
    for field in schema:
        try:
            rows[field.name].cast(field.type)
        except pa.ArrowInvalid:
            _refuse_first(rows, table, field)
    return rows.cast(schema)


def _refuse_first(rows: pa.Table, table: Table, field: pa.Field) -> None:
    for index in range(rows.num_rows):
        try:
            rows[field.name].slice(index, 1).cast(field.type)
        except pa.ArrowInvalid as error:
            row = rows.select([*table.key, field.name]).slice(index, 1).to_pylist()[0]
            key = ", ".join(f"{name} {row[name]}" for name in table.key)
            declared = table.columns[field.name].type
            raise QualityGateError(
                f"{table.name}: {field.name} of ({key}) is {row[field.name]}, {NO_ROOM} {declared}; {REMEDY}"
            ) from error
