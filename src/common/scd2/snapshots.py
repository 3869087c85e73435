"""Tell a history a full snapshot: every key that exists at one time, and thereby which do not.

The newest snapshot is compared with the current versions alone, so its cost does not grow with the history. A late or
repeated one is compared with what the memory says of its time, is woven in between its neighbours, and the keys that it
speaks of are replayed from all their words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyspark.sql import DataFrame, SparkSession

from ..lake.conflicts import Conflicts
from ..lake.small import CONFLICTS, table_lock
from ..lake.storage import full_path
from .batches import declare
from .difference import MergeResult
from .late import tell_late
from .memory import recall
from .newest import tell_newest, told_already
from .shape import HARD_DELETES, UNDECLARED, Declared, HistoryRefusedError, Shape, Time, as_time, time_type
from .snapshot import Snapshot, said_by


def apply_snapshot(
    spark: SparkSession,
    target: str,
    snapshot: DataFrame,
    *,
    keys: Sequence[str],
    snapshot_at: Time,
    hard_deletes: str = "invalidate",
    tracked: Sequence[str] | None = None,
    surrogate_key: str = "sk",
    changed_at: str | None = None,
    first_effective_from: Time | str | None = None,
    present: DataFrame | None = None,
    run_id: str | None = None,
    declared: Declared = UNDECLARED,
    memory_declared: Declared = UNDECLARED,
    conflicts: Conflicts = CONFLICTS,
) -> MergeResult:
    """Tell the history at `target` all the rows that exist at `snapshot_at`.

    Snapshots may come late, in any order and repeatedly; told again for the same time, a snapshot replaces what it
    said. The table is created where it is missing; otherwise what changes is one commit.

    Args:
        spark: The session; nothing else may commit on it meanwhile.
        target: Folder of the table; its memory lies at `<target>__memory`.
        snapshot: One row a key, business columns only.
        keys: The columns that name a row.
        snapshot_at: When the snapshot was taken: a datetime (without zone: UTC), date or integer.
        hard_deletes: What a missing key means: `ignore`, `invalidate` (its version ends) or `new_record` (a version
            with is_deleted follows).
        tracked: The columns in which a change opens a version; None: all but the keys and changed_at.
        surrogate_key: Name of the surrogate key.
        changed_at: A column that says since when a row is as it is.
        first_effective_from: Where a key's first version starts: a time, or the name of a column.
        present: Keys whose rows were refused: there, and unchanged as far as is known.
        run_id: Written into the note of the commit.
        declared: How the table is described and laid out where it is created.
        memory_declared: The same of its memory.
        conflicts: How often all of it is done again where another commit comes between.

    Raises:
        HistoryRefusedError: a NULL in a key, a key twice, or another declaration than the table was built with.
    """
    target = full_path(target)
    with table_lock(f"{target}__apply"):
        shape = _shape(
            target, keys, snapshot_at, hard_deletes, tracked, surrogate_key, changed_at, first_effective_from
        )
        note = {"scd2": "snapshot", "snapshot_at": str(snapshot_at), "run_id": run_id}
        first = first_effective_from if isinstance(first_effective_from, str) else None
        needed = {"changed_at": changed_at, "first_effective_from": first}

        def tell() -> MergeResult:
            batch, rows = declare(spark, target, recall(target), snapshot, shape, needed, note)
            batch = replace(batch, declared=declared, memory_declared=memory_declared)
            return _tell(Snapshot(batch, as_time(snapshot_at, shape.time_type), first_effective_from), rows, present)

        return conflicts.retried(tell)


def _tell(told: Snapshot, rows: DataFrame, present: DataFrame | None) -> MergeResult:
    said = said_by(told, rows, present)
    if told.is_newest:
        return tell_newest(told, said)
    return told_already(told, said) or tell_late(told, said)


def _shape(
    target: str,
    keys: Sequence[str],
    snapshot_at: Time,
    hard_deletes: str,
    tracked: Sequence[str] | None,
    surrogate_key: str,
    changed_at: str | None,
    first: Time | str | None,
) -> Shape:
    faults = []
    kind = time_type(snapshot_at)
    if kind is None:
        faults.append(f"snapshot_at: {snapshot_at!r} is not a datetime, a date or an integer")
    if hard_deletes not in HARD_DELETES:
        faults.append(f"hard_deletes: '{hard_deletes}' is none of {', '.join(HARD_DELETES)}")
    wish = None
    if isinstance(first, str):
        wish = f"column {first}"
    elif first is not None and kind is not None:
        try:
            moment = as_time(first, kind)
            wish = f"time {moment if isinstance(moment, int) else moment.isoformat()}"
        except TypeError as error:
            faults.append(f"first_effective_from: {error}, as snapshot_at is")
    if faults:
        raise HistoryRefusedError(target, faults)
    return Shape(
        input="snapshots",
        keys=tuple([keys] if isinstance(keys, str) else keys),
        time_type=kind or "",
        tracked=None if tracked is None else tuple(tracked),
        surrogate_key=surrogate_key,
        hard_deletes=hard_deletes,
        changed_at=changed_at,
        first_effective_from=wish,
    )
