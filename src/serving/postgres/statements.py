"""The SQL that a contract becomes in PostgreSQL. Pure: nothing here is connected to anything."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from ...common.contracts.table import Table
from ...common.contracts.types import parse_type
from ...common.postgres import quoted

RUN = "_published_run"
RUN_COMMENT = "The run whose publication brought the row as it is"
STATE = "_publications"
_ATOMS = {
    "string": ("text", "VARCHAR"),
    "boolean": ("boolean", "BOOLEAN"),
    "integer": ("integer", "INTEGER"),
    "long": ("bigint", "BIGINT"),
    "double": ("double precision", "DOUBLE"),
    "date": ("date", "DATE"),
    "timestamp": ("timestamp with time zone", "TIMESTAMPTZ"),
    "binary": ("bytea", "BLOB"),
}
_DIGITS = {"integer": 10, "bigint": 19}


def text(value: str) -> str:
    """Return a text as a literal, whatever backslashes are in it."""
    return "'" + value.replace("'", "''") + "'"


def _types(declared: Any) -> tuple[str, str]:
    """Return the types of an atom in PostgreSQL and in DuckDB."""
    if declared in _ATOMS:
        return _ATOMS[declared]
    return str(declared).replace("decimal", "numeric"), str(declared)


def postgres_type(declared: str) -> str:
    """Return PostgreSQL's type for one written as DDL; a struct, a map, and what holds one, is jsonb."""
    kind = parse_type(declared)
    if isinstance(kind, str):
        return _types(kind)[0]
    inner = kind.get("elementType")
    return f"{_types(inner)[0]}[]" if isinstance(inner, str) else "jsonb"


def selected(table: Table) -> str:
    """Return what DuckDB selects of a table: its columns in PostgreSQL's types, JSON as text, no NUL, which it refuses."""
    return ", ".join(f"{_expression(name, column.type)} AS {quoted(name)}" for name, column in table.columns.items())


def selected_keys(table: Table) -> str:
    """Return what DuckDB selects of rows that have gone: their keys."""
    return ", ".join(f"{_expression(name, table.columns[name].type)} AS {quoted(name)}" for name in table.key)


def _expression(name: str, declared: str) -> str:
    kind, column = parse_type(declared), quoted(name)
    if kind == "string":
        return _without_nul(f"CAST({column} AS VARCHAR)")
    if isinstance(kind, str):
        return f"CAST({column} AS {_types(kind)[1]})"
    inner = kind.get("elementType")
    if inner == "string":
        return f"list_transform({column}, lambda one: {_without_nul('CAST(one AS VARCHAR)')})"
    if isinstance(inner, str):
        return f"CAST({column} AS {_types(inner)[1]}[])"
    # A backslash is doubled in JSON; those pairs stand aside, as chr(1), while an escaped NUL is looked for.
    told = f"replace(CAST(to_json({column}) AS VARCHAR), '\\\\', chr(1))"
    return f"CASE WHEN {column} IS NOT NULL THEN replace(replace({told}, '\\u0000', '\\ufffd'), chr(1), '\\\\') END"


def _without_nul(expression: str) -> str:
    return f"replace({expression}, chr(0), chr(65533))"


def fingerprint(table: Table) -> str:
    """Return what changes when the table in PostgreSQL would have another form: columns, types, key, comments."""
    columns = [(name, c.type, c.required, c.description) for name, c in table.columns.items()]
    told = json.dumps([table.description, table.grain, table.key, columns])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def create(schema: str, table: Table) -> list[str]:
    """Return the statements that make a table, empty. A key that may be NULL is unique, NULLs being equal."""
    columns = [
        f"{quoted(name)} {postgres_type(c.type)}{' NOT NULL' if c.required else ''}"
        for name, c in table.columns.items()
    ]
    kind = "PRIMARY KEY" if all(table.columns[name].required for name in table.key) else "UNIQUE NULLS NOT DISTINCT"
    key = f"{kind} ({', '.join(map(quoted, table.key))})"
    body = ", ".join([*columns, f"{quoted(RUN)} text NOT NULL", key])
    return [f"CREATE TABLE {place(schema, table)} ({body})"]


def comments(schema: str, table: Table) -> list[str]:
    """Return the statements that describe a table and its columns as the contract does."""
    where = place(schema, table)
    described = {name: column.description for name, column in table.columns.items()} | {RUN: RUN_COMMENT}
    return [
        f"COMMENT ON TABLE {where} IS {text(f'{table.description} {table.grain}.')}",
        *(f"COMMENT ON COLUMN {where}.{quoted(name)} IS {text(told)}" for name, told in described.items()),
    ]


def place(schema: str, table: Table) -> str:
    """Return a table's full name."""
    return f"{quoted(schema)}.{quoted(table.short_name)}"


def widens(old: str, new: str) -> bool:
    """Tell whether every value of a type has the same value in another."""
    if (old, new) == ("integer", "bigint"):
        return True
    wide = re.fullmatch(r"numeric\((\d+),(\d+)\)", new)
    if wide is None:
        return False
    whole, scale = int(wide[1]) - int(wide[2]), int(wide[2])
    if old in _DIGITS:
        return whole >= _DIGITS[old]
    narrow = re.fullmatch(r"numeric\((\d+),(\d+)\)", old)
    return narrow is not None and scale >= int(narrow[2]) and whole >= int(narrow[1]) - int(narrow[2])


