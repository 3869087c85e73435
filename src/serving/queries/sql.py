"""SQL of anybody's over one publication: read-only, and nothing but the tables.

The tables that a statement names are copied into a DuckDB of their own, without the columns that hold personal data.
Then that DuckDB loses every way out: files, network, extensions, other databases, Python's variables, its own settings.
So no path of the lake is anywhere in it, and what is not copied can't be asked for. What is no single SELECT is refused
before, which is for the message; the closed DuckDB is what keeps it safe.
"""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pyarrow as pa

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.errors import CloudlakeError, ConfigurationError
from .reader import MACROS, Reader, open_reader

LAYERS = ("gold", "serving", "silver", "ops")
_LOCKED = (
    "SET temp_directory = ''",
    "SET secret_directory = ''",
    "SET enable_external_access = false",
    "SET python_enable_replacements = false",
    "SET autoload_known_extensions = false",
    "SET autoinstall_known_extensions = false",
    "SET lock_configuration = true",
)
_FUNCTIONS = frozenset({"range", "generate_series", "generate_subscripts", "unnest", "json_each", "json_tree"})
"""The functions that may stand where a table does; others read files, take addresses in memory, or run texts as SQL."""
_BATCH_ROWS = 100_000


def ask(config: Config, statement: str) -> pa.Table:
    """Return what one SELECT over gold.*, serving.*, silver.* and ops.* finds, in the publication in force now.

    Raises:
        ConfigurationError: it is no single SELECT, or DuckDB does not understand it.
        CloudlakeError: it took longer, or more memory, than conf/queries.yaml allows; or nothing is published.
    """
    with open_reader(config, alone=True) as reader:
        names = _tables(reader, statement)
        reader.require(names)
        _close(reader, names)
        return _limited(reader, statement)


def _tables(reader: Reader, statement: str) -> list[str]:
    """Return the tables that a statement names.

    Raises:
        ConfigurationError: it is no single SELECT, or it names a table that can't be read here.
    """
    found = reader.connection.execute("SELECT json_serialize_sql($sql)", {"sql": statement}).fetchone()
    parsed: dict[str, Any] = json.loads(found[0]) if found else {"error": True}
    if parsed.get("error"):
        kind, text = parsed.get("error_type"), parsed.get("error_message", "")
        said = f": {text.splitlines()[0]}" if kind == "parser" and text else ""
        raise ConfigurationError(f"sql: this is not one SELECT statement{said}")
    if len(parsed["statements"]) != 1:
        raise ConfigurationError(f"sql: found {len(parsed['statements'])} statements; give one SELECT")
    if any(_nodes(parsed, lambda kind: kind.endswith("_QUERY_NODE"))):  # WITH x AS (DELETE …) SELECT …
        raise ConfigurationError("sql: it changes something; give one SELECT that only reads")
    called = {node["function"]["function_name"].lower() for node in _nodes(parsed, "TABLE_FUNCTION".__eq__)}
    if called - _FUNCTIONS:
        raise ConfigurationError(
            f"sql: {', '.join(sorted(called - _FUNCTIONS))}: no such function stands for a table here; "
            f"there are {', '.join(sorted(_FUNCTIONS))}"
        )
    return _named(reader, parsed)


def _named(reader: Reader, parsed: dict[str, Any]) -> list[str]:
    """Return the tables that a parsed statement names; one without its layer is left to DuckDB, which knows none.

    Raises:
        ConfigurationError: a table that can't be read here.
    """
    registry = reader.config.registry
    readable = {table.name for layer in LAYERS for table in registry.layer(layer)}
    nodes = _nodes(parsed, "BASE_TABLE".__eq__)
    named = {f"{node['schema_name']}.{node['table_name']}".lower() for node in nodes if node["schema_name"]}
    faults = []
    for name in sorted(named - readable):
        near = difflib.get_close_matches(name, readable, n=1, cutoff=0.6)
        advice = f"did you mean '{near[0]}'?" if near else "cloudlake sql --list shows those that are"
        faults.append(f"sql: '{name}' is not a table to be read here; {advice}")
    if faults:
        raise ConfigurationError(faults)
    return sorted(named)


def _nodes(tree: Any, is_wanted: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of the wanted types in a statement's syntax tree."""
    if isinstance(tree, dict):
        if isinstance(tree.get("type"), str) and is_wanted(tree["type"]):
            yield tree
        for part in tree.values():
            yield from _nodes(part, is_wanted)
    elif isinstance(tree, list):
        for part in tree:
            yield from _nodes(part, is_wanted)


def shown_columns(table: Table) -> list[str]:
    """Return the columns that may be shown: those without personal data."""
    return [name for name in table.column_names if name not in table.personal]


def _close(reader: Reader, names: list[str]) -> None:
    """Copy the tables into a database of their own, drop everything else, and lock the connection."""
    limits = reader.declarations.limits
    connection, registry = reader.connection, reader.config.registry
    connection.execute(f"SET memory_limit = '{limits.memory}'")
    connection.execute("ATTACH ':memory:' AS publication")
    for layer in LAYERS:
        connection.execute(f"CREATE SCHEMA publication.{layer}")
    try:
        for name in names:
            columns = ", ".join(f'"{column}"' for column in shown_columns(registry[name]))  # "table", "at" are words of SQL
            connection.execute(f"CREATE TABLE publication.{name} AS SELECT {columns} FROM memory.{name}")
    except duckdb.OutOfMemoryException:
        raise CloudlakeError(_too_much(limits.memory)) from None
    except duckdb.IOException as error:
        raise CloudlakeError(f"{', '.join(names)}: can't be read ({str(error).splitlines()[0]})") from None
    connection.execute("USE publication")
    connection.execute("DETACH memory")
    connection.execute(MACROS)
    for setting in _LOCKED:
        connection.execute(setting)


def _limited(reader: Reader, statement: str) -> pa.Table:
    """Run a statement within the limits of time and memory."""
    limits = reader.declarations.limits
    most = limits.bytes
    timer = threading.Timer(limits.seconds, reader.connection.interrupt)
    timer.start()
    try:
        batches, size = [], 0
        stream = reader.connection.sql(statement).to_arrow_reader(_BATCH_ROWS)
        for batch in stream:
            batches.append(batch)
            size += batch.nbytes
            if size > most:
                raise CloudlakeError(_too_much(limits.memory))
        return pa.Table.from_batches(batches, stream.schema)
    except (duckdb.Error, OSError) as error:  # while rows are fetched, Arrow tells DuckDB's errors as OSError
        text = str(error).lower()
        if isinstance(error, duckdb.InterruptException) or "interrupt error" in text:
            raise CloudlakeError(
                f"sql: stopped after {limits.seconds:g} s; narrow it down, or raise limits.seconds in conf/queries.yaml"
            ) from None
        if isinstance(error, duckdb.OutOfMemoryException) or "out of memory error" in text:
            raise CloudlakeError(_too_much(limits.memory)) from None
        raise ConfigurationError(f"sql: {_first_line(error)}{_personal(reader, error)}") from None
    finally:
        timer.cancel()


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _personal(reader: Reader, error: Exception) -> str:
    """Say so where a column is missing because it holds personal data."""
    text = str(error)
    held = {name: table.name for table in reader.config.registry.layer("silver") for name in table.personal}
    hit = next((name for name in held if f'"{name}"' in text), None)
    return f"; {hit} of {held[hit]} is personal data and is not shown" if hit else ""


def _too_much(memory: str) -> str:
    return f"sql: it needs more than {memory}; narrow it down, or raise limits.memory in conf/queries.yaml"
