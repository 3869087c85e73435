"""Recency, frequency and monetary value, the segment they make, and the segments compared."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from .definitions import growth_pct, last_days, quotient, share_pct

NAMES = ("Lost", "At Risk", "New", "Champions", "Loyal", "High Value", "Potential")


@dataclass(frozen=True)
class Rfm:
    """The thresholds and windows; `recency_days` are the most days without usage for the scores 5, 4, 3 and 2."""

    recency_days: list[int]
    frequency_days: int
    billing_months: int
    at_risk_recency: int
    at_risk_change_pct: float
    new_days: int
    high: int


def rfm_measures(rules: Rfm) -> dict[str, Column]:
    """What is needed of the facts (customer_facts), beside the net costs."""
    in_window = last_days(F.col("usage_date"), rules.frequency_days, F.col("date"))
    trusted = F.when((F.col("months_back") <= rules.billing_months) & ~F.col("is_suspect"), F.col("revenue_usd"))
    return {
        "last_usage_date": F.max("usage_date"),
        "frequency": F.coalesce(F.sum(F.when(in_window, F.col("services"))), F.lit(0)),
        "monetary": quotient(F.sum(trusted), F.count(trusted)),
    }


def with_segment(customers: DataFrame, rules: Rfm) -> DataFrame:
    """Add recency_days, r, f, m, rfm_score, cost_change_pct and segment. Grain: date, org_id.

    The scores f and m compare the customers of one date.
    """
    change = growth_pct(F.col("recent_net_cost_usd"), F.col("previous_net_cost_usd"))
    scored = customers.withColumns(
        {
            "recency_days": F.date_diff("date", "last_usage_date"),
            "cost_change_pct": change,
            "f": quintile("frequency"),
            "m": F.when(F.col("monetary").isNull(), 1).otherwise(quintile("monetary")),
        }
    ).withColumn("r", _recency_score(rules))
    return scored.withColumns({"rfm_score": F.expr("r + f + m"), "segment": _segment(rules)})


def quintile(value: str) -> Column:
    """Return 5 × the share of the date's customers whose value is no better, rounded up; NULL is the worst value."""
    all_of_date = Window.partitionBy("date")
    no_better = F.count(F.lit(1)).over(all_of_date.orderBy(F.col(value).asc_nulls_first()))
    return F.ceil(5 * no_better / F.count(F.lit(1)).over(all_of_date)).cast("int")


def _recency_score(rules: Rfm) -> Column:
    score = F.lit(1)
    for points, limit in sorted(zip((5, 4, 3, 2), rules.recency_days, strict=True)):
        score = F.when(F.col("recency_days") <= limit, points).otherwise(score)
    return score


def _segment(rules: Rfm) -> Column:
    is_falling = F.coalesce(F.col("cost_change_pct") <= rules.at_risk_change_pct, F.lit(False))
    conditions = (
        F.col("r") == 1,
        (F.col("r") <= rules.at_risk_recency) | is_falling,
        last_days(F.col("signup_date"), rules.new_days, F.col("date")),
        (F.col("f") >= rules.high) & (F.col("m") >= rules.high),
        F.col("f") >= rules.high,
        F.col("m") >= rules.high,
        F.lit(True),
    )
    return F.coalesce(*(F.when(fits, name) for fits, name in zip(conditions, NAMES, strict=True)))


def customer_segments(rfm: DataFrame, health: DataFrame, summary: DataFrame) -> DataFrame:
    """One row for each segment with customers: their number, their revenue of all months, and their mean scores."""
    rows = rfm.join(health.select("org_id", "health_score"), "org_id", "left")
    rows = rows.join(summary.select("org_id", "revenue_usd"), "org_id", "left")
    segments = rows.groupBy("segment").agg(
        F.count(F.lit(1)).alias("orgs"),
        F.coalesce(F.sum("revenue_usd"), F.lit(0)).alias("revenue_usd"),
        *(F.mean(score).alias(f"mean_{score}") for score in "rfm"),
        (F.sum("health_score").cast("double") / F.count("health_score")).alias("mean_health"),
    )
    everyone = Window.partitionBy()
    return segments.withColumns(
        {
            "org_share_pct": share_pct(F.col("orgs"), F.sum("orgs").over(everyone)),
            "revenue_share_pct": share_pct(F.col("revenue_usd"), F.sum("revenue_usd").over(everyone)),
        }
    )
