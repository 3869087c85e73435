"""Allocation, utilisation, revenue and reconciliation on hand-made rows."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from cloudlake.batch.gold import reconciliation, resources, revenue
from cloudlake.common.config import load_config
from cloudlake.common.usage.versions import Said
from hand_made import table
from pyspark.sql import DataFrame, SparkSession

USAGE = "usage_date date, resource_id string, events bigint, cost_usd decimal(28,6), last_used_at timestamp"
INVOICES = (
    "org_id string, month date, currency string, subtotal_usd decimal(18,6), credits_usd decimal(18,6), "
    "taxes_usd decimal(18,6), revenue_usd decimal(18,6), invoiced_usd decimal(18,6), is_credit_note boolean, fx_suspect boolean"
)


def masters(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    return spark.createDataFrame(
        [("o1", "compute", "us-east", *row) for row in rows],
        "org_id string, service string, region string, resource_id string, state string, is_current boolean, "
        "is_deleted boolean, tags map<string, array<string>>",
    )


def test_each_tag_key_divides_the_whole_cost_of_a_month(spark: SparkSession) -> None:
    known = masters(
        spark,
        [
            ("web", "running", True, False, {"team": ["red"], "env": ["prod"]}),
            ("web", "running", False, False, {"team": ["old"], "closed": ["x"]}),
            ("db", "running", True, False, {"team": ["blue", "red"]}),
            ("bare", "running", True, False, None),
            ("gone", "running", True, True, {"team": ["red"], "deleted": ["x"]}),
        ],
    )
    usage = table(
        spark,
        USAGE,
        [
            ("2025-07-01", "web", 1, "1", None),
            ("2025-07-31", "web", 2, "2", None),
            ("2025-07-02", "db", 1, "4", None),
            ("2025-07-02", "bare", 1, "8", None),
            ("2025-07-02", "gone", 1, "16", None),
            ("2025-07-02", "never heard of", 1, "32", None),
            ("2025-07-02", None, 1, "64", None),
            ("2025-08-01", "db", 1, "128", None),
        ],
    )
    found = {
        (row["month"].month, row["tag_key"], row["tag_value"]): (row["events"], row["cost_usd"])
        for row in resources.cost_allocation(usage, known).collect()
    }
    assert found == {
        (7, "team", "red"): (3, 3),
        (7, "team", "(conflict)"): (1, 4),
        (7, "team", "(none)"): (4, 120),
        (7, "env", "prod"): (3, 3),
        (7, "env", "(none)"): (5, 124),
        (8, "team", "(conflict)"): (1, 128),
        (8, "env", "(none)"): (1, 128),
    }


def test_a_resource_is_idle_or_costs_for_nothing_in_windows_that_end_with_the_business_date(
    spark: SparkSession,
) -> None:
    known = masters(
        spark,
        [
            ("busy", "running", True, False, None),
            ("just idle", "running", True, False, None),
            ("unused", "running", True, False, None),
            ("stopped", "stopped", True, False, None),
            ("stateless", None, True, False, None),
            ("left", "running", False, False, None),
            ("deleted", "running", True, True, None),
        ],
    )
    usage = table(
        spark,
        USAGE,
        [
            ("2025-07-17", "busy", 1, "1", "2025-07-17T10:00:00Z"),
            ("2025-07-31", "busy", 1, "1", "2025-07-31T10:00:00Z"),
            ("2025-07-16", "just idle", 1, "1", "2025-07-16T10:00:00Z"),
            ("2025-07-31", "just idle", 1, "1", "2025-07-31T10:00:00Z"),
            ("2025-06-30", "stopped", 1, "1", "2025-06-30T10:00:00Z"),
            ("2025-07-01", "stopped", 2, "2", "2025-07-01T10:00:00Z"),
            ("2025-07-23", "stopped", 3, "4", "2025-07-23T10:00:00Z"),
            ("2025-07-24", "stopped", 4, "8", "2025-07-24T10:00:00Z"),
            ("2025-07-30", "stopped", 5, "16", "2025-07-30T10:00:00Z"),
            ("2025-07-30", "stateless", 1, "3", "2025-07-30T10:00:00Z"),
            ("2025-07-30", None, 1, "3", "2025-07-30T10:00:00Z"),
        ],
    )
    mart = resources.resource_utilization(known, usage, as_of=date(2025, 7, 30), idle_days=14)
    kept = ("events_30d", "cost_30d_usd", "is_idle", "inactive_cost_7d_usd", "inactive_cost_30d_usd", "last_used_at")

    def at(day: int) -> datetime:
        return datetime(2025, 7, day, 10)

    assert {row["resource_id"]: tuple(row[k] for k in kept) for row in mart.collect()} == {
        "busy": (1, 1, False, 0, 0, at(31)),
        "just idle": (1, 1, True, 0, 0, at(31)),
        "unused": (0, 0, True, 0, 0, None),
        "stopped": (14, 30, False, 24, 30, at(30)),
        "stateless": (1, 3, False, 0, 0, at(30)),
    }


def test_revenue_of_a_month_is_told_by_currency_and_account(spark: SparkSession) -> None:
    rows = [
        ("o1", "2025-05-01", "USD", "10", "0", "1", "10", "11", False, False),
        ("o1", "2025-07-01", "USD", "100", "10", "5", "90", "95", False, False),
        ("o1", "2025-07-01", "EUR", "20", "0", "1", "20", "21", False, False),
        ("o2", "2025-07-01", "ARS", "0.01", "0", "0", "0.01", "0.01", False, True),
        ("o3", "2025-07-01", "USD", "-10", "0", "0", "-10", "-10", True, False),
        ("o3", "2025-08-01", "USD", "-10", "0", "0", "-10", "-10", True, False),
        ("o3", "2025-09-01", "USD", "10", "0", "0", "10", "10", False, False),
    ]
    found = {row["month"].month: row for row in revenue.revenue_monthly(table(spark, INVOICES, rows)).collect()}
    july = found[7]
    assert [july[name] for name in ("invoices", "credit_notes", "fx_suspect_invoices", "orgs_billed")] == [4, 1, 1, 3]
    amounts = ("subtotal_usd", "credits_usd", "taxes_usd", "revenue_usd", "invoiced_usd", "arpa_usd")
    expected = ["110.01", "10", "6", "100.01", "106.01", "33.336667"]
    assert [july[name] for name in amounts] == [Decimal(text) for text in expected]
    assert july["revenue_usd_by_currency"] == {"ARS": Decimal("0.01"), "EUR": 20, "USD": 80}
    growth = {month: row["mom_growth_pct"] for month, row in found.items()}
    assert (growth[5], growth[7], growth[9]) == (None, None, None), "the month before is absent, or not positive"
    assert abs(growth[8] - 100 * (-10 - 100.01) / 100.01) < 1e-9


def test_a_month_is_judged_only_where_usage_and_bill_can_be_compared(spark: SparkSession) -> None:
    used = {
        "matched": "100",
        "over": "100",
        "under": "100",
        "suspect": "100",
        "credited": "100",
        "unbilled": "1",
        "renamed": "1",
        "both zero": "0",
        "suspect credit": "100",
    }
    billed = {"matched": "95", "over": "105.263159", "under": "94.999999", "suspect": "1", "credited": "0", "unused": "7",
              "both zero": "0", "suspect credit": "-1"}  # fmt: skip
    # June has usage on 27 of its 30 dates, which is just enough.
    usage = [
        (org, f"2025-06-{day:02}", "compute", cost if day == 1 else "0")
        for org, cost in used.items()
        for day in range(1, 28)
    ]
    usage += [("matched", "2025-07-31", "genai", "3")]
    invoices = [(org, "2025-06-01", subtotal, org.startswith("suspect")) for org, subtotal in billed.items()]
    invoices += [("matched", "2025-07-01", "3", False), ("matched", "2025-08-01", "3", False)]

    def refused(status: str, *reasons: str, **said: Any) -> tuple[Any, ...]:
        line = {"org_id": "over", "timestamp": "2025-06-30T23:00:00-02:00", "cost_usd_increment": 1} | said
        return json.dumps(line), list(reasons), status

    lines = [
        refused("open", "cost_negative", timestamp="2025-06-30T23:00:00Z", cost_usd_increment=-0.5),
        refused("open", "value_negative", timestamp="2025-06-01T00:00:00Z", org_id=" over ", cost_usd_increment="2.5"),
        refused("open", "value_negative", timestamp="2025-06-01T00:00:00Z", org_id="unused", cost_usd_increment="4e-1"),
        refused("replayed", "value_negative", timestamp="2025-06-01T00:00:00Z"),
        refused("open", "value_negative", schema_version=3, tenant="renamed", at="2025-06-01T00:00:00Z", cost_cents="1234.5"),
        refused("open", "value_negative", schema_version="3.0", tenant="renamed", at="2025-06-01T00:00:00Z", cost_cents=-34.5),
        refused("open", "value_negative", schema_version=2, tenant="renamed", at="2025-06-01T00:00:00Z", cost_cents="1234.5"),
        refused("open", "timestamp_invalid", timestamp="2025-06-01"),
        refused("open", "timestamp_in_future"),
        refused("open", "cost_usd_invalid", timestamp="2025-06-01T00:00:00Z", cost_usd_increment="5d"),
        refused("open", "org_id_missing", timestamp="2025-06-01T00:00:00Z", org_id=""),
        ('{"org_id": "over", "timestamp": "2025-06-01T00:00:00Z", "cost_usd_increment": 64', ["malformed_json"], "open"),
        ('{"org_id": "over", "timestamp": "2025-06-01T00:00:00Z", "cost_usd_increment": 128} {}', ["malformed_json"], "open"),
        ('{"org_id": "over", "timestamp": "2025-06-01T00:00:00Z", "cost_usd_increment": 256, "org_id": "over"}', ["malformed_json"], "open"),
    ]
    mart = reconciliation.cost_billing_reconciliation(
        table(spark, "org_id string, usage_date date, service string, cost_usd decimal(28,6)", usage),
        table(spark, "org_id string, month date, subtotal_usd decimal(28,6), has_fx_suspect boolean", invoices),
        spark.createDataFrame(lines, "payload string, reasons array<string>, status string"),
        **load_config().registry["gold.cost_billing_reconciliation"].parameters,
        renamed_fields={3: {"org_id": Said("tenant"), "timestamp": Said("at"), "cost_usd_increment": Said("cost_cents", -2)}},
    )
    found = {(row["org_id"], row["month"].month): row for row in mart.collect()}
    assert {org: row["status"] for (org, month), row in found.items() if month == 6} == {
        "matched": "matched", "over": "over_billed", "under": "under_billed", "suspect": "currency_suspect",
        "credited": "credit_note", "unbilled": "usage_only", "renamed": "usage_only", "unused": "billing_only", "both zero": "credit_note",
        "suspect credit": "currency_suspect",
    }  # fmt: skip
    assert (found["matched", 7]["status"], found["matched", 7]["usage_days"]) == ("partial_usage", 1)
    assert (found["matched", 8]["status"], found["matched", 8]["usage_days"]) == ("no_usage_data", 0)
    sides = (
        "usage_cost_usd",
        "billed_subtotal_usd",
        "difference_usd",
        "difference_pct",
        "refused_cost_usd",
        "usage_days",
    )
    assert [found["unbilled", 6][name] for name in sides] == [1, None, -1, -100.0, 0, 27]
    assert [found["unused", 6][name] for name in sides] == [None, 7, 7, 100.0, Decimal("0.4"), 27]
    assert [found["both zero", 6][name] for name in sides] == [0, 0, 0, None, 0, 27]
    assert found["renamed", 6]["refused_cost_usd"] == 12, "each version says it by its own names, in its own unit"
    assert found["over", 6]["refused_cost_usd"] == 2 and ("over", 7) not in found, "a refused line makes no row"
    assert found["matched", 6]["difference_pct"] == -5.0
