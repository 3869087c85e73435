"""Marts of unusual cost: a day against its own past, an event against its like."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from .definitions import exact, median, month_of, nearest_rank, once

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
    before = Window.partitionBy("org_id", "service").orderBy("usage_date").rowsBetween(-newest_rows, -1)
    past = F.collect_list(F.struct("usage_date", "cost_usd")).over(before)
    window_start = F.date_sub("usage_date", window_days)
    baseline = F.filter(past, lambda day: day["usage_date"] >= window_start)["cost_usd"]
    rows = daily.select(*KEY, "cost_usd", baseline.alias("_baseline"))
    rows = rows.withColumn("baseline_days", F.size("_baseline"))
    is_enough = F.col("baseline_days") >= least_rows
    # Exploding one element ends the expression here: what follows uses the result, and does not reckon it again.
    normal = F.when(is_enough, once(F.sort_array("_baseline"), lambda costs: _normal(costs, mad_floor_usd)))
    rows = rows.select(*KEY, "cost_usd", "baseline_days", F.explode(F.array(normal)).alias("_normal"))
    rows = rows.select(*KEY, "cost_usd", "baseline_days", "_normal.*")
    impact = F.col("cost_usd") - F.col("expected_usd")
    is_anomaly = (
        (exact(mad_factor) * impact > exact(mad_limit) * F.col("mad_usd"))
        & (impact >= exact(least_impact_usd))
        & (impact >= exact(least_impact_ratio) * F.col("expected_usd"))
    )
    rows = rows.withColumns(
        {
            "impact_usd": impact,
            "is_anomaly": F.coalesce(is_anomaly, F.lit(False)),
            "mad_score": (exact(mad_factor) * impact).cast("double") / F.col("mad_usd").cast("double"),
            "z_score": (impact.cast("double") - F.col("mean")) / F.nullif("deviation", F.lit(0.0)),
            "above_p99": F.col("cost_usd") > F.col("p99"),
        }
    )
    anomalies = rows.where("is_anomaly").select(*KEY, F.col("cost_usd").alias("_cost"))
    causes = _explained(events, anomalies, single_event_share, most_drivers)
    return rows.join(F.broadcast(causes), [*KEY], "left")


def _normal(costs: Column, mad_floor_usd: float) -> Column:
    """Return what an ascending baseline lets expect: `expected_usd`, `mad_usd`, `p99`, `mean` and sample `deviation`.

    The mean is counted from expected_usd. The exact differences from that let equal costs deviate by 0, not nearly 0.
    """

    def spread(expected: Column) -> Column:
        differences = F.transform(costs, lambda cost: cost - expected)
        distances = F.sort_array(F.transform(differences, F.abs))
        return F.struct(
            expected.alias("expected_usd"),
            F.greatest(median(distances), exact(mad_floor_usd)).cast("decimal(30,6)").alias("mad_usd"),
            nearest_rank(costs, 99).alias("p99"),
            F.transform(differences, lambda difference: difference.cast("double")).alias("differences"),
        )

    def moments(known: Column) -> Column:
        values, count, zero = known["differences"], F.size(known["differences"]), F.lit(0.0)

        def with_mean(mean: Column) -> Column:
            squares = F.aggregate(values, zero, lambda total, value: total + (value - mean) * (value - mean))
            deviation = F.sqrt(squares / F.nullif(count - 1, F.lit(0)))
            kept = [known[name].alias(name) for name in ("expected_usd", "mad_usd", "p99")]
            return F.struct(*kept, mean.alias("mean"), deviation.alias("deviation"))

        return once(F.aggregate(values, zero, lambda total, value: total + value) / count, with_mean)

    return once(once(median(costs).cast("decimal(28,6)"), spread), moments)


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
