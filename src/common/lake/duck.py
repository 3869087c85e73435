"""DuckDB, for what would be slow to ask Spark: small tables, in this process."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import duckdb


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


def connected(**views: Any) -> duckdb.DuckDBPyConnection:
    """Return a new connection in UTC, to be used in a `with` block, that knows Arrow tables or datasets by name."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    with suppress(duckdb.InvalidInputException):  # a notebook without ipywidgets, which has no bars to turn off
        connection.execute("SET enable_progress_bar = false")
    for name, rows in views.items():
        connection.register(name, rows)
    return connection
