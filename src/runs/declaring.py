"""Tables that exist, brought to the contracts of today: comments, properties, and no statistics of personal columns.

What was compared is kept in `<lake>/ops/declared.json`, so that a run looks only at tables whose contract has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from pyspark.sql import SparkSession

from ..batch.silver.history import redeclare
from ..common.config import Config
from ..common.contracts.derived import is_of_a_history, with_memories
from ..common.contracts.table import Table
from ..common.lake.provenance import fingerprint

_RECORD = "ops/declared.json"


def declare_all(config: Config, session: Callable[[], SparkSession], run_id: str, but: Collection[str]) -> list[str]:
    """Bring every table to its contract, but some; returns what was done."""
    storage = config.lake.storage
    known, told = storage.read_state(_RECORD), []
    found = dict(known)
    for table in declared_tables(config):
        mark = fingerprint(table.model_dump_json())
        if known.get(table.name) == mark or table.name in but or not config.lake.exists(table.name):
            continue
        told += _declare(config, session, table, run_id)
        found[table.name] = mark
    if found != known:
        storage.keep_state(_RECORD, found, durable=False)
    return told


def declared_tables(config: Config) -> list[Table]:
    """Return the contract of every table of the lake, memories included."""
    return with_memories(config.registry.tables.values())


def _declare(config: Config, session: Callable[[], SparkSession], table: Table, run_id: str) -> list[str]:
    lake = config.lake
    differs, leaks = lake.undeclared(table), lake.leaking(table)
    if not differs and not leaks:
        return []
    if is_of_a_history(table):
        redeclare(session(), config, table, run_id)
    else:
        lake.declare(table)
    told = f"{table.name}: brought to its contract ({len(differs)} comment(s) and properties)"
    if leaks:
        told += f"; written anew without statistics of {', '.join(leaks)} (log entries from before keep them until they expire)"
    return [told]
