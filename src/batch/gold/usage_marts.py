"""Marts of usage: what was used, by whom, when and where.

Each row of a mart here depends on the rows of its input of the same hour, date or month alone.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ...common.usage import measures, sum_measures
from .definitions import month_of, quotient, share_pct


def usage_hourly(events: DataFrame) -> DataFrame:
    """One row for each usage_hour, org_id, service and region: the measures of silver.usage_events."""
    hour = F.date_trunc("hour", "event_time").alias("usage_hour")
    return events.groupBy(hour, "usage_date", "org_id", "service", "region").agg(*measures(wide=True))


def usage_daily(events: DataFrame) -> DataFrame:
    """One row for each usage_date, org_id, service and region: the measures of silver.usage_events."""
    return events.groupBy("usage_date", "org_id", "service", "region").agg(*measures(wide=True))


def org_daily_usage_by_service(daily: DataFrame) -> DataFrame:
    """One row for each org_id, usage_date and service: gold.usage_daily over all regions."""
    return daily.groupBy("org_id", "usage_date", "service").agg(*sum_measures(wide=True))


def resource_daily_usage(events: DataFrame) -> DataFrame:
    """One row for each usage_date, resource_id (NULL too), org_id, service and region, as the events name them."""
    return events.groupBy("usage_date", "resource_id", "org_id", "service", "region").agg(
        F.count(F.lit(1)).alias("events"),
        F.sum("cost_usd").alias("cost_usd"),
        F.max("event_time").alias("last_used_at"),
    )


def genai_tokens_by_org_date(events: DataFrame) -> DataFrame:
    """One row for each org_id and usage_date with events of service genai: tokens, and what a thousand of them cost.

    The price counts the events that reported tokens, and is NULL where they add up to none.
    """
    kept = ("genai_tokens", "requests", "cost_usd")
    rows = events.where("service = 'genai'").withColumn(
        "token_cost_usd", F.when(F.col("genai_tokens").isNotNull(), F.col("cost_usd")).otherwise(F.lit(0))
    )
    token_cost = F.sum("token_cost_usd").alias("token_cost_usd")
    days = rows.groupBy("org_id", "usage_date").agg(*measures(wide=True), token_cost)
    price = quotient(F.col("token_cost_usd") * 1000, F.col("genai_tokens"))
    return days.select("org_id", "usage_date", *kept, "token_cost_usd", price.alias("cost_per_1k_tokens"))


def carbon_footprint(daily: DataFrame) -> DataFrame:
    """One row for each month, org_id, service and region: carbon, how many events report it, and how much for a dollar."""
    months = daily.groupBy(month_of("usage_date").alias("month"), "org_id", "service", "region").agg(
        *sum_measures(wide=True)
    )
    return months.withColumns(
        {
            "coverage_pct": share_pct(F.col("carbon_events"), F.col("events")),
            "carbon_kg_per_usd": quotient(F.col("carbon_kg"), F.col("carbon_cost_usd"), places=9),
        }
    )
