"""Room for numbers: the largest values that silver can hold go through every mart, and what has no room is named."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest
from cloudlake.batch.gold import (
    anomalies,
    customers,
    marketing,
    reconciliation,
    resources,
    revenue,
    scores,
    segments,
    support,
    trends,
    usage_marts,
)
from cloudlake.common.config import load_config
from cloudlake.common.contracts.arrow_room import arrow_in_declared_types
from cloudlake.common.contracts.room import in_declared_types, numbers_named
from cloudlake.common.contracts.schemas import arrow_schema
from cloudlake.common.contracts.table import Table
from cloudlake.common.errors import QualityGateError
from hand_made import table
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

REGISTRY = load_config().registry
A = date(2025, 8, 31)
COST, VALUE, CARBON = "999999999999.999999", "99999999999999.999999", "99999999999.999999999"
"""The most that silver's types hold."""
TOKENS = 10**15
SCORE = "99999999999999.999999"
EVENTS = (
    "event_id string, event_time timestamp, org_id string, resource_id string, service string, region string, "
    "metric string, value decimal(20,6), cost_usd decimal(18,6), carbon_kg decimal(20,9), genai_tokens bigint, "
    "_source_file string"
)


def mart(name: str, rows: DataFrame) -> DataFrame:
    """The mart as it is read again from the lake, so that nothing is computed twice."""
    return rows.sparkSession.createDataFrame(in_declared_types(rows, REGISTRY[f"gold.{name}"]).toArrow())


def parameters(name: str) -> dict[str, object]:
    return REGISTRY[f"gold.{name}"].parameters


def test_the_largest_values_of_silver_have_room_in_every_mart(spark: SparkSession) -> None:
    metrics = ("requests", "cpu_hours", "storage_gb_hours")
    days = [*(f"2025-08-{day:02}" for day in range(1, 32)), "2025-07-01", "2025-06-01"]
    lines = [
        (f"{day}-{org}-{n}", f"{day}T10:00:00Z", org, "r", "genai", "us-east", metrics[n], VALUE,
         COST if n or day == "2025-08-31" else "0.000001", CARBON, 1 if day == "2025-08-30" else TOKENS, "f")
        for day in days for org in "ab" for n in range(3)
    ]  # fmt: skip
    # Next to nothing beside a lot: the quotients are as large as they get.
    lines += [
        ("t", "2025-05-01T10:00:00Z", "c", None, "genai", "us-east", "requests", VALUE, "0.000001", CARBON, 1, "f")
    ]
    lines += [("u", "2025-05-02T10:00:00Z", "c", None, "genai", "us-east", "requests", VALUE, COST, None, 1, "f")]
    events = table(spark, EVENTS, lines).withColumn("usage_date", F.to_date("event_time")).cache()
    months = [f"2025-{month:02}-01" for month in (5, 6, 7, 8)]
    amounts = [(COST, COST, "-" + COST, COST, COST), ("0.000001", "0", "0", "0.000001", "0.000001")]
    bills = [
        (org, month, "USD", *amounts[(number + place) % 2], False, False)
        for place, org in enumerate("ab") for number, month in enumerate(months)
    ]  # fmt: skip
    money = "subtotal_usd decimal(18,6), credits_usd decimal(18,6), taxes_usd decimal(18,6), revenue_usd decimal(18,6), invoiced_usd decimal(18,6)"
    invoices = table(
        spark, f"org_id string, month date, currency string, {money}, is_credit_note boolean, fx_suspect boolean", bills
    )
    history = {"is_current": F.lit(True), "is_deleted": F.lit(False), "effective_to": F.lit(None).cast("timestamp"),
               "effective_from": F.lit("1970-01-01").cast("timestamp")}  # fmt: skip
    organisations = table(
        spark, "org_id string, org_name string, industry string, plan_tier string, lifecycle_stage string, signup_date date, nps_score decimal(20,6)",
        [(org, "n", "i", "free", "churned", "2025-01-01", "100") for org in "abc"],
    ).withColumns(history)  # fmt: skip
    users = table(
        spark,
        "org_id string, role string, active boolean, last_login timestamp",
        [("a", "admin", True, "2025-08-30T00:00:00Z")],
    )
    users = users.withColumns(history)
    tickets = table(
        spark, "org_id string, category string, severity string, created_at timestamp, resolved_at timestamp, resolution_hours decimal(20,6), csat int, sla_breached boolean",
        [("a", "bug", "high", "2025-08-01T00:00:00Z", "2025-08-02T00:00:00Z", SCORE, 5, True)] * 3,
    )  # fmt: skip
    surveys = table(spark, "org_id string, survey_date date, nps_score int, nps_score_reported decimal(20,6), nps_category string",
                    [("a", "2025-08-01", None, SCORE, None), ("a", "2025-08-02", None, SCORE, None), ("b", "2025-08-02", None, "-" + SCORE, None)])  # fmt: skip
    touches = table(spark, "touch_id string, org_id string, campaign string, channel string, touched_at timestamp, clicked boolean, converted boolean",
                    [(str(n), "a", "c", "d", "2025-07-01T00:00:00Z", True, True) for n in range(3)])  # fmt: skip
    masters = organisations.limit(1).select(
        F.lit("r").alias("resource_id"), "org_id", F.lit("genai").alias("service"), F.lit("us-east").alias("region"),
        F.lit("stopped").alias("state"), F.create_map(F.lit("k"), F.array(F.lit("v"))).alias("tags"), *history,
    )  # fmt: skip
    refused = spark.createDataFrame([], "payload string, reasons array<string>, status string")

    daily = mart("usage_daily", usage_marts.usage_daily(events))
    by_service = mart("org_daily_usage_by_service", usage_marts.org_daily_usage_by_service(daily))
    by_resource = mart("resource_daily_usage", usage_marts.resource_daily_usage(events))
    odd = mart("cost_anomalies", anomalies.cost_anomalies(by_service, events, **parameters("cost_anomalies")))  # type: ignore[arg-type]
    billed = mart("revenue_by_org_month", revenue.revenue_by_org_month(invoices))
    opened = mart("tickets_by_org_date", support.tickets_by_org_date(tickets, as_of=A))
    rules = {"as_of": A, "survey_scale": "-100..100"}
    rfm = mart("customer_rfm", scores.customer_rfm(organisations, odd, billed, as_of=A, **parameters("customer_rfm")))  # type: ignore[arg-type]
    facts = (organisations, users, odd, tickets, surveys, billed)
    healthy = mart("customer_health", scores.customer_health(*facts, **rules, **parameters("customer_health")))  # type: ignore[arg-type]
    summary = mart(
        "customer_summary", customers.customer_summary(organisations, daily, billed, masters, users, opened, surveys)
    )
    made = {
        "genai_tokens_by_org_date": usage_marts.genai_tokens_by_org_date(events),
        "carbon_footprint": usage_marts.carbon_footprint(daily),
        "usage_trends": trends.usage_trends(daily, as_of=A, **parameters("usage_trends")),  # type: ignore[arg-type]
        "service_performance": trends.service_performance(by_service, as_of=A, **parameters("service_performance")),  # type: ignore[arg-type]
        "cost_spikes": anomalies.cost_spikes(events, **parameters("cost_spikes")),  # type: ignore[arg-type]
        "cost_allocation": resources.cost_allocation(by_resource, masters),
        "resource_utilization": resources.resource_utilization(masters, by_resource, as_of=A, **parameters("resource_utilization")),  # type: ignore[arg-type]
        "revenue_monthly": revenue.revenue_monthly(invoices),
        "cost_billing_reconciliation": reconciliation.cost_billing_reconciliation(by_service, billed, refused, **parameters("cost_billing_reconciliation")),  # type: ignore[arg-type]
        "support_monthly": support.support_monthly(tickets, as_of=A),
        "nps_by_month": support.nps_by_month(surveys, **parameters("nps_by_month")),  # type: ignore[arg-type]
        "marketing_effectiveness": marketing.marketing_effectiveness(touches, billed, **parameters("marketing_effectiveness")),  # type: ignore[arg-type]
        "customer_segments": segments.customer_segments(rfm, healthy, summary),
        "customer_360": customers.customer_360(summary, rfm, healthy, daily, billed, opened, as_of=A),
    }  # fmt: skip
    found = {name: in_declared_types(rows, REGISTRY[f"gold.{name}"]).toArrow() for name, rows in made.items()}
    events.unpersist()
    assert all(rows.num_rows for rows in found.values())
    assert max(found["carbon_footprint"]["carbon_kg_per_usd"].to_pylist()) > 0
    assert max(found["genai_tokens_by_org_date"]["cost_per_1k_tokens"].to_pylist()) > 10**14


