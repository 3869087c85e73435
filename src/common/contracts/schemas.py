"""Types of a contract in the three notations that read them: Spark, Delta's log, Arrow.

A contract writes a type as Spark's DDL does: `string`, `decimal(18,6)`, `map<string, array<string>>`,
`array<struct<name: string, score: double>>`. All notations come from one parse of that text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import Schema

from .table import Table
from .types import field_json, parse_type

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType


def _schema_json(table: Table) -> dict[str, Any]:
    fields = [field_json(name, parse_type(c.type), {"comment": c.description}) for name, c in table.columns.items()]
    return {"type": "struct", "fields": fields}


def delta_schema(table: Table) -> Schema:
    """Return the schema, with column comments, in which delta-rs creates the table."""
    return Schema.from_json(json.dumps(_schema_json(table)))


def spark_schema(table: Table) -> StructType:
    """Return the schema, with column comments, that Spark reads and writes."""
    from pyspark.sql.types import StructType

    return StructType.fromJson(_schema_json(table))


def spark_type(text: str) -> DataType:
    """Return Spark's type for one written as DDL, without needing a session."""
    from pyspark.sql.types import StructType

    return StructType.fromJson({"type": "struct", "fields": [field_json("x", parse_type(text), {})]})["x"].dataType


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema for rows that are appended without Spark."""
    return pa.schema(delta_schema(table).to_arrow())


def bare(schema: pa.Schema) -> pa.Schema:
    """Return a schema without its descriptions. A table keeps its own: delta-rs refuses rows that describe a column otherwise,
    as those of every lake do that was made before somebody reworded conf/.
    """
    return pa.schema([field.remove_metadata() for field in schema])


def arrow_type(text: str) -> pa.DataType:
    """Return Arrow's type for one written as DDL."""
    schema = Schema.from_json(json.dumps({"type": "struct", "fields": [field_json("x", parse_type(text), {})]}))
    return pa.schema(schema.to_arrow()).field("x").type


def as_declared(rows: pa.Table, table: Table) -> pa.Table:
    """Bring stored rows to the columns of the contract, by name: a table that was written under an earlier contract may
    have them in another order, lack some (NULL then), or have others (left out).
    """
    schema = arrow_schema(table)
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
