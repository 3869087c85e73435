"""Tell a history a full snapshot: every key that exists at one time, and thereby which do not.

The newest snapshot is compared with the current versions alone, so its cost does not grow with the history. A late or
repeated one is compared with what the memory says of its time, is woven in between its neighbours, and the keys that it
speaks of are replayed from all their words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F

from ..lake import table_lock
from .batches import Batch, declare, has_null, write
from .difference import Difference, MergeResult, difference, existing
from .memory import Telling, column_set, columns_text, recall, that_count, word_columns, words_of
from .replay import ABSENT, NO_WORD, PRESENT, filled, lacked, versions
from .shape import HARD_DELETES, HistoryRefusedError, Shape, Time, as_time, literal, same, sample_of, time_type


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

    Raises:
        HistoryRefusedError: a NULL in a key, a key twice, or another declaration than the table was built with.
    """
    with table_lock(f"{target}__apply"):
        shape = _shape(str(target), keys, snapshot_at, hard_deletes, tracked, surrogate_key, changed_at, first_effective_from)
        note = {"scd2": "snapshot", "snapshot_at": str(snapshot_at), "run_id": run_id}
        first_column = first_effective_from if isinstance(first_effective_from, str) else None
        needed = {"changed_at": changed_at, "first_effective_from": first_column}
        batch, rows = declare(spark, str(target), recall(str(target)), snapshot, shape, needed, note)
        at = as_time(snapshot_at, shape.time_type)
        told = _Snapshot(batch, at, first_effective_from)
        said = _said(told, rows, present)
        return _tell_newest(told, said) if told.is_newest else _tell_late(told, said)


@dataclass(frozen=True)
class _Snapshot:
    """One snapshot on its way."""

    batch: Batch
    at: Time
    first: Time | str | None

    @property
    def shape(self) -> Shape:
        return self.batch.shape

    @property
    def last(self) -> Time | None:
        """The newest snapshot known before this one."""
        return max(self.batch.memory.snapshots, default=None)  # type: ignore[type-var]

    @property
    def is_newest(self) -> bool:
        """Tell whether the current versions say all that was known just before this snapshot."""
        memory = self.batch.memory
        if self.last is None:
            return True
        before = memory.snapshots[self.last]
        told_all = before.no_word == 0 and (self.shape.absence_ends or before.missing == 0)
        return memory.in_step and told_all and self.last < self.at  # type: ignore[operator]

    @property
    def columns(self) -> str:
        """The columns of the snapshot, as its words name them."""
        return columns_text(self.batch.told)


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


# --- what the snapshot says -------------------------------------------------------------------------------------


def _values(shape: Shape, names: Sequence[str]) -> Column:
    """The business columns as one struct; those not in `names` are NULL."""
    parts = [
        (F.col(f"`{n}`") if n in names else F.lit(None).cast(shape.columns[n])).alias(n) for n in shape.values
    ]
    return F.struct(F.lit(True).alias("_there"), *parts)


def _said(told: _Snapshot, rows: DataFrame, present: DataFrame | None) -> DataFrame:
    """One row a key: `_rows` (how many the snapshot has) and `said`, the values; NULL where only `present` names it."""
    keys = list(told.shape.keys)
    said = rows.select(*(f"`{key}`" for key in keys), _values(told.shape, told.batch.told).alias("said"))
    if present is not None:
        named = present.select(*(F.col(f"`{key}`").cast(told.shape.columns[key]).alias(key) for key in keys)).dropna()
        said = said.unionByName(named.withColumn("said", F.lit(None).cast(said.schema["said"].dataType)))
    return said.groupBy(*keys).agg(F.count("said").alias("_rows"), F.first("said", ignorenulls=True).alias("said"))


def _word(side: str) -> Column:
    return F.when(F.col(f"{side}.said").isNotNull(), PRESENT)


