"""Marts of unusual cost: a day against its own past, an event against its like."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from .definitions import exact, median, month_of, nearest_rank

KEY = ("org_id", "usage_date", "service")
NONE = "(none)"


def cost_anomalies(
    daily: DataFrame,
    events: DataFrame,
    *,
    window_days: int,
    newest_rows: int,
    least_rows: int,
    mad_factor: float,
    mad_limit: float,
    mad_floor_usd: float,
    least_impact_usd: float,
    least_impact_ratio: float,
    single_event_share: float,
    most_drivers: int,
) -> DataFrame:
    """One row for each org_id, usage_date and service of gold.org_daily_usage_by_service: its cost and the verdict.

    The row of date d depends on the rows of that organisation and service dated d − window_days … d, and, where it is
    an anomaly, on its own events (silver.usage_events of the same key). The measure is the median absolute deviation,
    which single extremes in the baseline do not move: see Iglewicz and Hoaglin, How to Detect and Handle Outliers.
    """
    rows = with_baseline(
        daily.select(*KEY, "cost_usd"),
        window_days=window_days,
        newest_rows=newest_rows,
        least_rows=least_rows,
        mad_floor_usd=mad_floor_usd,
    )
    impact = F.col("impact_usd")
    is_anomaly = (
        (exact(mad_factor) * impact > exact(mad_limit) * F.col("mad_usd"))
        & (impact >= exact(least_impact_usd))
        & (impact >= exact(least_impact_ratio) * F.col("expected_usd"))
    )
    rows = _with_deviation(rows).withColumns(
        {
            "is_anomaly": F.coalesce(is_anomaly, F.lit(False)),
            "mad_score": (exact(mad_factor) * impact).cast("double") / F.col("mad_usd").cast("double"),
            "z_score": (impact.cast("double") - F.col("_mean")) / F.nullif("_deviation", F.lit(0.0)),
            "above_p99": F.col("cost_usd") > nearest_rank(F.col("_baseline"), 99),
        }
    )
    anomalies = rows.where("is_anomaly").select(*KEY, F.col("cost_usd").alias("_cost"))
    causes = _explained(events, anomalies, single_event_share, most_drivers)
    return rows.join(F.broadcast(causes), [*KEY], "left")


def with_baseline(
    daily: DataFrame, *, window_days: int, newest_rows: int, least_rows: int, mad_floor_usd: float
) -> DataFrame:
    """Add what the past lets expect: `baseline_days`, `expected_usd`, `mad_usd`, `impact_usd`, and `_baseline`.

    The baseline, ascending, is the newest `newest_rows` costs of the organisation and service among the `window_days`
    dates before; with fewer than `least_rows` all but `baseline_days` is NULL.
    """
    before = Window.partitionBy("org_id", "service").orderBy("usage_date").rowsBetween(-newest_rows, -1)
    window_start = F.date_sub("usage_date", window_days)
    found = F.filter(
        F.collect_list(F.struct("usage_date", "cost_usd")).over(before), lambda day: day["usage_date"] >= window_start
    )
    is_enough = F.col("baseline_days") >= least_rows
    expected = F.col("expected_usd")
    return (
        daily.withColumn("_baseline", found["cost_usd"])
        .withColumn("baseline_days", F.size("_baseline"))
        .withColumn("_baseline", F.when(is_enough, F.sort_array("_baseline")))
        .withColumn("expected_usd", median(F.col("_baseline")).cast("decimal(28,6)"))
        .withColumn("_differences", F.transform("_baseline", lambda cost: cost - expected))
        .withColumn("_distances", F.sort_array(F.transform("_differences", F.abs)))
        .withColumn("_mad", median(F.col("_distances")))
        .withColumns(
            {
                # The greatest of NULL and the floor would be the floor.
                "mad_usd": F.when(is_enough, F.greatest("_mad", exact(mad_floor_usd))).cast("decimal(28,6)"),
                "impact_usd": (F.col("cost_usd") - expected).cast("decimal(28,6)"),
            }
        )
    )


def _with_deviation(rows: DataFrame) -> DataFrame:
    """Add `_mean` of the baseline, counted from its median, and `_deviation`, the sample deviation.

    The exact differences from the median make equal costs deviate by 0, not by nearly 0.
    """
    zero, count = F.lit(0.0), F.size("_values")
    rows = rows.withColumn("_values", F.transform("_differences", lambda value: value.cast("double")))
    rows = rows.withColumn("_mean", F.aggregate("_values", zero, lambda total, value: total + value) / count)
    mean = F.col("_mean")
    squares = F.aggregate("_values", zero, lambda total, value: total + (value - mean) * (value - mean))
    return rows.withColumn("_deviation", F.sqrt(squares / F.nullif(count - 1, F.lit(0))))


def _explained(events: DataFrame, anomalies: DataFrame, single_event_share: float, most_drivers: int) -> DataFrame:
    """One row for each anomaly: `cause`, `single_event_id` and `drivers`, from the events of its key."""
    dimensions = {
        "region": F.col("region"), "resource_id": F.coalesce("resource_id", F.lit(NONE)), "metric": F.col("metric")
    }  # fmt: skip
    named = F.array(
        *(F.struct(F.lit(name).alias("dimension"), value.alias("value")) for name, value in dimensions.items())
    )
    rows = events.join(F.broadcast(anomalies), [*KEY]).withColumn("_driver", F.explode(named))
    # Costs stand negated, so that the least struct is the most expensive, and of equal ones the first by name.
    dearest = F.min(F.struct((-F.col("cost_usd")).alias("minus_cost"), "event_id")).alias("_dearest")
    sums = rows.groupBy(*KEY, "_cost", "_driver").agg((-F.sum("cost_usd")).alias("minus_cost"), dearest)
    ordered = F.sort_array(F.collect_list(F.struct("minus_cost", "_driver.dimension", "_driver.value")))
    found = sums.groupBy(*KEY, "_cost").agg(F.min("_dearest").alias("_dearest"), ordered.alias("_drivers"))
    is_single = -F.col("_dearest.minus_cost") >= exact(single_event_share) * F.col("_cost")
    drivers = F.transform(
        F.slice("_drivers", 1, most_drivers),
        lambda driver: F.struct(
            driver["dimension"].alias("dimension"), driver["value"].alias("value"), (-driver["minus_cost"]).alias("cost_usd")
        ),
    )  # fmt: skip
    return found.select(
        *KEY,
        F.when(is_single, F.lit("single_event")).otherwise(F.lit("broad")).alias("cause"),
        F.when(is_single, F.col("_dearest.event_id")).alias("single_event_id"),
        drivers.alias("drivers"),
    )


def cost_spikes(events: DataFrame, *, median_ratio: float, least_excess_usd: float) -> DataFrame:
    """One row for each event that costs far more than the median of its month, service and metric.

    A row depends on the events of its month.
    """
    like = ("month", "service", "metric")
    dated = events.withColumn("month", month_of("usage_date"))
    costs = F.sort_array(F.collect_list("cost_usd"))
    medians = dated.groupBy(*like).agg(median(costs).cast("decimal(18,6)").alias("median_usd"))
    excess = F.col("cost_usd") - F.col("median_usd")
    is_spike = (F.col("cost_usd") > exact(median_ratio) * F.col("median_usd")) & (excess >= exact(least_excess_usd))
    spikes = dated.join(F.broadcast(medians), [*like]).where(is_spike)
    return spikes.withColumns({"excess_usd": excess, "source_file": F.col("_source_file")})
