"""Records → silver: upsert by key; the newest delivery wins, in whatever order deliveries arrive."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from ...common.config import Config
from ...common.contracts.schemas import spark_schema
from ...common.contracts.table import Table
from ..bronze.deliveries import ORDER, Delivery
from .subjects import SUBJECTS, Subject, given


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
    subject = SUBJECTS.get(table.name, Subject())
    content = [n for n in table.column_names if n not in (*ORDER, *subject.follows)]
    split = classify(ranked, kept, keys, content, subject.follows).persist()
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
        if subject.restate:
            new = given(subject.restate, new, kept, keys, definitions=config.settings.definitions.model_dump())
        note = {"run_id": run_id, "deliveries": [delivery.id for delivery in deliveries]}
        if kept is None:
            config.lake.append(new.coalesce(1), table.name, note=note)
        else:
            config.lake.merge(spark, new, table.name, keys, note=note)
    finally:
        split.unpersist()


def classify(
    ranked: DataFrame, kept: DataFrame | None, keys: Sequence[str], content: Sequence[str], follows: Sequence[str] = ()
) -> DataFrame:
    """Tell for each accepted row whether it is inserted, changed, unchanged or superseded, and whether to write it.

    Args:
        ranked: accepted rows with `_rank` 1 for the newest of each key.
        kept: the table as it is, None where it is empty.
        content: the columns that make a row another one.
        follows: flags that follow from other rows and make no row another one.
    """
    if kept is None:
        first = F.col("_rank") == 1
        return ranked.withColumns({"_split": F.when(first, "inserted").otherwise("superseded"), "_write": first})
    old = kept.select(*keys, F.struct(*_compared(content, follows)).alias("_old"), F.struct(*ORDER).alias("_old_order"))
    joined = ranked.join(old, list(keys), "left")
    is_known = F.col("_old_order").isNotNull()
    is_newer = F.struct(*ORDER) > F.col("_old_order")
    is_winner = (F.col("_rank") == 1) & (~is_known | is_newer)
    same = F.struct(*_compared(content, follows)).eqNullSafe(F.col("_old"))
    repeats_itself = is_known & (F.struct(*ORDER) == F.col("_old_order"))
    split = (
        F.when(is_winner & ~is_known, "inserted")
        .when((is_winner | repeats_itself) & same, "unchanged")
        .when(is_winner | repeats_itself, "changed")
        .otherwise("superseded")
    )
    return joined.withColumns({"_split": split, "_write": is_winner | (repeats_itself & ~same)})


def _compared(content: Sequence[str], follows: Sequence[str]) -> list[Column]:
    own = F.array_except("quality_flags", F.array(*map(F.lit, follows)).cast("array<string>")).alias("quality_flags")
    return [own if name == "quality_flags" and follows else F.col(name) for name in content]
