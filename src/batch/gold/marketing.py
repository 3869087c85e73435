"""Marts of marketing: what touches led to."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from .definitions import month_of, quotient


def marketing_effectiveness(touches: DataFrame, revenue: DataFrame, *, lookback_months: int) -> DataFrame:
    """One row for each month of touch, campaign and channel, with the revenue that its conversions are credited with.

    `revenue` has one row for each org_id and month; `influenced_revenue_usd` credits all of it where the organisation
    converted in that month or one of the `lookback_months` before.
    """
    is_conversion = F.coalesce("converted", F.lit(False))
    is_click = F.coalesce("clicked", F.lit(False))
    rows = touches.withColumns(
        {"month": month_of("touched_at"), "_is_click": is_click, "_is_conversion": is_conversion}
    )
    credited = _credits(rows.where("_is_conversion"), revenue, lookback_months)
    touched, clicks, conversions = F.count(F.lit(1)), F.count_if("_is_click"), F.count_if("_is_conversion")
    return (
        rows.join(credited, "touch_id", "left")
        .groupBy("month", "campaign", "channel")
        .agg(
            touched.alias("touches"),
            F.count_distinct("org_id").alias("orgs"),
            clicks.alias("clicks"),
            conversions.alias("conversions"),
            (clicks / touched).alias("click_rate"),
            (conversions / touched).alias("conversion_rate"),
            F.count_if(F.col("_is_conversion") & ~F.col("_is_click")).alias("conversions_without_click"),
            F.coalesce(F.sum("credit_usd"), F.lit(0)).alias("influenced_revenue_usd"),
        )
    )


def _credits(conversions: DataFrame, revenue: DataFrame, lookback_months: int) -> DataFrame:
    """What each converting touch is credited with: `credit_usd` for each touch_id.

    The revenue of an organisation and month is split equally over its conversions of that month and the
    `lookback_months` before. A share is rounded to 6 places; the smallest touch_id takes what that leaves or lacks, so
    the shares add up.
    """
    months = F.sequence("month", F.add_months("month", lookback_months), F.expr("INTERVAL 1 MONTH"))
    reached = conversions.select("touch_id", "org_id", F.explode(months).alias("month"))
    by_month = Window.partitionBy("org_id", "month")
    share = quotient(F.col("revenue_usd"), F.col("_touches"))
    first = F.col("revenue_usd") - share * (F.col("_touches") - 1)
    return (
        reached.join(revenue.select("org_id", "month", "revenue_usd"), ["org_id", "month"])
        .withColumns({"_touches": F.count(F.lit(1)).over(by_month), "_first": F.min("touch_id").over(by_month)})
        .withColumn("credit_usd", F.when(F.col("touch_id") == F.col("_first"), first).otherwise(share))
        .groupBy("touch_id")
        .agg(F.sum("credit_usd").alias("credit_usd"))
    )
