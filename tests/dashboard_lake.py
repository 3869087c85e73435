"""A published lake for the dashboard's tests, written by hand without Spark: three customers, forty dates, a little of all.

The marts' own tests say whether their numbers are right; here they only have to be numbers that can be told apart.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from cloudlake.common.config import Config
from cloudlake.serving.publication import publish
from live_lake import opened

LAST = date(2025, 8, 31)
DAYS = 40
ORGS = {"org_a": "Acme <Cloud> & Sons", "org_b": "Bolt", "org_c": "=Cell(1)"}
SERVICES = ("compute", "genai", "storage")
REGIONS = ("eu-west", "us-east")
LOAD = 1_000_000_000
SECRET = "someone@private.example"
"""An address that lies in the quarantine, and must never be seen."""
COMPONENTS = [
    {"name": "usage", "score": Decimal("40"), "weight": 25, "contribution": Decimal("10.00"), "why": "net cost fell"},
    {"name": "support", "score": None, "weight": 20, "contribution": None, "why": "no tickets"},
]
NO_CAUSES = (
    "rate_usd", "suspect_currency_usd", "unmeasured_events_usd", "uncovered_days_usd", "anomalies_usd", "credit_notes_usd",
)  # fmt: skip
Rows = list[dict[str, Any]]


def build(folder: Path) -> Config:
    """Write the lake and publish it as run r1."""
    config = opened(folder)
    for name, rows in {**_usage(), **_money(), **_customers(), **_contacts(), **_speed(), **_ops(), **_refused()}.items():
        put(config, name, rows)
    publish(config, "r1")
    return config


def put(config: Config, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a table with the note that a run leaves; the business date is the last of the lake."""
    note = {"load_id": LOAD, "run_id": "r1", "as_of": str(LAST), "inputs": {}}
    config.lake.append_small(list(rows), config.registry[name], note)


def cost(org: int, service: int, day: int) -> Decimal:
    """A cost that differs by organisation, service and day."""
    return Decimal(200 * (org + 1) + 20 * service + 2 * day) / Decimal("8")


def _usage() -> dict[str, Rows]:
    daily: Rows = []
    hourly: Rows = []
    tokens: Rows = []
    by_region: Rows = []
    for number, org in enumerate(ORGS):
        for place, service in enumerate(SERVICES):
            for back in range(DAYS):
                day, amount = LAST - timedelta(days=back), round(cost(number, place, back), 6)
                same = {"org_id": org, "usage_date": day, "service": service, "cost_usd": amount, "events": 4}
                daily.append(same)
                by_region.append(same | {"region": REGIONS[place % 2]})
                for hour in (3, 15):
                    at = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
                    hourly.append(same | {"region": REGIONS[place % 2], "usage_hour": at, "cost_usd": amount / 2, "events": 2})
                if service == "genai":
                    told = {"genai_tokens": 1000 + back, "requests": 5, "token_cost_usd": amount}
                    tokens.append({**{k: same[k] for k in ("org_id", "usage_date", "cost_usd")}, **told, "cost_per_1k_tokens": amount})
    return {
        "gold.usage_daily": by_region,
        "gold.usage_hourly": hourly,
        "gold.org_daily_usage_by_service": daily,
        "gold.genai_tokens_by_org_date": tokens,
        "gold.carbon_footprint": [
            {"month": date(2025, 8, 1), "org_id": org, "service": service, "region": "us-east", "carbon_kg": Decimal("1.5"),
             "events": 10, "carbon_events": 5, "coverage_pct": 50.0} for org in ORGS for service in SERVICES
        ],
        "gold.service_performance": [
            {"month": date(2025, month, 1), "service": service, "cost_usd": Decimal(month * 100), "cost_share_pct": 33.3, "events": 9,
             "active_orgs": 3, "cost_rank": 1, "growth_pct": 5.0, "tier": "strong", "is_partial": False}
            for month in (7, 8) for service in SERVICES
        ],
    }  # fmt: skip