def test_a_number_without_room_is_refused_by_table_key_and_column(spark: SparkSession) -> None:
    at_most = 2**63 - 1
    line = ("2025-08-01T10:00:00Z", "o1", "r", "genai", "us-east", "requests", "1", "1", "1", at_most, "f")
    events = table(spark, EVENTS, [("1", *line), ("2", *line)]).withColumn("usage_date", F.to_date("event_time"))
    daily = REGISTRY["gold.usage_daily"]
    with pytest.raises(QualityGateError) as refused, numbers_named(daily):
        in_declared_types(usage_marts.usage_daily(events), daily).toArrow()
    assert str(refused.value).startswith(
        "gold.usage_daily: genai_tokens of (usage_date 2025-08-01, org_id o1, service genai, region us-east) is "
        f"{2 * at_most}, which has no room in bigint; "
    )
    # What overflows on the way, where no type is wide enough, is at least told of its table.
    with (
        pytest.raises(QualityGateError, match=r"gold\.usage_daily: a number on the way to it has no room"),
        numbers_named(daily),
    ):
        events.selectExpr("genai_tokens * 2 AS n").collect()
    revenue_monthly = REGISTRY["gold.revenue_monthly"]
    rows = spark.range(1).select(
        *(F.lit(None).alias(name) for name in revenue_monthly.column_names if name not in ("month", "revenue_usd_by_currency")),
        F.lit(A).alias("month"),
        F.create_map(F.lit("USD"), F.lit(Decimal(10) ** 22)).alias("revenue_usd_by_currency"),
    )  # fmt: skip
    with (
        pytest.raises(QualityGateError, match=r"gold.revenue_monthly: revenue_usd_by_currency of \(month 2025-08-31\)"),
        numbers_named(revenue_monthly),
    ):
        in_declared_types(rows, revenue_monthly).collect()


def test_an_answer_of_duckdb_is_refused_alike() -> None:
    contract: Table = REGISTRY["serving.usage_windows"]
    schema = arrow_schema(contract)
    row = {field.name: None for field in schema} | {"org_id": "o1", "service": "genai", "genai_tokens": Decimal(2**63)}
    wide = schema.set(schema.get_field_index("genai_tokens"), pa.field("genai_tokens", pa.decimal128(38, 0)))
    with pytest.raises(QualityGateError) as refused:
        arrow_in_declared_types(pa.Table.from_pylist([row | {"genai_tokens": Decimal(1)}, row], schema=wide), contract)
    assert str(refused.value).startswith(
        "serving.usage_windows: genai_tokens of (window_start None, org_id o1, service genai) is 9223372036854775808, "
        "which has no room in bigint; "
    )
