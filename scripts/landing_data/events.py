"""Usage events: each a pure function of the seed and its number, so nothing has to be remembered.

Draws come from a hash of the number, not from a running generator: a copy of an event can be written in any
file, long before or after it, without keeping the event.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import blake2b
from math import log
from struct import Struct

from .draws import quoted
from .options import Options
from .sources import Row

Event = dict[str, str]  # field -> its JSON text, in the order of the line

UNITS = {"requests": "count", "cpu_hours": "hours", "storage_gb_hours": "gb_hours"}
_METRICS = tuple(UNITS)
_USD_PER_UNIT = {"requests": 0.11, "cpu_hours": 0.25, "storage_gb_hours": 0.06}
_KG_PER_UNIT = {"requests": 0.0002, "cpu_hours": 0.004, "storage_gb_hours": 0.0005}
_MULTIPLIER = 387_420_489_631  # ends in 1, so multiplying by it is one-to-one modulo 10**12
_WORDS = Struct("<16I")
_FULL = 2.0**32
_MEAN_COST = 4.4  # three quarters below 6.10 USD
_MOST_ORDINARY_COST = 99.9

# Cost classes by share of the events: cumulative.
_NEGATIVE, _PEAK, _FREE = 0.005, 0.006, 0.066


class EventSource:
    """Makes the event of any number: clean but for what was measured in real deliveries."""

    def __init__(self, options: Options, resources: list[Row]) -> None:
        """Keep what every event needs, encoded once."""
        self._days = options.days
        self._key = f"landing:{options.seed}".encode()[:64]
        self._offset = options.seed * 1_000_003
        self._dates = [(options.first_day + timedelta(days=n)).isoformat() for n in range(options.days)]
        self._version_2_from = (options.first_day_of_version_2 - options.first_day).days
        self._places = [
            tuple(quoted(row[name]) for name in ("org_id", "resource_id", "service", "region"))
            for row in resources
        ]

    def words(self, number: int) -> tuple[int, ...]:
        """Sixteen 32-bit draws that belong to this number."""
        return _WORDS.unpack(blake2b(b"%d" % number, key=self._key).digest())

    def event(
        self, number: int, words: tuple[int, ...], is_plain: bool = False
    ) -> tuple[Event, list[str], str | None]:
        """The event, the warn rules that it breaks, and the reason for which it is refused.

        A plain one has a value, a unit and a positive cost: dirt is injected there without a second fault.
        """
        day = number % self._days
        minute = words[0] % 1440
        org, resource, service, region = self._places[words[1] % len(self._places)]
        metric = _METRICS[words[2] % 3]
        base = min(_MOST_ORDINARY_COST, _exponential(words[6]) * _MEAN_COST)
        amount = round(
            base / _USD_PER_UNIT[metric] * (0.5 + words[7] / _FULL), 0 if metric == "requests" else 2
        )
        cost = max(0.001, round(base, 3)) if is_plain else _cost(base, words)
        flags = ["cost_slightly_negative"] if -0.01 <= cost < 0 else []
        value, unit = repr(amount), f'"{UNITS[metric]}"'
        if not is_plain:
            form = words[3] / _FULL
            if form < 0.02:
                value = "null"
                flags.append("value_missing")
            elif form < 0.05:
                value = f'"{value}"'
            if words[4] / _FULL < 0.048:
                unit = "null"
        event = {
            "event_id": f'"evt_{(number * _MULTIPLIER + self._offset) % 10**12:012d}"',
            "timestamp": f'"{self._dates[day]}T{minute // 60:02d}:{minute % 60:02d}:00Z"',
            "org_id": org,
            "resource_id": resource,
            "service": service,
            "region": region,
            "metric": f'"{metric}"',
            "value": value,
            "unit": unit,
            "cost_usd_increment": repr(cost),
            "schema_version": "1",
        }
        if day >= self._version_2_from:
            event["schema_version"] = "2"
            carbon = round(amount * _KG_PER_UNIT[metric] * words[8] / _FULL, 6)
            event["carbon_kg"] = repr(carbon) if carbon else "0"
            if service == '"genai"':
                event["genai_tokens"] = str(50 + words[9] % 4000)
        return event, flags, "cost_negative" if cost < -0.01 else None


def line_of(event: Event) -> str:
    """The event as a line of JSON, without the line's end."""
    return "{" + ",".join([f'"{name}":{text}' for name, text in event.items()]) + "}"


def _exponential(word: int) -> float:
    """An exponentially distributed draw of mean 1."""
    return -log((word + 1) / _FULL)


def _cost(base: float, words: tuple[int, ...]) -> float:
    """0.5 % negative (a few of them within a cent), 0.1 % above 100, 6 % free, else the ordinary cost."""
    share, size = words[5] / _FULL, words[10] / _FULL
    if share >= _FREE:
        return max(0.001, round(base, 3))
    if share >= _PEAK:
        return 0.0
    if share >= _NEGATIVE:
        return round(100.5 + 217 * size**3, 3)
    if share < 0.04 * _NEGATIVE:
        return -round(0.0001 + 0.0099 * size, 4)
    if share < 0.07 * _NEGATIVE:
        return -round(0.0101 + 0.0045 * size, 4)  # a rounding to cents would let these pass
    return -round(0.05 + 154.4 * size**4, 3)
