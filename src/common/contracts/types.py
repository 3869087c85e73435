"""Types written as Spark's DDL, read into the JSON notation that Spark and Delta's log share."""

from __future__ import annotations

import re
from typing import Any

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
        return {"type": "struct", "fields": [field_json(name.strip(), parse_type(kind), {}) for name, kind in pairs]}
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


def field_json(name: str, kind: Any, metadata: dict[str, str]) -> dict[str, Any]:
    """Return a field in the JSON notation."""
    return {"name": name, "type": kind, "nullable": True, "metadata": metadata}
