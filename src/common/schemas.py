"""Types of a contract in the three notations that read them: Spark, Delta's log, Arrow.

A contract writes a type as Spark's DDL does: `string`, `decimal(18,6)`, `map<string, array<string>>`,
`array<struct<name: string, score: double>>`. All notations come from one parse of that text.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import Schema
from pyspark.sql.types import DataType, StructType

if TYPE_CHECKING:
    from .contracts import Table

_ATOMS = {
    "string": "string",
    "boolean": "boolean",
    "int": "integer",
    "bigint": "long",
    "double": "double",
    "date": "date",
    "timestamp": "timestamp",
    "binary": "binary",
}
TYPE_NAMES = sorted([*_ATOMS, "decimal(p,s)", "array<t>", "map<k,v>", "struct<name: t>"])


def parse_type(text: str) -> Any:
    """Return the JSON notation (the one in Delta's log) of a type written as DDL.

    Raises:
        ValueError: the text is no type; the message names the part that is not understood.
    """
    text = text.strip()
    lowered = text.lower()
    if lowered in _ATOMS:
        return _ATOMS[lowered]
    if match := re.fullmatch(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)", lowered):
        precision, scale = int(match[1]), int(match[2])
        if not (1 <= precision <= 38 and scale <= precision):
            raise ValueError(f"'{text}': precision is 1 to 38 and scale at most the precision")
        return f"decimal({precision},{scale})"
    if match := re.fullmatch(r"(array|map|struct)\s*<(.*)>", text, re.IGNORECASE | re.DOTALL):
        return _parse_nested(match[1].lower(), _split(match[2]), text)
    raise ValueError(f"'{text}' is not a type; known: {', '.join(TYPE_NAMES)}")


def _parse_nested(kind: str, parts: list[str], text: str) -> dict[str, Any]:
    if kind == "array" and len(parts) == 1:
        return {"type": "array", "elementType": parse_type(parts[0]), "containsNull": True}
    if kind == "map" and len(parts) == 2:
        key, value = (parse_type(part) for part in parts)
        return {"type": "map", "keyType": key, "valueType": value, "valueContainsNull": True}
    if kind == "struct" and all(":" in part for part in parts):
        pairs = [part.split(":", 1) for part in parts]
        return {"type": "struct", "fields": [_field(name.strip(), parse_type(kind), {}) for name, kind in pairs]}
    raise ValueError(f"'{text}' is not a type; write array<t>, map<k, v> or struct<name: t>")


def _split(text: str) -> list[str]:
    """Split at the commas that are not inside < > or ( )."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += character in "<("
        depth -= character in ">)"
        if character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _field(name: str, kind: Any, metadata: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "type": kind, "nullable": True, "metadata": metadata}


def _schema_json(table: Table) -> dict[str, Any]:
    fields = [_field(name, parse_type(c.type), {"comment": c.description}) for name, c in table.columns.items()]
    return {"type": "struct", "fields": fields}


def delta_schema(table: Table) -> Schema:
    """Return the schema, with column comments, in which delta-rs creates the table."""
    return Schema.from_json(json.dumps(_schema_json(table)))


def spark_schema(table: Table) -> StructType:
    """Return the schema, with column comments, that Spark reads and writes."""
    return StructType.fromJson(_schema_json(table))


def spark_type(text: str) -> DataType:
    """Return Spark's type for one written as DDL, without needing a session."""
    return StructType.fromJson({"type": "struct", "fields": [_field("x", parse_type(text), {})]})["x"].dataType


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema for rows that are appended without Spark."""
    return pa.schema(delta_schema(table).to_arrow())
