"""The end of a run, told to people."""

from __future__ import annotations

import logging

from ..alerts import run_news
from ..common.clock import now_utc
from ..common.config import Config

LOG = logging.getLogger("cloudlake.runs")


def tell_of_runs(config: Config) -> None:
    """Tell the targets of `notifications` of runs that failed, and of recovery; what goes wrong is logged, not raised."""
    for fault in run_news.tell(config, now_utc()):
        LOG.warning(fault)
