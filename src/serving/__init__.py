"""Readers of the platform: the published gold tables and the served answers."""

from ..common.publication import publications, published
from .live import live_customers, live_org_daily_usage, live_usage_windows
from .reader import connect

__all__ = ["connect", "live_customers", "live_org_daily_usage", "live_usage_windows", "publications", "published"]
