"""Product: tokens and their price, adoption, how services grow, what campaigns bring."""

from __future__ import annotations

from collections.abc import Mapping

from ..asking import Ask
from ..blocks import figure, grid
from ..charts import grouped_chart, ranked_chart, series_chart
from ..model import Figures, Page, Section
from . import filters as form


def product(ask: Ask, filters: Mapping[str, str]) -> Page:
    """Return what the products are used for, and by whom."""
    span = form.picked(filters, "org", "from", "to")
    tokens, total, adoption = ask("genai-tokens", span), ask("genai-total", span), ask("adoption")
    growth, campaigns, surveys = ask("service-growth"), ask("campaigns"), ask("nps")
    return Page(
        "product",
        "Product",
        "GenAI, adoption, services and campaigns, as published.",
        [
            Section("GenAI", [
                Figures([
                    figure(total, "genai_tokens", "Tokens"),
                    figure(total, "cost_usd", "Cost"),
                    figure(total, "cost_per_1k_tokens", "Cost of 1,000 tokens", note="of the events that report tokens"),
                    figure(total, "orgs", "Organisations that use it"),
                ]),
                series_chart(tokens, "GenAI tokens by day", "usage_date", {"genai_tokens": "tokens"}, kind="bar", x="Date, UTC",
                     y="Tokens",
                             empty="No event of the service genai reported tokens in this span."),
                series_chart(tokens, "Cost of 1,000 tokens by day", "usage_date", {"cost_per_1k_tokens": "cost of 1,000 tokens"},
                             x="Date, UTC", y="Cost of 1,000 tokens",
                                  empty="No event of the service genai reported tokens in this span."),
            ]),
            Section("Adoption and services", [
                ranked_chart(adoption, "Users who logged in within 30 days, of the active ones, by plan", "plan_tier",
                     "adoption_rate",
                             x="Plan", y="Share"),
                grid(adoption, "Adoption by plan", ["plan_tier", "orgs", "users", "active_users", "logged_in_30d",
                     "never_logged_in",
                     "adoption_rate"], wide=False),
                grouped_chart(growth, "Cost by month and service", "month", "service", "cost_usd", kind="bar", x="Month", y="Cost",
                     wide=True),
                grid(growth, "How services grow", ["month", "service", "cost_usd", "cost_share_pct", "active_orgs",
                     "growth_pct", "tier",
                     "is_partial"], lead="Growth of the cost a day over the month before."),
            ]),
            Section("Marketing and satisfaction", [
                ranked_chart(campaigns, "Revenue influenced by campaign and channel", "name", "influenced_revenue_usd",
                     x="Campaign", y="Revenue"),
                series_chart(surveys, "Net promoter score by month", "month", {"nps": "NPS"}, kind="bar", x="Month", y="Score",
                             empty="A month needs ten surveys on the scale to have a score."),
                grid(campaigns, "Campaigns", ["campaign", "channel", "touches", "clicks", "click_rate", "conversions",
                     "conversion_rate",
                     "influenced_revenue_usd"]),
            ]),
        ],
        [form.organisation(ask, filters), *form.dates(filters)],
        form.faults(tokens, total),
    )  # fmt: skip
