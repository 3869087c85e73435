"""Scores by date: what counts on a Sunday, and that the newest Sunday says what the marts of the day say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from cloudlake.batch.gold import scores
from cloudlake.common.config import load_config
from pyspark.sql import DataFrame, SparkSession

A = date(2025, 8, 31)
"""A Sunday."""


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2025, month, day, hour, tzinfo=UTC)


def inputs(spark: SparkSession) -> dict[str, DataFrame]:
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    versions = "effective_from timestamp, effective_to timestamp, is_current boolean, is_deleted boolean"
    organisations = [
        ("old", date(2025, 1, 1), Decimal(50), long_ago, None, True, False),
        # Gone at the end of Sunday the 17th, back on Monday the 18th at 00:00, signed up anew.
        ("back", date(2025, 1, 1), None, long_ago, at(8, 17), False, False),
        ("back", date(2025, 8, 18), None, at(8, 18), None, True, False),
    ]
    users = [
        ("old", True, at(8, 1), long_ago, at(8, 18), False, False),
        ("old", True, at(8, 29), at(8, 18), None, True, False),
        ("old", True, at(7, 1), long_ago, None, True, False),
    ]
    costs: list[tuple[Any, ...]] = []
    for back in range(60):
        day = A - timedelta(days=back)
        costs.append(("old", day, "compute", Decimal(10), None, False))
    costs += [
        ("old", date(2025, 8, 20), "genai", Decimal(1000), Decimal(10), True),  # an anomaly counts as expected
        ("back", date(2025, 8, 5), "compute", Decimal(1), None, False),
        ("nobody knows", date(2025, 7, 1), "compute", Decimal(1), None, False),
        ("old", date(2025, 9, 1), "compute", Decimal(777), None, False),  # after the business date
    ]
    tickets = [
        ("old", "critical", at(8, 9), at(8, 20), 1, True),
        # Rated when it was resolved, and over 90 days old from the 18th on.
        ("old", "low", at(5, 20), at(8, 9), 4, True),
        # Rated after the business date: nobody knew of it.
        ("back", "low", at(8, 3), at(9, 1), 5, False),
        ("old", "low", at(8, 25), None, 2, False),
        ("old", "critical", at(9, 1), None, 1, True),
    ]
    surveys = [
        ("old", date(2025, 8, 12), 9, Decimal(9)),
        ("old", date(2025, 8, 13), None, Decimal(-40)),
        ("old", date(2025, 9, 1), 0, Decimal(0)),
    ]
    revenue = [
        ("old", date(2025, 6, 1), Decimal(300), False),
        ("old", date(2025, 7, 1), Decimal(1), True),
        ("old", date(2025, 8, 1), Decimal(150), False),
        ("back", date(2025, 5, 1), Decimal(70), False),
        ("back", date(2025, 8, 1), Decimal("0.1"), True),
        ("old", date(2025, 9, 1), Decimal(9000), False),
    ]
    return {
        "organisations": spark.createDataFrame(
            organisations, f"org_id string, signup_date date, nps_score decimal(20,6), {versions}"
        ),
        "users": spark.createDataFrame(users, f"org_id string, active boolean, last_login timestamp, {versions}"),
        "costs": spark.createDataFrame(
            costs,
            "org_id string, usage_date date, service string, cost_usd decimal(28,6), expected_usd decimal(28,6), is_anomaly boolean",
        ),
        "tickets": spark.createDataFrame(
            tickets,
            "org_id string, severity string, created_at timestamp, resolved_at timestamp, csat int, sla_breached boolean",
        ),
        "surveys": spark.createDataFrame(
            surveys, "org_id string, survey_date date, nps_score int, nps_score_reported decimal(20,6)"
        ),
        "revenue": spark.createDataFrame(
            revenue, "org_id string, month date, revenue_usd decimal(28,6), has_fx_suspect boolean"
        ),
    }


def test_history_says_on_each_sunday_what_was_known_at_its_end(spark: SparkSession) -> None:
    frames = inputs(spark)
    parameters = load_config().registry["gold.customer_history"].parameters
    of_the_day = {"as_of": A, "cost_days": parameters["cost_days"]}
    health = {"survey_scale": "0..10", "health": parameters["health"]}
    rules = of_the_day | health | {"rfm": parameters["rfm"]}
    rows = scores.customer_history(**frames, **rules, users_since=date(2025, 8, 3)).collect()
    history = {(row["org_id"], row["week_ending"]): row for row in rows}
    weeks = [date(2025, 7, 6) + timedelta(days=7 * week) for week in range(9)]
    assert {week for org, week in history if org == "old"} == set(weeks), "from the week of the first usage to A"
    assert {week for org, week in history if org == "back"} == set(weeks) - {date(2025, 8, 17)}
    assert len(history) == 17

    rfm_frames = {name: frames[name] for name in ("organisations", "costs", "revenue")}
    rfm = {
        row["org_id"]: row for row in scores.customer_rfm(**rfm_frames, **of_the_day, rfm=parameters["rfm"]).collect()
    }
    now = {row["org_id"]: row for row in scores.customer_health(**frames, **of_the_day, **health).collect()}
    assert set(rfm) == set(now) == {"old", "back"}
    for org in rfm:
        last = history[org, A]
        assert all(last[name] == rfm[org][name] for name in ("segment", "r", "f", "m"))
        assert all(last[name] == now[org][name] for name in ("health_score", "health_band", "health_components"))

    # At A: 61 pairs of date and service; the anomaly counts 10; July is suspect and May too old.
    old = rfm["old"]
    assert (old["recency_days"], old["frequency"], old["monetary"]) == (0, 61, 225)
    assert (old["recent_net_cost_usd"], old["previous_net_cost_usd"]) == (310, 300)
    back = rfm["back"]
    assert (back["recency_days"], back["frequency"], back["monetary"], back["m"]) == (26, 1, None, 1)
    assert (back["segment"], history["back", date(2025, 8, 10)]["segment"]) == ("At Risk", "Potential")

    def told(week: date) -> dict[str, tuple[Any, str]]:
        return {part["name"]: (part["score"], part["why"]) for part in history["old", week]["health_components"]}

    before, after, last = told(date(2025, 8, 10)), told(date(2025, 8, 24)), told(A)
    assert before["usage"][0] is None and last["usage"][0] == Decimal("51.612903")
    # The login of August 29 comes with a version of the 18th: until then the 1st was the last one.
    assert [told(week)["engagement"][1][:6] for week in (date(2025, 8, 3), date(2025, 8, 17), date(2025, 8, 24), A)] == [
        "1 of 2", "1 of 2", "0 of 2", "1 of 2",
    ]  # fmt: skip
    # Users were first told of on August 3, though their versions reach back to 1970.
    assert told(date(2025, 7, 27))["engagement"] == (None, "nothing was known of users yet")
    assert (before["support"][0], after["support"][0], last["support"][0]) == (0, 0, 50)
    assert before["support"][1].endswith("1 high or critical open")
    assert after["support"][1] == "1 of 1 tickets of 90 days in breach; 0 high or critical open"
    assert before["satisfaction"] == (75, "mean of 1 rated tickets in 90 days: 4.00 of 5")
    assert told(date(2025, 8, 3))["satisfaction"] == (75, "relationship score 50")
    assert after["satisfaction"] == (90, "survey of 2025-08-12: 9")
    assert (last["billing"][0], told(date(2025, 7, 27))["billing"]) == (
        50,
        (None, "2025-07 has a suspect exchange rate"),
    )


def test_surveys_may_be_on_the_other_scale_and_without_usage_there_is_no_history(spark: SparkSession) -> None:
    frames = inputs(spark)
    parameters = load_config().registry["gold.customer_history"].parameters
    of_the_day: dict[str, Any] = {"as_of": A, "survey_scale": "-100..100", "cost_days": parameters["cost_days"]}
    rows = scores.customer_health(**frames, **of_the_day, health=parameters["health"]).collect()
    components = {row["org_id"]: row["health_components"] for row in rows}
    assert (components["old"][3]["score"], components["old"][3]["why"]) == (30, "survey of 2025-08-13: -40")
    assert [part["score"] for part in components["back"]] == [100, None, 100, None, None]
    nothing = frames | {"costs": frames["costs"].limit(0)}
    rules = {"rfm": parameters["rfm"], "health": parameters["health"]}
    assert scores.customer_history(**nothing, **of_the_day, **rules, users_since=A).isEmpty()


def test_the_business_date_knows_the_users_though_they_were_told_of_later(spark: SparkSession) -> None:
    parameters = load_config().registry["gold.customer_history"].parameters
    rules = {name: parameters[name] for name in ("cost_days", "rfm", "health")}
    # As from one flat export, loaded long after the business date.
    rows = scores.customer_history(
        **inputs(spark), **rules, as_of=A, survey_scale="0..10", users_since=date(2026, 3, 1)
    ).collect()
    known = {row["week_ending"]: row["health_components"][1]["score"] for row in rows if row["org_id"] == "old"}
    assert [week for week, score in known.items() if score is not None] == [A]
