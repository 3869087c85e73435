"""Masters → silver: each snapshot is told to the history engine, after a guard against snapshots that delete too much."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from ...common.config import Config
from ...common.contracts.derived import memory_of
from ...common.contracts.schemas import spark_schema
from ...common.contracts.table import Table
from ...common.lake.storage import for_sql
from ...common.lake.tables import committing, read_path
from ...common.quality import gates
from ...common.quality import rows as quality
from ...common.scd2 import Declared, apply_snapshot, as_of
from ..bronze.deliveries import ORDER, Delivery
from .rejudging import corrections


def write_history(
    spark: SparkSession, config: Config, table: Table, rows: DataFrame, deliveries: Sequence[Delivery], run_id: str
) -> None:
    """Tell the history engine each snapshot; a key whose row was refused counts as present and unchanged."""
    business = [
        n
        for n in table.column_names
        if n == "quality_flags" or n not in _HISTORY_COLUMNS | {table.history.surrogate_key}
    ]
    schema = spark_schema(table)
    keys = list(table.key)
    tracked = [n for n in business if n not in keys and n not in table.history.untracked]
    by_id = {delivery.id: delivery for delivery in deliveries}
    mended = corrections(config, table, deliveries)
    for delivery in deliveries:
        if delivery.corrects is not None:
            continue  # its row is told as a part of the snapshot that it was refused from
        parts = [delivery.id, *mended.get(delivery.id, ())]
        own = rows.where(F.col("_delivery").isin(parts))
        accepted = own.where("_outcome = 'accepted'")
        if len(parts) > 1:
            accepted = newest_part(accepted, keys)
            for part, count in accepted.where("_part > 1").groupBy("_delivery").count().collect():
                by_id[part].splits["superseded"] += count
            accepted = accepted.where("_part = 1")
        told = accepted.select("_delivery", *(F.col(n).cast(schema[n].dataType).alias(n) for n in business))
        snapshot = told.drop("_delivery")
        readable = [F.col(f"raw.{table.columns[key].source or key}").alias(key) for key in keys]
        present = own.where("_outcome = 'quarantined'").select(*readable).dropDuplicates()
        found = compare_snapshot(spark, config, table, delivery, told, present, tracked)
        guard_snapshot(config, table, delivery, found, run_id)
        apply_snapshot(
            spark,
            config.lake.path(table.name),
            snapshot,
            keys=keys,
            snapshot_at=delivery.snapshot_at,
            hard_deletes=table.history.hard_deletes,
            tracked=tracked,
            surrogate_key=str(table.history.surrogate_key),
            changed_at=table.history.changed_at,
            first_effective_from=_start(table.history.first_effective_from),
            present=present,
            run_id=run_id,
            declared=declared(table),
            memory_declared=declared(memory_of(table)),
            conflicts=config.lake.conflicts,
        )
        for part in parts:
            by_id[part].splits.update(found.splits[part])


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
    """Add `_part`, 1 for the row that counts for its key: a correction before the file's own row."""
    order = Window.partitionBy(*keys).orderBy(*(F.desc(name) for name in ORDER))
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


@dataclass
class Comparison:
    """A snapshot beside the versions in force at its time."""

    known: int = 0
    """Keys in force."""
    missing: int = 0
    """Those of them that the snapshot lacks."""
    splits: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Delivery → how many of its rows are inserted, changed or unchanged."""


def compare_snapshot(
    spark: SparkSession,
    config: Config,
    table: Table,
    delivery: Delivery,
    told: DataFrame,
    present: DataFrame,
    tracked: Sequence[str],
) -> Comparison:
    """Compare a snapshot's accepted rows (`_delivery` and the business columns) with the versions in force at its time."""
    found = Comparison()
    keys = list(table.key)
    if not config.lake.exists(table.name):
        for part, count in told.groupBy("_delivery").count().collect():
            found.splits[part]["inserted"] += count
        return found
    content = F.to_json(F.struct(*tracked), quality.EXACT)
    in_force = as_of(config.lake.read(spark, table.name), delivery.snapshot_at).select(*keys, content.alias("_old"))
    new_rows = told.select("_delivery", *keys, content.alias("_new"))
    both = in_force.join(new_rows, keys, "full").join(present.withColumn("_present", F.lit(True)), keys, "left")
    old, new = F.col("_old"), F.col("_new")
    counts = both.groupBy("_delivery").agg(
        F.count_if(new.isNotNull() & old.isNull()).alias("inserted"),
        F.count_if(new != old).alias("changed"),
        F.count_if(new == old).alias("unchanged"),
        F.count_if(old.isNotNull()).alias("known"),
        F.count_if(old.isNotNull() & new.isNull() & F.col("_present").isNull()).alias("missing"),
    )
    for row in counts.collect():
        found.known += row["known"]
        found.missing += row["missing"]
        if row["_delivery"] is not None:
            found.splits[row["_delivery"]].update({n: row[n] for n in ("inserted", "changed", "unchanged")})
    return found


def guard_snapshot(config: Config, table: Table, delivery: Delivery, found: Comparison, run_id: str) -> None:
    """Refuse a snapshot that has a row without a key, or lacks too many of the keys in force at its time.

    Raises:
        GateFailed: with the counts and how to let it pass.
    """
    subject = f"{delivery.path}@{delivery.sha256}"
    keyless = delivery.keyless
    if keyless and not gates.is_accepted(config.lake, "snapshot_keys", subject):
        message = (
            f"{table.name}: snapshot {delivery.path} has {keyless} row(s) without a readable key, so nobody can tell "
            "which keys it lacks."
        )
        raise gates.GateFailed("snapshot_keys", table.name, subject, message, run_id)
    limit = config.settings.snapshot_deletes_limit
    exceeds = found.known > 0 and found.missing / found.known > limit
    if exceeds and not gates.is_accepted(config.lake, "snapshot_deletes", subject):
        message = (
            f"{table.name}: snapshot {delivery.path} lacks {found.missing} of {found.known} keys, more than {limit:.0%} "
            f"(snapshot_deletes_limit in conf/lake.yaml)."
        )
        raise gates.GateFailed("snapshot_deletes", table.name, subject, message, run_id)
