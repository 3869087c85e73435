"""Where the lines of a micro-batch went, counted where it is decided."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ..common.errors import CloudlakeError
from ..common.lake.duck import connected
from ..common.lake.tables import Lake
from ..common.names import EVENTS, RECONCILIATION
from ..common.quality.outcomes import Outcomes, reconciliation_row

Row = dict[str, Any]


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


def newest_of_each(lake: Lake) -> list[Row]:
    """Return the counts of the loads of events, by load: each row counts the loads after the row before it, up to its own."""
    newest: dict[int, Row] = {}
    for row in sorted(lake.rows(RECONCILIATION, filters=[("table", "=", EVENTS)]), key=lambda row: row["counted_at"]):
        newest[int(row["delivery"])] = row
    return [row for _, row in sorted(newest.items())]


def held_by_load(lake: Lake) -> list[tuple[int, int, dict[str, int]]]:
    """Return each load that silver has events of: its load_id, how many, and how many of them carry which flag."""
    flags: dict[int, dict[str, int]] = {}
    with connected(events=lake.dataset(EVENTS)) as connection:
        sql = "SELECT load_id, flag, count(*) FROM (SELECT load_id, unnest(quality_flags) AS flag FROM events) GROUP BY ALL"
        for load, flag, number in connection.sql(sql).fetchall():
            flags.setdefault(load, {})[flag] = int(number)
        loads = connection.sql("SELECT load_id, count(*) FROM events WHERE load_id IS NOT NULL GROUP BY ALL").fetchall()
    return [(int(load), int(number), flags.get(load, {})) for load, number in loads]


def restated(
    rows: Sequence[Row], held: Iterable[tuple[int, int, Mapping[str, int]]], note: Mapping[str, Any]
) -> list[Row]:
    """Return the counts of the loads before a backfill, less what it took over; those that have nothing left go.

    Together with the backfill's own they count as many lines as before. Lines that silver lacked, or had too many of, on
    other dates stay off by as much as they were (`off`), in the newest row.

    Args:
        rows: counts as `newest_of_each` gives them.
        held: what silver holds of each load after the backfill, as `held_by_load` gives it.
        note: the backfill's: its `load_id`, `healed`, `off`.
    """
    before = [dict(row) for row in rows if int(row["delivery"]) < note["load_id"]]
    last_loads = [int(row["delivery"]) for row in before]
    events: Counter[int] = Counter()
    flags: dict[int, Counter[str]] = {}
    for load, number, flagged in held:
        place = bisect_left(last_loads, load)
        events[place] += number
        flags.setdefault(place, Counter()).update(flagged)
    reasons: dict[int, Counter[str]] = {}
    healed: Counter[int] = Counter()
    for load, broken, number in note["healed"]:
        place = bisect_left(last_loads, load)
        healed[place] += number
        reasons.setdefault(place, Counter()).update(dict.fromkeys(broken, number))
    for place, row in enumerate(before):
        stays = events[place] + (note["off"] if place == len(before) - 1 else 0)
        row["landed"] -= row["accepted"] - stays + healed[place]
        row["accepted"] = row["inserted"] = stays
        row["quarantined"] -= healed[place]
        told = Counter(json.loads(row["reasons"] or "{}"))
        told.subtract(reasons.get(place, Counter()))
        row["reasons"] = json.dumps(dict(+told), sort_keys=True)
        row["flags"] = json.dumps(dict(flags.get(place, Counter())), sort_keys=True)
    return [row for row in before if row["landed"] or row["accepted"]]