def _money() -> dict[str, Rows]:
    months = (date(2025, 7, 1), date(2025, 8, 1))
    sums = {"subtotal_usd": Decimal("110"), "credits_usd": Decimal("10"), "taxes_usd": Decimal("20"), "invoiced_usd": Decimal("120")}
    return {
        "gold.cost_anomalies": [
            {"org_id": "org_a", "usage_date": LAST, "service": "genai", "cost_usd": Decimal("91.5"), "expected_usd": Decimal("8.25"),
             "impact_usd": Decimal("83.25"), "is_anomaly": True, "cause": "broad",
             "drivers": [{"dimension": "region", "value": "us-east", "cost_usd": Decimal("70")}]},
            {"org_id": "org_b", "usage_date": LAST, "service": "genai", "cost_usd": Decimal("1"), "is_anomaly": False},
        ],
        "gold.cost_allocation": [
            {"month": months[1], "tag_key": key, "tag_value": value, "events": 5, "cost_usd": Decimal(amount)}
            for key, value, amount in (("env", "prod", 70), ("env", "(none)", 30), ("team", "web", 100))
        ],
        "gold.cost_billing_reconciliation": [
            {"org_id": org, "month": month, "usage_cost_usd": Decimal(100), "billed_subtotal_usd": Decimal(90 + number), "usage_days": 30,
             "difference_usd": Decimal(number - 10), "difference_pct": -5.0, "status": ("matched", "under_billed")[number % 2]}
            for number, org in enumerate(ORGS) for month in months
        ],
        "gold.invoice_gap": [
            {"org_id": org, "month": month, "usage_cost_usd": Decimal(100), "billed_subtotal_usd": Decimal(90 + number),
             "difference_usd": Decimal(number - 10), **dict.fromkeys(NO_CAUSES, Decimal(0)), "refused_events_usd": Decimal(2),
             "rest_usd": Decimal(number - 12), "causes": [{"cause": "refused_events", "amount_usd": Decimal(2)},
             {"cause": "rest", "amount_usd": Decimal(number - 12)}]}
            for number, org in enumerate(ORGS) for month in months
        ],
        "gold.revenue_by_org_month": [
            {"org_id": org, "month": month, "invoices": 1, "revenue_usd": Decimal(100 + number), **sums, "currencies": ["EUR", "USD"],
             "has_fx_suspect": False} for number, org in enumerate(ORGS) for month in months
        ],
        "gold.revenue_monthly": [
            {"month": month, "revenue_usd": Decimal(303), **sums, "mom_growth_pct": growth}
            for month, growth in zip(months, (None, 12.5), strict=True)
        ],
        "gold.marketing_effectiveness": [
            {"month": months[1], "campaign": "launch", "channel": "email", "touches": 10, "clicks": 4, "conversions": 1,
             "influenced_revenue_usd": Decimal("55.5")}
        ],
    }  # fmt: skip


def _customers() -> dict[str, Rows]:
    bands = dict(zip(ORGS, (("healthy", "81.50"), ("watch", "55.00"), ("at_risk", "20.25")), strict=True))
    health = {org: {"org_id": org, "health_score": Decimal(score), "health_band": band, "health_components": COMPONENTS}
              for org, (band, score) in bands.items()}  # fmt: skip
    known = {"usage_cost_usd": Decimal(500), "revenue_usd": Decimal(200), "industry": "retail", "plan_tier": "pro",
             "lifecycle_stage": "active", "users": 5, "active_users": 4, "tickets": 3, "open_critical_tickets": 1}  # fmt: skip
    scores = {"r": 5, "f": 4, "m": 3, "rfm_score": 12, "segment": "Loyal", "recent_net_cost_usd": Decimal(120),
              "previous_net_cost_usd": Decimal(100), "cost_change_pct": 20.0}  # fmt: skip
    names = [{"org_id": org, "org_name": name} for org, name in ORGS.items()]
    whole = {"cost_30d_usd": Decimal(300), "revenue_30d_usd": Decimal(100), "contradictions": []}
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    return {
        "gold.customer_summary": [row | known for row in names],
        "gold.customer_rfm": [{"org_id": org, **scores} for org in ORGS],
        "gold.customer_health": list(health.values()),
        "gold.customer_360": [row | known | scores | whole | health[row["org_id"]] for row in names],
        "gold.customer_history": [
            health[org] | {"week_ending": LAST - timedelta(weeks=back), "segment": "Loyal", "r": 5, "f": 4, "m": 3}
            for org in ORGS for back in range(3)
        ],
        "gold.customer_segments": [{"segment": "Loyal", "orgs": 3, "org_share_pct": 100.0, "revenue_usd": Decimal(600)}],
        "gold.user_activity": [
            {"org_id": org, "users": 5, "active_users": 4, "logged_in_30d": 2, "never_logged_in": 1, "adoption_rate": 0.5} for org in ORGS
        ],
        "gold.dim_customer": [
            {"customer_sk": org, "org_id": org, "effective_from": long_ago, "is_current": True, "is_deleted": False} for org in ORGS
        ],
    }  # fmt: skip


def _contacts() -> dict[str, Rows]:
    return {
        "gold.tickets_by_org_date": [
            {"org_id": org, "date": LAST - timedelta(days=9 * back), "severity": severity, "tickets": 3, "resolved": 2, "open": 1,
             "sla_breached": 1, "sla_breach_rate": 1 / 3}
            for org in ORGS for back in range(5) for severity in ("critical", "low")
        ],
        "gold.support_monthly": [
            {"month": date(2025, month, 1), "category": category, "severity": severity, "tickets": 5, "resolved": 4, "open": 1,
             "open_over_30d": 0, "sla_breached": 1, "sla_breach_rate": 0.2, "p50_resolution_hours": Decimal(24 * month),
             "p90_resolution_hours": Decimal(48 * month)}
            for month in (7, 8) for category in ("billing", "usability") for severity in ("critical", "low")
        ],
        "gold.nps_by_month": [{"month": date(2025, 8, 1), "surveys": 20, "scored": 15, "nps": 33.5, "out_of_scale": 5}],
    }  # fmt: skip


