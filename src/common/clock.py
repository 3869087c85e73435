"""The clock and the ids of runs; nothing else asks the time, so that transforms get it as an argument."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def new_run_id(now: datetime) -> str:
    """Return an id that sorts by time and is never given twice."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def now_utc() -> datetime:
    """Return the clock's time, UTC; the only place that asks it, so that transforms get time as an argument."""
    return datetime.now(UTC)
