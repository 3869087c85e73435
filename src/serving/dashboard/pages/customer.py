"""One customer: who it is, how well it is and why, what it uses, asks and pays."""

from __future__ import annotations

from collections.abc import Mapping

from ..asking import Answer, Ask
from ..blocks import facts, figure, grid
from ..charts import grouped_chart, series_chart
from ..model import Figures, Page, Section


def customer(ask: Ask, org_id: str, filters: Mapping[str, str]) -> Page:
    """Return the page of one organisation."""
    org = {"org": org_id}
    who, health, history = ask("customer", org), ask("customer-health", org), ask("customer-history", org)
    usage, tickets, invoices = ask("cost-by-day", org), ask("tickets-by-day", org), ask("customer-invoices", org)
    users, months, alerts = ask("customer-users", org), ask("sla-by-month", org), ask("alerts", org)
    name = who.first.get("org_name") or org_id
    band = str(who.first.get("health_band") or "")
    tone = {"healthy": "good", "watch": "watch", "at_risk": "bad"}.get(band, "")
    return Page(
        "customers",
        str(name),
        f"{org_id}: one customer, as published, with the newest usage and alerts of this minute.",
        [
            Section("At a glance", [
                Figures([
                    figure(who, "health_score", "Health", note=band.replace("_", " "), tone=tone),
                    figure(who, "segment", "Segment"),
                    figure(who, "cost_30d_usd", "Cost in 30 days", note=_change(who)),
                    figure(who, "revenue_30d_usd", "Revenue in 30 days"),
                    figure(who, "open_critical_tickets", "Open critical tickets", tone=_alarm(who, "open_critical_tickets")),
                    figure(who, "open_alerts", "Open alerts", tone=_alarm(who, "open_alerts")),
                ]),
                facts(who, "Who it is", ["org_id", "org_name", "industry", "plan_tier", "lifecycle_stage", "first_usage_date",
                                         "last_usage_date", "usage_cost_usd", "revenue_usd", "last_nps", "contradictions"]),
                facts(users, "Its users", ["users", "active_users", "logged_in_30d", "never_logged_in", "adoption_rate"]),
                grid(alerts, "Alerts", ["severity", "status", "service", "message", "raised_at"], empty="No alert is open."),
            ]),
            Section("Health", [
                grid(health, "Why the score is what it is", ["name", "score", "weight", "contribution", "why"], wide=False),
                series_chart(history, "Health score by week", "week_ending", {"health_score": "health score"}, x="Week ending",
                     y="Score"),
                grid(history, "Score and segment by week", ["week_ending", "health_score", "health_band", "segment", "r", "f",
                     "m"], wide=True),
            ]),
            Section("Usage", [
                grouped_chart(usage, "Cost by day and service", "usage_date", "service", "cost_usd", stack=True, area=True,
                     wide=True,
                              x="Date, UTC", y="Cost"),
            ]),
            Section("Tickets", [
                grouped_chart(tickets, "Tickets by day and severity", "date", "severity", "tickets", kind="bar", stack=True,
                              x="Date created, UTC", y="Tickets", empty="It has opened no ticket."),
                grid(months, "Service levels by month", ["month", "severity", "tickets", "open", "sla_breached",
                     "sla_breach_rate"], wide=False,
                     empty="It has opened no ticket."),
            ]),
            Section("Invoices", [
                series_chart(invoices, "Revenue by month", "month", {"revenue_usd": "revenue"}, kind="bar", x="Month", y="Revenue",
                     wide=True,
                     empty="It has not been billed."),
                grid(invoices, "Invoices by month", ["month", "subtotal_usd", "credits_usd", "taxes_usd", "revenue_usd",
                     "invoiced_usd",
                     "currencies", "has_fx_suspect", "status"], empty="It has not been billed."),
            ]),
        ],
        (),
        who.failure.splitlines() if who.is_refused else [],
        is_unknown=who.is_refused,
    )  # fmt: skip


def _change(who: Answer) -> str:
    change = who.first.get("cost_change_pct")
    return "" if change is None else f"{change:+,.1f} % on the 30 days before, anomalies set aside"


def _alarm(who: Answer, column: str) -> str:
    return "bad" if who.first.get(column) else ""