def migration(schema: str, table: Table, found: Mapping[str, tuple[str, bool]]) -> tuple[list[str], list[str]]:
    """Return the statements that bring a table's columns to the contract, and what can't be brought there.

    Args:
        schema: where the table is.
        table: its contract.
        found: column → its type and whether it is NOT NULL, as the table has them now. One that the contract lacks stays.
    """
    where = place(schema, table)
    steps: list[str] = []
    refused: list[str] = []
    if RUN not in found:
        refused.append(f"it has no column {RUN}: another program's table")
    for name, column in table.columns.items():
        kind = postgres_type(column.type)
        if name not in found:
            steps.append(f"ALTER TABLE {where} ADD COLUMN {quoted(name)} {kind}")
        elif found[name][0] != kind:
            if widens(found[name][0], kind):
                steps.append(f"ALTER TABLE {where} ALTER COLUMN {quoted(name)} TYPE {kind}")
            else:
                refused.append(f"{name} is {found[name][0]} there and {kind} here")
    for name, (_, required) in found.items():
        if (
            required
            and name != RUN
            and name not in table.key
            and not (name in table.columns and table.columns[name].required)
        ):
            steps.append(f"ALTER TABLE {where} ALTER COLUMN {quoted(name)} DROP NOT NULL")
    return steps, refused


def required(schema: str, table: Table) -> list[str]:
    """Return the statements that demand what the contract requires, once the rows are there; a no-op where they do."""
    where = place(schema, table)
    names = [name for name, column in table.columns.items() if column.required]
    return (
        [f"ALTER TABLE {where} {', '.join(f'ALTER COLUMN {quoted(n)} SET NOT NULL' for n in names)}"] if names else []
    )


def staging(table: Table) -> list[str]:
    """Return the statements that make the temporary tables of new rows and of the keys that were removed."""
    columns = {n: postgres_type(c.type).replace("jsonb", "text") for n, c in table.columns.items()}
    rows = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
    keys = ", ".join(f"{quoted(name)} {columns[name]}" for name in table.key)
    return [
        f"CREATE TEMPORARY TABLE {quoted('rows_' + table.short_name)} ({rows}) ON COMMIT DROP",
        f"CREATE TEMPORARY TABLE {quoted('gone_' + table.short_name)} ({keys}) ON COMMIT DROP",
    ]


def filling(schema: str, table: Table, run_id: str) -> str:
    """Return the statement that writes the staged rows into a table that was just made."""
    names = ", ".join(map(quoted, [*table.columns, RUN]))
    values = ", ".join(_staged(table).values())
    rows = quoted("rows_" + table.short_name)
    return f"INSERT INTO {place(schema, table)} ({names}) SELECT {values}, {text(run_id)} FROM {rows} AS s"


def _staged(table: Table) -> dict[str, str]:
    """Return a table's columns as they are found in the staged rows `s`."""
    jsons = {name for name, column in table.columns.items() if postgres_type(column.type) == "jsonb"}
    return {n: f"s.{quoted(n)}::jsonb" if n in jsons else f"s.{quoted(n)}" for n in table.columns}


def difference(schema: str, table: Table, run_id: str, whole: bool) -> list[str]:
    """Return the statements that write what differs and nothing else: rows that left, then rows that came or changed.

    Args:
        schema: where the table is.
        table: its contract.
        run_id: what the rows that are written say in `_published_run`.
        whole: the staged rows are the whole table, not just those of the parts that changed.
    """
    where, rows, gone = place(schema, table), quoted("rows_" + table.short_name), quoted("gone_" + table.short_name)
    left = f"NOT EXISTS (SELECT FROM {rows} AS s WHERE {_same_key(table, 't', 's')})"
    delete = (
        f"DELETE FROM {where} AS t WHERE {left}"
        if whole
        else f"DELETE FROM {where} AS t USING {gone} AS g WHERE {_same_key(table, 't', 'g')} AND {left}"
    )
    source, run = _staged(table), text(run_id)
    kept = ", ".join(f"t.{quoted(name)}" for name in source)
    names = ", ".join(map(quoted, [*source, RUN]))
    changed = ", ".join([*(f"{quoted(n)} = {new}" for n, new in source.items()), f"{quoted(RUN)} = {run}"])
    merge = (
        f"MERGE INTO {where} AS t USING {rows} AS s ON {_same_key(table, 't', 's')} "
        f"WHEN MATCHED AND ROW({kept}) IS DISTINCT FROM ROW({', '.join(source.values())}) THEN UPDATE SET {changed} "
        f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({', '.join(source.values())}, {run})"
    )
    return [delete, merge]


def _same_key(table: Table, one: str, other: str) -> str:
    """Return the condition that two rows have one key, NULLs being equal, in a form that PostgreSQL can hash."""
    parts = []
    for name in table.key:
        a, b = f"{one}.{quoted(name)}", f"{other}.{quoted(name)}"
        if table.columns[name].required:
            parts.append(f"{a} = {b}")
        else:
            parts.append(f"coalesce({a}::text, '') = coalesce({b}::text, '') AND ({a} IS NULL) = ({b} IS NULL)")
    return " AND ".join(parts)
