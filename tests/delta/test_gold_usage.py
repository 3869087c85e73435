"""The marts of usage on hand-made rows: hours, resources, tokens, carbon, trends and services."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from cloudlake.batch.gold import definitions, trends, usage_marts
from hand_made import table
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

TIERS = {"top": 10, "strong": 2, "average": -2, "under": -10}


def events(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    columns = (
        "event_time timestamp, org_id string, resource_id string, service string, region string, metric string, "
        "value decimal(20,6), cost_usd decimal(18,6), carbon_kg decimal(20,9), genai_tokens bigint"
    )
    return table(spark, columns, rows).withColumn("usage_date", F.to_date("event_time"))


def daily(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    frame = table(
        spark,
        "usage_date date, org_id string, service string, region string, cost_usd decimal(28,6)",
        rows,
    )
    counts = {name: F.lit(1).cast("bigint") for name in ("events", "carbon_events", "events_without_value")}
    quantities = {name: F.lit(0).cast("decimal(30,6)") for name in ("requests", "cpu_hours", "storage_gb_hours")}
    unreported = {"genai_tokens": F.lit(None).cast("bigint"), "carbon_kg": F.lit(None).cast("decimal(30,9)")}
    return frame.withColumns(counts | quantities | unreported | {"carbon_cost_usd": F.col("cost_usd")})


def test_a_quotient_is_rounded_once_and_half_away_from_zero(spark: SparkSession) -> None:
    rows = table(
        spark,
        "a decimal(28,6), b decimal(28,6), expected decimal(28,6)",
        [
            ("1", "3", "0.333333"),
            ("2", "3", "0.666667"),
            ("0.000001", "2", "0.000001"),
            ("-0.000001", "2", "-0.000001"),
            ("0.000001", "-2", "-0.000001"),
            ("0.000001", "3", "0"),
            ("0", "-5", "0"),
            # 0.49999999999950… millionths: rounded to fewer places first, it would come out as one millionth.
            ("499999.999999", "1000000000000", "0"),
            ("500000", "1000000000000", "0.000001"),
            ("123456789012345.678901", "0.5", "246913578024691.357802"),
            ("9999999999999999.999999", "0.999999", "10000010000010000.009999"),
            ("999999999999999999999.999999", "999999999999999999999.999998", "1"),
            ("1", "0", None),
            ("1", None, None),
            (None, "1", None),
        ],
    )
    for row in rows.withColumn("found", definitions.quotient(F.col("a"), F.col("b"))).collect():
        assert row["found"] == row["expected"], row


def test_an_hour_and_a_resource_have_the_usage_that_names_them(spark: SparkSession) -> None:
    rows = events(
        spark,
        [
            ("2025-07-01T00:00:00Z", "o1", "r1", "compute", "us-east", "requests", "2", "1.5", None, None),
            ("2025-07-01T00:59:59.999999Z", "o1", None, "compute", "us-east", "requests", "3", "0.5", None, None),
            ("2025-07-01T01:00:00Z", "o1", "r1", "compute", "us-east", "cpu_hours", None, "1", None, None),
        ],
    )
    hours = {row["usage_hour"]: row for row in usage_marts.usage_hourly(rows).collect()}
    first, second = hours[datetime(2025, 7, 1, 0)], hours[datetime(2025, 7, 1, 1)]
    assert len(hours) == 2 and (first["events"], first["cost_usd"], first["requests"]) == (2, 2, 5)
    assert (second["events"], second["cost_usd"], second["events_without_value"]) == (1, 1, 1)
    found = {row["resource_id"]: row for row in usage_marts.resource_daily_usage(rows).collect()}
    assert (found["r1"]["events"], found["r1"]["cost_usd"]) == (2, Decimal("2.5"))
    assert found["r1"]["last_used_at"] == datetime(2025, 7, 1, 1)
    assert (found[None]["events"], found[None]["cost_usd"]) == (1, Decimal("0.5"))


def test_tokens_have_a_price_only_where_some_were_reported(spark: SparkSession) -> None:
    rows = events(
        spark,
        [
            ("2025-07-01T10:00:00Z", "o1", None, "genai", "us-east", "requests", "2", "1.5", None, 700),
            ("2025-07-01T11:00:00Z", "o1", None, "genai", "us-east", "requests", "1", "0.1", None, 0),
            ("2025-07-01T11:00:00Z", "o1", None, "genai", "us-east", "cpu_hours", "1", "9", None, None),
            ("2025-07-01T11:00:00Z", "o1", None, "compute", "us-east", "requests", "1", "5", None, 50),
            ("2025-07-02T11:00:00Z", "o1", None, "genai", "us-east", "cpu_hours", "1", "9", None, None),
            ("2025-07-03T11:00:00Z", "o1", None, "genai", "us-east", "requests", "1", "9", None, 0),
        ],
    )
    kept = ("genai_tokens", "requests", "cost_usd", "token_cost_usd", "cost_per_1k_tokens")
    found = {
        row["usage_date"].day: [row[k] for k in kept] for row in usage_marts.genai_tokens_by_org_date(rows).collect()
    }
    assert found == {
        1: [700, 3, Decimal("10.6"), Decimal("1.6"), Decimal("2.285714")],
        2: [None, 0, 9, 0, None],
        3: [0, 1, 9, 9, None],
    }


def test_carbon_is_measured_against_the_cost_that_reports_it(spark: SparkSession) -> None:
    columns = (
        "usage_date date, org_id string, service string, region string, carbon_kg decimal(30,9), events bigint, "
        "carbon_events bigint, carbon_cost_usd decimal(28,6)"
    )
    rows = table(
        spark,
        columns,
        [
            ("2025-07-01", "o1", "compute", "us-east", "0.5", 3, 1, "2"),
            ("2025-07-31", "o1", "compute", "us-east", None, 1, 0, "0"),
            ("2025-08-01", "o1", "compute", "us-east", None, 1, 0, "0"),
            ("2025-09-01", "o1", "compute", "us-east", "0.1", 1, 1, "0"),
            ("2025-10-01", "o1", "compute", "us-east", "0.000000002", 1, 1, "3"),
            ("2025-11-01", "o1", "compute", "us-east", "0.000000003", 1, 1, "2"),
        ],
    )
    others = {
        name: F.lit(0) for name in ("cost_usd", "requests", "cpu_hours", "storage_gb_hours", "genai_tokens", "events_without_value")
    }  # fmt: skip
    kept = ("carbon_kg", "events", "carbon_events", "carbon_cost_usd", "coverage_pct", "carbon_kg_per_usd")
    found = usage_marts.carbon_footprint(rows.withColumns(others)).collect()
    assert {row["month"].month: [row[k] for k in kept] for row in found} == {
        7: [Decimal("0.5"), 4, 1, 2, 25.0, Decimal("0.25")],
        8: [None, 1, 0, 0, 0.0, None],
        9: [Decimal("0.1"), 1, 1, 0, 100.0, None],
        10: [Decimal("0.000000002"), 1, 1, 3, 100.0, Decimal("0.000000001")],
        11: [Decimal("0.000000003"), 1, 1, 2, 100.0, Decimal("0.000000002")],
    }


def test_a_trend_grows_by_its_cost_per_covered_date(spark: SparkSession) -> None:
    days = [date.fromordinal(date(2025, 6, 25).toordinal() + n) for n in range(16)]
    rows = [(day, "o1", "compute", "us-east", "10") for day in days]
    rows += [("2025-07-05", "o2", "genai", "eu-west", "7"), ("2025-07-10", "o1", "genai", "eu-west", "14")]
    rows += [("2025-07-11", "o1", "compute", "us-east", "100"), ("2025-07-20", "o1", "compute", "us-east", "5")]
    mart = trends.usage_trends(daily(spark, rows), as_of=date(2025, 7, 10), day_growth_dates=7)
    found = {}
    for row in mart.collect():
        key = (row["period_type"], row["period_start"], row["service"], row["region"])
        assert key not in found
        found[key] = tuple(row[k] for k in ("cost_usd", "covered_days", "cost_per_day", "growth_pct", "is_partial"))

    def of(kind: str, start: str, service: str = "compute", region: str = "us-east") -> tuple[Any, ...]:
        return found[kind, date.fromisoformat(start), service, region]

    assert of("day", "2025-07-01") == (10, 1, 10, None, False), "one of the seven dates before is not covered"
    assert of("day", "2025-07-02") == (10, 1, 10, 0.0, False)
    assert of("day", "2025-07-05", "genai", "eu-west") == (7, 1, 7, None, False), "nothing came before"
    assert of("day", "2025-07-10", "genai", "eu-west") == (14, 1, 14, 1300.0, False), "absent dates count 0"
    assert of("day", "2025-07-11") == (100, 0, None, None, True), "after the business date"
    assert of("week", "2025-06-23") == (50, 5, 10, None, True), "the first period"
    assert of("week", "2025-06-30") == (70, 7, 10, 0.0, False)
    assert of("week", "2025-07-07") == (140, 4, 10, 0.0, True), "what lies after the business date is no growth"
    assert of("week", "2025-07-07", "genai", "eu-west") == (14, 4, Decimal("3.5"), 250.0, True)
    assert of("week", "2025-07-14") == (5, 0, None, None, True)
    assert of("month", "2025-06-01") == (60, 6, 10, None, True)
    assert of("month", "2025-07-01") == (205, 10, 10, 0.0, True)
    assert of("month", "2025-07-01", "genai", "eu-west") == (21, 10, Decimal("2.1"), None, True), "no month before"
    assert of("quarter", "2025-07-01", "ALL", "ALL")[:3] == (226, 10, Decimal("12.1"))
    assert of("quarter", "2025-07-01", "ALL", "ALL")[3] == 21.0
    on_the_tenth = {key[2:] for key in found if key[:2] == ("day", date(2025, 7, 10))}
    assert on_the_tenth == {
        ("compute", "us-east"), ("genai", "eu-west"), ("compute", "ALL"), ("genai", "ALL"), ("ALL", "us-east"),
        ("ALL", "eu-west"), ("ALL", "ALL"),
    }  # fmt: skip
    assert of("day", "2025-07-10", "ALL", "ALL")[0] == 24


def test_a_service_has_share_rank_and_tier_among_all_of_its_month(spark: SparkSession) -> None:
    # 100 a day in June, then so much a day in July.
    july = {"first": "110.01", "second": "110", "third": "102.01", "fourth": "102", "fifth": "98", "sixth": "97.9",
            "seventh": "90", "eighth": "89.9"}  # fmt: skip
    rows: list[tuple[Any, ...]] = [("2025-06-01", "o1", service, "x", "3000") for service in july]
    rows += [("2025-07-31", "o1", service, "x", str(Decimal(cost) * 31)) for service, cost in july.items()]
    rows += [("2025-07-01", "o2", "fourth", "x", "0"), ("2025-07-01", "o2", "new", "x", "3038")]
    rows += [("2025-06-01", "o1", "credited", "x", "-1"), ("2025-07-01", "o1", "credited", "x", "1")]
    rows += [("2025-08-01", "o1", "first", "x", "0")]
    mart = trends.service_performance(daily(spark, rows), as_of=date(2025, 7, 31), tiers=TIERS)
    found = {(row["month"].month, row["service"]): row for row in mart.collect()}
    assert {service: found[7, service]["tier"] for service in july} == {
        "first": "top", "second": "strong", "third": "strong", "fourth": "average", "fifth": "average", "sixth": "under",
        "seventh": "under", "eighth": "low",
    }  # fmt: skip
    assert [found[key]["growth_pct"] for key in ((6, "first"), (7, "new"), (7, "credited"), (8, "first"))] == [None] * 4
    assert found[7, "new"]["tier"] is None and found[7, "second"]["growth_pct"] == 10.0
    assert (found[7, "fourth"]["active_orgs"], found[7, "fourth"]["events"]) == (2, 2)
    assert [found[7, service]["cost_rank"] for service in ("first", "fifth", "new", "sixth")] == [1, 5, 5, 7]
    total = sum(found[7, service]["cost_usd"] for service in (*july, "new", "credited"))
    assert abs(found[7, "first"]["cost_share_pct"] - float(100 * Decimal("110.01") * 31 / total)) < 1e-9
    june, august = found[6, "first"], found[8, "first"]
    assert (june["covered_days"], june["is_partial"], june["cost_per_day"]) == (30, False, 100)
    assert (august["covered_days"], august["is_partial"], august["cost_per_day"]) == (0, True, None)
    assert august["cost_share_pct"] is None


def test_a_service_that_was_absent_for_a_month_has_no_growth(spark: SparkSession) -> None:
    rows: list[tuple[Any, ...]] = [
        (day, "o1", "seldom", "x", "31") for day in ("2025-06-01", "2025-08-01", "2025-09-01")
    ]
    rows += [("2025-07-01", "o1", "always", "x", "1")]
    mart = trends.service_performance(daily(spark, rows), as_of=date(2025, 9, 30), tiers=TIERS)
    growth = {
        row["month"].month: (row["growth_pct"], row["tier"]) for row in mart.collect() if row["service"] == "seldom"
    }
    assert (growth[6], growth[8]) == ((None, None), (None, None))
    assert growth[9][0] == pytest.approx(100 / 30) and growth[9][1] == "strong"
