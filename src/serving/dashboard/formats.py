"""Values as people read them: thousands separators, units, dates; one place for pages, tables of numbers and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

NOTHING = "–"
"""What stands for NULL: nothing is known, which is not 0."""
_THOUSAND = 1000
_LONG_SECONDS = 120
"""From here on a time is said in minutes and hours."""


def number(value: Any, places: int | None = None) -> str:
    """Return a number with thousands separators; without `places`, as many as its size needs.

    >>> number(1234567)
    '1,234,567'
    >>> number(Decimal("0.012345"))
    '0.0123'
    >>> number(-0.0, 2)
    '0.00'
    """
    if places is None:
        if isinstance(value, int) or value == int(value):
            places = 0
        else:
            size = abs(value)
            places = 0 if size >= 10 * _THOUSAND else 1 if size >= 100 else 2 if size >= 0.1 else 4
    text = f"{value:,.{places}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text


def money(value: Any) -> str:
    """Return an amount in USD, to the cent; smaller ones to four places.

    >>> money(Decimal("-1234.5"))
    '−$1,234.50'
    >>> money(Decimal("0.0012"))
    '$0.0012'
    """
    places = 4 if value and abs(value) < Decimal("0.05") else 2
    text = number(abs(value), places)
    return f"−${text}" if value < 0 and text.strip("0.,") else f"${text}"


def compact(value: Any, unit: str = "") -> str:
    """Return a large number short, for a figure.

    >>> compact(1234567, "USD")
    '$1.23 M'
    >>> compact(950, "USD")
    '$950.00'
    """
    size = abs(value)
    for limit, letter in ((10**9, "B"), (10**6, "M"), (10**5, "k")):
        if size >= limit:
            short = f"{value / (limit if letter != 'k' else 1000):,.{2 if letter != 'k' else 1}f} {letter}"
            return f"${short}" if is_money(unit) else short + (f" {unit}" if unit and unit not in _COUNTS else "")
    return shown(value, unit)


_COUNTS = {"", "count", "events", "requests", "rows", "tickets", "users", "organisations", "orgs", "customers", "runs",
           "touches", "surveys", "clicks", "conversions", "tokens", "lines", "alerts", "invoices", "none"}  # fmt: skip


def is_count(unit: str) -> bool:
    """Tell whether a unit only says what is counted, which a label says already."""
    return unit.lower() in _COUNTS


def is_money(unit: str) -> bool:
    """Tell whether a unit is US dollars."""
    return unit.upper() == "USD"


def shown(value: Any, unit: str = "", name: str = "") -> str:
    """Return a value of a query as people read it.

    >>> shown(Decimal("12.5"), "%")
    '12.5 %'
    >>> shown(0.25, "fraction")
    '25.0 %'
    >>> shown(None)
    '–'
    >>> shown(2276.2, "s")
    '37 min 56 s'
    >>> shown(["a", "b"])
    'a, b'
    """
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | Decimal):
        return _measure(value, unit)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, date):
        return f"{value:%Y-%m}" if name == "month" else value.isoformat()
    if isinstance(value, Mapping):
        if value.keys() == {"dimension", "value", "cost_usd"}:  # what drives an anomaly
            return f"{label(value['dimension']).lower()} {shown(value['value'])} {money(value['cost_usd'])}"
        return ", ".join(f"{key}: {shown(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(shown(each) for each in value) or NOTHING
    return str(value)


def _measure(value: int | float | Decimal, unit: str) -> str:
    if isinstance(value, float) and math.isnan(value):
        return NOTHING
    if is_money(unit):
        return money(value)
    if unit in ("%", "pct"):
        return f"{number(value, 1)} %".replace("-", "−")
    if unit in ("fraction", "ratio", "share"):
        return f"{number(100 * value, 1)} %".replace("-", "−")
    if unit == "s" and value >= _LONG_SECONDS:
        return _duration(round(value))
    text = number(value).replace("-", "−")
    return text if unit.lower() in _COUNTS else f"{text} {unit}"


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def label(column: str) -> str:
    """Return a column's name as a heading.

    >>> label("cost_per_1k_tokens")
    'Cost per 1k tokens'
    >>> label("sla_breach_rate")
    'SLA breach rate'
    """
    words = [_WORDS.get(word, word) for word in column.split("_") if word not in ("usd", "pct")]
    text = " ".join(words) or column
    return text[0].upper() + text[1:]


_WORDS = {"sla": "SLA", "id": "ID", "org": "organisation", "orgs": "organisations", "genai": "GenAI", "nps": "NPS",
          "csat": "CSAT", "kg": "kg", "p50": "median", "p90": "90th percentile", "mom": "month on month", "avg": "average",
          "cpu": "CPU", "arpa": "ARPA"}  # fmt: skip
