"""Gold: pure functions, silver in, marts out.

A mart's function takes the inputs of its contract in their order, and by keyword what its signature names: `as_of`
(the business date), a definition of conf/lake.yaml (`survey_scale`), and the parameters of its contract in
conf/gold.yaml. It returns rows with the contract's columns; the runner casts them to the declared types.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pyspark.sql import DataFrame

from . import customers, marketing, revenue, support, usage_marts


@dataclass(frozen=True)
class Mart:
    """How a mart is computed."""

    compute: Callable[..., DataFrame]

    @cached_property
    def keywords(self) -> frozenset[str]:
        """The keyword arguments that the function takes, beside its inputs."""
        parameters = inspect.signature(self.compute).parameters.values()
        return frozenset(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)

    @property
    def takes_as_of(self) -> bool:
        """Whether the mart depends on the business date."""
        return "as_of" in self.keywords

    def arguments(self, **known: Any) -> dict[str, Any]:
        """Return those of the known arguments that the function takes."""
        return {name: value for name, value in known.items() if name in self.keywords}


MARTS: Mapping[str, Mart] = {
    "gold.usage_daily": Mart(usage_marts.usage_daily),
    "gold.org_daily_usage_by_service": Mart(usage_marts.org_daily_usage_by_service),
    "gold.revenue_by_org_month": Mart(revenue.revenue_by_org_month),
    "gold.tickets_by_org_date": Mart(support.tickets_by_org_date),
    "gold.support_monthly": Mart(support.support_monthly),
    "gold.nps_by_month": Mart(support.nps_by_month),
    "gold.marketing_effectiveness": Mart(marketing.marketing_effectiveness),
    "gold.customer_summary": Mart(customers.customer_summary),
    "gold.user_activity": Mart(customers.user_activity),
}
