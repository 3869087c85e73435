"""Where two marts state the same fact: each says it of every organisation or month, and they must say the same."""

from __future__ import annotations

from typing import Any

import duckdb

CRITICAL, SEVERE = "severity = 'critical'", "severity IN ('high', 'critical')"
_BY_MONTH = "CAST(date_trunc('month', usage_date) AS DATE) AS month"
_USAGE = ("usage_daily", "usage_hourly", "org_daily_usage_by_service")

# Fact → who states it → SQL of its key and value. Organisations without anything are left out, and so are those that
# are no customers, where only customers have a row.
FACTS: dict[str, dict[str, str]] = {
    "open critical tickets": {
        "tickets_by_org_date": f"SELECT org_id, sum(open) FROM gold.tickets_by_org_date WHERE {CRITICAL} GROUP BY ALL",
        **{mart: f"SELECT org_id, open_critical_tickets FROM {mart}" for mart in ("gold.customer_summary", "gold.customer_360", "live")},
    },
    "open severe tickets": {
        "tickets_by_org_date": f"SELECT org_id, sum(open) FROM gold.tickets_by_org_date WHERE {SEVERE} GROUP BY ALL",
        "customer_health": "SELECT org_id, CAST(regexp_extract(health_components[3].why, '([0-9]+) high or critical open', 1) AS INT) FROM gold.customer_health",
    },
    "tickets": {
        "tickets_by_org_date": "SELECT org_id, sum(tickets) FROM gold.tickets_by_org_date GROUP BY ALL",
        **{mart: f"SELECT org_id, tickets FROM {mart}" for mart in ("gold.customer_summary", "gold.customer_360", "live")},
    },
    "tickets of a month": {
        "tickets_by_org_date": "SELECT (CAST(date_trunc('month', date) AS DATE), severity), (sum(tickets), sum(resolved), sum(open), sum(sla_breached)) FROM gold.tickets_by_org_date GROUP BY ALL",
        "support_monthly": "SELECT (month, severity), (sum(tickets), sum(resolved), sum(open), sum(sla_breached)) FROM gold.support_monthly GROUP BY ALL",
    },
    "revenue": {
        "revenue_by_org_month": "SELECT org_id, sum(revenue_usd) FROM gold.revenue_by_org_month GROUP BY ALL",
        **{mart: f"SELECT org_id, revenue_usd FROM {mart}" for mart in ("gold.customer_summary", "gold.customer_360", "live")},
    },
    "revenue of a month": {
        "revenue_by_org_month": "SELECT month, (sum(subtotal_usd), sum(revenue_usd), sum(invoiced_usd), sum(invoices)) FROM gold.revenue_by_org_month GROUP BY ALL",
        "revenue_monthly": "SELECT month, (subtotal_usd, revenue_usd, invoiced_usd, invoices) FROM gold.revenue_monthly",
    },
    "revenue of all customers": {
        "customer_summary": "SELECT 'all', sum(revenue_usd) FROM gold.customer_summary",
        "customer_segments": "SELECT 'all', sum(revenue_usd) FROM gold.customer_segments",
    },
    "billed": {
        "revenue_by_org_month": "SELECT (org_id, month), subtotal_usd FROM gold.revenue_by_org_month",
        "cost_billing_reconciliation": "SELECT (org_id, month), billed_subtotal_usd FROM gold.cost_billing_reconciliation",
    },
    "cost": {
        **{mart: f"SELECT org_id, sum(cost_usd) FROM gold.{mart} GROUP BY ALL" for mart in (*_USAGE, "resource_daily_usage", "cost_anomalies")},
        "cost_billing_reconciliation": "SELECT org_id, sum(usage_cost_usd) FROM gold.cost_billing_reconciliation GROUP BY ALL",
        **{mart: f"SELECT org_id, usage_cost_usd FROM {mart}" for mart in ("gold.customer_summary", "gold.customer_360", "live")},
    },
    "cost of a month": {
        "usage_daily": f"SELECT month, sum(cost_usd) FROM (SELECT {_BY_MONTH}, cost_usd FROM gold.usage_daily) GROUP BY ALL",
        "usage_trends": "SELECT period_start, cost_usd FROM gold.usage_trends WHERE period_type = 'month' AND service = 'ALL' AND region = 'ALL'",
        "service_performance": "SELECT month, sum(cost_usd) FROM gold.service_performance GROUP BY ALL",
        "cost_allocation": "SELECT month, max(cost_usd) FROM (SELECT month, tag_key, sum(cost_usd) AS cost_usd FROM gold.cost_allocation GROUP BY ALL) GROUP BY ALL",
    },
    "net cost of 30 days": {
        "customer_rfm": "SELECT org_id, (recent_net_cost_usd, segment) FROM gold.customer_rfm",
        "customer_360": "SELECT org_id, (recent_net_cost_usd, segment) FROM gold.customer_360",
        "live": "SELECT org_id, (recent_net_cost_usd, segment) FROM live",
    },
    "users": {
        "user_activity": "SELECT org_id, (users, active_users) FROM gold.user_activity",
        **{mart: f"SELECT org_id, (users, active_users) FROM {mart}" for mart in ("gold.customer_summary", "gold.customer_360", "live")},
    },
    "events": {
        mart: f"SELECT org_id, sum(events) FROM gold.{mart} GROUP BY ALL" for mart in (*_USAGE, "resource_daily_usage", "carbon_footprint")
    },
    "tokens": {
        mart: f"SELECT org_id, sum(genai_tokens) FROM gold.{mart} GROUP BY ALL" for mart in _USAGE
    },
    "tokens of genai": {
        "org_daily_usage_by_service": "SELECT (org_id, usage_date), (genai_tokens, requests, cost_usd) FROM gold.org_daily_usage_by_service WHERE service = 'genai'",
        "genai_tokens_by_org_date": "SELECT (org_id, usage_date), (genai_tokens, requests, cost_usd) FROM gold.genai_tokens_by_org_date",
    },
    "carbon": {
        mart: f"SELECT org_id, sum(carbon_kg) FROM gold.{mart} GROUP BY ALL" for mart in (*_USAGE, "carbon_footprint")
    },
    "invoiced with taxes": {
        "revenue_by_org_month": "SELECT (org_id, month), (invoiced_usd, revenue_usd) FROM gold.revenue_by_org_month",
        "focus_charges": "SELECT (org_id, billing_month), (sum(cost_usd), sum(cost_usd) FILTER (charge_kind <> 'tax')) FROM gold.focus_charges WHERE invoice_id IS NOT NULL GROUP BY ALL",
        "invoice_lines": "SELECT (org_id, billing_month), (sum(cost_usd), sum(cost_usd) FILTER (charge_kind <> 'tax')) FROM gold.invoice_lines GROUP BY ALL",
    },
    "usage of a day and service": {
        "org_daily_usage_by_service": "SELECT (org_id, usage_date, service), (cost_usd, events, carbon_kg, genai_tokens) FROM gold.org_daily_usage_by_service",
        "focus_charges": "SELECT (org_id, charge_period_start, service), (sum(cost_usd), sum(events), sum(carbon_kg), CAST(sum(genai_tokens) AS BIGINT)) FROM gold.focus_charges WHERE charge_kind LIKE 'metered-%' GROUP BY ALL",
    },
    "difference of bill and usage": {
        "cost_billing_reconciliation": "SELECT (org_id, month), (difference_usd, usage_cost_usd, billed_subtotal_usd) FROM gold.cost_billing_reconciliation",
        "invoice_gap": "SELECT (org_id, month), (rate_usd + suspect_currency_usd + refused_events_usd + unmeasured_events_usd + uncovered_days_usd + anomalies_usd + credit_notes_usd + rest_usd, usage_cost_usd, billed_subtotal_usd) FROM gold.invoice_gap",
    },
    "health": {
        "customer_health": "SELECT org_id, (health_score, health_band) FROM gold.customer_health",
        "customer_360": "SELECT org_id, (health_score, health_band) FROM gold.customer_360",
    },
    "segment": {
        "customer_rfm": "SELECT segment, count(*) FROM gold.customer_rfm GROUP BY ALL",
        "customer_segments": "SELECT segment, orgs FROM gold.customer_segments",
    },
}  # fmt: skip


def disagreements(lake: duckdb.DuckDBPyConnection) -> list[str]:
    """Compare what the marts of a publication say of each fact; `live` is a view of serving.customer_live.

    A fact that nobody states of anyone is a fault too.
    """
    customers = {row[0] for row in lake.sql("SELECT org_id FROM gold.customer_summary").fetchall()}
    faults = []
    for fact, statements in FACTS.items():
        said = {who: dict(lake.sql(sql).fetchall()) for who, sql in statements.items()}
        keys = {key for values in said.values() for key in values}
        if not any(value for values in said.values() for value in values.values()):
            faults.append(f"{fact}: nobody says anything")
        for key in keys:
            values = {
                who: _value(values.get(key))
                for who, values in said.items()
                if key in customers or not _is_of_customers(who)
            }
            if len(set(values.values())) > 1:
                faults.append(f"{fact} of {key}: {values}")
    return faults


def _is_of_customers(who: str) -> bool:
    return "customer_" in who or who in ("live", "user_activity")


def _value(said: Any) -> Any:
    """Nothing and 0 are the same: a mart without a row for somebody says nothing."""
    if isinstance(said, tuple):
        return said if any(said) else 0
    return said or 0
