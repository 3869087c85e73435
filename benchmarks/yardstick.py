"""The yardstick of the stream: DuckDB parses the events' JSON into typed columns and writes them as Parquet.

It does less than the stream does (no quarantine, no duplicates, no increments, no transactions); what it takes on a
machine says how fast the machine is. A ratio counts only if both ran back to back.
"""

from __future__ import annotations

import time
from pathlib import Path

import duckdb

TYPES = {
    "event_id": "VARCHAR", "timestamp": "TIMESTAMP", "org_id": "VARCHAR", "resource_id": "VARCHAR", "service": "VARCHAR",
    "region": "VARCHAR", "metric": "VARCHAR", "value": "DOUBLE", "unit": "VARCHAR", "cost_usd_increment": "DOUBLE",
    "schema_version": "INTEGER", "carbon_kg": "DOUBLE", "genai_tokens": "BIGINT",
}  # fmt: skip


def yardstick(landing: Path, out: Path) -> float:
    """Return the seconds it takes, over all event files of a landing zone."""
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in TYPES.items())
    events = landing / "usage_events_stream" / "*.jsonl"
    started = time.monotonic()
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * FROM read_json('{events}', format='newline_delimited', ignore_errors=true, "
            f"columns={{{columns}}})) TO '{out}' (FORMAT parquet)"
        )
    return time.monotonic() - started
