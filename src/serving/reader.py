"""Readers of gold and serving, without Spark: all of one publication, or none of it."""

from __future__ import annotations

import duckdb

from ..common.config import Config
from ..common.errors import CloudlakeError
from ..common.lake.books import require_own
from ..common.lake.duck import connected
from ..common.publication import published


def connect(config: Config) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the published gold tables as `gold.<table>` and the served ones as `serving.<table>`.

    The versions are those in force now; what a run publishes later is seen by the next connection.

    Raises:
        CloudlakeError: nothing has been published yet.
    """
    lake = config.lake
    tables = {name: entry["version"] for name, entry in published(lake).tables.items()}
    if not tables:
        raise CloudlakeError(f"{lake.root}: nothing has been published yet; run scripts/run_batch_pipeline.sh")
    served = [table.name for table in config.registry.layer("serving") if lake.exists(table.name)]
    remedy = "scripts/run_serving_layer.sh makes the served tables anew."
    require_own(lake, served, remedy, keep=False)
    tables |= {name: lake.version(name) for name in served}
    connection = connected()
    for name, version in tables.items():
        layer, _, short = name.partition(".")
        source = f"{layer}_{short}"
        connection.register(source, lake.dataset(name, version))
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {layer}")
        connection.execute(f"CREATE VIEW {layer}.{short} AS FROM {source}")
    return connection
