"""Refused rows: kept once, with every reason, until they are replayed or discarded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ..contracts.table import Registry
from ..lake.tables import Lake

OPEN, REPLAYED, DISCARDED = "open", "replayed", "discarded"
ENTRY = "replay:"
"""What the source file of a replayed row is called, before its quarantine_id."""


def identity(table: str, payload: Column) -> Column:
    """Return the quarantine_id of a refused row: the table is part of it, so equal payloads of two tables stay apart."""
    return F.sha2(F.concat_ws("\n", F.lit(table), payload), 256)


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


def quarantine_rows(refused: DataFrame, table: str, now: datetime, run_id: str) -> DataFrame:
    """Bring refused rows to the quarantine table's columns, one row for each distinct payload.

    Args:
        refused: rows with `_payload`, `_reasons`, `_source_file`, `_source_sha256`, `_snapshot_at`.
        table: the silver table that refused them.
        now: when they were refused.
        run_id: the run that refused them.
    """
    identified = refused.withColumn("quarantine_id", identity(table, F.col("_payload")))
    earliest = F.struct("_snapshot_at", "_source_file", "_source_sha256")
    return (
        identified.groupBy("quarantine_id")
        .agg(
            F.min("_payload").alias("payload"),
            F.array_sort(F.array_distinct(F.flatten(F.collect_set("_reasons")))).alias("reasons"),
            F.min(earliest)["_source_file"].alias("_source_file"),
            F.min(earliest)["_source_sha256"].alias("_source_sha256"),
            F.min(earliest)["_snapshot_at"].alias("_snapshot_at"),
        )
        .select(
            "quarantine_id",
            "payload",
            "reasons",
            "_source_file",
            "_source_sha256",
            "_snapshot_at",
            F.lit(None).cast("bigint").alias("load_id"),
            F.lit(now).cast("timestamp").alias("quarantined_at"),
            F.lit(run_id).alias("run_id"),
            F.lit(OPEN).alias("status"),
            F.lit(None).cast("timestamp").alias("resolved_at"),
        )
    )
