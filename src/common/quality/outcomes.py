"""Where records went: accepted, quarantined, or a duplicate; and the row of ops.reconciliation that says so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

MEASURES = ("landed", "accepted", "quarantined", "duplicates")
SPLITS = ("inserted", "changed", "unchanged", "superseded")
"""What accepted rows did to their table."""


@dataclass
class Outcomes:
    """Where the records of a load or of a delivery went. The reasons count refused ones, the flags accepted ones."""

    landed: int = 0
    accepted: int = 0
    quarantined: int = 0
    duplicates: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)

    @property
    def hold(self) -> bool:
        """Tell whether every record is accounted for."""
        return self.landed == self.accepted + self.quarantined + self.duplicates

    def add(self, other: Outcomes) -> None:
        """Count in those of another load, or of an earlier stretch of the same run."""
        self.landed += other.landed
        self.accepted += other.accepted
        self.quarantined += other.quarantined
        self.duplicates += other.duplicates


def summed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sum the counts of loads of one run that were counted on one day: one row, under the newest load of them.

    So a row counts the loads after the row before it, up to its own.

    Args:
        rows: rows of ops.reconciliation of one table, each load once, in the order of their loads.
    """
    found = []
    for _, group in groupby(rows, key=lambda row: (row["run_id"], row["counted_at"].date())):
        loads = list(group)
        numbers = {name: sum(row[name] or 0 for row in loads) for name in (*MEASURES, *SPLITS)}
        texts = {name: _added(row[name] for row in loads) for name in ("reasons", "flags")}
        found.append({**loads[-1], **numbers, **texts, "from_version": loads[0]["from_version"]})
    return found


def _added(texts: Iterable[str | None]) -> str:
    total: Counter[str] = Counter()
    for text in texts:
        total.update(json.loads(text or "{}"))
    return json.dumps(dict(total), sort_keys=True)


def reconciliation_row(
    table: str,
    delivery: str,
    run_id: str,
    now: datetime,
    outcomes: Outcomes,
    *,
    splits: Mapping[str, int],
    versions: tuple[int, int] | tuple[None, None] = (None, None),
) -> dict[str, Any]:
    """Return the row of ops.reconciliation of a delivery or of a load; `versions`: the first and last of bronze it holds."""
    return {
        "table": table,
        "delivery": delivery,
        "run_id": run_id,
        "counted_at": now,
        "landed": outcomes.landed,
        "accepted": outcomes.accepted,
        "quarantined": outcomes.quarantined,
        "duplicates": outcomes.duplicates,
        **{split: splits.get(split, 0) for split in SPLITS},
        "reasons": json.dumps(outcomes.reasons, sort_keys=True),
        "flags": json.dumps(outcomes.flags, sort_keys=True),
        "from_version": versions[0],
        "to_version": versions[1],
    }
