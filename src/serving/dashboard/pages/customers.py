"""Customers: a table to search and sort; each leads to its own page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ..asking import Answer, Ask
from ..blocks import figure, grid
from ..charts import ranked_chart
from ..model import Field, Figure, Figures, Page, Section
from . import filters as form

COLUMNS = ("org_id", "org_name", "plan_tier", "industry", "health_score", "health_band", "segment", "cost_30d_usd",
           "cost_change_pct", "revenue_30d_usd", "open_critical_tickets", "open_alerts")  # fmt: skip
FIRST = "health_score"


def customers(ask: Ask, filters: Mapping[str, str]) -> Page:
    """Return the customers that fit, worst health first unless sorted otherwise."""
    asked = form.picked(filters, "search", "band", "segment")
    found, segments = ask("customers", asked), ask("segments")
    bands = ask("health-bands")
    wanted, downward = filters.get("sort", FIRST), filters.get("order") == "down"
    by = wanted if wanted in COLUMNS else FIRST

    def sort(column: str) -> tuple[str, str]:
        turned = column == by and not downward
        address = "?" + urlencode({**asked, "sort": column, **({"order": "down"} if turned else {})})
        return address, ("descending" if downward else "ascending") if column == by else ""

    ordered = Answer(**{**vars(found), "rows": _sorted(found.rows, by, downward)})
    return Page(
        "customers",
        "Customers",
        "Every current organisation, its health, segment, cost and revenue; the newest usage and alerts of this minute.",
        [
            Section("Who they are", [
                Figures([figure(found, "org_id", "Found") if found.failure else _count(found)]),
                grid(ordered, "Customers", COLUMNS, limit=500, sort=sort,
                     empty="No customer fits: clear the filters, or search for a part of the name or of the id."),
            ]),
            Section("How they spread", [
                ranked_chart(bands, "Customers by health", "health_band", "orgs", x="Band", y="Customers"),
                ranked_chart(segments, "Customers by segment", "segment", "orgs", x="Segment", y="Customers"),
            ]),
        ],
        [*_chosen(filters), Field("search", "Name or id", filters.get("search", ""), "search", hint="a part of it"),
         form.choice("band", "Health", filters, ["healthy", "watch", "at_risk"]),
         form.choice("segment", "Segment", filters, sorted(str(row["segment"]) for row in segments.rows))],
        form.faults(found),
    )  # fmt: skip


def _chosen(filters: Mapping[str, str]) -> list[Field]:
    """Return the sort that was chosen, so that searching keeps it."""
    return [Field(name, "", value, "hidden") for name, value in form.picked(filters, "sort", "order").items()]


def _count(found: Answer) -> Figure:
    return Figure("Customers found", f"{len(found.rows):,}", found.source)


def _sorted(rows: Any, by: str, downward: bool) -> list[Mapping[str, Any]]:
    """Sort by a column, what is unknown last."""
    known = sorted((row for row in rows if row[by] is not None), key=lambda row: row[by], reverse=downward)
    return [*known, *(row for row in rows if row[by] is None)]
