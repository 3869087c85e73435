"""Segments: quintiles with ties and gaps, the order of the rules, and the segments compared."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from cloudlake.batch.gold import segments
from cloudlake.common.config import load_config
from pyspark.sql import SparkSession

RULES = segments.Rfm(**load_config().registry["gold.customer_rfm"].parameters["rfm"])
A = date(2025, 8, 31)
KNOWN = (
    "org_id string, date date, last_usage_date date, frequency bigint, monetary decimal(28,6), "
    "recent_net_cost_usd decimal(28,6), previous_net_cost_usd decimal(28,6), signup_date date"
)


def known(
    org_id: str,
    frequency: int,
    monetary: float | None,
    *,
    day: date = A,
    idle: int | None = 0,
    costs: tuple[float, float] = (100, 100),
    signup: date | None = None,
) -> tuple[Any, ...]:
    money = None if monetary is None else Decimal(str(monetary))
    last = None if idle is None else day - timedelta(days=idle)
    return org_id, day, last, frequency, money, *(Decimal(str(cost)) for cost in costs), signup


def test_scores_compare_the_customers_of_a_date_and_the_first_rule_that_fits_names_the_segment(
    spark: SparkSession,
) -> None:
    ties, alone = date(2025, 8, 3), date(2025, 8, 10)
    rows = [
        # Ten customers: frequency and monetary k give k ÷ 2, rounded up.
        known("champion", 10, 10, idle=1),
        known("loyal", 9, 1, idle=2),
        known("high value", 1, 9, idle=7, signup=A - timedelta(days=30)),
        known("potential", 2, 2),
        known("falling", 8, 8, costs=(75, 100)),
        known("idle", 7, 7, idle=8, signup=A),
        known("lost", 3, 3, idle=31),
        known("new", 4, 4, signup=A - timedelta(days=29)),
        known("steady", 5, 5, costs=(75.01, 100), signup=A + timedelta(days=1)),
        known("never used", 6, 6, idle=None, costs=(0, 0)),
        # Equal values are equal, and NULL is worse than any.
        known("null", 1, None, day=ties),
        known("minus", 1, -1, day=ties),
        known("equal", 2, 5, day=ties),
        known("equal too", 2, 5, day=ties, idle=14),
        known("best", 3, 5, day=ties, idle=30),
        known("alone", 0, None, day=alone),
    ]
    found = {row["org_id"]: row for row in segments.with_segment(spark.createDataFrame(rows, KNOWN), RULES).collect()}
    assert {org: row["segment"] for org, row in found.items() if row["date"] == A} == {
        "champion": "Champions", "loyal": "Loyal", "high value": "High Value", "potential": "Potential",
        "falling": "At Risk", "idle": "At Risk", "lost": "Lost", "new": "New", "steady": "Potential", "never used": "Lost",
    }  # fmt: skip
    scores = {org: (row["r"], row["f"], row["m"], row["rfm_score"]) for org, row in found.items()}
    assert scores["champion"] == (5, 5, 5, 15) and scores["loyal"] == (4, 5, 1, 10)
    assert scores["high value"] == (4, 1, 5, 10) and scores["idle"] == (3, 4, 4, 11)
    assert scores["lost"] == (1, 2, 2, 5) and scores["never used"] == (1, 3, 3, 7)
    assert [scores[org][:3] for org in ("null", "minus", "equal", "equal too", "best")] == [
        (5, 2, 1), (5, 2, 2), (5, 4, 5), (3, 4, 5), (2, 5, 5),
    ]  # fmt: skip
    assert scores["alone"] == (5, 5, 1, 11)
    assert (found["falling"]["cost_change_pct"], found["never used"]["cost_change_pct"]) == (-25.0, None)
    assert (found["lost"]["recency_days"], found["never used"]["recency_days"]) == (31, None)


def test_segments_share_customers_and_revenue(spark: SparkSession) -> None:
    rfm = spark.createDataFrame(
        [("a", "Loyal", 5, 4, 1), ("b", "Loyal", 4, 5, 2), ("c", "Lost", 1, 1, 1), ("d", "Lost", 1, 1, 1)],
        "org_id string, segment string, r int, f int, m int",
    )
    health = spark.createDataFrame(
        [("a", Decimal("80.5")), ("b", None), ("c", None), ("d", None)], "org_id string, health_score decimal(10,2)"
    )
    summary = spark.createDataFrame(
        [("a", Decimal(60)), ("b", Decimal(60)), ("c", Decimal(-20)), ("d", Decimal(0))],
        "org_id string, revenue_usd decimal(28,6)",
    )
    found = {row["segment"]: row for row in segments.customer_segments(rfm, health, summary).collect()}
    loyal, lost = found["Loyal"], found["Lost"]
    assert (loyal["orgs"], loyal["org_share_pct"], loyal["revenue_usd"], loyal["revenue_share_pct"]) == (
        2, 50.0, 120, 120.0,
    )  # fmt: skip
    assert (loyal["mean_r"], loyal["mean_f"], loyal["mean_m"], loyal["mean_health"]) == (4.5, 4.5, 1.5, 80.5)
    assert (lost["revenue_share_pct"], lost["mean_health"]) == (-20.0, None)
