"""What a stretch of stream would take, for a dry run: the event files not read yet, and the days they speak of."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date

from ..common.config import Config
from ..common.names import EVENTS
from ..common.steps import Expected
from .event_files import EventFile, list_files
from .landed import LandedFiles

_DAY = re.compile(rb'"timestamp"\s*:\s*"(\d{4}-\d{2}-\d{2})')


def pending_files(config: Config) -> list[EventFile]:
    """Return the event files of the landing zone that bronze has not taken yet."""
    return LandedFiles(config).not_read(list_files(config.landing_zone, config.stream.events.folder))


def describe(config: Config, expected: Expected) -> str:
    """Say which files a stretch of stream would take; the days it would change are added to `expected`."""
    files = pending_files(config)
    if not files:
        return "skips it: nothing new, unless bronze is ahead of silver"
    days: set[date] = set()
    lines = 0
    for file in files:
        content = config.landing_zone.read(file.place)
        lines += content.count(b"\n")
        for text in set(_DAY.findall(content)):
            with suppress(ValueError):
                days.add(date.fromisoformat(text.decode()))
    expected[EVENTS] = days
    span = f", {min(days)} … {max(days)}" if days else ""
    return f"takes {len(files)} file(s), about {lines:,} lines of {len(days)} day(s){span}, where no stream is running"
