"""The pages: each is a function of the answers it asks for. None has a formula or SQL of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..asking import Ask
from ..model import Page
from ..scope import page_of
from . import customer as one_customer
from .customers import customers
from .finops import finops
from .operations import operations
from .overview import overview
from .product import product
from .query import query_page
from .support import support

Filters = Mapping[str, str]
PAGES: Mapping[str, Callable[[Ask, Filters], Page]] = {
    "": page_of(overview),
    "finops": page_of(finops),
    "customers": page_of(customers),
    "support": page_of(support),
    "product": page_of(product),
    "operations": page_of(operations),
}
customer = page_of(one_customer.customer)

__all__ = ["PAGES", "customer", "query_page"]
