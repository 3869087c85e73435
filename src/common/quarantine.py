"""Refused rows: kept once, with every reason, until they are replayed or discarded."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def quarantine_rows(refused: DataFrame, table: str, now: datetime, run_id: str) -> DataFrame:
    """Bring refused rows to the quarantine table's columns, one row for each distinct payload.

    Args:
        refused: rows with `_payload`, `_reasons`, `_source_file`, `_source_sha256`, `_snapshot_at`.
        table: the silver table that refused them; part of the id, so that equal payloads of two tables stay apart.
        now: when they were refused.
        run_id: the run that refused them.
    """
    identified = refused.withColumn("quarantine_id", F.sha2(F.concat_ws("\n", F.lit(table), "_payload"), 256))
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
            F.lit("open").alias("status"),
            F.lit(None).cast("timestamp").alias("resolved_at"),
        )
    )
