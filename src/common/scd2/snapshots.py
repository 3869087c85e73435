"""Tell a history full snapshots: every key that exists at one time, and thereby which do not.

The newest snapshot is compared with the current versions alone, so its cost does not grow with the history. A late or
repeated one is compared with what the memory says of its time, is woven in between its neighbours, and the keys that it
speaks of are replayed from all their words. Many are told at once with `apply_snapshots`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyspark.sql import DataFrame, SparkSession

from ..errors import did_you_mean
from ..lake.conflicts import Conflicts
from ..lake.small import CONFLICTS, table_lock
from ..lake.storage import full_path
from .batches import Batch, declare
from .difference import MergeResult
from .late import tell_late
from .memory import recall
from .newest import tell_newest, told_already
from .several import tell_several
from .shape import HARD_DELETES, INTEGERS, UNDECLARED, Declared, HistoryRefusedError, Shape, Time, as_time, time_type
from .snapshot import Snapshot, Told, said_by


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
        needed = _needed(changed_at, first_effective_from)

        def tell() -> MergeResult:
            tables = declared, memory_declared
            batch, rows = declare(spark, target, recall(target), snapshot, shape, needed, note, tables=tables)
            return _tell_one(batch, rows, present, as_time(snapshot_at, shape.time_type), first_effective_from)

        return conflicts.retried(tell)


def _tell_one(
    batch: Batch, rows: DataFrame, present: DataFrame | None, at: Time, first: Time | str | None
) -> MergeResult:
    told = Snapshot(batch, (at,), first)
    said = said_by(told, rows, present)
    if told.is_newest:
        return tell_newest(told, said)
    return told_already(told, said) or tell_late(told, said)


def apply_snapshots(
    spark: SparkSession,
    target: str,
    snapshots: DataFrame,
    *,
    keys: Sequence[str],
    times: Iterable[Time],
    at: str = "snapshot_at",
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
    """Tell the history at `target` many snapshots at once: one commit, and the table that they make one by one.

    They may lie between known snapshots, and repeat them; all have the same columns. The arguments are those of
    `apply_snapshot`, and beside them:

    Args:
        snapshots: One row for each key and snapshot: the business columns, and `at`.
        times: When the snapshots were taken: every one, so that a snapshot without a row counts.
        at: The column that says of which snapshot a row is; `present` has it too.

    Raises:
        HistoryRefusedError: what `apply_snapshot` refuses, or a row of a snapshot that `times` does not name.
    """
    target = full_path(target)
    told_times = list(times)
    with table_lock(f"{target}__apply"):
        shape = _shape_of_several(
            target, keys, told_times, hard_deletes, tracked, surrogate_key, changed_at, first_effective_from
        )
        ordered = sorted({as_time(time, shape.time_type) for time in told_times})
        _require_times(target, shape, at, [snapshots] if present is None else [snapshots, present])
        note = {"scd2": "snapshots", "snapshots": len(ordered), "snapshot_at": str(max(ordered)), "run_id": run_id}
        needed = _needed(changed_at, first_effective_from)

        def tell() -> MergeResult:
            tables = declared, memory_declared
            batch, rows = declare(spark, target, recall(target), snapshots, shape, needed, note, [at], tables)
            return tell_several(Told(batch, tuple(ordered), first_effective_from), rows, present, at)

        return conflicts.retried(tell)


def _needed(changed_at: str | None, first: Time | str | None) -> dict[str, str | None]:
    """Return the columns that a snapshot must have beside its keys, by the argument that names each."""
    return {"changed_at": changed_at, "first_effective_from": first if isinstance(first, str) else None}


def _shape_of_several(
    target: str,
    keys: Sequence[str],
    times: Sequence[Time],
    hard_deletes: str,
    tracked: Sequence[str] | None,
    surrogate_key: str,
    changed_at: str | None,
    first: Time | str | None,
) -> Shape:
    if not times:
        raise HistoryRefusedError(target, ["times: name the time of every snapshot; there is none"])
    kinds = {time_type(time): time for time in times}
    if len(kinds) > 1:
        shown = ", ".join(repr(time) for time in kinds.values())
        raise HistoryRefusedError(target, [f"times: of more than one type, such as {shown}"])
    return _shape(target, keys, times[0], hard_deletes, tracked, surrogate_key, changed_at, first)


def _require_times(target: str, shape: Shape, at: str, told: Sequence[DataFrame]) -> None:
    """Require the column that tells snapshots apart, of a type that loses nothing in that of the history."""
    faults = []
    takes = {"timestamp": ("timestamp", "timestamp_ntz", "date"), "date": ("date",)}.get(shape.time_type, INTEGERS)
    for name, rows in zip(("snapshots", "present"), told, strict=False):
        if at not in rows.columns:
            faults.append(f"at: {name} has no column '{at}'{did_you_mean(at, rows.columns)}")
        elif (kind := rows.schema[at].dataType.simpleString()) not in takes:
            faults.append(f"at: column '{at}' of {name} is {kind}, times are {shape.time_type}; cast it")
    if at in shape.keys:
        faults.append(f"at: '{at}' is a key")
    if faults:
        raise HistoryRefusedError(target, faults)


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
