"""Marts of usage: what was used, by whom, when and where."""

from __future__ import annotations

from pyspark.sql import DataFrame

from ...common.usage import measures, sum_measures


def usage_daily(events: DataFrame) -> DataFrame:
    """One row for each usage_date, org_id, service and region: the measures of silver.usage_events."""
    return events.groupBy("usage_date", "org_id", "service", "region").agg(*measures())


def org_daily_usage_by_service(daily: DataFrame) -> DataFrame:
    """One row for each org_id, usage_date and service: gold.usage_daily over all regions."""
    return daily.groupBy("org_id", "usage_date", "service").agg(*sum_measures())
