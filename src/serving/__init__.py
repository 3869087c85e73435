"""Readers of the platform: the published gold tables and the served answers.

A name is imported when it is asked for: who asks one question does not wait for what the others need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..common.publication import publications, published
    from .live import live_customers, live_org_daily_usage, live_usage_windows
    from .reader import connect

__all__ = ["connect", "live_customers", "live_org_daily_usage", "live_usage_windows", "publications", "published"]

_AT = {"connect": ".reader", "publications": "..common.publication", "published": "..common.publication"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_AT.get(name, ".live"), __name__), name)
