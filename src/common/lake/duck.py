"""DuckDB, for what would be slow to ask Spark: small tables, in this process."""

from __future__ import annotations

import re
from typing import Any

import duckdb


def literal_path(path: str) -> str:
    """Return a path so that DuckDB reads that file, whatever signs of a pattern are in its name."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def connected(**views: Any) -> duckdb.DuckDBPyConnection:
    """Return a new connection in UTC, to be used in a `with` block, that knows Arrow tables or datasets by name."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    for name, rows in views.items():
        connection.register(name, rows)
    return connection
