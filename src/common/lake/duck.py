"""DuckDB, for what would be slow to ask Spark: small tables, in this process."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from itertools import count
from typing import Any

import duckdb

from . import stores


def literal_path(path: str) -> str:
    """Return a path so that DuckDB reads that file, whatever signs of a pattern are in its name."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def text_of(value: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def parquet_of(files: Iterable[str], partitioned: bool = False) -> str:
    """Return the SQL that reads data files, whatever signs are in their paths; columns are found by name."""
    paths = ", ".join(text_of(literal_path(file)) for file in files)
    return f"read_parquet([{paths}], hive_partitioning = {str(partitioned).lower()}, union_by_name = true)"


def view_files(connection: duckdb.DuckDBPyConnection, name: str, files: Iterable[str]) -> None:
    """Give data files of a partitioned table the name of a view."""
    connection.sql(f"FROM {parquet_of(files, partitioned=True)}").create_view(name)


_NUMBERS = count(1)


def connected(**views: Any) -> duckdb.DuckDBPyConnection:
    """Return a connection to a new DuckDB in UTC, to be used in a `with` block, that knows Arrow tables by name."""
    connection = _in_utc(duckdb.connect())
    for name, rows in views.items():
        connection.register(name, rows)
    return connection


def connected_beside() -> tuple[duckdb.DuckDBPyConnection, Callable[[], None]]:
    """Return a connection to a new, empty database in the DuckDB that this process shares, and what ends both.

    That takes 1 ms of CPU, a DuckDB of one's own 14. What is set for the whole of a DuckDB (memory, access to files)
    must not be set here.
    """
    name = f"beside_{next(_NUMBERS)}"
    connection = _in_utc(_shared().cursor())
    connection.execute(f"ATTACH ':memory:' AS {name}")
    connection.execute(f"USE {name}")

    def leave() -> None:
        connection.execute("USE memory")
        connection.execute(f"DETACH {name}")
        connection.close()

    return connection, leave


@cache
def _shared() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def _in_utc(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    connection.execute("SET TimeZone = 'UTC'")
    stores.teach(connection)
    with suppress(duckdb.InvalidInputException):  # a notebook without ipywidgets, which has no bars to turn off
        connection.execute("SET enable_progress_bar = false")
    return connection