def _compared(told: _Snapshot, said: DataFrame, before: DataFrame) -> tuple[DataFrame, dict[str, int]]:
    """Return the keys of which the snapshot says another thing than was known, and counts of all of them.

    `before` has the key, `was_word`, and the values as the struct `was`; `_own` is the text of its columns where it
    was said at this very time.
    """
    shape = told.shape
    names = [name for name in shape.values if name in told.batch.told]
    joined = said.join(before, list(shape.keys), "full_outer").withColumns(
        {
            "word": F.when(F.col("said").isNotNull(), PRESENT).when(F.col("_rows") == 0, NO_WORD).otherwise(ABSENT),
            "was_word": F.coalesce("was_word", F.lit(ABSENT)),
        }
    )
    both = (F.col("word") == PRESENT) & (F.col("was_word") == PRESENT)
    unlike = [~same(F.col(f"said.`{n}`"), F.col(f"was.`{n}`"), shape.columns[n]) for n in names]
    other_columns = F.coalesce(F.col("_own") != told.columns, F.lit(False)) & (F.col("word") == PRESENT)
    differs = (F.col("word") != F.col("was_word")) | other_columns | (both & reduce(Column.__or__, unlike, F.lit(False)))
    seen = Observation()
    is_null = has_null(shape.keys)
    observed = joined.observe(
        seen,
        F.count(F.lit(1)).alias("keys"),
        F.sum(F.when(is_null, F.col("_rows")).otherwise(0)).alias("nulls"),
        F.count_if(~is_null & (F.col("_rows") > 1)).alias("twice"),
        F.count_if(F.col("word") == NO_WORD).alias("no_word"),
        F.count_if(F.col("_rows").isNull()).alias("missing"),
    )
    differing = observed.where(differs | is_null).persist()
    differing.count()
    counts = {name: int(value or 0) for name, value in seen.get.items()}
    return differing, counts


def _refuse(told: _Snapshot, said: DataFrame, counts: dict[str, int]) -> None:
    keys = told.shape.keys
    faults = []
    if counts["nulls"]:
        sample = sample_of(said.where(has_null(keys)), keys)
        faults.append(f"{counts['nulls']} rows have a NULL in the key ({', '.join(keys)}), such as: {sample}")
    if counts["twice"]:
        sample = sample_of(said.where(~has_null(keys) & (F.col("_rows") > 1)), keys)
        faults.append(f"{counts['twice']} keys are in the snapshot more than once, such as: {sample}")
    if faults:
        raise HistoryRefusedError(told.batch.target, faults)


def _new_words(told: _Snapshot, differing: DataFrame) -> DataFrame:
    """The words to remember of this snapshot."""
    shape = told.shape
    return differing.select(
        *(f"`{key}`" for key in shape.keys),
        *(F.col(f"said.`{name}`").alias(name) for name in shape.values),
        literal(told.at, shape.time_type).alias("_at"),
        F.col("word").alias("_word"),
        F.lit(told.columns).alias("_columns"),
        F.lit(None).cast("bigint").alias("_fact"),
        F.lit(told.batch.memory.next).cast("bigint").alias("_told"),
    )


def _telling(told: _Snapshot, counts: dict[str, int], found: Difference) -> Telling:
    changes = not found.result.is_empty or existing_is_narrower(told.batch)
    return Telling(told.batch.memory.next, told.at, told.columns, changes, counts["no_word"], counts["missing"])


def existing_is_narrower(batch: Batch) -> bool:
    """Tell whether the table is missing, or lacks a column that the batch brings."""
    from ..lake import is_table, read_path

    return not is_table(batch.target) or bool(set(batch.shape.columns) - set(read_path(batch.spark, batch.target).columns))


def _with_wishes(told: _Snapshot, words: DataFrame) -> DataFrame:
    """Add when a version that a word opens should start, if the rules allow it."""
    shape = told.shape
    kind = shape.time_type
    nothing = F.lit(None).cast(kind)
    first = nothing
    if isinstance(told.first, str):
        first = F.col(f"`{told.first}`").cast(kind) if told.first in shape.columns else nothing
    elif told.first is not None:
        first = literal(as_time(told.first, kind), kind)
    has_changed = shape.changed_at is not None and shape.changed_at in shape.columns
    changed = F.col(f"`{shape.changed_at}`").cast(kind) if has_changed else nothing
    return words.withColumns({"_first": first, "_changed": changed})


# --- the newest snapshot ----------------------------------------------------------------------------------------


def _tell_newest(told: _Snapshot, said: DataFrame) -> MergeResult:
    """Compare a snapshot that is newer than all others with the current versions."""
    batch, shape = told.batch, told.shape
    history = existing(batch.spark, batch.target, shape)
    before = _current(told, history)
    differing, counts = _compared(told, said, before)
    try:
        _refuse(told, said, counts)
        if differing.isEmpty() and history is not None and not existing_is_narrower(batch):
            pass
        moved = differing.where(F.col("word") != NO_WORD)
        wanted = versions(_newest_words(told, moved, history), shape)
        had = None if history is None else _standing(moved, shape)
        found = difference(wanted, had, shape, counts["keys"])
        telling = _telling(told, counts, found)
        words = [_new_words(told, differing)] if not differing.isEmpty() else []
        try:
            return write(batch, found, words, telling, current_only=True)
        finally:
            found.rows.unpersist()
    finally:
        differing.unpersist()
