"""Masters → silver: snapshots are told to the history engine, after a guard against those that delete too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from ...common.config import Config
from ...common.contracts.derived import memory_of
from ...common.contracts.schemas import spark_schema
from ...common.contracts.table import Table
from ...common.lake.storage import for_sql
from ...common.lake.tables import committing, read_path
from ...common.scd2 import Declared, apply_snapshot, apply_snapshots, last_snapshot
from ..bronze.deliveries import ORDER, Delivery
from .comparison import compare, guarded
from .rejudging import corrections


def write_history(
    spark: SparkSession, config: Config, table: Table, rows: DataFrame, deliveries: Sequence[Delivery], run_id: str
) -> None:
    """Tell the history engine the snapshots; a key whose row was refused counts as present and unchanged.

    Snapshots that follow all that is known are told together, in one commit; one that comes late, or again, by itself:
    it is compared with the history as those before it left it.
    """
    owners = [delivery for delivery in deliveries if delivery.corrects is None]
    mended = corrections(config, table, deliveries)  # told as a part of the snapshot that they were refused from
    last = last_snapshot(config.lake.path(table.name))
    newest = last if isinstance(last, datetime) else None
    for together in in_batches(owners, newest, alone=table.history.hard_deletes == "ignore"):
        _tell(spark, config, table, rows, together, deliveries, mended, run_id)


def in_batches(deliveries: Sequence[Delivery], last: datetime | None, *, alone: bool = False) -> list[list[Delivery]]:
    """Cut deliveries, in their order, into those that may be told together: each newer than `last` and than the one before."""
    batches: list[list[Delivery]] = []
    may_follow = False
    for delivery in deliveries:
        is_newer = last is None or delivery.snapshot_at > last
        if is_newer and may_follow and not alone:
            batches[-1].append(delivery)
        else:
            batches.append([delivery])
        may_follow = is_newer
        last = delivery.snapshot_at if is_newer else last
    return batches


def _tell(
    spark: SparkSession,
    config: Config,
    table: Table,
    rows: DataFrame,
    told: Sequence[Delivery],
    deliveries: Sequence[Delivery],
    mended: Mapping[str, Sequence[str]],
    run_id: str,
) -> None:
    """Compare snapshots with what is in force, tell those that the guard lets pass, and stop at the first that it does not."""
    by_id = {delivery.id: delivery for delivery in deliveries}
    business = [
        n
        for n in table.column_names
        if n == "quality_flags" or n not in _HISTORY_COLUMNS | {table.history.surrogate_key}
    ]
    schema, keys = spark_schema(table), list(table.key)
    tracked = [n for n in business if n not in keys and n not in table.history.untracked]
    parts = {delivery.id: [delivery.id, *mended.get(delivery.id, ())] for delivery in told}
    own = rows.where(F.col("_delivery").isin([part for of_one in parts.values() for part in of_one]))
    accepted = own.where("_outcome = 'accepted'")
    if any(len(of_one) > 1 for of_one in parts.values()):
        accepted = newest_part(accepted, keys)
        for part, count in accepted.where("_part > 1").groupBy("_delivery").count().collect():
            by_id[part].splits["superseded"] += count
        accepted = accepted.where("_part = 1")
    values = [F.col(n).cast(schema[n].dataType).alias(n) for n in business]
    snapshots = accepted.select("_delivery", "_snapshot_at", *values)
    readable = [F.col(f"raw.{table.columns[key].source or key}").alias(key) for key in keys]
    present = own.where("_outcome = 'quarantined'").select("_snapshot_at", *readable).dropDuplicates()
    found = compare(spark, config, table, told, snapshots, present, tracked)
    passed, stopped = guarded(config, table, told, found, run_id)
    _apply(spark, config, table, snapshots.drop("_delivery"), present, passed, tracked, run_id)
    if stopped is not None:
        raise stopped
    for comparison in found:
        for part, splits in comparison.splits.items():
            by_id[part].splits.update(splits)


def _apply(
    spark: SparkSession,
    config: Config,
    table: Table,
    snapshots: DataFrame,
    present: DataFrame,
    told: Sequence[Delivery],
    tracked: Sequence[str],
    run_id: str,
) -> None:
    """Tell the history engine the snapshots of some deliveries, told apart by `_snapshot_at`."""
    asked: dict[str, Any] = {
        "keys": list(table.key),
        "hard_deletes": table.history.hard_deletes,
        "tracked": tracked,
        "surrogate_key": str(table.history.surrogate_key),
        "changed_at": table.history.changed_at,
        "first_effective_from": _start(table.history.first_effective_from),
        "run_id": run_id,
        "declared": declared(table),
        "memory_declared": declared(memory_of(table)),
        "conflicts": config.lake.conflicts,
    }
    path, times = config.lake.path(table.name), [delivery.snapshot_at for delivery in told]
    if not times:
        return
    of_these = F.col("_snapshot_at") <= F.lit(times[-1])
    snapshots, present = snapshots.where(of_these), present.where(of_these)
    if len(times) == 1:
        one, refused = snapshots.drop("_snapshot_at"), present.drop("_snapshot_at")
        apply_snapshot(spark, path, one, snapshot_at=times[0], present=refused, **asked)
    else:
        apply_snapshots(spark, path, snapshots, times=times, at="_snapshot_at", present=present, **asked)


def declared(table: Table) -> Declared:
    """Return how the contract describes the table and lays it out."""
    comments = {name: column.description for name, column in table.columns.items()}
    return Declared(table.description, comments, table.properties, table.layout.cluster)


def redeclare(spark: SparkSession, config: Config, table: Table, run_id: str) -> None:
    """Bring a history, or its memory, that was made without its contract to it: properties, then comments and files.

    The files are written anew, so that none keeps statistics of personal columns.
    """
    path, told = config.lake.path(table.name), declared(table)
    note = {"declared": table.name, "run_id": run_id, "revises": True}
    texts = {**told.properties, "comment": told.description}
    pairs = ", ".join("'{}' = '{}'".format(key, value.replace("'", "\\'")) for key, value in texts.items())
    rows = read_path(spark, path)
    have = {name: text for name, text in told.comments.items() if name in rows.columns}
    rows = rows.withColumns({n: F.col(f"`{n}`").alias(n, metadata={"comment": text}) for n, text in have.items()})
    order = [*table.layout.partition, *told.cluster]
    with committing(spark, path, note):
        spark.sql(f"ALTER TABLE {for_sql(path)} SET TBLPROPERTIES ({pairs})")
        writer = (
            rows.sortWithinPartitions(*order)
            .write.format("delta")
            .mode("overwrite")
            .partitionBy(*table.layout.partition)
        )
        writer.option("overwriteSchema", "true").save(path)


def newest_part(accepted: DataFrame, keys: Sequence[str]) -> DataFrame:
    """Add `_part`, 1 for the row that counts for its key and snapshot: a correction before the file's own row."""
    order = Window.partitionBy("_snapshot_at", *keys).orderBy(*(F.desc(name) for name in ORDER))
    return accepted.withColumn("_part", F.row_number().over(order))


_HISTORY_COLUMNS = {"effective_from", "effective_to", "is_current", "is_deleted", "record_hash"}


def _start(text: str | None) -> datetime | str | None:
    """Read first_effective_from: a date is a time, anything else names a column."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return text
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
