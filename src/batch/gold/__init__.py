"""Gold: pure functions, silver in, marts out.

A mart's function takes the inputs of its contract in their order, and by keyword what its signature names: `as_of`
(the business date), `users_since` (the date of the first snapshot of users), a definition of conf/lake.yaml
(`survey_scale`), and the parameters of its contract in conf/gold.yaml. It returns rows with the contract's columns; the
runner brings them to the declared types.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Literal

from pyspark.sql import DataFrame

from . import (
    anomalies,
    customer_versions,
    customers,
    dimensions,
    focus,
    marketing,
    reconciliation,
    resources,
    revenue,
    scores,
    segments,
    support,
    trends,
    usage_marts,
)


@dataclass(frozen=True)
class Touch:
    """A row of an input goes into the mart's part of its own day or month, and into those up to `ahead` later."""

    column: str
    """The input's date."""
    ahead: int | str = 0
    """A number, or the parameter of the mart's contract that holds it."""

    def reach(self, parameters: Mapping[str, Any]) -> int:
        """Return how many days or months ahead a row is still seen."""
        return int(parameters[self.ahead]) if isinstance(self.ahead, str) else self.ahead


@dataclass(frozen=True)
class Mart:
    """How a mart is computed, and which part of it a change of its inputs concerns.

    A mart with `part`, a date column of its own, is a union of days or months: rows of one part are made from the rows
    of `touches`' inputs that touch it, and from all rows of its other inputs. Without `part` it is always rebuilt whole.
    """

    compute: Callable[..., DataFrame]
    part: str = ""
    unit: Literal["day", "month"] = "day"
    touches: Mapping[str, Touch] = field(default_factory=dict)
    is_large: bool = False
    """Written by Spark. Other marts fit in memory, where a commit costs milliseconds."""

    @cached_property
    def keywords(self) -> frozenset[str]:
        """The keyword arguments that the function takes, beside its inputs."""
        parameters = inspect.signature(self.compute).parameters.values()
        return frozenset(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)

    @property
    def takes_as_of(self) -> bool:
        """Whether the mart depends on the business date."""
        return "as_of" in self.keywords

    @property
    def takes_users_since(self) -> bool:
        """Whether the mart depends on when users were first told of."""
        return "users_since" in self.keywords

    def arguments(self, **known: Any) -> dict[str, Any]:
        """Return those of the known arguments that the function takes."""
        return {name: value for name, value in known.items() if name in self.keywords}

    def parts(self, name: str, days: AbstractSet[date], parameters: Mapping[str, Any]) -> set[date]:
        """Return the parts that changed rows of an input, of these days, go into."""
        return _moved(days, self.unit, 0, self.touches[name].reach(parameters))

    def needs(self, name: str, parts: AbstractSet[date], parameters: Mapping[str, Any]) -> set[date]:
        """Return the days, or months, of an input that some parts are made from."""
        return _moved(parts, self.unit, -self.touches[name].reach(parameters), 0)


