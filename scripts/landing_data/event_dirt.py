"""Injects dirt into usage events: each kind owns a range of event numbers, a permutation scatters them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from .csv_dirt import DUPLICATE
from .draws import Permutation, quoted, spellings, stream
from .events import UNITS, Event, EventSource, line_of
from .options import EVENT_DIRT, Options
from .sources import REGIONS, SERVICES, Row

_SPELLINGS = {quoted(name): [quoted(text) for text in spellings(name)] for name in (*SERVICES, *REGIONS)}
_OTHER_UNIT = {'"count"': '"hours"', '"hours"': '"gb_hours"', '"gb_hours"': '"count"'}
_REQUIRED = ("event_id", "org_id", "timestamp", "service", "region", "metric", "cost_usd_increment")
_WITHOUT_OFFSET = "the event's own time, without its Z"
_UNPARSEABLE = (
    ("value", '"abc"'),
    ("cost_usd_increment", '"n/a"'),
    ("value", '"5d"'),
    ("timestamp", '"yesterday"'),
    ("carbon_kg", '"traces"'),
    ("value", '"12,5"'),
    ("cost_usd_increment", '"5d"'),
    ("genai_tokens", '"many"'),
    ("timestamp", _WITHOUT_OFFSET),
    ("value", '"Infinity"'),
)
# Kinds whose line is still an ordinary event: they may also have the measured dirt.
_KEEPS_MEASURED_DIRT = (
    "duplicate_events",
    "event_spellings",
    "unknown_event_orgs",
    "unknown_event_resources",
)


@dataclass(frozen=True)
class EventLine:
    """One line as it is written.

    `fate` is None where it is accepted, DUPLICATE, or the reason for which it is quarantined; `flags` are the
    warn rules it breaks if it is accepted; `kind` is the injected dirt, `counted` what is only counted.
    """

    text: str
    fate: str | None
    flags: list[str]
    kind: str | None = None
    counted: str | None = None


class DirtyEvents:
    """The lines of all files: `lines(first, last)` gives those of one file."""

    def __init__(self, options: Options, resources: list[Row]) -> None:
        """Lay out the ranges of event numbers: a range for each kind of dirt, then the clean ones."""
        self._source = EventSource(options, resources)
        self._order = Permutation(options.lines, stream(options.seed, "order of events"))
        self._kinds = list(EVENT_DIRT)
        counts = [options.count(kind, options.lines) for kind in self._kinds]
        self._ends = list(accumulate(counts))
        self._duplicates, self._conflicts = counts[0], counts[1]
        self._events = options.lines - self._duplicates - self._conflicts

    def lines(self, first: int, last: int) -> Iterator[EventLine]:
        """The lines at positions first ... last-1 of the whole stream."""
        for position in range(first, last):
            number = self._order(position)
            if number < self._events:
                yield self._line(number)
            elif number < self._events + self._duplicates:
                yield self._duplicate(number - self._events)
            else:
                yield self._conflict(number - self._events - self._duplicates)

    def _line(self, number: int) -> EventLine:
        """The event of this number, with the dirt of the range that the number is in."""
        words = self._source.words(number)
        place = bisect_right(self._ends, number)
        kind = self._kinds[place] if place < len(self._kinds) else None
        is_plain = kind is not None and kind not in _KEEPS_MEASURED_DIRT
        event, flags, reason = self._source.event(number, words, is_plain)
        if kind is None or kind in ("duplicate_events", "conflicting_events"):
            return EventLine(line_of(event), reason, flags)
        rank = number - self._ends[place - 1]
        if kind == "event_spellings":
            field = "region" if rank % 2 else "service"
            event[field] = _SPELLINGS[event[field]][words[11] % len(_SPELLINGS[event[field]])]
            return EventLine(line_of(event), reason, flags, kind)
        if kind in ("unknown_event_orgs", "unknown_event_resources"):
            field, prefix = ("org_id", "org") if kind == "unknown_event_orgs" else ("resource_id", "res")
            event[field] = f'"{prefix}_x{rank:07d}"'
            return EventLine(line_of(event), reason, flags, kind, None if reason else f"{field}_unknown")
        if kind in ("malformed_lines", "truncated_lines", "nan_values"):
            return EventLine(_no_json(kind, event, rank, words[11]), "malformed_json", [], kind)
        return EventLine(*_refused(kind, event, rank), [], kind)

    def _duplicate(self, copy: int) -> EventLine:
        """The copy of an event; every tenth one repeats the source of the copy before it a second time."""
        source = copy - 1 if copy % 10 == 9 else copy
        return EventLine(self._line(source).text, DUPLICATE, [], "duplicate_events")

    def _conflict(self, copy: int) -> EventLine:
        """The event_id and time of another event, with another cost, region or value."""
        number = self._duplicates + copy
        words = self._source.words(number)
        event, _, _ = self._source.event(number, words, is_plain=True)
        field = ("cost_usd_increment", "region", "value")[copy % 3]
        if field == "region":
            event[field] = quoted(REGIONS[(REGIONS.index(event[field].strip('"')) + 1) % len(REGIONS)])
        else:
            event[field] = repr(round(float(event[field]) + 1.25, 3))
        return EventLine(line_of(event), "event_id_conflict", [], "conflicting_events")


def _no_json(kind: str, event: Event, rank: int, word: int) -> str:
    """A line that is not exactly one JSON object."""
    if kind == "nan_values":
        return line_of(event | {("value", "cost_usd_increment")[rank % 2]: "NaN"})
    line = line_of(event)
    if kind == "truncated_lines":
        # Past the event_id, so that no two of them are equal.
        return line[: len(line) * (40 + word % 56) // 100]
    return (
        line + line,
        f"[{line}]",
        line[:-1] + ',"region":"us-east"}',
        line.replace('"', "'"),
        line + " trailing text",
        f"{line},{line}",
        line.replace(":", " ", 1),
    )[rank % 7]


def _refused(kind: str, event: Event, rank: int) -> tuple[str, str]:
    """A line of JSON that is refused, and for which reason."""
    if kind == "missing_fields":
        field = _REQUIRED[rank % len(_REQUIRED)]
        event["unit"] = "null"  # a unit without its metric might be taken for a contradiction
        empty = "null" if field == "cost_usd_increment" else '""'
        event[field] = ("null", empty)[rank // len(_REQUIRED) % 2]
        if rank // len(_REQUIRED) % 3 == 2:
            del event[field]
        return line_of(event), f"{field}_missing"
    if kind == "unparseable_values":
        field, text = _UNPARSEABLE[rank % len(_UNPARSEABLE)]
        if field not in event:
            field, text = "value", '"unknown"'
        event[field] = event[field].replace("Z", "") if text is _WITHOUT_OFFSET else text
        return line_of(event), f"{field}_invalid"
    if kind == "unknown_versions":
        event["schema_version"] = ("3", "99")[rank % 2]
        return line_of(event), "schema_version_unknown"
    if kind == "negative_values":
        event["value"] = f"-{float(event['value']) + 1}"
        return line_of(event), "value_negative"
    if kind == "contradicting_units":
        event["unit"] = _OTHER_UNIT[event["unit"]]
        return line_of(event), "unit_contradicts_metric"
    if kind == "future_timestamps":
        event["timestamp"] = '"2099' + event["timestamp"][5:]
        return line_of(event), "timestamp_in_future"
    raise ValueError(f"no such kind of event dirt: {kind}")


assert set(_OTHER_UNIT) == {quoted(unit) for unit in UNITS.values()}
