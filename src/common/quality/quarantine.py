"""Refused rows: kept once, with every reason, until they are replayed or discarded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..contracts.table import Registry
from ..lake.tables import Lake
from .refusal import DISCARDED, ENTRY, OPEN, REPLAYED, identity, once_each, quarantine_rows

__all__ = [
    "DISCARDED",
    "ENTRY",
    "OPEN",
    "REPLAYED",
    "discarded",
    "identity",
    "once_each",
    "open_rows",
    "quarantine_rows",
    "resolve",
    "restate",
]


def discarded(lake: Lake, table: str) -> list[str]:
    """Return the ids of the rows of a quarantine table that a person has discarded."""
    if lake.version(table) < 1:
        return []
    found = lake.read_small(table, columns=["quarantine_id"], filters=[("status", "=", DISCARDED)])
    return [str(value) for value in found["quarantine_id"].to_pylist()]


def open_rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    """Return the rows of a quarantine table that wait for somebody."""
    if lake.version(table) < 1:
        return []
    rows: list[dict[str, Any]] = lake.read_small(table, filters=[("status", "=", OPEN)]).to_pylist()
    return rows


def resolve(
    lake: Lake, registry: Registry, table: str, ids: Iterable[str], status: str, now: datetime, note: Mapping[str, Any]
) -> None:
    """Mark rows as replayed or discarded."""
    changes = [{"quarantine_id": one, "status": status, "resolved_at": now} for one in sorted(ids)]
    lake.update_small(registry[table], changes, note)


def restate(
    lake: Lake, registry: Registry, table: str, reasons: Mapping[str, list[str]], note: Mapping[str, Any]
) -> None:
    """Give rows that were judged again, and are still refused, the reasons they have now."""
    lake.update_small(
        registry[table], [{"quarantine_id": one, "reasons": found} for one, found in sorted(reasons.items())], note
    )
