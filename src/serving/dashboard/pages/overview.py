"""Overview: this minute, at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..asking import Answer, Ask
from ..blocks import figure, grid, text
from ..charts import ranked_chart, series_chart
from ..model import Figure, Figures, Page, Section
from .freshness import is_stale, newest_event, notices

TOO_FAR_PCT = 50
"""From here on a difference of today's cost from the usual is coloured."""


def overview(ask: Ask, filters: Mapping[str, str]) -> Page:
    """Return the first page: cost, events, revenue, customers, alerts, freshness."""
    today, rate, revenue = ask("today"), ask("event-rate"), ask("monthly-revenue")
    full = replace(rate, rows=[row for row in rate.rows if row["is_full"]])  # one that still fills would look like a fall
    bands, alerts, fresh = ask("health-bands"), ask("alerts"), ask("freshness")
    is_old = is_stale(fresh)
    now = [
        _cost(today),
        figure(today, "usual_cost_usd", "Usual by this hour", note="median of the 28 dates before, same hours"),
        _rate(rate),
        _alerts(ask("alert-counts")),
        newest_event(fresh),
    ]
    hours = ask("today-by-hour")
    lines = {"cost_usd": "the newest date", "usual_cost_usd": "usual"}
    return Page(
        "",
        "Overview",
        f"{'' if is_old else 'This minute: '}the published tables, and what the stream has brought since.".capitalize(),
        [
            Section("At the newest event" if is_old else "Now", [
                Figures(now),
                series_chart(hours, "Cost of the newest date, summed up hour by hour", "hour", lines, x="Hour of the day, UTC",
                             y="Cost so far", empty="No events yet: scripts/run_streaming_pipeline.sh once takes what has landed."),
                series_chart(full, "Events a minute over the last 24 hours", "window_start", {"events_per_minute": "events a minute"},
                             x="Start of the hour-long window, UTC", y="Events a minute",
                             empty="No windows yet: scripts/run_streaming_pipeline.sh once takes the events that have landed."),
            ]),
            Section("Customers and alerts", [
                Figures([_revenue(revenue), *(_band(bands, row) for row in bands.rows)]),
                ranked_chart(bands, "Customers by health", "health_band", "orgs", x="Band", y="Customers"),
                grid(alerts, "Alerts", ["severity", "message", "org_id", "raised_at"], limit=8, wide=False, empty="No alert is open.",
                     lead="Acknowledge and silence them under Operations."),
            ]),
        ],
        notices=notices(fresh),
    )  # fmt: skip


def _cost(today: Answer) -> Figure:
    row = today.first
    change = row.get("difference_pct")
    tone = "" if change is None else "bad" if change > TOO_FAR_PCT else "watch" if change < -TOO_FAR_PCT else "good"
    note = f"{text(today, 'date')} to {text(today, 'hour')}:59 UTC"
    if change is not None:
        note += f"; {text(today, 'difference_pct')} against the usual"
    return figure(today, "cost_usd", "Cost so far", note=note if row else "", tone=tone)


def _rate(rate: Answer) -> Figure:
    newest = next((row for row in reversed(rate.rows) if row["is_full"]), rate.first)
    note = f"in the hour to {newest['window_end']:%m-%d %H:%M} UTC" if newest else ""
    return figure(rate, "events_per_minute", "Events a minute", note=note, row=newest)


def _revenue(revenue: Answer) -> Figure:
    newest = revenue.rows[-1] if revenue.rows else {}
    note = (
        f"{text(revenue, 'month', newest)}; {text(revenue, 'mom_growth_pct', newest)} on the month before"
        if newest
        else ""
    )
    return figure(revenue, "revenue_usd", "Revenue of the newest month", note=note, row=newest)


def _band(bands: Answer, row: Mapping[str, object]) -> Figure:
    tone = {"healthy": "good", "watch": "watch", "at_risk": "bad"}.get(str(row["health_band"]), "")
    said = {"healthy": "Customers healthy", "watch": "Customers to watch", "at_risk": "Customers at risk"}
    return figure(bands, "orgs", said.get(str(row["health_band"]), "Customers without a score"), tone=tone, row=row,
                  note=f"{text(bands, 'revenue_30d_usd', row)} revenue in 30 days")


def _alerts(counts: Answer) -> Figure:
    critical, opened = counts.first.get("critical"), counts.first.get("open")
    tone = "bad" if critical else "watch" if opened else "good"
    return figure(
        counts,
        "open",
        "Open alerts",
        note=f"{text(counts, 'critical')} critical, {text(counts, 'acknowledged')} acknowledged",
        tone=tone,
    )
