"""What a usage event means: how a line is read, conformed and judged, and the measures that are summed of it."""

from .events import (
    BUCKET_MINUTES,
    MAX_LINE_BYTES,
    MEASURES,
    EventModel,
    costs_of_refused,
    increments_sql,
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
