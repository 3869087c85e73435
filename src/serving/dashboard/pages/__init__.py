"""The pages: each is a function of the answers it asks for. None has a formula or SQL of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..asking import Ask
from ..model import Page
from .customer import customer
from .customers import customers
from .finops import finops
from .operations import operations
from .overview import overview
from .product import product
from .query import query_page
from .support import support

Filters = Mapping[str, str]
PAGES: Mapping[str, Callable[[Ask, Filters], Page]] = {
    "": overview,
    "finops": finops,
    "customers": customers,
    "support": support,
    "product": product,
    "operations": operations,
}

__all__ = ["PAGES", "customer", "query_page"]
