"""Tables that exist, brought to the contracts of today: comments, properties, and no statistics of personal columns.

What was compared is kept in `<lake>/ops/declared.json`, so that a run looks only at tables whose contract has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path

from pyspark.sql import SparkSession

from ..batch.silver.history import redeclare
from ..common.config import Config
from ..common.contracts.table import Table, memory_of


def declare_all(config: Config, session: Callable[[], SparkSession], run_id: str, but: Collection[str]) -> list[str]:
    """Bring every table to its contract, but some; returns what was done."""
    record = config.lake.root / "ops" / "declared.json"
    known, told = _read(record), []
    found = dict(known)
    for table in declared_tables(config):
        mark = hashlib.sha256(table.model_dump_json().encode()).hexdigest()[:16]
        if known.get(table.name) == mark or table.name in but or not config.lake.exists(table.name):
            continue
        told += _declare(config, session, table, run_id)
        found[table.name] = mark
    if found != known:
        record.parent.mkdir(parents=True, exist_ok=True)
        draft = record.with_suffix(".draft")
        draft.write_text(json.dumps(found, indent=0, sort_keys=True), encoding="utf-8")
        os.replace(draft, record)
    return told


def declared_tables(config: Config) -> list[Table]:
    """Return the contract of every table of the lake, memories included."""
    tables = list(config.registry.tables.values())
    return [*tables, *(memory_of(table) for table in tables if table.history.kind == "scd2")]


def _declare(config: Config, session: Callable[[], SparkSession], table: Table, run_id: str) -> list[str]:
    lake = config.lake
    differs, leaks = lake.undeclared(table), lake.leaking(table)
    if not differs and not leaks:
        return []
    if table.history.kind == "scd2" or table.name.endswith("__memory"):
        redeclare(session(), config, table, run_id)
    else:
        lake.declare(table)
    told = f"{table.name}: brought to its contract ({len(differs)} comment(s) and properties)"
    if leaks:
        told += f"; written anew without statistics of {', '.join(leaks)} (log entries from before keep them until they expire)"
    return [told]


def _read(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
