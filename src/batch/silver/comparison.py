"""Snapshots beside what is in force when they are told: how their rows split, and whether they delete too much."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.quality import gates
from ...common.quality import rows as quality
from ...common.scd2 import as_of
from ..bronze.deliveries import Delivery


@dataclass
class Comparison:
    """A snapshot beside the versions in force at its time."""

    known: int = 0
    """Keys in force."""
    missing: int = 0
    """Those of them that the snapshot lacks."""
    splits: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Delivery → how many of its rows are inserted, changed or unchanged."""


def compare(
    spark: SparkSession,
    config: Config,
    table: Table,
    deliveries: Sequence[Delivery],
    told: DataFrame,
    present: DataFrame,
    tracked: Sequence[str],
) -> list[Comparison]:
    """Compare each snapshot with the versions in force at its time, those before it told.

    Args:
        deliveries: the snapshots, oldest first; more than one only where all follow what is known.
        told: their accepted rows, with `_delivery` and `_snapshot_at`.
        present: the keys of rows that were refused, with `_snapshot_at`.
        tracked: the columns in which a change is a change.
    """
    keys = list(table.key)
    content = F.to_json(F.struct(*tracked), quality.EXACT)
    in_force = None
    if config.lake.exists(table.name):
        versions = as_of(config.lake.read(spark, table.name), deliveries[0].snapshot_at)
        in_force = versions.select(*keys, content.alias("_content"))
    places = pa.table(
        {
            "_snapshot_at": pa.array([one.snapshot_at for one in deliveries], pa.timestamp("us", "UTC")),
            "_place": pa.array(range(1, 1 + len(deliveries)), pa.int32()),
        }
    )
    place = F.broadcast(spark.createDataFrame(places))
    new_rows = told.select("_delivery", "_snapshot_at", *keys, content.alias("_content")).join(place, "_snapshot_at")
    met = met_in_order(new_rows.drop("_snapshot_at"), present.join(place, "_snapshot_at"), in_force, keys)
    return _as_comparisons(met, deliveries)


def met_in_order(told: DataFrame, refused: DataFrame, in_force: DataFrame | None, keys: Sequence[str]) -> DataFrame:
    """Lay out what each snapshot says of each key, in their order, beside what was in force when it was told.

    Args:
        told: accepted rows: key, `_place` (1 for the first snapshot), `_delivery`, `_content`.
        refused: keys that are there, and unchanged as far as is known: key, `_place`.
        in_force: before the first of them: key, `_content`.
        keys: the columns of the key.

    Returns:
        key, `_place`, `_next` (the place of the next row of the key), `_delivery` (NULL where no row was accepted),
        `_content` and `_held`, what was in force; NULL where the key was not, as after a snapshot that lacked it.
    """
    nothing = F.lit(None).cast("string")
    parts = told.select(*keys, "_place", "_delivery", "_content")
    parts = parts.unionByName(
        refused.dropna(subset=list(keys)).select(*keys, "_place", nothing.alias("_delivery"), nothing.alias("_content"))
    )
    if in_force is not None:
        before = in_force.select(*keys, F.lit(0).alias("_place"), nothing.alias("_delivery"), "_content")
        parts = parts.unionByName(before)
    # A key with an accepted and with a refused row in one snapshot is told: the largest is the one that is not NULL.
    once = parts.groupBy(*keys, "_place").agg(F.max(F.struct("_delivery", "_content")).alias("_one"))
    once = once.select(*keys, "_place", "_one._delivery", "_one._content")
    by_key = Window.partitionBy(*keys).orderBy("_place")
    returns = F.coalesce(F.col("_place") - F.lag("_place").over(by_key) > 1, F.lit(False))
    stays = Window.partitionBy(*keys, "_stay").orderBy("_place")
    return (
        once.withColumn("_stay", F.sum(returns.cast("int")).over(by_key))
        .withColumn("_next", F.lead("_place").over(by_key))
        .withColumn(
            "_held",
            F.last("_content", ignorenulls=True).over(stays.rowsBetween(Window.unboundedPreceding, -1)),
        )
    )


def _as_comparisons(met: DataFrame, deliveries: Sequence[Delivery]) -> list[Comparison]:
    """Count how the accepted rows split, and the keys in force that a snapshot has or lacks."""
    new, old = F.col("_content"), F.col("_held")
    is_told = F.col("_delivery").isNotNull() & (F.col("_place") > 0)
    is_in_force = F.coalesce(new, old).isNotNull()
    is_lacked_next = is_in_force & (F.coalesce("_next", F.lit(len(deliveries) + 1)) > F.col("_place") + 1)
    counts = met.groupBy("_place", "_delivery").agg(
        F.count_if(is_told & old.isNull()).alias("inserted"),
        F.count_if(is_told & (new != old)).alias("changed"),
        F.count_if(is_told & (new == old)).alias("unchanged"),
        F.count_if(old.isNotNull()).alias("known"),
        F.count_if(is_lacked_next).alias("lacked_next"),
    )
    found = [Comparison() for _ in range(len(deliveries) + 2)]
    for row in counts.collect():
        here, following = found[row["_place"]], found[row["_place"] + 1]
        here.known += row["known"]
        following.known += row["lacked_next"]
        following.missing += row["lacked_next"]
        if row["_delivery"] is not None:
            here.splits[row["_delivery"]].update({n: row[n] for n in ("inserted", "changed", "unchanged")})
    return found[1:-1]


def guarded(
    config: Config, table: Table, deliveries: Sequence[Delivery], found: Sequence[Comparison], run_id: str
) -> tuple[list[Delivery], gates.GateFailed | None]:
    """Return the snapshots up to the first that the guard stops, and what it says of that one."""
    passed: list[Delivery] = []
    for delivery, comparison in zip(deliveries, found, strict=True):
        try:
            guard_snapshot(config, table, delivery, comparison, run_id)
        except gates.GateFailed as stopped:
            return passed, stopped
        passed.append(delivery)
    return passed, None


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
