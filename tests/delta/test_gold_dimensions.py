"""The calendar and the regions."""

from __future__ import annotations

from datetime import date
from typing import Any

from cloudlake.batch.gold import dimensions
from cloudlake.common.config import load_config
from hand_made import table
from pyspark.sql import SparkSession


def calendar_of(spark: SparkSession, tickets: list[tuple[Any, ...]], months: list[tuple[Any, ...]]) -> Any:
    return dimensions.dim_date(
        table(spark, "usage_date date", []),
        table(spark, "month date", months),
        table(spark, "created_at timestamp, resolved_at timestamp", tickets),
        table(spark, "touched_at timestamp", []),
        table(spark, "survey_date date", [(None,)]),
        **load_config().registry["gold.dim_date"].parameters,
    )


def test_the_calendar_spans_whole_years_of_facts_and_knows_the_holidays(spark: SparkSession) -> None:
    slip = ("0202-07-01T00:00:00Z", "9999-12-31T00:00:00Z")
    rows = calendar_of(spark, [("2024-12-31T23:59:59Z", None), slip], [("2025-07-01",)]).collect()
    found = {row["date"]: row.asDict() for row in rows}
    assert len(rows) == len(found) == 366 + 365
    assert (min(found), max(found)) == (date(2024, 1, 1), date(2025, 12, 31))
    assert found[date(2024, 12, 29)] == {
        "date": date(2024, 12, 29), "year": 2024, "quarter": 4, "month": date(2024, 12, 1), "month_number": 12,
        "month_name": "December", "week_start": date(2024, 12, 23), "iso_year": 2024, "iso_week": 52, "day_of_month": 29,
        "day_of_year": 364, "day_of_week": 7, "day_name": "Sunday", "is_weekend": True, "is_month_end": False,
        "is_holiday": False, "holiday_name": None,
    }  # fmt: skip
    silvester, fourth = found[date(2024, 12, 31)], found[date(2025, 7, 4)]
    assert (silvester["iso_year"], silvester["iso_week"], silvester["day_of_week"]) == (2025, 1, 2)
    assert silvester["is_month_end"] and not silvester["is_weekend"]
    assert (fourth["is_holiday"], fourth["holiday_name"]) == (True, "Independence Day")


def test_without_facts_there_is_no_calendar(spark: SparkSession) -> None:
    assert calendar_of(spark, [], []).collect() == []


def test_a_region_that_nobody_declared_shows_without_attributes(spark: SparkSession) -> None:
    declared = load_config().registry["gold.dim_region"].parameters
    resources = table(spark, "region string", [("us-east",), ("mars-north",), ("us-east",), (None,)])
    found = {row["region"]: row.asDict() for row in dimensions.dim_region(resources, **declared).collect()}
    assert set(found) == {*declared["regions"], "mars-north"}
    assert found["us-east"] == {"region": "us-east", **declared["regions"]["us-east"]}
    assert set(found["mars-north"].values()) == {"mars-north", None}


def test_each_region_of_the_platform_is_declared() -> None:
    registry = load_config().registry
    assert set(registry["gold.dim_region"].parameters["regions"]) == set(registry.domains["region"].values)
