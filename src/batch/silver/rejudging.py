"""Refused rows that come back: which deliveries must be told again.

A refused row stays in bronze, so nothing has to be put anywhere when its organisation has become known or a rule has
changed: the deliveries that hold it are judged again, whole, and told again. That is exact, because telling a
delivery again replaces what it said. A row that a person has corrected is a delivery of its own, of one row, under
the snapshot time of the row it corrects; of a master it is told as a part of that snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.quality import quarantine
from ...common.quality.rows import BLANKS
from ..bronze.deliveries import DELIVERY, Delivery, payload_of


def healed(config: Config, table: Table) -> set[str]:
    """Return the open rows whose reference was unknown when they were refused, and is known now. Needs no Spark."""
    name = f"quarantine.{table.short_name}"
    waiting: list[dict[str, Any]] = []
    found: set[str] = set()
    for column, target in table.reference.items():
        waiting = waiting or quarantine.open_rows(config.lake, name)
        mine = [row for row in waiting if f"{column}_unknown" in row["reasons"]]
        owner, _, key = target.rpartition(".")
        if not mine or not config.lake.exists(owner):
            continue
        known = set(config.lake.read_small(owner, columns=[key])[key].to_pylist())
        source = table.columns[column].source or column
        found |= {
            row["quarantine_id"]
            for row in mine
            if (json.loads(row["payload"]).get(source) or "").strip(BLANKS) in known
        }
    return found


def deliveries_holding(spark: SparkSession, config: Config, table: Table, ids: Collection[str]) -> set[str]:
    """Return the deliveries in which some refused rows stand, whatever other rows are beside them."""
    rows = config.lake.read(spark, f"bronze.{table.short_name}")
    identity = quarantine.identity(table.name, payload_of(rows))
    wanted = spark.createDataFrame([(one,) for one in ids], "quarantine_id string")
    held = rows.select(F.expr(DELIVERY).alias("_delivery"), identity.alias("quarantine_id"))
    found = held.join(F.broadcast(wanted), "quarantine_id", "left_semi").select("_delivery").distinct()
    return {row[0] for row in found.collect()}


def with_their_snapshots(
    table: Table, landed: Sequence[Delivery], pending: Collection[str], again: Collection[str]
) -> list[Delivery]:
    """Return what is to be told, in its order: what is pending and what is judged again.

    Of a master, whoever is told again takes all deliveries of its snapshot time along, because the last one told
    counts, and a corrected row is a part of the snapshot that it was refused from.
    """
    chosen = set(pending) | set(again)
    if table.history.kind == "scd2":
        times = {
            one.snapshot_at for one in landed if one.id in again or (one.id in pending and one.corrects is not None)
        }
        chosen |= {one.id for one in landed if one.snapshot_at in times}
    return [one for one in landed if one.id in chosen]


def corrections(config: Config, table: Table, deliveries: Sequence[Delivery]) -> dict[str, list[str]]:
    """Return delivery → the deliveries that hold corrections of its rows, for the snapshots of a master."""
    mended = [one for one in deliveries if one.corrects is not None]
    if not mended:
        return {}
    refused = config.lake.rows(
        f"quarantine.{table.short_name}", ["quarantine_id", "_source_file", "_source_sha256", "_snapshot_at"]
    )
    origin = {row["quarantine_id"]: row for row in refused}
    found: dict[str, list[str]] = {}
    for one in mended:
        row = origin[str(one.corrects)]
        while row["_source_file"].startswith(quarantine.ENTRY):  # a correction that was refused, and corrected again
            row = origin[row["_source_file"].removeprefix(quarantine.ENTRY)]
        told_by = (row["_source_file"], row["_source_sha256"], row["_snapshot_at"])
        for file in deliveries:
            if (file.path, file.sha256, file.snapshot_at) == told_by:
                found.setdefault(file.id, []).append(one.id)
    return found


def settle(spark: SparkSession, config: Config, table: Table, rows: DataFrame, now: datetime, run_id: str) -> None:
    """Bring the quarantine up to date with rows that were judged again: replayed, or refused for other reasons."""
    name = f"quarantine.{table.short_name}"
    is_refused = F.col("_outcome") == "quarantined"
    reasons = F.array_sort(F.array_distinct(F.flatten(F.collect_set(F.when(is_refused, F.col("_reasons"))))))
    judged = (
        rows.withColumn("quarantine_id", quarantine.identity(table.name, F.col("_payload")))
        .groupBy("quarantine_id")
        .agg(F.bool_or(is_refused).alias("refused"), reasons.alias("_now"))
    )
    waiting = config.lake.read(spark, name).where(F.col("status") == quarantine.OPEN)
    found = judged.join(F.broadcast(waiting.select("quarantine_id", "reasons")), "quarantine_id").collect()
    note = {"run_id": run_id}
    entered = [row["quarantine_id"] for row in found if not row["refused"]]
    quarantine.resolve(config.lake, config.registry, name, entered, quarantine.REPLAYED, now, note)
    other = {row["quarantine_id"]: row["_now"] for row in found if row["refused"] and row["_now"] != row["reasons"]}
    quarantine.restate(config.lake, config.registry, name, other, note)
