"""Health: each component at its limits, what is missing, and contributions that add up to the score."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from cloudlake.batch.gold import health
from cloudlake.common.config import load_config
from pyspark.sql import SparkSession

PARAMETERS = load_config().registry["gold.customer_health"].parameters
A = date(2025, 8, 31)
KNOWN = (
    "org_id string, date date, data_since date, recent_net_cost_usd decimal(28,6), previous_net_cost_usd decimal(28,6), "
    "active_users bigint, recent_logins bigint, recent_tickets bigint, breaches bigint, severe_open bigint, "
    "ratings bigint, rating_sum bigint, relationship_score decimal(20,6), "
    "survey struct<survey_score: decimal(28,6), reported_score: decimal(20,6), survey_date: date>, "
    "months array<struct<billed_month: date, revenue_usd: decimal(28,6), is_suspect: boolean>>"
)


def known(
    org_id: str,
    *,
    costs: tuple[float, float] = (0, 0),
    since: int | None = 59,
    logins: tuple[int, int] = (0, 0),
    tickets: tuple[int, int, int] = (0, 0, 0),
    ratings: tuple[int, int] = (0, 0),
    relationship: str | None = None,
    survey: int | None = None,
    months: tuple[tuple[str, bool], ...] = (),
) -> tuple[Any, ...]:
    """What is known of a customer; `months` are (revenue, is_suspect), the newest first."""
    active, recent = logins
    billed = [
        (date(2025, 8 - back, 1), Decimal(revenue), is_suspect) for back, (revenue, is_suspect) in enumerate(months)
    ]
    return (
        org_id, A, None if since is None else A - timedelta(days=since), Decimal(str(costs[0])), Decimal(str(costs[1])),
        active, recent, *tickets, *ratings, None if relationship is None else Decimal(relationship),
        None if survey is None else (Decimal(10 * survey), Decimal(survey), date(2025, 8, 3)), billed,
    )  # fmt: skip


def test_contributions_explain_the_score_and_missing_components_leave_their_weight_to_the_others(
    spark: SparkSession,
) -> None:
    rows = [
        known("everything", costs=(150, 100), logins=(10, 3), tickets=(10, 1, 1), ratings=(4, 4), survey=9,
              relationship="-100", months=(("100", False), ("120", False), ("9", True), ("80", False), ("100", False), ("999", False))),
        known("nothing", since=None),
        known("clamped", costs=(-50, 100), logins=(10, 10), tickets=(1, 1, 3), ratings=(2, 3), relationship="99",
              months=(("-5", False), ("10", False))),
        known("rounded", costs=(100, 100), since=58, relationship="33.3", months=(("10", True), ("10", False))),
        known("middling", costs=(0, -5), logins=(10, 2), tickets=(2, 1, 0), survey=5, months=(("10", False),)),
        known("new", costs=(10, 0), months=(("10", False), ("-10", False))),
        known("free", months=(("0", False),)),
    ]  # fmt: skip
    rules = health.Health(**PARAMETERS["health"])
    scored = health.with_health(spark.createDataFrame(rows, KNOWN), PARAMETERS["cost_days"], rules)
    found = {row["org_id"]: row for row in scored.collect()}
    for row in found.values():
        parts = row["health_components"]
        assert [part["name"] for part in parts] == ["usage", "engagement", "support", "satisfaction", "billing"]
        assert [part["weight"] for part in parts] == [25, 20, 20, 20, 15]
        assert sum(part["contribution"] or 0 for part in parts) == row["health_score"]
        assert all((part["score"] is None) == (part["contribution"] is None) and part["why"] for part in parts)

    def told(org_id: str) -> list[tuple[float | None, float | None]]:
        parts = found[org_id]["health_components"]
        numbers = [(part["score"], part["contribution"]) for part in parts]
        return [tuple(None if n is None else float(n) for n in pair) for pair in numbers]  # type: ignore[misc]

    missing = (None, None)
    assert told("everything") == [(66.666667, 16.67), (75, 15), (80, 16), (90, 18), (100, 15)]
    assert told("nothing") == [missing, missing, (100, 100), missing, missing]
    assert told("clamped") == [(0, 0), (100, 20), (0, 0), (12.5, 2.5), (0, 0)]
    assert told("rounded") == [missing, missing, (100, 50), (66.65, 33.33), missing]
    assert told("middling") == [missing, (50, 16.67), (50, 16.67), (50, 16.67), missing]
    assert told("new") == [(100, 55.56), missing, (100, 44.44), missing, missing]
    # Billed nothing at all is judged, with or without a month to compare with.
    assert told("free") == [missing, missing, (100, 57.14), missing, (0, 0)]
    assert {org: (float(row["health_score"]), row["health_band"]) for org, row in found.items()} == {
        "everything": (80.67, "healthy"), "nothing": (100, "healthy"), "clamped": (22.5, "at_risk"),
        "rounded": (83.33, "healthy"), "middling": (50.01, "watch"), "new": (100, "healthy"),
        "free": (57.14, "watch"),
    }  # fmt: skip
    assert [part["why"] for part in found["everything"]["health_components"]] == [
        "net cost of 150.00 USD in the last 30 days, 100.00 USD in the 30 before",
        "3 of 10 active users logged in within 30 days; 40 % are enough",
        "1 of 10 tickets of 90 days in breach; 1 high or critical open",
        "survey of 2025-08-03: 9",
        "2025-08: revenue of 100.00 USD, mean of 3 months before 100.00 USD",
    ]
    assert [part["why"] for part in found["nothing"]["health_components"]] == [
        "fewer than 60 days of usage are known",
        "no active users",
        "0 of 0 tickets of 90 days in breach; 0 high or critical open",
        "no scored survey, no rated ticket in 90 days, no relationship score",
        "never billed",
    ]
    assert found["clamped"]["health_components"][3]["why"] == "mean of 2 rated tickets in 90 days: 1.50 of 5"
    assert found["rounded"]["health_components"][3]["why"] == "relationship score 33.3"
    assert found["rounded"]["health_components"][4]["why"] == "2025-08 has a suspect exchange rate"
    assert found["middling"]["health_components"][0]["why"] == "no net cost in 60 days"
