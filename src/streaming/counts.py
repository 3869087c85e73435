"""Where the lines of a micro-batch went, counted where it is decided."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ..common.errors import CloudlakeError


@dataclass
class Counts:
    """Where the lines of a micro-batch went. The reasons count refused lines, the flags accepted ones."""

    landed: int = 0
    accepted: int = 0
    quarantined: int = 0
    duplicates: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)

    def add(self, other: Counts) -> None:
        """Count in the lines of another micro-batch, or of an earlier stretch of the same run."""
        self.landed += other.landed
        self.accepted += other.accepted
        self.quarantined += other.quarantined
        self.duplicates += other.duplicates


def count_outcomes(plain: DataFrame, decided: DataFrame, landed: int, warnings: Iterable[str]) -> Counts:
    """Count each outcome where it is decided (together they must be every line), and the warn rules accepted rows break.

    Raises:
        CloudlakeError: they are not; the micro-batch fails before anything of it is written.
    """
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    raised = [F.count_if(F.array_contains("quality_flags", name)).alias(name) for name in warnings]
    found = plain.agg(F.count(F.lit(1)).alias("_rows"), *raised).collect()[0].asDict()
    outcomes["accepted"] += found.pop("_rows")
    flags.update({name: number for name, number in found.items() if number})
    groups = decided.groupBy("_outcome", "_reasons", "quality_flags").count()
    for outcome, broken, warned, number in groups.collect():
        outcomes[outcome] += number
        if outcome == "quarantined":
            reasons.update(dict.fromkeys(broken, number))
        if outcome == "accepted":
            flags.update(dict.fromkeys(warned, number))
    counts = Counts(
        landed, outcomes["accepted"], outcomes["quarantined"], outcomes["duplicate"], dict(reasons), dict(flags)
    )
    if landed != counts.accepted + counts.quarantined + counts.duplicates:
        raise CloudlakeError(
            f"silver.usage_events: {landed} lines landed, but {dict(outcomes)}; nothing of this micro-batch was written"
        )
    return counts


def reconciliation_row(table: str, note: Mapping[str, Any], run_id: str, now: datetime) -> dict[str, Any]:
    """Return the row of ops.reconciliation that a load's note speaks of."""
    counts = Counts(**note["counts"])
    return {
        "table": table,
        "delivery": str(note["load_id"]),
        "run_id": run_id,
        "counted_at": now,
        "landed": counts.landed,
        "accepted": counts.accepted,
        "quarantined": counts.quarantined,
        "duplicates": counts.duplicates,
        "inserted": counts.accepted,
        "changed": 0,
        "unchanged": 0,
        "superseded": 0,
        "reasons": json.dumps(counts.reasons, sort_keys=True),
        "flags": json.dumps(counts.flags, sort_keys=True),
        "from_version": note["from_version"],
        "to_version": note["to_version"],
    }
