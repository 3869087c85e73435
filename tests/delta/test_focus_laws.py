"""The six laws of the FOCUS charges on a dirty delivery and after all that may become of one, against plain SQL over the files.

All states go through the transform in one run: each has its organisations and invoices under a name of its own.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from cloudlake.batch.gold import focus
from cloudlake.common.config import load_config
from flow import deliver, event_line, land_events
from focus_laws import LAWS, broken_laws
from oracle import Oracle
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

Row = dict[str, str]
EVENT = ("org_id", "usage_date", "service", "region", "resource_id", "metric", "value", "cost_usd", "carbon_kg", "genai_tokens")
INVOICE = (
    "invoice_id", "org_id", "month", "currency", "exchange_rate_to_usd", "subtotal", "credits", "taxes", "subtotal_usd", "credits_usd",
    "taxes_usd", "is_credit_note", "fx_suspect",
)  # fmt: skip


def rewrite(landing: Path, change: Callable[[list[Row]], list[Row]]) -> None:
    """Deliver the invoices anew, with something changed."""
    path = landing / "billing_monthly.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({name: row[name] for name in writer.fieldnames} for row in change(rows))


def late_events(landing: Path, chosen: Row) -> None:
    day = f"{chosen['month'][:7]}-05T10:00:00Z"
    lines = [event_line(n, org_id=chosen["org_id"], timestamp=day, value=None if n % 3 == 0 else n) for n in range(9)]
    land_events(landing, "late.jsonl", lines)


def edited(**fields: str) -> Callable[[Path, Row], None]:
    def change(landing: Path, chosen: Row) -> None:
        rewrite(landing, lambda rows: [row | fields if row["invoice_id"] == chosen["invoice_id"] else row for row in rows])

    return change


def further(**fields: str) -> Callable[[Path, Row], None]:
    return lambda landing, chosen: rewrite(landing, lambda rows: [*rows, chosen | fields])


def without(landing: Path, chosen: Row) -> None:
    rewrite(landing, lambda rows: [row for row in rows if (row["org_id"], row["month"]) != (chosen["org_id"], chosen["month"])])


STATES: dict[str, Callable[[Path, Row], None]] = {
    "as delivered": lambda landing, chosen: None,
    "late events": late_events,
    "a corrected invoice": edited(subtotal="1234.567891", credits="0.000001"),
    "a second invoice in the month": further(invoice_id="inv_second", subtotal="99999.5", currency="EUR", exchange_rate_to_usd="1.1"),
    "a month without its invoice": without,
    "a credit note": further(invoice_id="inv_note", subtotal="-77.7", credits="0", taxes="0"),
    "the invoice a credit note": edited(subtotal="-77.7"),
    "another currency": edited(currency="ARS", exchange_rate_to_usd="0.000731528904415237"),
}  # fmt: skip


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Oracle]:
    """The oracle of each state of one delivery."""
    folder = tmp_path_factory.mktemp("states")
    deliver(folder / "first", seed=29, orgs=16, days=40, events=40, files=3)
    first = Oracle(folder / "first")
    # An invoice that was accepted, in dollars, and has usage to carry.
    (chosen,) = first.sql("""
        SELECT invoice_id FROM silver_billing_monthly b
        JOIN (SELECT org_id, CAST(date_trunc('month', usage_date) AS DATE) AS month, count(*) AS n FROM silver_usage_events GROUP BY ALL)
            USING (org_id, month) WHERE currency = 'USD' AND subtotal > 0 ORDER BY n DESC, invoice_id LIMIT 1""").to_pylist()
    found = {}
    for number, (state, change) in enumerate(STATES.items()):
        landing = folder / str(number)
        shutil.copytree(folder / "first", landing)
        with (landing / "billing_monthly.csv").open(newline="", encoding="utf-8") as file:
            row = next(row for row in csv.DictReader(file) if row["invoice_id"] == chosen["invoice_id"])
        change(landing, row)
        found[state] = Oracle(landing)
    return found


@pytest.fixture(scope="module")
def charges(spark: SparkSession, states: dict[str, Oracle]) -> pa.Table:
    """The charges of all states, made in one run."""

    def together(table: str, columns: tuple[str, ...]) -> Any:
        named = []
        for state, oracle in states.items():
            texts = ", ".join(f"'{state}|' || {name} AS {name}" for name in ("org_id", "invoice_id") if name in columns)
            named.append(oracle.sql(f"SELECT * REPLACE ({texts}) FROM (SELECT {', '.join(columns)} FROM silver_{table})"))
        return spark.createDataFrame(pa.concat_tables(named))

    def versions(key: str, kept: str) -> Any:
        return spark.createDataFrame(
            [], f"{key} string, {kept}, effective_from timestamp, effective_to timestamp, is_current boolean, is_deleted boolean"
        )

    made = focus.focus_charges(
        together("usage_events", EVENT).withColumn("load_id", F.lit(1)),
        together("billing_monthly", INVOICE),
        versions("org_id", "org_name string"),
        versions("resource_id", "tags map<string, array<string>>"),
        spark.createDataFrame([], "region string, country string"),
        **load_config().registry["gold.focus_charges"].parameters,
    )
    return made.toArrow()


@pytest.mark.parametrize("state", STATES)
def test_the_laws_hold_to_the_last_digit(states: dict[str, Oracle], charges: pa.Table, tmp_path: Path, state: str) -> None:
    write(charges, tmp_path, state)
    assert broken_laws(states[state], str(tmp_path / "*.parquet")) == []


def test_each_state_differs_from_the_delivery_in_what_it_is_about(states: dict[str, Oracle]) -> None:
    told = {
        state: oracle.sql("SELECT * EXCLUDE (_source_file, _snapshot_at, _source_modified_at, _source_sha256) FROM silver_billing_monthly ORDER BY 1")
        for state, oracle in states.items()
    }
    events = {state: oracle.silver("usage_events").num_rows for state, oracle in states.items()}
    assert events.pop("late events") == events["as delivered"] + 9 and len(set(events.values())) == 1
    same = [state for state in STATES if told[state].equals(told["as delivered"])]
    assert same == ["as delivered", "late events"]


@pytest.mark.parametrize(
    ("planted", "laws"),
    [
        ("BilledCost + CASE WHEN ChargeCategory = 'Tax' THEN 0.000001 ELSE 0 END AS BilledCost", "1"),
        ("'XXX' AS BillingCurrency", "1"),
        ("PricingCurrencyEffectiveCost + CASE WHEN ChargeCategory = 'Tax' THEN 0.000001 ELSE 0 END AS PricingCurrencyEffectiveCost", "2"),
        ("x_CarbonKg + 0.000000001 AS x_CarbonKg", "3"),
        ("x_GenaiTokens + 1 AS x_GenaiTokens", "3"),
        ("PricingCurrencyEffectiveCost + CASE WHEN ChargeCategory = 'Adjustment' THEN 0.000001 ELSE 0 END AS PricingCurrencyEffectiveCost", "4"),
        ("PricingCurrencyEffectiveCost + CASE WHEN InvoiceId IS NULL THEN 0.000001 ELSE 0 END AS PricingCurrencyEffectiveCost", "5"),
        ("x_Events + 1 AS x_Events", "6"),
    ],
)
def test_a_law_finds_a_millionth(states: dict[str, Oracle], charges: pa.Table, tmp_path: Path, planted: str, laws: str) -> None:
    write(charges, tmp_path, "as delivered", planted)
    assert laws in {fault[0] for fault in broken_laws(states["as delivered"], str(tmp_path / "*.parquet"))}
    assert {law[0] for law in LAWS} == set("123456")


def write(charges: pa.Table, folder: Path, state: str, planted: str = "") -> None:
    """Write a state's charges under FOCUS's names."""
    names = {
        "invoice_id": "InvoiceId", "billed_cost": "BilledCost", "billing_currency": "BillingCurrency", "billing_month": "BillingPeriodStart",
        "charge_period_start": "ChargePeriodStart", "charge_category": "ChargeCategory", "cost_usd": "PricingCurrencyEffectiveCost",
        "consumed_quantity": "ConsumedQuantity", "service": "x_ServiceRaw", "metric": "x_Metric", "events": "x_Events",
        "carbon_kg": "x_CarbonKg", "genai_tokens": "x_GenaiTokens",
    }  # fmt: skip
    selected = ", ".join(f"{ours} AS {theirs}" for ours, theirs in names.items())
    with duckdb.connect() as connection:
        connection.register("all_charges", charges)
        rows = f"""SELECT split_part(org_id, '|', 2) AS BillingAccountId, {selected}
                   FROM (SELECT * REPLACE (split_part(invoice_id, '|', 2) AS invoice_id) FROM all_charges WHERE org_id LIKE '{state}|%')"""
        rows = f"SELECT * REPLACE ({planted}) FROM ({rows})" if planted else rows
        connection.execute(f"COPY ({rows}) TO '{folder / 'charges.parquet'}' (FORMAT parquet)")
