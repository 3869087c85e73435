"""How old the newest of everything is, by the clock of the answer, and whether that is older than its limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ....common.clock import spoken_age
from ..asking import Answer, Shape
from ..blocks import TONES, figure
from ..model import Figure

_ADDED = {
    "age": Shape(description="From then to when this page was made"),
    "limit": Shape(description="How old it may be; conf/ says so"),
    "state": Shape(description="Whether it is older than that"),
}


def is_stale(fresh: Answer) -> bool:
    """Tell whether the newest event is older than its limit."""
    return _state(fresh, fresh.first) == "stale"


def notices(fresh: Answer) -> list[str]:
    """Return what a page says on top where the newest event is too old."""
    if not is_stale(fresh):
        return []
    newest = fresh.first["newest"]
    return [
        f"The newest event is {_aged(fresh, fresh.first)}: what follows is of {newest:%Y-%m-%d}, not of now. "
        "Check that the feed still delivers; Operations shows what came in, and cloudlake status what to do."
    ]


def newest_event(fresh: Answer) -> Figure:
    """Return the newest event as a figure: the hour it lies in, its age, and whether that is too old."""
    newest = fresh.first.get("newest")
    if fresh.failure or not newest:
        return figure(fresh, "newest", "Newest event")
    state = _state(fresh, fresh.first)
    note = f"UTC, beginning of its hour; {_aged(fresh, fresh.first)}; event time, gold and stream together"
    tone = TONES.get(state or "", "")
    return Figure("Newest event", f"{newest:%Y-%m-%d %H:%M}", fresh.source, note, tone)


def with_ages(fresh: Answer) -> Answer:
    """Return the answer with each row's age, its limit and whether it is kept."""
    rows = [
        {**row, "age": _age(fresh, row), "limit": _limit(fresh, row), "state": _state(fresh, row)} for row in fresh.rows
    ]
    return replace(fresh, rows=rows, columns={**fresh.columns, **_ADDED})


def _hours(fresh: Answer, row: Mapping[str, Any]) -> float | None:
    newest = row.get("newest")
    if fresh.made_at is None or not isinstance(newest, datetime):
        return None
    known = newest if newest.tzinfo else newest.replace(tzinfo=UTC)
    return max(0.0, (fresh.made_at - known).total_seconds() / 3600)


def _age(fresh: Answer, row: Mapping[str, Any]) -> str | None:
    hours = _hours(fresh, row)
    return None if hours is None else spoken_age(hours)


def _limit(fresh: Answer, row: Mapping[str, Any]) -> str | None:
    """Return the limit; only usage has one, and the first row is of its newest event."""
    return f"{fresh.max_age_hours:g} h" if fresh.max_age_hours and row is fresh.first else None


def _state(fresh: Answer, row: Mapping[str, Any]) -> str | None:
    hours = _hours(fresh, row)
    if hours is None or _limit(fresh, row) is None or fresh.max_age_hours is None:
        return None
    return "stale" if hours > fresh.max_age_hours else "fresh"


def _aged(fresh: Answer, row: Mapping[str, Any]) -> str:
    limit = _limit(fresh, row)
    age = _age(fresh, row)
    return (f"{age} old" if age else "of unknown age") + (f" (limit {limit})" if limit else "")
