"""Tickets and surveys by month: percentiles, the age of open tickets, and scores that are on no scale."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from cloudlake.batch.gold import support
from pyspark.sql import SparkSession


def at(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(2025, month, day, hour, tzinfo=UTC)


def test_tickets_by_month_know_nearest_rank_and_how_old_the_open_ones_are(spark: SparkSession) -> None:
    ten = [("billing", "low", at(7, 1), at(7, 2), Decimal(hours), None, False) for hours in range(10, 0, -1)]
    rows = [
        *ten,
        ("billing", "low", at(7, 1), at(9, 1), Decimal("999"), 5, True),  # resolved after the business date
        ("usability", None, at(8, 1, 23), at(8, 2), Decimal("1.5"), 4, None),
        ("usability", None, at(8, 1, 23), None, None, None, False),  # before the last 30 days
        ("usability", None, at(8, 2, 0), None, None, 1, False),  # the first of the last 30 days
        ("security", "high", at(8, 31, 23), None, None, None, True),
        ("security", "high", at(9, 1, 0), None, None, None, True),  # after the business date
    ]
    tickets = spark.createDataFrame(
        rows,
        "category string, severity string, created_at timestamp, resolved_at timestamp, "
        "resolution_hours decimal(20,6), csat int, sla_breached boolean",
    )
    found = {
        (row["month"].month, row["category"], row["severity"]): row
        for row in support.support_monthly(tickets, as_of=date(2025, 8, 31)).collect()
    }
    assert set(found) == {(7, "billing", "low"), (8, "usability", None), (8, "security", "high")}
    july = found[7, "billing", "low"]
    assert (july["tickets"], july["resolved"], july["open"], july["open_over_30d"]) == (11, 10, 1, 1)
    assert (july["p50_resolution_hours"], july["p90_resolution_hours"]) == (5, 9)
    assert (july["avg_resolution_hours"], july["avg_csat"], july["sla_breach_rate"]) == (Decimal("5.5"), 5.0, 1 / 11)
    august = found[8, "usability", None]
    assert (august["tickets"], august["open"], august["open_over_30d"], august["sla_breached"]) == (3, 2, 1, 0)
    assert (august["p50_resolution_hours"], august["p90_resolution_hours"]) == (Decimal("1.5"), Decimal("1.5"))
    security = found[8, "security", "high"]
    assert (security["tickets"], security["open_over_30d"], security["sla_breach_rate"]) == (1, 0, 1.0)
    assert (security["p50_resolution_hours"], security["avg_csat"], security["avg_resolution_hours"]) == (None,) * 3


def test_a_month_of_surveys_has_a_score_only_where_enough_are_on_the_scale(spark: SparkSession) -> None:
    def survey(month: int, day: int, reported: str | None) -> tuple[object, ...]:
        score = Decimal(reported) if reported is not None else None
        in_scale = score is not None and 0 <= score <= 10 and score == int(score)
        category = ("promoter" if score >= 9 else "passive" if score >= 7 else "detractor") if in_scale else None
        return date(2025, month, day), int(score) if in_scale else None, score, category

    ten = ["10", "9", "9", "9", "9", "8", "7", "6", "0", "3"]
    rows = [survey(6, day + 1, score) for day, score in enumerate(ten)]
    rows += [survey(7, day + 1, score) for day, score in enumerate(ten[:9])]
    rows += [survey(8, 1, "-40"), survey(8, 2, "7.5"), survey(8, 31, None)]
    rows += [survey(9, 1, None)]
    surveys = spark.createDataFrame(
        rows, "survey_date date, nps_score int, nps_score_reported decimal(20,6), nps_category string"
    )
    found = {row["month"].month: row for row in support.nps_by_month(surveys, min_scored=10).collect()}
    june, july, august, september = (found[month] for month in (6, 7, 8, 9))
    assert (june["promoters"], june["passives"], june["detractors"], june["nps"]) == (5, 2, 3, 20.0)
    assert (june["scored"], june["out_of_scale"], june["mean_reported"], june["median_reported"]) == (10, 0, 7.0, 8.5)
    assert (july["scored"], july["nps"], july["median_reported"]) == (9, None, 9)
    assert (august["surveys"], august["scored"], august["out_of_scale"], august["nps"]) == (3, 0, 2, None)
    assert (august["mean_reported"], august["median_reported"]) == (-16.25, Decimal("-16.25"))
    assert (september["surveys"], september["out_of_scale"]) == (1, 0)
    assert (september["mean_reported"], september["median_reported"]) == (None, None)
