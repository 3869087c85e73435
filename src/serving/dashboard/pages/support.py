"""Support: how much is asked, how fast it is answered, what is left."""

from __future__ import annotations

from collections.abc import Mapping

from ..asking import Ask
from ..blocks import figure, grid
from ..charts import SEVERITIES, grouped_chart
from ..model import Figures, Page, Section
from . import filters as form


def support(ask: Ask, filters: Mapping[str, str]) -> Page:
    """Return volume, service levels, resolution times and the backlog."""
    span = form.picked(filters, "org", "from", "to")
    org, severity = form.picked(filters, "org"), form.picked(filters, "severity")
    total, days, months = ask("support-total", span), ask("tickets-by-day", span), ask("sla-by-month", org)
    times = ask("resolution-times", severity or {"severity": "critical"})
    table, backlog = ask("resolution-times", severity), ask("backlog-age", org)
    said = severity.get("severity", "critical")
    return Page(
        "support",
        "Support",
        "Tickets by the date they were created; open means not resolved by the business date.",
        [
            Section("Volume", [
                Figures([
                    figure(total, "tickets", "Tickets", note=_span(total.first)),
                    figure(total, "open", "Open"),
                    figure(total, "open_critical", "Open and critical", tone="bad" if total.first.get("open_critical") else "good"),
                    figure(total, "sla_breach_rate", "Service levels breached"),
                ]),
                grouped_chart(days, "Tickets by day and severity", "date", "severity", "tickets", kind="bar", stack=True, wide=True,
                              x="Date created, UTC", y="Tickets"),
            ]),
            Section("Service levels and backlog", [
                grouped_chart(months, "Service levels breached by month and severity", "month", "severity", "sla_breach_rate",
                              x="Month created", y="Share of tickets"),
                grouped_chart(backlog, "Open tickets by age and severity", "age", "severity", "open", kind="bar", stack=True,
                              x="Age in days at the business date", y="Open tickets", empty="Nothing is open."),
            ]),
            Section("How fast they are resolved", [
                grouped_chart(times, f"Median hours to resolve, severity {said}, by month and category", "month", "category",
                              "p50_resolution_hours", kind="bar", x="Month created", y="Hours"),
                grouped_chart(times, f"90th percentile of hours to resolve, severity {said}, by month and category", "month",
                     "category",
                              "p90_resolution_hours", kind="bar", x="Month created", y="Hours"),
                grid(table, "By month, category and severity", ["month", "category", "severity", "tickets", "open", "open_over_30d",
                     "sla_breached", "sla_breach_rate", "avg_csat", "p50_resolution_hours", "p90_resolution_hours"], limit=120),
            ]),
        ],
        [form.organisation(ask, filters), *form.dates(filters), form.choice("severity", "Severity", filters, SEVERITIES)],
        form.faults(total, days, times),
    )  # fmt: skip


def _span(row: Mapping[str, object]) -> str:
    return f"{row['first_date']} to {row['last_date']}" if row and row.get("first_date") else ""
