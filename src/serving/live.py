"""The served answers read live, without Spark: as of this moment, whenever the served tables were written."""

from __future__ import annotations

import pyarrow as pa

from ..common import live
from ..common.config import Config
from . import customer_live
from .served import read_live


def live_org_daily_usage(config: Config) -> pa.Table:
    """Return serving.org_daily_usage as of this moment."""
    return read_live(config, live.DAILY)


def live_usage_windows(config: Config) -> pa.Table:
    """Return serving.usage_windows as of this moment."""
    return read_live(config, live.WINDOWS)


def live_customers(config: Config) -> pa.Table:
    """Return serving.customer_live as of this moment."""
    return read_live(config, customer_live.TABLE)
