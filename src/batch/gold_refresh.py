"""What a run must rebuild of a mart, and why: nothing, the days or months that a change of its inputs concerns, or all.

Found without Spark, from the files that differ between two versions of an input. A dry run asks the same question of
inputs that are only expected to change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, reduce
from importlib import resources
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ..common import scd2, usage
from ..common.config import Config
from ..common.contracts.table import Table
from ..common.lake.provenance import MadeFrom, fingerprint
from ..common.steps import Expected
from . import gold
from .gold import Mart, mart_of, months_later

Days = Set[date]
MOST_PARTS = 400
"""Above so many days or months a mart is rebuilt whole."""


@dataclass(frozen=True)
class Plan:
    """What to rebuild. `parts` are the days or months to rebuild, None for the whole mart, empty for nothing."""

    parts: Days | None
    reason: str

    @property
    def is_nothing(self) -> bool:
        """Whether the mart stays as it is."""
        return self.parts is not None and not self.parts

    def extent(self, unit: str) -> str:
        """Say how much is rebuilt."""
        if self.parts is None:
            return "all"
        days = sorted(self.parts)
        style = "%Y-%m" if unit == "month" else "%Y-%m-%d"
        if len(days) <= 3:
            return ", ".join(day.strftime(style) for day in days)
        return f"{len(days)} {unit}s, {days[0].strftime(style)} … {days[-1].strftime(style)}"


@cache
def _code() -> str:
    """Return a hash of the transforms' source: what a release changes is built anew."""
    sources = [
        file
        for package in (gold, scd2, usage)
        for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name)
        if file.name.endswith(".py")
    ]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()


def note_of(config: Config, table: Table, versions: Mapping[str, int]) -> dict[str, Any]:
    """Return what decides whether a mart must be computed again: its inputs' versions, its contract, settings and code."""
    inputs = {name: versions.get(name, config.lake.version(name)) for name in table.inputs}
    how = [config.settings.definitions.model_dump_json(), table.model_dump_json(), _code()]
    if mart_of(table).takes_renamed_fields:
        how.append(repr(config.stream.events.said_as()))
    return MadeFrom(inputs, {"fingerprint": fingerprint(*how)}).note


def plan(
    config: Config, table: Table, found: Mapping[str, Any], wanted: Mapping[str, Any], expected: Expected | None = None
) -> Plan:
    """Say what must be rebuilt for a mart to be what its inputs make it.

    Args:
        config: the lake and the contracts.
        table: the mart.
        found: the note that the mart carries, {} where it was never built.
        wanted: the note that the mart will carry: `inputs` (table → version), `fingerprint`, and `as_of` and
            `users_since` where the mart depends on them.
        expected: inputs that will have changed by then.
    """
    expected = expected or {}
    if not found:
        return Plan(None, "it is built for the first time")
    if found.get("fingerprint") != wanted["fingerprint"]:
        return Plan(None, "its contract, a setting or the code changed")
    mart = mart_of(table)
    if mart.takes_as_of and found.get("as_of") != wanted.get("as_of"):
        return Plan(None, f"business date {found.get('as_of')} → {wanted.get('as_of') or 'what the new events say'}")
    if mart.takes_users_since and found.get("users_since") != wanted.get("users_since"):
        return Plan(None, f"first snapshot of users {found.get('users_since')} → {wanted.get('users_since')}")
    built = found.get("inputs", {})
    moved = [
        name
        for name, version in wanted["inputs"].items()
        if name in expected or not config.lake.same_rows(name, built.get(name), version)
    ]
    if not moved:
        return Plan(frozenset(), "inputs unchanged")
    reason = f"{', '.join(moved)} changed"
    parts: set[date] = set()
    for name in moved:
        days = _changed_days(config, mart, name, built.get(name), wanted["inputs"][name], expected)
        if days is None:
            return Plan(None, reason)
        parts |= mart.parts(name, days, table.parameters)
    if len(parts) > MOST_PARTS:
        return Plan(None, f"{reason}, on more than {MOST_PARTS} {mart.unit}s")
    return Plan(frozenset(parts), reason if parts else f"{', '.join(moved)} rewritten, with the same rows")


def with_span(what: Plan, mart: Mart, first: date, last: date) -> Plan:
    """Return a plan that builds a span of days again as well, in the mart's own parts; all of a mart that has none."""
    days = (last - first).days + 1
    if what.parts is None or not mart.part or days > MOST_PARTS:
        return Plan(None, what.reason if what.parts is None else "backfill")
    parts = {first + timedelta(days=n) for n in range(days)}
    if mart.unit == "month":
        parts = {day.replace(day=1) for day in parts}
    return Plan(frozenset(what.parts | parts), "backfill")


def _changed_days(config: Config, mart: Mart, name: str, old: int | None, new: int, expected: Expected) -> Days | None:
    """Return the days on which an input's rows differ, None where that can't be told or the mart is not split by it."""
    touch = mart.touches.get(name)
    if touch is None or old is None:
        return None
    days: Days | None = frozenset()
    if old != new:
        days = config.lake.changed_values(name, touch.column, old, new)
    if name in expected:
        more = expected[name]
        days = None if days is None or more is None else days | more
    return days


def inputs_for(table: Table, name: str, rows: DataFrame, parts: Days) -> DataFrame:
    """Return the rows of an input that some parts of the mart are made from."""
    mart = mart_of(table)
    touch = mart.touches.get(name)
    if touch is None:
        return rows
    return rows.where(within(F.col(touch.column), mart.unit, mart.needs(name, parts, table.parameters)))


def within(column: Column, unit: str, parts: Days) -> Column:
    """Test a date column in a form that lets whole files and partitions be skipped."""
    if unit == "day":
        return column.isin(sorted(parts))
    spans = [(column >= F.lit(month)) & (column < F.lit(months_later(month, 1))) for month in sorted(parts)]
    return reduce(Column.__or__, spans)


def sql_list(parts: Days) -> str:
    """Return dates as SQL literals."""
    return ", ".join(f"DATE'{part}'" for part in sorted(parts))