def months_later(day: date, months: int) -> date:
    """Return the first day of the month that lies some months after that of `day`."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def _moved(days: AbstractSet[date], unit: str, first: int, last: int) -> set[date]:
    if unit == "day":
        return {day + timedelta(days=step) for day in days for step in range(first, last + 1)}
    return {months_later(day, step) for day in days for step in range(first, last + 1)}


MARTS: Mapping[str, Mart] = {
    "gold.usage_hourly": Mart(
        usage_marts.usage_hourly,
        part="usage_date",
        touches={"silver.usage_events": Touch("usage_date")},
        is_large=True,
    ),
    "gold.usage_daily": Mart(
        usage_marts.usage_daily, part="usage_date", touches={"silver.usage_events": Touch("usage_date")}
    ),
    "gold.org_daily_usage_by_service": Mart(
        usage_marts.org_daily_usage_by_service, part="usage_date", touches={"gold.usage_daily": Touch("usage_date")}
    ),
    "gold.resource_daily_usage": Mart(
        usage_marts.resource_daily_usage,
        part="usage_date",
        touches={"silver.usage_events": Touch("usage_date")},
        is_large=True,
    ),
    "gold.genai_tokens_by_org_date": Mart(
        usage_marts.genai_tokens_by_org_date, part="usage_date", touches={"silver.usage_events": Touch("usage_date")}
    ),
    "gold.carbon_footprint": Mart(
        usage_marts.carbon_footprint, part="month", unit="month", touches={"gold.usage_daily": Touch("usage_date")}
    ),
    "gold.usage_trends": Mart(trends.usage_trends),
    "gold.service_performance": Mart(trends.service_performance),
    "gold.cost_anomalies": Mart(
        anomalies.cost_anomalies,
        part="usage_date",
        touches={
            "gold.org_daily_usage_by_service": Touch("usage_date", ahead="window_days"),
            "silver.usage_events": Touch("usage_date"),
        },
    ),
    "gold.cost_spikes": Mart(
        anomalies.cost_spikes, part="month", unit="month", touches={"silver.usage_events": Touch("usage_date")}
    ),
    "gold.cost_allocation": Mart(
        resources.cost_allocation,
        part="month",
        unit="month",
        touches={"gold.resource_daily_usage": Touch("usage_date")},
    ),
    "gold.resource_utilization": Mart(resources.resource_utilization),
    "gold.revenue_by_org_month": Mart(
        revenue.revenue_by_org_month,
        part="month",
        unit="month",
        touches={"silver.billing_monthly": Touch("month", ahead=1)},
    ),
    "gold.revenue_monthly": Mart(
        revenue.revenue_monthly, part="month", unit="month", touches={"silver.billing_monthly": Touch("month", ahead=1)}
    ),
    "gold.cost_billing_reconciliation": Mart(
        reconciliation.cost_billing_reconciliation,
        part="month",
        unit="month",
        touches={"gold.org_daily_usage_by_service": Touch("usage_date"), "gold.revenue_by_org_month": Touch("month")},
    ),
    "gold.tickets_by_org_date": Mart(support.tickets_by_org_date),
    "gold.support_monthly": Mart(support.support_monthly),
    "gold.nps_by_month": Mart(support.nps_by_month),
    "gold.marketing_effectiveness": Mart(marketing.marketing_effectiveness),
    "gold.customer_summary": Mart(customers.customer_summary),
    "gold.user_activity": Mart(customers.user_activity),
    "gold.customer_rfm": Mart(scores.customer_rfm),
    "gold.customer_health": Mart(scores.customer_health),
    "gold.customer_history": Mart(scores.customer_history),
    "gold.customer_segments": Mart(segments.customer_segments),
    "gold.dim_customer": Mart(customer_versions.dim_customer),
    "gold.customer_360": Mart(customers.customer_360),
    "gold.focus_charges": Mart(
        focus.focus_charges,
        part="billing_month",
        unit="month",
        touches={"silver.usage_events": Touch("usage_date"), "silver.billing_monthly": Touch("month")},
        is_large=True,
    ),
    "gold.invoice_lines": Mart(
        focus.invoice_lines,
        part="billing_month",
        unit="month",
        touches={"gold.focus_charges": Touch("billing_month"), "silver.billing_monthly": Touch("month")},
    ),
    "gold.invoice_gap": Mart(
        focus.invoice_gap,
        part="month",
        unit="month",
        touches={
            "gold.cost_billing_reconciliation": Touch("month"),
            "silver.billing_monthly": Touch("month"),
            "gold.focus_charges": Touch("billing_month"),
            "gold.cost_anomalies": Touch("usage_date"),
        },
    ),
    "gold.dim_date": Mart(dimensions.dim_date),
    "gold.dim_region": Mart(dimensions.dim_region),
}
