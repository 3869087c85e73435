"""Where records went: accepted, quarantined, or a duplicate; and the row of ops.reconciliation that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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
