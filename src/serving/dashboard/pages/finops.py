"""FinOps: where the money goes, what is out of the ordinary, and whether invoices fit usage."""

from __future__ import annotations

from collections.abc import Mapping

from ..asking import Answer, Ask
from ..blocks import figure, grid
from ..charts import grouped_chart, ranked_chart, waterfall_chart
from ..model import Figures, Page, Section
from . import filters as form


def finops(ask: Ask, filters: Mapping[str, str]) -> Page:
    """Return cost by day, movers, anomalies, reconciliation, allocation and carbon, for all or one organisation."""
    span = form.picked(filters, "org", "from", "to")
    of_service = form.picked(filters, "org", "from", "to", "service")
    org = form.picked(filters, "org")
    total, days = ask("cost-total", of_service), ask("cost-by-day", of_service)
    regions, anomalies = ask("cost-by-region", of_service), ask("anomalies", span)
    moved, matched = ask("cost-movers", org), ask("reconciliation", org)
    states, gap = ask("reconciliation-status", org), ask("invoice-gap-steps", org)
    keys = ask("tag-keys")
    known = [row["tag_key"] for row in keys.rows]
    key = filters.get("tag") or (known[0] if known else "")
    tags, carbon = ask("cost-allocation", {"tag": key}), ask("carbon", org)
    services = [row["service"] for row in ask("services").rows]
    return Page(
        "finops",
        "FinOps",
        "Cost of usage in USD as the events tell it, up to this minute; invoices as delivered.",
        [
            Section("Cost", [
                Figures([
                    figure(total, "cost_usd", "Cost in the span", note=_span(total.first)),
                    figure(total, "cost_per_day_usd", "Cost a day"),
                    figure(total, "events", "Events"),
                    figure(total, "orgs", "Organisations with usage"),
                ]),
                grouped_chart(days, "Cost by day and service", "usage_date", "service", "cost_usd", stack=True, area=True,
                     wide=True,
                              height=320, x="Date, UTC", y="Cost"),
                grouped_chart(regions, "Cost by day and region", "usage_date", "region", "cost_usd", stack=True, area=True,
                     x="Date, UTC",
                              y="Cost", lead="As published: what the stream brought since is not told by region."),
                grid(moved, "Top movers", ["org_id", "org_name", "recent_net_cost_usd", "change_usd", "cost_change_pct"],
                     limit=10, wide=False, lead="The last 30 days against the 30 before, anomalies at their expected cost."),
            ]),
            Section("Out of the ordinary", [
                grid(anomalies, "Cost anomalies", ["usage_date", "org_id", "service", "cost_usd", "expected_usd", "impact_usd",
                     "cause", "drivers"],
                     limit=25, empty="No anomaly in this span.",
                          lead="A day's cost far above the median of the days before it, with what drove it."),
            ]),
            _invoices(states, gap, matched),
            Section("Who and what causes it", [
                ranked_chart(tags, f"Cost of the newest month by tag {key}".strip(), "tag_value", "cost_usd",
                     x="Value of the tag", y="Cost"),
                grouped_chart(carbon, "Carbon by month and service", "month", "service", "carbon_kg", kind="bar", stack=True,
                     x="Month", y="Carbon"),
            ]),
        ],
        [form.organisation(ask, filters), *form.dates(filters), form.choice("service", "Service", filters, services),
         form.choice("tag", "Tag", {**filters, "tag": key}, known, "–")],
        form.faults(total, days, anomalies, tags),
    )  # fmt: skip


def _invoices(states: Answer, gap: Answer, matched: Answer) -> Section:
    """Return how usage and invoices fit."""
    return Section("Usage and invoices", [
        grouped_chart(states, "Organisations by how usage and invoice fit", "month", "status", "orgs", kind="bar",
             stack=True,
                      x="Month", y="Organisations"),
        waterfall_chart(gap, "From usage to what was billed", "step", "amount_usd", x="Step", y="Amount",
                        empty="gold.invoice_gap has nothing: scripts/run_batch_pipeline.sh --jobs gold builds it."),
        grid(matched, "Reconciliation by organisation and month", ["month", "org_id", "usage_cost_usd",
             "billed_subtotal_usd",
             "difference_usd", "difference_pct", "usage_days", "status"], limit=25, lead="Largest differences first."),
    ])  # fmt: skip


def _span(row: Mapping[str, object]) -> str:
    return f"{row['first_date']} to {row['last_date']}" if row and row["first_date"] else ""
