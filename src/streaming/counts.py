"""Where the lines of a micro-batch went, counted where it is decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ..common.errors import CloudlakeError
from ..common.quality.outcomes import Outcomes, reconciliation_row


def count_outcomes(plain: DataFrame, decided: DataFrame, landed: int, warnings: Iterable[str]) -> Outcomes:
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
    counts = Outcomes(
        landed, outcomes["accepted"], outcomes["quarantined"], outcomes["duplicate"], dict(reasons), dict(flags)
    )
    if not counts.hold:
        raise CloudlakeError(
            f"silver.usage_events: {landed} lines landed, but {dict(outcomes)}; nothing of this micro-batch was written"
        )
    return counts


def load_row(table: str, note: Mapping[str, Any], run_id: str, now: datetime) -> dict[str, Any]:
    """Return the row of ops.reconciliation that a load's note speaks of; what it accepted it inserted."""
    outcomes = Outcomes(**note["counts"])
    return reconciliation_row(
        table,
        str(note["load_id"]),
        run_id,
        now,
        outcomes,
        splits={"inserted": outcomes.accepted},
        versions=(note["from_version"], note["to_version"]),
    )
