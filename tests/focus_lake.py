"""A published lake with charges for the tests of the FOCUS export, written by hand without Spark: two customers, three months.

July is invoiced, in dollars and in euros; August is used and not invoiced yet; June has a credit note alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from cloudlake.common.config import Config
from cloudlake.serving.publication import publish
from dashboard_lake import put
from live_lake import opened

JUNE, JULY, AUGUST, SEPTEMBER = (date(2025, month, 1) for month in (6, 7, 8, 9))
DELIVERED = datetime(2025, 9, 1, 2, tzinfo=UTC)
TAGS = '{"note":"a, \\"b\\"","team":"x;y"}'
Row = dict[str, Any]


def metered(org: str, day: date, cost: str, **fields: Any) -> Row:
    """Metered usage of a day."""
    return {
        "billing_month": day.replace(day=1), "charge_period_start": day, "charge_period_end": day + timedelta(days=1),
        "org_id": org, "org_name": f"{org}, Ltd.\n=1+1", "charge_kind": "metered-usage", "charge_category": "Usage",
        "charge_description": "Database: requests in us-east", "charge_frequency": "Usage-Based", "billing_currency": "USD",
        "billed_cost": Decimal(cost), "cost_usd": Decimal(cost), "consumed_quantity": Decimal(3), "consumed_unit": "Requests",
        "service": "database", "service_name": "Database", "service_category": "Databases",
        "service_subcategory": "Other (Databases)", "region": "us-east", "region_name": "us-east (United States)",
        "resource_id": "r1", "resource_type": "Database", "tags": TAGS, "metric": "requests", "events": 2,
        "carbon_kg": Decimal("0.000000001"), "load_id": 7,
    } | fields  # fmt: skip


def on(invoice: str, rate: str = "1", currency: str = "USD", kind: str = "metered-usage") -> Row:
    """What a charge says of the invoice that carries it."""
    return {"invoice_id": invoice, "invoice_detail_id": f"{invoice}:{kind}", "billing_currency": currency,
            "exchange_rate": Decimal(rate), "fx_suspect": False}  # fmt: skip


def added(org: str, month: date, kind: str, cost: str, usd: str, **invoice: Any) -> Row:
    """What an invoice adds."""
    after = (month + timedelta(days=31)).replace(day=1)
    return {
        "billing_month": month, "charge_period_start": month, "charge_period_end": after, "org_id": org, "org_name": org, "charge_kind": kind,
        "charge_category": kind.title(), "charge_description": f"{kind} in words", "charge_frequency": "One-Time",
        "billed_cost": Decimal(cost), "cost_usd": Decimal(usd), "service_name": "Billing", "service_category": "Other",
        "service_subcategory": "Other (Other)", **invoice,
    }  # fmt: skip


CHARGES = [
    metered("org_a", date(2025, 7, 4), "1.500000", **on("i1")),
    metered("org_a", date(2025, 7, 5), "2.000001", **on("i1")),
    added("org_a", JULY, "adjustment", "1.499999", "1.499999", **on("i1", kind="adjustment")),
    added("org_a", JULY, "tax", "0.5", "0.5", **on("i1", kind="tax")),
    metered(
        "org_b", date(2025, 7, 31), "1.1", **on("e1", "1.1", "EUR") | {"billed_cost": Decimal(1), "genai_tokens": 5}
    ),
    added("org_b", JULY, "adjustment", "-0.5", "-0.55", **on("e1", "1.1", "EUR", "adjustment")),
    added("org_b", JUNE, "adjustment", "-2", "-2", **on("n1", kind="adjustment")),
    metered("org_b", date(2025, 8, 1), "4", tags=None, resource_id=None, resource_type=None),
]
# Invoice → organisation, month, currency, rate, subtotal, credits, taxes.
INVOICES = {
    "i1": ("org_a", JULY, "USD", "1", "5", None, "0.5"),
    "e1": ("org_b", JULY, "EUR", "1.1", "0.5", None, "0"),
    "n1": ("org_b", JUNE, "USD", "1", "-2", None, "0"),
}


def build(folder: Path, charges: list[Row] = CHARGES) -> Config:
    """Write the lake and publish it as run r1."""
    config = opened(folder)
    put(config, "gold.focus_charges", charges)
    put(config, "gold.invoice_lines", _lines(charges))
    for name, rows in {**_billed(charges), **_used(charges), **_refused()}.items():
        put(config, name, rows)
    publish(config, "r1")
    return config


def add(config: Config, run_id: str, *charges: Row) -> None:
    """Publish the lake with more usage as another run."""
    put(config, "gold.focus_charges", charges)
    used = _used(list(charges))
    used["gold.cost_billing_reconciliation"] = [
        {"org_id": row["org_id"], "month": row["billing_month"], "usage_cost_usd": row["cost_usd"]} for row in charges
    ]
    for name, rows in used.items():
        put(config, name, rows)
    publish(config, run_id)


def _lines(charges: list[Row]) -> list[Row]:
    lines: dict[str, Row] = {}
    for row in charges:
        if "invoice_id" in row:
            kept = (
                "invoice_detail_id",
                "invoice_id",
                "billing_month",
                "org_id",
                "charge_kind",
                "charge_category",
                "billing_currency",
            )
            line = {name: row[name] for name in (*kept, "charge_description")} | {"snapshot_at": DELIVERED}
            line = lines.setdefault(
                row["invoice_detail_id"], line | {"billed_cost": Decimal(0), "cost_usd": Decimal(0), "charges": 0}
            )
            line["billed_cost"] += row["billed_cost"]
            line["cost_usd"] += row["cost_usd"]
            line["charges"] += 1
    return list(lines.values())


def _billed(charges: list[Row]) -> dict[str, list[Row]]:
    invoices, revenue, compared = [], [], {}
    for invoice, (org, month, currency, rate, subtotal, credits, taxes) in INVOICES.items():
        told = {"subtotal": subtotal, "credits": credits, "taxes": taxes}
        amounts = {name: Decimal(amount) if amount else None for name, amount in told.items()}
        usd = {f"{name}_usd": (amount or 0) * Decimal(rate) for name, amount in amounts.items()}
        invoices.append({"invoice_id": invoice, "org_id": org, "month": month, "currency": currency, "exchange_rate_to_usd": Decimal(rate),
                         **amounts, **usd, "is_credit_note": subtotal.startswith("-"), "fx_suspect": False})  # fmt: skip
        total = usd["subtotal_usd"] - usd["credits_usd"]
        revenue.append({"org_id": org, "month": month, "revenue_usd": total, "invoiced_usd": total + usd["taxes_usd"]})
        compared[org, month] = {
            "org_id": org,
            "month": month,
            "billed_subtotal_usd": usd["subtotal_usd"],
            "refused_cost_usd": Decimal("0.25"),
        }
    for row in charges:
        if row["charge_kind"].startswith("metered-"):
            key = row["org_id"], row["billing_month"]
            entry = compared.setdefault(key, {"org_id": key[0], "month": key[1]})
            entry["usage_cost_usd"] = entry.get("usage_cost_usd", 0) + row["cost_usd"]
    for entry in compared.values():
        entry["difference_usd"] = entry.get("billed_subtotal_usd", 0) - entry.get("usage_cost_usd", 0)
    return {
        "silver.billing_monthly": invoices,
        "gold.revenue_by_org_month": revenue,
        "gold.cost_billing_reconciliation": list(compared.values()),
    }


def _used(charges: list[Row]) -> dict[str, list[Row]]:
    days: dict[tuple[str, date], Row] = defaultdict(
        lambda: {"cost_usd": Decimal(0), "events": 0, "carbon_kg": Decimal(0)}
    )
    events = []
    for number, row in enumerate(charges):
        if not row["charge_kind"].startswith("metered-"):
            continue
        day = days[row["org_id"], row["charge_period_start"]]
        for name in ("cost_usd", "events", "carbon_kg"):
            day[name] += row[name]
        day["genai_tokens"] = row.get("genai_tokens")
        same = {
            "org_id": row["org_id"],
            "usage_date": row["charge_period_start"],
            "service": "database",
            "load_id": row["load_id"],
        }
        events += [same | {"event_id": f"{number}-{row['cost_usd']}-{n}"} for n in range(row["events"])]
    daily = [{"org_id": org, "usage_date": day, "service": "database", **sums} for (org, day), sums in days.items()]
    return {
        "silver.usage_events": events,
        "gold.usage_daily": [row | {"region": "us-east"} for row in daily],
        "gold.org_daily_usage_by_service": daily,
    }


def _refused() -> dict[str, list[Row]]:
    same = {
        "reasons": ["malformed_row"],
        "quarantined_at": DELIVERED,
        "run_id": "r1",
        "payload": "{}",
        "_source_file": "x",
    }
    rows = [
        same | {"quarantine_id": sign * 64, "status": status} for sign, status in (("a", "open"), ("b", "replayed"))
    ]
    return {"quarantine.usage_events": rows, "quarantine.billing_monthly": rows[:1]}


def with_terms(config: Config, folder: Path, terms: str) -> Path:
    """Return a copy of conf/ that knows the terms of payment."""
    copy = folder / "conf"
    copy.mkdir()
    for path in config.conf.iterdir():
        text = path.read_text(encoding="utf-8")
        (copy / path.name).write_text(re.sub("payment_terms: null", f"payment_terms: {terms}", text), encoding="utf-8")
    return copy
