"""The clock and the ids of runs; nothing else asks the time, so that transforms get it as an argument."""

from __future__ import annotations

import os
from datetime import UTC, datetime


def new_run_id(now: datetime) -> str:
    """Return an id that sorts by time and is never given twice."""
    return f"{now:%Y%m%dT%H%M%SZ}-{os.urandom(3).hex()}"


def now_utc() -> datetime:
    """Return the clock's time, UTC; the only place that asks it, so that transforms get time as an argument."""
    return datetime.now(UTC)


def spoken_age(hours: float) -> str:
    """Return an age as people say it: "5 s", "40 min", "31 h", "452 d"."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:,.0f} d"
