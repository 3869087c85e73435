"""What a usage event means: how a line is read, conformed and judged, and the measures that are summed of it.

What works on Spark's columns is imported when it is asked for: a reader of gold needs the names of the measures only.
"""

from typing import TYPE_CHECKING, Any

from .sums import BUCKET_MINUTES, MEASURES, increments_sql

if TYPE_CHECKING:
    from .events import (
        MAX_LINE_BYTES,
        EventModel,
        costs_of_refused,
        measures,
        plain_line,
        read_events,
        sum_measures,
    )

__all__ = [
    "BUCKET_MINUTES",
    "MAX_LINE_BYTES",
    "MEASURES",
    "EventModel",
    "costs_of_refused",
    "increments_sql",
    "measures",
    "plain_line",
    "read_events",
    "sum_measures",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import events

    return getattr(events, name)
