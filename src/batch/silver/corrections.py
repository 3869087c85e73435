"""Corrected rows: a refused CSV row that a person has mended enters bronze as a delivery of its own, once.

It enters only if the rules of now accept it. What names it is the row it corrects: its source file is
`replay:<quarantine_id>`, its snapshot time that row's. Silver then takes it as any other delivery.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.faults import crash_point
from ...common.names import LANDED
from ...common.quality import quarantine
from ..bronze.deliveries import DELIVERY, landed_deliveries, payload_of
from ..bronze.ingestion import registry_rows
from .transformation import checked


def take(
    spark: SparkSession,
    config: Config,
    table: Table,
    mended: Mapping[str, Mapping[str, Any]],
    *,
    now: datetime,
    run_id: str,
) -> dict[str, list[str]]:
    """Take corrected rows to bronze, each once, however often this is run; the caller holds the batch lock.

    Args:
        table: the silver table that refused the rows.
        mended: quarantine_id → the corrected row, by the columns of the source; what it leaves out is NULL.

    Returns:
        quarantine_id → the reasons, for those that would be refused again and stay out.
    """
    before = entered(config, table) & set(mended)
    fresh = {one: cells for one, cells in mended.items() if one not in before}
    good: set[str] = set()
    refused: dict[str, list[str]] = {}
    if fresh:
        rows = corrected_rows(spark, config, table, fresh, now, run_id)
        for file, reasons in checked(spark, config, table, rows).select("_source_file", "_reasons").collect():
            one = file.removeprefix(quarantine.ENTRY)
            if reasons:
                refused[one] = list(reasons)
            else:
                good.add(one)
        if good:
            entries = [quarantine.ENTRY + one for one in good]
            enter(config, table, rows.where(F.col("_source_file").isin(entries)), now, run_id)
    mark(config, table, good | before, now, run_id)
    return refused


def corrected_rows(
    spark: SparkSession,
    config: Config,
    table: Table,
    mended: Mapping[str, Mapping[str, Any]],
    now: datetime,
    run_id: str,
) -> DataFrame:
    """Return corrected rows as bronze takes them, with `_delivery`.

    Args:
        mended: quarantine_id → the corrected row, by the columns of the source; what it leaves out is NULL.
        now: the time of the correction.
        run_id: the run.
    """
    refused = {row["quarantine_id"]: row for row in config.lake.rows(f"quarantine.{table.short_name}")}
    files = {(row["path"], row["sha256"]): row for row in config.lake.rows(LANDED)}
    bronze = config.lake.read(spark, f"bronze.{table.short_name}")
    source = [name for name in bronze.columns if not name.startswith("_")]
    rows = []
    for one, cells in mended.items():
        row = refused[one]
        texts = {name: None if cells.get(name) in (None, "") else str(cells[name]) for name in source}
        file = files.get((row["_source_file"], row["_source_sha256"]))
        # It is newer than the row it corrects even where that came from a clock that runs ahead.
        modified = max(now, file["modified_at"] + timedelta(seconds=1)) if file else now
        rows.append(
            texts
            | {
                "_corrupt_record": None,
                "_source_file": quarantine.ENTRY + one,
                "_source_sha256": hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest(),
                "_source_modified_at": modified,
                "_snapshot_at": row["_snapshot_at"],
                "_ingested_at": now,
                "_run_id": run_id,
            }
        )
    frame = spark.createDataFrame([tuple(row[name] for name in bronze.columns) for row in rows], bronze.schema)
    return frame.withColumn("_delivery", F.expr(DELIVERY))


def entered(config: Config, table: Table) -> set[str]:
    """Return the refused rows of which a correction has entered bronze."""
    registry_rows(config, config.registry[f"bronze.{table.short_name}"])
    return {str(one.corrects) for one in landed_deliveries(config, table) if one.corrects is not None}


def enter(config: Config, table: Table, rows: DataFrame, now: datetime, run_id: str) -> None:
    """Append corrected rows to bronze in one commit, and note each as a delivery; silver then takes them as any other."""
    bronze = config.registry[f"bronze.{table.short_name}"]
    notes = [
        {
            "source": table.short_name,
            "path": row["_source_file"],
            "sha256": row["_source_sha256"],
            "size_bytes": len(row["payload"].encode()),
            "modified_at": row["_source_modified_at"],
            "snapshot_at": row["_snapshot_at"],
            "status": "ingested",
            "reason": None,
            "drift": None,
            "rows": 1,
            "bronze_version": None,
            "run_id": run_id,
            "ingested_at": now,
        }
        for row in rows.withColumn("payload", payload_of(rows)).toArrow().to_pylist()
    ]
    config.lake.append(rows.drop("_delivery").coalesce(1), bronze.name, note={"run_id": run_id, "files": notes})
    crash_point("after_replay_bronze")
    version = config.lake.version(bronze.name)
    config.lake.append_small(
        [{**note, "bronze_version": version} for note in notes],
        config.registry[LANDED],
        {"run_id": run_id},
    )


def mark(config: Config, table: Table, ids: Iterable[str], now: datetime, run_id: str) -> None:
    """Note that corrections of some refused rows have entered."""
    name = f"quarantine.{table.short_name}"
    quarantine.resolve(config.lake, config.registry, name, ids, quarantine.REPLAYED, now, {"run_id": run_id})
