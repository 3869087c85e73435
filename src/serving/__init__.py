"""Readers of the platform: the published gold tables and the served answer."""

from .publish import published
from .queries import live_org_daily_usage

__all__ = ["live_org_daily_usage", "published"]
