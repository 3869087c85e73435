"""The marts on hand-made rows: no denominator, NULLs, the month before, the business date, customers without anything."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from cloudlake.batch.gold import GIVEN, customers, marts_of, revenue, support, usage_marts
from cloudlake.common.config import load_config
from cloudlake.common.settings.lake import Definitions
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def events(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    frame = spark.createDataFrame(
        rows,
        "usage_date string, org_id string, service string, region string, metric string, value string, cost string, "
        "carbon string, tokens bigint",
    )
    return frame.select(
        F.col("usage_date").cast("date").alias("usage_date"), "org_id", "service", "region", "metric",
        F.col("value").cast("decimal(20,6)").alias("value"), F.col("cost").cast("decimal(18,6)").alias("cost_usd"),
        F.col("carbon").cast("decimal(20,9)").alias("carbon_kg"), F.col("tokens").alias("genai_tokens"),
    )  # fmt: skip


def test_each_gold_contract_has_its_function_and_each_of_its_parameters_is_taken() -> None:
    registry = load_config().registry
    declared = {table.name: table for table in registry.layer("gold")}
    assert set(marts_of(registry)) == set(declared)
    assert set(Definitions.model_fields) <= GIVEN
    for name, mart in marts_of(registry).items():
        taken = mart.keywords - {"as_of"} - GIVEN
        assert taken == set(declared[name].parameters), name


def test_measures_are_zero_where_nothing_is_and_null_where_nothing_was_reported(spark: SparkSession) -> None:
    rows = events(
        spark,
        [
            ("2025-07-01", "o1", "genai", "us-east", "requests", "2", "1.5", "0.1", 100),
            ("2025-07-01", "o1", "genai", "us-east", "cpu_hours", "3", "0.25", None, None),
            ("2025-07-01", "o1", "genai", "us-east", "requests", None, "-0.01", "0", 0),
            ("2025-07-01", "o1", "storage", "us-east", "storage_gb_hours", "4", "1", None, None),
            ("2025-07-01", "o1", "genai", "eu-west", "requests", "1", "1", None, 5),
        ],
    )
    daily = usage_marts.usage_daily(rows).persist()
    found = {(row["service"], row["region"]): row.asDict() for row in daily.collect()}
    genai = found["genai", "us-east"]
    assert genai["events"] == 3 and genai["cost_usd"] == Decimal("1.74") and genai["events_without_value"] == 1
    assert (genai["requests"], genai["cpu_hours"], genai["storage_gb_hours"]) == (2, 3, 0)
    assert (genai["genai_tokens"], genai["carbon_kg"]) == (100, Decimal("0.1"))
    assert (genai["carbon_events"], genai["carbon_cost_usd"]) == (2, Decimal("1.49"))
    storage = found["storage", "us-east"]
    assert (storage["genai_tokens"], storage["carbon_kg"], storage["carbon_events"], storage["carbon_cost_usd"]) == (
        None,
        None,
        0,
        0,
    )

    by_service = {row["service"]: row for row in usage_marts.org_daily_usage_by_service(daily).collect()}
    assert by_service["genai"]["events"] == 4 and by_service["genai"]["genai_tokens"] == 105
    assert by_service["genai"]["carbon_kg"] == Decimal("0.1") and by_service["storage"]["carbon_kg"] is None
    daily.unpersist()


def invoices(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    frame = spark.createDataFrame(
        rows, "org_id string, month string, currency string, subtotal string, credits string, fx_suspect boolean"
    )
    amount = {name: F.col(name).cast("decimal(18,6)") for name in ("subtotal", "credits")}
    return frame.select(
        "org_id", F.col("month").cast("date").alias("month"), "currency", "fx_suspect",
        amount["subtotal"].alias("subtotal_usd"), amount["credits"].alias("credits_usd"), F.lit(Decimal("1.0")).cast("decimal(18,6)").alias("taxes_usd"),
        (amount["subtotal"] - amount["credits"]).cast("decimal(18,6)").alias("revenue_usd"),
        (amount["subtotal"] - amount["credits"] + 1).cast("decimal(18,6)").alias("invoiced_usd"),
        (F.col("subtotal") < 0).alias("is_credit_note"),
    )  # fmt: skip


def test_revenue_grows_over_the_calendar_month_before_and_only_over_trusted_ones(spark: SparkSession) -> None:
    rows = invoices(
        spark,
        [
            ("grows", "2025-06-01", "USD", "100", "0", False),
            ("grows", "2025-07-01", "EUR", "150", "30", False),
            ("grows", "2025-07-01", "USD", "30", "0", False),
            ("gap", "2025-05-01", "USD", "100", "0", False),
            ("gap", "2025-07-01", "USD", "100", "0", False),
            ("credit note", "2025-06-01", "USD", "-50", "0", False),
            ("credit note", "2025-07-01", "USD", "100", "0", False),
            ("suspect", "2025-06-01", "ARS", "1", "0", True),
            ("suspect", "2025-07-01", "USD", "100", "0", False),
            ("suspect", "2025-08-01", "ARS", "1", "0", True),
        ],
    )
    found = {(row["org_id"], row["month"].month): row for row in revenue.revenue_by_org_month(rows).collect()}
    grows = found["grows", 7]
    assert (grows["invoices"], grows["credit_notes"], grows["currencies"]) == (2, 0, ["EUR", "USD"])
    assert (grows["subtotal_usd"], grows["credits_usd"], grows["revenue_usd"], grows["invoiced_usd"]) == (
        180,
        30,
        150,
        152,
    )
    assert abs(grows["credit_ratio"] - 30 / 180) < 1e-12 and abs(grows["mom_growth_pct"] - 50.0) < 1e-9
    assert found["grows", 6]["mom_growth_pct"] is None
    assert found["gap", 7]["mom_growth_pct"] is None
    assert found["credit note", 7]["mom_growth_pct"] is None
    assert found["credit note", 6]["credit_ratio"] is None and found["credit note", 6]["credit_notes"] == 1
    assert found["suspect", 7]["mom_growth_pct"] is None and found["suspect", 8]["mom_growth_pct"] is None
    assert found["suspect", 8]["has_fx_suspect"] is True


def test_a_ticket_counts_as_resolved_only_by_the_business_date(spark: SparkSession) -> None:
    def at(day: int) -> datetime:
        return datetime(2025, 7, day, 12, tzinfo=UTC)

    rows = spark.createDataFrame(
        [
            ("o1", "high", at(1), at(2), Decimal("24"), 5, True),
            ("o1", "high", at(1), at(3), Decimal("48"), 4, False),
            ("o1", "high", at(1), at(9), Decimal("192"), None, None),
            ("o1", "high", at(1), None, None, 3, False),
            ("o1", None, at(3), None, None, None, False),
            ("o1", "low", at(4), None, None, None, False),
        ],
        "org_id string, severity string, created_at timestamp, resolved_at timestamp, resolution_hours decimal(20,6), csat int, sla_breached boolean",
    )
    found = {row["severity"]: row for row in support.tickets_by_org_date(rows, as_of=date(2025, 7, 3)).collect()}
    assert set(found) == {"high", None}, "created after the business date is outside"
    high = found["high"]
    assert (high["tickets"], high["resolved"], high["open"], high["sla_breached"], high["sla_breach_rate"]) == (
        4,
        2,
        2,
        1,
        0.25,
    )
    assert high["avg_csat"] == 4.0 and high["avg_resolution_hours"] == Decimal("36")
    nothing = found[None]
    assert (nothing["avg_csat"], nothing["avg_resolution_hours"], nothing["resolved"]) == (None, None, 0)


def test_a_customer_without_anything_has_zeros_and_nulls_and_a_customer_who_left_no_row(spark: SparkSession) -> None:
    organisations = spark.createDataFrame(
        [("full", True, False), ("empty", True, False), ("left", False, False), ("deleted", True, True)],
        "org_id string, is_current boolean, is_deleted boolean",
    ).withColumns({name: F.lit("x") for name in ("org_name", "industry", "plan_tier", "lifecycle_stage")})
    usage = spark.createDataFrame(
        [
            ("full", date(2025, 7, 1), Decimal("1.5")),
            ("full", date(2025, 7, 3), Decimal("2")),
            ("left", date(2025, 7, 1), Decimal("9")),
        ],
        "org_id string, usage_date date, cost_usd decimal(28,6)",
    )
    revenues = spark.createDataFrame(
        [("full", Decimal("10")), ("full", Decimal("5"))], "org_id string, revenue_usd decimal(28,6)"
    )
    resources = spark.createDataFrame(
        [
            ("full", "running", True),
            ("full", "running", True),
            ("full", "stopped", True),
            ("full", "terminated", False),
            ("full", None, True),
        ],
        "org_id string, state string, is_current boolean",
    ).withColumn("is_deleted", F.lit(False))
    users = spark.createDataFrame(
        [("full", True, True), ("full", False, True), ("full", True, False)],
        "org_id string, active boolean, is_current boolean",
    )
    users = users.withColumn("is_deleted", F.lit(False))
    tickets = spark.createDataFrame(
        [("full", "critical", 2, 1), ("full", "low", 1, 1), ("full", None, 1, 1)],
        "org_id string, severity string, tickets bigint, open bigint",
    )
    surveys = spark.createDataFrame(
        [
            ("full", date(2025, 6, 1), Decimal("9")),
            ("full", date(2025, 7, 1), Decimal("-20")),
            ("full", date(2025, 8, 1), None),
        ],
        "org_id string, survey_date date, nps_score_reported decimal(20,6)",
    )
    found = {
        row["org_id"]: row.asDict()
        for row in customers.customer_summary(
            organisations, usage, revenues, resources, users, tickets, surveys
        ).collect()
    }
    assert set(found) == {"full", "empty"}
    full, empty = found["full"], found["empty"]
    assert full["usage_cost_usd"] == Decimal("3.5") and full["revenue_usd"] == 15
    assert full["resources_by_state"] == {"running": 2, "stopped": 1}
    assert (full["users"], full["active_users"], full["tickets"], full["open_critical_tickets"]) == (2, 1, 4, 1)
    assert (full["last_nps"], full["mean_nps"]) == (Decimal("-20"), -5.5)
    assert (full["first_usage_date"], full["last_usage_date"]) == (date(2025, 7, 1), date(2025, 7, 3))
    assert [
        empty[n] for n in ("usage_cost_usd", "revenue_usd", "users", "active_users", "tickets", "open_critical_tickets")
    ] == [0] * 6
    assert (
        empty["resources_by_state"] == {}
        and [empty[n] for n in ("last_nps", "mean_nps", "first_usage_date")] == [None] * 3
    )
