"""What a refused row is called, and the columns in which it is kept; pure, for both speeds."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

OPEN, REPLAYED, DISCARDED = "open", "replayed", "discarded"
ENTRY = "replay:"
"""What the source file of a replayed row is called, before its quarantine_id."""


def identity(table: str, payload: Column) -> Column:
    """Return the quarantine_id of a refused row: the table is part of it, so equal payloads of two tables stay apart."""
    return F.sha2(F.concat_ws("\n", F.lit(table), payload), 256)


def once_each(refused: DataFrame, table: str) -> DataFrame:
    """Return one row for each distinct payload of refused rows, with every reason and the earliest place.

    Args:
        refused: rows with `_payload`, `_reasons`, `_source_file`, `_source_sha256`, `_snapshot_at`.
        table: the silver table that refused them.
    """
    earliest = F.min(F.struct("_snapshot_at", "_source_file", "_source_sha256"))
    return (
        refused.withColumn("quarantine_id", identity(table, F.col("_payload")))
        .groupBy("quarantine_id")
        .agg(
            F.min("_payload").alias("payload"),
            F.array_sort(F.array_distinct(F.flatten(F.collect_set("_reasons")))).alias("reasons"),
            *(earliest[name].alias(name) for name in ("_source_file", "_source_sha256", "_snapshot_at")),
        )
    )


def quarantine_rows(refused: DataFrame, now: datetime, run_id: str, load_id: int | None = None) -> DataFrame:
    """Bring refused rows to the columns of a quarantine table, open.

    Args:
        refused: rows with `quarantine_id`, `payload`, `reasons`, `_source_file`; CSV rows also with `_source_sha256`
            and `_snapshot_at`.
        now: when they were refused.
        run_id: the run that refused them.
        load_id: the micro-batch that did.
    """

    def of_a_file(name: str, kind: str) -> Column:
        return F.col(name) if name in refused.columns else F.lit(None).cast(kind).alias(name)

    return refused.select(
        "quarantine_id",
        "payload",
        "reasons",
        "_source_file",
        of_a_file("_source_sha256", "string"),
        of_a_file("_snapshot_at", "timestamp"),
        F.lit(load_id).cast("bigint").alias("load_id"),
        F.lit(now).cast("timestamp").alias("quarantined_at"),
        F.lit(run_id).alias("run_id"),
        F.lit(OPEN).alias("status"),
        F.lit(None).cast("timestamp").alias("resolved_at"),
    )
