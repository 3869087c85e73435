"""The served answer: gold at its load_id L, plus the increments after L.

The law: each commit of serving.org_daily_usage names S = max(L, the newest load_id whose increments are committed),
and equals gold rebuilt from the silver rows with load_id ≤ S. A reader takes L first, then the increments, so what a
micro-batch adds in between is counted once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.config import Config
from ..common.lake import Lake
from ..common.runs import StepResult
from ..common.schemas import spark_schema
from ..common.session import Sessions
from ..common.usage import sum_measures
from .publish import published

BATCH_VIEW = "gold.org_daily_usage_by_service"
SPEED_VIEW = "speed.usage_increments"
SERVED = "serving.org_daily_usage"
KEYS = ("org_id", "usage_date", "service")


def org_daily_usage(gold: DataFrame, increments: DataFrame) -> DataFrame:
    """Add the speed view to the batch view.

    Args:
        gold: gold.org_daily_usage_by_service at load_id L.
        increments: rows of speed.usage_increments with load_id > L.

    Returns:
        One row for each org_id, usage_date and service: the measures, and `speed_events`, those of the increments.
    """
    day = F.to_date("bucket_start").alias("usage_date")
    speed = (
        increments.groupBy("org_id", day, "service").agg(*sum_measures()).withColumn("speed_events", F.col("events"))
    )
    batch = gold.withColumn("speed_events", F.lit(0).cast("bigint"))
    both = batch.unionByName(speed)
    return both.groupBy(*KEYS).agg(*sum_measures(), F.sum("speed_events").alias("speed_events"))


def read_views(spark: SparkSession, config: Config) -> tuple[DataFrame, DataFrame, int]:
    """Return the published batch view, the increments after its load_id, and S."""
    lake = config.lake
    for name in (BATCH_VIEW, SPEED_VIEW):
        lake.create(config.registry[name])
    publication = published(lake)
    load_id = publication.load_id(BATCH_VIEW)
    version = publication.version(BATCH_VIEW)
    gold = lake.read(spark, BATCH_VIEW, version or 0)
    pinned = lake.version(SPEED_VIEW)
    increments = lake.read(spark, SPEED_VIEW, pinned).where(F.col("load_id") > load_id)
    return gold, increments, max(load_id, _newest_increment(lake, pinned))


def _newest_increment(lake: Lake, version: int | None = None) -> int:
    return int(lake.last_note(SPEED_VIEW, version).get("load_id", 0))


def serve(sessions: Sessions, config: Config, run_id: str) -> StepResult:
    """Bring serving.org_daily_usage to the newest S by one upsert; a no-op where S and the publication are unchanged."""
    lake = config.lake
    table = config.registry[SERVED]
    lake.create(table)
    publication = published(lake)
    wanted = {"load_id": publication.load_id(BATCH_VIEW), "version": publication.version(BATCH_VIEW)}
    found = lake.last_note(SERVED)
    if found and all(found.get(k) == v for k, v in wanted.items()) and found["served"] >= _newest_increment(lake):
        return StepResult(skipped=True, message="nothing new")
    spark = sessions()
    gold, increments, served = read_views(spark, config)
    schema = spark_schema(table)
    answer = org_daily_usage(gold, increments)
    answer = answer.select(*(F.col(n).cast(schema[n].dataType).alias(n) for n in table.column_names)).persist()
    note = {**wanted, "served": served, "run_id": run_id}
    try:
        rows = answer.count()
        if lake.version(SERVED) == 0:
            lake.append(answer.coalesce(1), SERVED, note=note)
            changed = rows
        else:
            changed = _upsert(spark, lake, answer, note)
    finally:
        answer.unpersist()
    return StepResult(rows_in=rows, rows_out=changed, message=f"served up to load_id {served}")


def _upsert(spark: SparkSession, lake: Lake, answer: DataFrame, note: Mapping[str, Any]) -> int:
    """Write the rows that differ from the table; what the answer no longer holds is deleted, all in one commit."""
    kept = lake.read(spark, SERVED)
    differing = answer.exceptAll(kept).persist()
    try:
        changed = differing.count()
        gone = kept.join(answer, list(KEYS), "left_anti").limit(1).count()
        source = answer if gone else differing
        lake.merge(spark, source, SERVED, KEYS, note=note, delete_missing=bool(gone))
    finally:
        differing.unpersist()
    return changed
