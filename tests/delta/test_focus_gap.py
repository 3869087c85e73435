"""The gap between usage and invoice: each cause that was planted is found in its column, to the last digit, and nothing is left."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from cloudlake.batch.gold import focus, reconciliation, revenue
from cloudlake.common.config import load_config
from hand_made import table
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

EVENTS = (
    "org_id string, usage_date date, service string, region string, resource_id string, metric string, value decimal(20,6), "
    "cost_usd decimal(18,6), carbon_kg decimal(20,9), genai_tokens bigint, load_id bigint"
)
INVOICES = (
    "invoice_id string, org_id string, month date, currency string, exchange_rate_to_usd decimal(38,18), subtotal decimal(18,6), "
    "subtotal_usd decimal(18,6), is_credit_note boolean, fx_suspect boolean"
)
COSTS = "org_id string, usage_date date, service string, impact_usd decimal(28,6), is_anomaly boolean"
JULY, JUNE = "2025-07", "2025-06"  # July has usage on all of its dates, June on 27 of 30

# Cause → month, what was used with a quantity and without one, anomalies, refused, invoices, and what the cause explains.
# An invoice is its currency, rate, subtotal, subtotal in USD and whether its rate is suspect.
PLANTED: dict[str, tuple[str, str, str, str, str, list[tuple[str, str, str, str, bool]], str]] = {
    "rate": (JULY, "100", "0", "0", "0", [("USD", "1.02", "100", "102", False)], "2"),
    "suspect_currency": (JULY, "100", "0", "0", "0", [("ARS", "0.001", "100", "0.1", True)], "-99.9"),
    "refused_events": (JULY, "100", "0", "0", "7.25", [("USD", "1", "107.25", "107.25", False)], "7.25"),
    "unmeasured_events": (JULY, "95", "5.000001", "0", "0", [("USD", "1", "95", "95", False)], "-5.000001"),
    "uncovered_days": (JUNE, "90", "0", "0", "0", [("USD", "1", "100", "100", False)], "10"),
    "anomalies": (JULY, "100", "0", "12.5", "0", [("EUR", "1.25", "70", "87.5", False)], "-12.5"),
    "credit_notes": (JULY, "100", "0", "0", "0", [("USD", "1", "100", "100", False), ("USD", "1", "-20", "-20", False)], "-20"),
    "rest": (JULY, "100", "0", "0", "0", [("USD", "1", "99", "99", False)], "-1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def gap(spark: SparkSession) -> dict[str, dict[str, Any]]:
    """invoice_gap of organisations that are named after the cause that was planted, and of one with all causes at once."""
    events: list[tuple[Any, ...]] = []
    invoices: list[tuple[Any, ...]] = []
    costs, refused = [], []
    for month, days in ((JULY, 31), (JUNE, 27)):
        events += [("covers", f"{month}-{day:02}", "compute", "us", None, "requests", 1, 0, None, None, 1) for day in range(1, days + 1)]
    for cause, (month, used, unmeasured, anomaly, lost, billed, _) in PLANTED.items():
        for org in (cause, "all") if month == JULY else (cause,):
            events.append((org, f"{month}-03", "compute", "us", None, "requests", 1, used, None, None, 1))
            events.append((org, f"{month}-04", "compute", "us", None, "requests", None, unmeasured, None, None, 1))
            costs.append((org, f"{month}-03", "compute", anomaly, True))
            costs.append((org, f"{month}-05", "compute", "1000", False))
            payload = f'{{"org_id": "{org}", "timestamp": "{month}-02T00:00:00Z", "cost_usd_increment": {lost}}}'
            refused.append((payload, ["value_negative"], "open"))
            for number, (currency, rate, subtotal, usd, suspect) in enumerate(billed):
                note = subtotal.startswith("-")
                invoices.append((f"{org}-{cause}-{number}", org, f"{month}-01", currency, rate, subtotal, usd, note, suspect))
    rows = table(spark, EVENTS, events)
    bills = table(spark, INVOICES, invoices)
    zero = F.lit(0).cast("decimal(18,6)")
    bills = bills.withColumns({"credits": zero, "taxes": zero, "credits_usd": zero, "taxes_usd": zero, "revenue_usd": F.col("subtotal_usd"),
                               "invoiced_usd": F.col("subtotal_usd")})  # fmt: skip
    registry = load_config().registry
    nobody = "effective_from timestamp, effective_to timestamp, is_current boolean, is_deleted boolean"
    charges = focus.focus_charges(
        rows,
        bills,
        spark.createDataFrame([], f"org_id string, org_name string, {nobody}"),
        spark.createDataFrame([], f"resource_id string, tags map<string, array<string>>, {nobody}"),
        spark.createDataFrame([], "region string, country string"),
        **registry["gold.focus_charges"].parameters,
    )
    compared = reconciliation.cost_billing_reconciliation(
        rows.groupBy("org_id", "usage_date", "service").agg(F.sum("cost_usd").alias("cost_usd")),
        revenue.revenue_by_org_month(bills),
        spark.createDataFrame(refused, "payload string, reasons array<string>, status string"),
        **registry["gold.cost_billing_reconciliation"].parameters,
    )
    made = focus.invoice_gap(compared, bills, charges, table(spark, COSTS, costs))
    return {row["org_id"]: row.asDict(recursive=True) for row in made.collect() if row["org_id"] != "covers"}


@pytest.mark.parametrize("cause", PLANTED)
def test_a_planted_cause_explains_the_whole_difference(gap: dict[str, dict[str, Any]], cause: str) -> None:
    row, amount = gap[cause], Decimal(PLANTED[cause][-1])
    assert row["difference_usd"] == amount, "what was planted is what differs"
    assert {name: row[f"{name}_usd"] for name in focus.CAUSES if row[f"{name}_usd"]} == {cause: amount}
    assert row["causes"] == [{"cause": cause, "amount_usd": amount}]


def test_causes_that_come_together_are_told_apart(gap: dict[str, dict[str, Any]]) -> None:
    row = gap["all"]
    expected = {cause: Decimal(planted[-1]) for cause, planted in PLANTED.items() if planted[0] == JULY}
    assert {name: row[f"{name}_usd"] for name in focus.CAUSES if row[f"{name}_usd"]} == expected
    assert [entry["cause"] for entry in row["causes"]] == [cause for cause in focus.CAUSES if cause in expected]
    assert sum(expected.values()) == row["difference_usd"]


def test_every_cause_was_planted() -> None:
    assert tuple(PLANTED) == focus.CAUSES
