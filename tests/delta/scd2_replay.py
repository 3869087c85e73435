"""What a history must be, replayed row by row in plain Python: shares no code with the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Fact:
    """One change: `row` has the columns that its batch had, None stands for a delete."""

    key: Any
    at: int
    row: tuple[tuple[str, Any], ...] | None


@dataclass
class Version:
    start: Any
    values: dict[str, Any]
    end: Any = None
    deleted: bool = False

    def as_tuple(self, columns: Iterable[str]) -> tuple[Any, ...]:
        return (self.start, self.end, self.deleted, *(self.values.get(name) for name in columns))


def changed_histories(
    facts: Iterable[Fact], columns: list[str], tracked: list[str]
) -> dict[Any, list[list[tuple[Any, ...]]]]:
    """Return for each key the histories that its facts allow: more than one where two upserts tie."""
    by_key: dict[Any, dict[int, set[Any]]] = {}
    for fact in facts:
        by_key.setdefault(fact.key, {}).setdefault(fact.at, set()).add(fact.row)
    allowed = {}
    for key, times in by_key.items():
        choices = [[(at, None)] if None in rows else [(at, row) for row in rows] for at, rows in sorted(times.items())]
        allowed[key] = [_replay_facts(chosen, columns, tracked) for chosen in product(*choices)]
    return allowed


def _replay_facts(facts: Iterable[tuple[int, Any]], columns: list[str], tracked: list[str]) -> list[tuple[Any, ...]]:
    versions: list[Version] = []
    now: dict[str, Any] | None = None
    for at, row in facts:
        if row is None:
            if now is not None:
                versions[-1].end = at
            now = None
            continue
        new = {**dict.fromkeys(columns), **(now or {}), **dict(row)}
        if now is not None and all(new[name] == now[name] for name in tracked):
            versions[-1].values = new
        else:
            if now is not None:
                versions[-1].end = at
            versions.append(Version(at, new))
        now = new
    return [version.as_tuple(columns) for version in versions]


@dataclass
class Snapshot:
    """All rows of one time; `refused` keys are there, but nobody could read them."""

    at: Any
    rows: dict[Any, dict[str, Any]]
    refused: set[Any] = field(default_factory=set)


@dataclass
class Rules:
    columns: list[str]
    tracked: list[str]
    hard_deletes: str
    changed_at: str | None = None
    first_time: Any = None
    first_column: str | None = None


def snapshot_histories(snapshots: Iterable[Snapshot], rules: Rules) -> dict[Any, list[tuple[Any, ...]]]:
    """Return each key's history after the snapshots, of which there is one a time."""
    ordered = sorted(snapshots, key=lambda snapshot: snapshot.at)
    keys = {key for snapshot in ordered for key in (*snapshot.rows, *snapshot.refused)}
    histories = {key: _replay_snapshots(key, ordered, rules) for key in keys}
    return {key: versions for key, versions in histories.items() if versions}


def _replay_snapshots(key: Any, snapshots: list[Snapshot], rules: Rules) -> list[tuple[Any, ...]]:
    versions: list[Version] = []
    now: dict[str, Any] | None = None
    lacking: Any = None
    missing = False
    for snapshot in snapshots:
        if key in snapshot.rows:
            new = {**dict.fromkeys(rules.columns), **(now or {}), **snapshot.rows[key]}
            if now is not None and all(new[name] == now[name] for name in rules.tracked):
                versions[-1].values = new
            else:
                start = _start(snapshot.at, new, versions, lacking if missing else None, rules)
                if versions and versions[-1].end is None:
                    versions[-1].end = start
                versions.append(Version(start, new))
            now, missing = new, False
        elif key not in snapshot.refused:
            lacking, missing = snapshot.at, True
            if rules.hard_deletes != "ignore" and now is not None:
                versions[-1].end = snapshot.at
                if rules.hard_deletes == "new_record":
                    versions.append(Version(snapshot.at, now, deleted=True))
                now = None
    return [version.as_tuple(rules.columns) for version in versions]


def _start(at: Any, new: Row, versions: list[Version], lacking: Any, rules: Rules) -> Any:
    if not versions:
        first = new.get(rules.first_column) if rules.first_column else rules.first_time
        if first is not None and first <= at and (lacking is None or first > lacking):
            return first
    changed = new.get(rules.changed_at) if rules.changed_at else None
    floor = lacking if lacking is not None else (versions[-1].start if versions else None)
    if changed is not None and changed <= at and (floor is None or changed > floor):
        return changed
    return at
