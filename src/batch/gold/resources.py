"""Marts of resources: what they cost, for whom, and which of them run for nothing."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from .definitions import IS_CURRENT, last_days, month_of

CONFLICT, NONE = "(conflict)", "(none)"


def cost_allocation(usage: DataFrame, resources: DataFrame) -> DataFrame:
    """One row for each month of gold.resource_daily_usage, tag key of a current resource, and value of that tag.

    Each key divides the whole cost of the month: what has no such tag is `(none)`, what has several values
    `(conflict)`. A month depends on the usage of that month and on all current resources.
    """
    tags = resources.where(IS_CURRENT).select("resource_id", F.explode("tags").alias("tag_key", "values"))
    value = F.when(F.size("values") > 1, F.lit(CONFLICT)).otherwise(F.get("values", F.lit(0)))
    tags = tags.select("resource_id", "tag_key", value.alias("tag_value"))
    months = usage.groupBy(month_of("usage_date").alias("month"), "resource_id").agg(
        F.sum("events").alias("events"), F.sum("cost_usd").alias("cost_usd")
    )
    each_key = months.crossJoin(F.broadcast(tags.select("tag_key").distinct()))
    tagged = each_key.join(tags, ["resource_id", "tag_key"], "left")
    return tagged.groupBy("month", "tag_key", F.coalesce("tag_value", F.lit(NONE)).alias("tag_value")).agg(
        F.sum("events").alias("events"), F.sum("cost_usd").alias("cost_usd")
    )


def resource_utilization(resources: DataFrame, usage: DataFrame, *, as_of: date, idle_days: int) -> DataFrame:
    """One row for each current resource: its use in the windows that end with the business date.

    A row depends on that resource's rows of gold.resource_daily_usage, under whatever organisation they stand.
    """

    def within(days: int, value: str) -> Column:
        is_within = last_days(F.col("usage_date"), days, F.lit(as_of))
        return F.sum(F.when(is_within, F.col(value)))

    used = usage.groupBy("resource_id").agg(
        within(30, "events").alias("events_30d"),
        within(idle_days, "events").alias("_events_till_idle"),
        within(7, "cost_usd").alias("_cost_7d"),
        within(30, "cost_usd").alias("cost_30d_usd"),
        F.max("last_used_at").alias("last_used_at"),
    )
    current = resources.where(IS_CURRENT).select("resource_id", "org_id", "service", "region", "state")
    is_running = F.coalesce(F.col("state") == "running", F.lit(False))
    is_inactive = F.coalesce(F.col("state") != "running", F.lit(False))
    zero = F.lit(0)
    return current.join(used, "resource_id", "left").withColumns(
        {
            "is_idle": is_running & (F.coalesce("_events_till_idle", zero) == 0),
            "events_30d": F.coalesce("events_30d", zero),
            "cost_30d_usd": F.coalesce("cost_30d_usd", zero),
            "inactive_cost_7d_usd": F.coalesce(F.when(is_inactive, F.col("_cost_7d")), zero),
            "inactive_cost_30d_usd": F.coalesce(F.when(is_inactive, F.col("cost_30d_usd")), zero),
        }
    )
