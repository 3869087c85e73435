"""Records → silver: upsert by key; the newest delivery wins, in whatever order deliveries arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from ...common.config import Config
from ...common.contracts.schemas import spark_schema
from ...common.contracts.table import Table
from ..bronze.deliveries import ORDER, Delivery
from .subjects import billing


def write_records(
    spark: SparkSession, config: Config, table: Table, rows: DataFrame, deliveries: Sequence[Delivery], run_id: str
) -> None:
    """Upsert accepted rows by key: the newest delivery wins, in whatever order they arrive."""
    keys = list(table.key)
    schema = spark_schema(table)
    accepted = rows.where("_outcome = 'accepted'").select(
        "_delivery", *(F.col(n).cast(schema[n].dataType).alias(n) for n in table.column_names)
    )
    newest = Window.partitionBy(*keys).orderBy(*(F.desc(name) for name in ORDER))
    ranked = accepted.withColumn("_rank", F.row_number().over(newest))
    kept = config.lake.read(spark, table.name) if config.lake.version(table.name) > 0 else None
    content = [n for n in table.column_names if n not in ORDER and n != "fx_suspect"]
    split = classify(ranked, kept, keys, content).persist()
    try:
        by_id = {delivery.id: delivery for delivery in deliveries}
        counts = (
            split.groupBy("_delivery", "_split")
            .agg(F.count(F.lit(1)).alias("rows"), F.max("_write").alias("write"))
            .collect()
        )
        for row in counts:
            by_id[row["_delivery"]].splits[row["_split"]] += row["rows"]
        if not any(row["write"] for row in counts):
            return
        new = split.where("_write").select(*table.column_names)
        if table.short_name == "billing_monthly":
            new = restate_months(new, kept, keys, config.settings.definitions.fx_suspect_share)
        note = {"run_id": run_id, "deliveries": [delivery.id for delivery in deliveries]}
        if kept is None:
            config.lake.append(new.coalesce(1), table.name, note=note)
        else:
            config.lake.merge(spark, new, table.name, keys, note=note)
    finally:
        split.unpersist()


def classify(ranked: DataFrame, kept: DataFrame | None, keys: Sequence[str], content: Sequence[str]) -> DataFrame:
    """Tell for each accepted row whether it is inserted, changed, unchanged or superseded, and whether to write it.

    Args:
        ranked: accepted rows with `_rank` 1 for the newest of each key.
        kept: the table as it is, None where it is empty.
        content: the columns that make a row another one; the flag fx_suspect follows from other rows and is left out.
    """
    if kept is None:
        first = F.col("_rank") == 1
        return ranked.withColumns({"_split": F.when(first, "inserted").otherwise("superseded"), "_write": first})
    old = kept.select(*keys, F.struct(*_compared(content)).alias("_old"), F.struct(*ORDER).alias("_old_order"))
    joined = ranked.join(old, list(keys), "left")
    is_known = F.col("_old_order").isNotNull()
    is_newer = F.struct(*ORDER) > F.col("_old_order")
    is_winner = (F.col("_rank") == 1) & (~is_known | is_newer)
    same = F.struct(*_compared(content)).eqNullSafe(F.col("_old"))
    repeats_itself = is_known & (F.struct(*ORDER) == F.col("_old_order"))
    split = (
        F.when(is_winner & ~is_known, "inserted")
        .when((is_winner | repeats_itself) & same, "unchanged")
        .when(is_winner | repeats_itself, "changed")
        .otherwise("superseded")
    )
    return joined.withColumns({"_split": split, "_write": is_winner | (repeats_itself & ~same)})


def _compared(content: Sequence[str]) -> list[Any]:
    without_fx = F.array_remove(F.col("quality_flags"), "fx_suspect").alias("quality_flags")
    return [without_fx if name == "quality_flags" else F.col(name) for name in content]


def restate_months(new: DataFrame, kept: DataFrame | None, keys: Sequence[str], share: float) -> DataFrame:
    """Return the new invoices and the known ones whose fx_suspect they change.

    The median of a month moves with each of its invoices, so the months that an invoice enters or leaves are judged anew.
    """
    if kept is None:
        return billing.with_fx_suspect(new, share)
    left = kept.join(new.select(*keys), list(keys), "left_semi").select("month")
    months = F.broadcast(new.select("month").union(left).distinct())
    staying = kept.join(new.select(*keys), list(keys), "left_anti").join(months, "month", "left_semi")
    told = new.withColumn("_is_new", F.lit(True)).withColumn("_was", F.lit(None).cast("boolean"))
    others = staying.withColumn("_is_new", F.lit(False)).withColumn("_was", F.col("fx_suspect"))
    judged = billing.with_fx_suspect(told.unionByName(others.select(*told.columns)), share)
    return judged.where("_is_new OR _was <> fx_suspect").select(*new.columns)
