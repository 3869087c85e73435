"""Marts of how usage moves from period to period.

Cost grows or shrinks by the day: a period counts by its cost per covered date, a date between the first usage_date of
the platform and the business date. A period's measures hold all of its facts, those after the business date too; its
cost per day does not. Because of the first usage_date, each row depends on all rows of the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from ...common.usage import sum_measures
from .definitions import growth_pct, month_of, quotient, share_pct

ALL = "ALL"
_COST_COVERED = "_cost_covered"


def usage_trends(daily: DataFrame, *, as_of: date, day_growth_dates: int) -> DataFrame:
    """One row for each period_type, period_start, service or ALL, and region or ALL, with rows in gold.usage_daily.

    A day grows over the mean of the `day_growth_dates` dates before it, all of them covered; any other period over
    the one before.
    """
    dates = daily.groupBy("usage_date", "service", "region").agg(*sum_measures(wide=True))
    day = F.col("usage_date")
    starts = {"day": day, "week": F.trunc(day, "week"), "month": month_of(day), "quarter": F.trunc(day, "quarter")}
    slices = [
        F.struct(F.lit(kind).alias("period_type"), start.alias("period_start"), service.alias("service"), region.alias("region"))
        for kind, start in starts.items()
        for service in (F.col("service"), F.lit(ALL))
        for region in (F.col("region"), F.lit(ALL))
    ]  # fmt: skip
    keys = ("period_type", "period_start", "service", "region")
    sliced = dates.withColumn("_slice", F.explode(F.array(*slices)))
    rows = sliced.groupBy(*(F.col(f"_slice.{key}").alias(key) for key in keys)).agg(
        *sum_measures(wide=True), _cost_until(as_of)
    )
    start = F.col("period_start")
    is_day = F.col("period_type") == "day"
    ends = {"week": F.date_add(start, 6), "month": F.last_day(start), "quarter": F.date_sub(F.add_months(start, 3), 1)}
    before = {"week": F.date_sub(start, 7), "month": F.add_months(start, -1), "quarter": F.add_months(start, -3)}
    rows = _covered(rows, _first_date(daily), start, _by_period_type(ends, start), as_of)
    series = ("period_type", "service", "region")
    growth = _growth_over_preceding(series, start, _by_period_type(before, F.date_sub(start, 1)))
    dates_before = Window.partitionBy(*series).orderBy(F.unix_date(start)).rangeBetween(-day_growth_dates, -1)
    is_comparable = (F.date_sub(start, day_growth_dates) >= F.col("_first_date")) & (F.col("covered_days") > 0)
    day_growth = growth_pct(F.col(_COST_COVERED) * day_growth_dates, F.sum(_COST_COVERED).over(dates_before))
    return rows.withColumn("growth_pct", F.when(~is_day, growth).when(is_comparable, day_growth))


def service_performance(daily: DataFrame, *, as_of: date, tiers: Mapping[str, float]) -> DataFrame:
    """One row for each month and service of gold.org_daily_usage_by_service: cost, share, rank, growth and tier.

    `tiers` gives the least growth, in %, of each tier but `low`; `top` and `strong` lie above it.
    """
    start = F.col("month")
    rows = daily.groupBy(month_of("usage_date").alias("month"), "service").agg(
        F.sum("cost_usd").alias("cost_usd"),
        F.sum("events").alias("events"),
        F.count_distinct("org_id").alias("active_orgs"),
        _cost_until(as_of),
    )
    rows = _covered(rows, _first_date(daily), start, F.last_day(start), as_of)
    month = Window.partitionBy("month")
    rows = rows.withColumns(
        {
            "cost_share_pct": share_pct(F.col("cost_usd"), F.sum("cost_usd").over(month)),
            "cost_rank": F.rank().over(month.orderBy(F.desc("cost_usd"))),
            "growth_pct": _growth_over_preceding(("service",), start, F.add_months(start, -1)),
        }
    )
    growth = F.col("growth_pct")
    tier = (
        F.when(growth > tiers["top"], F.lit("top"))
        .when(growth > tiers["strong"], F.lit("strong"))
        .when(growth >= tiers["average"], F.lit("average"))
        .when(growth >= tiers["under"], F.lit("under"))
        .when(growth.isNotNull(), F.lit("low"))
    )
    return rows.withColumn("tier", tier)


def _by_period_type(values: Mapping[str, Column], day: Column) -> Column:
    chosen = F.when(F.col("period_type") == "day", day)
    for kind, value in values.items():
        chosen = chosen.when(F.col("period_type") == kind, value)
    return chosen


def _cost_until(as_of: date) -> Column:
    """Return the sum of the cost of the covered dates."""
    until = F.when(F.col("usage_date") <= F.lit(as_of), F.col("cost_usd"))
    return F.coalesce(F.sum(until), F.lit(0)).alias(_COST_COVERED)


def _first_date(daily: DataFrame) -> DataFrame:
    return daily.agg(F.min("usage_date").alias("_first_date"))


def _covered(rows: DataFrame, first_date: DataFrame, start: Column, end: Column, as_of: date) -> DataFrame:
    """Add `covered_days`, `is_partial` and `cost_per_day` to rows of periods with their covered cost."""
    first, last = F.greatest(start, F.col("_first_date")), F.least(end, F.lit(as_of))
    days = F.greatest(F.date_diff(last, first) + 1, F.lit(0))
    rows = rows.crossJoin(F.broadcast(first_date)).withColumn("covered_days", days)
    return rows.withColumns(
        {
            "is_partial": F.col("covered_days") <= F.date_diff(end, start),
            "cost_per_day": quotient(F.col(_COST_COVERED), F.col("covered_days")),
        }
    )


def _growth_over_preceding(series: tuple[str, ...], start: Column, before: Column) -> Column:
    """Return the growth of the unrounded cost per day over that of the period that begins at `before`."""
    ordered = Window.partitionBy(*series).orderBy(F.unix_date(start))
    cost, days = F.col(_COST_COVERED), F.col("covered_days")
    cost_before, days_before = F.lag(cost).over(ordered), F.lag(days).over(ordered)
    is_comparable = (F.lag(start).over(ordered) == before) & (days > 0) & (days_before > 0)
    return F.when(is_comparable, growth_pct(cost * days_before, cost_before * days))