def alert(number: int, **fields: Any) -> dict[str, Any]:
    """An open alert."""
    return {
        "alert_id": f"{number:064x}", "rule": "daily_cost", "org_id": "org_a", "service": "genai", "date": LAST,
        "observed": Decimal("91.5"), "expected": Decimal("8.25"), "threshold": Decimal("24.75"), "severity": "warning",
        "status": "open", "message": f"alert number {number}", "targets": [],
        "raised_at": datetime(2025, 8, 31, 16, tzinfo=UTC) + timedelta(minutes=number),
    } | fields  # fmt: skip


def increment(load: int, at: datetime, amount: str, org: str = "org_a") -> dict[str, Any]:
    """What one micro-batch adds for one organisation."""
    return {
        "load_id": load, "bucket_start": at, "org_id": org, "service": "compute", "region": "us-east", "events": 60,
        "cost_usd": Decimal(amount), "requests": 0, "cpu_hours": 0, "storage_gb_hours": 0, "carbon_events": 0,
        "carbon_cost_usd": 0, "events_without_value": 0,
    }  # fmt: skip


def _speed() -> dict[str, Rows]:
    start = datetime(2025, 8, 31, 10, tzinfo=UTC)
    return {
        "speed.usage_increments": [
            *(increment(LOAD, start + timedelta(minutes=15 * n), "1.5") for n in range(20)),
            increment(LOAD + 1, start + timedelta(hours=5), "7.25"),
        ],
        "speed.alerts": [alert(1), alert(2, severity="critical")],
    }


def _ops() -> dict[str, Rows]:
    start = datetime(2025, 9, 1, 2, tzinfo=UTC)
    step = {"run_id": "r1", "status": "done", "started_at": start, "ended_at": start + timedelta(minutes=3), "seconds": 180.0,
            "rows_in": 0, "rows_out": 10, "rows_quarantined": 2}  # fmt: skip
    checked = {"run_id": "r1", "table": "silver.users", "kind": "uniqueness", "level": "warn", "rows": 5, "expected": "none",
               "checked_at": start, "observed": 1.0}  # fmt: skip
    landed = {"run_id": "r1", "status": "ingested", "ingested_at": start, "snapshot_at": start, "sha256": "0"}
    told = {"run_id": "s1", "event": "progress", "query": "silver", "lines": 50, "lines_per_second": 5.0, "lag_files": 1}
    return {
        "ops.job_runs": [step | {"step": "run"}, step | {"step": "gold.usage_daily", "table": "gold.usage_daily"},
                         step | {"run_id": "r0", "step": "silver.users", "status": "failed", "error": "boom <b>"}],
        "ops.quality_results": [checked | {"rule": "key", "status": "failed"}, checked | {"rule": "current_versions", "status": "passed"}],
        "ops.landed_files": [landed | {"source": "users", "path": "users.csv"}],
        "ops.reconciliation": [
            {"table": "silver.users", "delivery": "users.csv@0", "run_id": "r1", "counted_at": start, "landed": 10, "accepted": 7,
             "quarantined": 2, "duplicates": 1}
        ],
        "ops.stream_progress": [
            told | {"at": start + timedelta(minutes=n), "batch_id": n, "lag_seconds": float(n), "restarts": 0} for n in range(5)
        ],
    }  # fmt: skip


def _refused() -> dict[str, Rows]:
    at = datetime(2025, 9, 1, 2, tzinfo=UTC)
    same = {"reasons": ["malformed_row"], "quarantined_at": at, "run_id": "r1", "status": "open"}
    hidden = json.dumps({"email": SECRET, "note": "\\u0040"})
    escaped = '{"event_id":"e1","note":"someone\\u0040private.example","service":"genai"}'
    return {
        "quarantine.users": [same | {"quarantine_id": "a" * 64, "payload": hidden, "_source_file": "users.csv"}],
        "quarantine.support_tickets": [
            same | {"quarantine_id": "b" * 64, "payload": f"t1,{SECRET},open", "_source_file": "support_tickets.csv"}
        ],
        "quarantine.usage_events": [same | {"quarantine_id": "c" * 64, "payload": escaped, "_source_file": "part-1.jsonl"}],
    }


def break_table(config: Config, name: str) -> None:
    """Take a table's data files away, as a careless hand does."""
    for path in Path(config.lake.path(name)).rglob("*.parquet"):
        os.remove(path)
