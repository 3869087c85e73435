"""Readers of the platform: the published gold tables and the served answer."""

from .publish import publications, published
from .queries import live_org_daily_usage
from .reader import connect

__all__ = ["connect", "live_org_daily_usage", "publications", "published"]
