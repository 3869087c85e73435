"""Tell a history a full snapshot: every key that exists at one time, and thereby which do not.

The newest snapshot is compared with the current versions alone, so its cost does not grow with the history. A late or
repeated one is compared with what the memory says of its time, is woven in between its neighbours, and the keys that it
speaks of are replayed from all their words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F

from ..lake import table_lock
from .batches import Batch, declare, has_null, write
from .difference import Difference, MergeResult, difference, existing
from .memory import FEW, Telling, column_set, columns_text, recall, that_count, word_columns, words_of
from .replay import ABSENT, NO_WORD, PRESENT, filled, lacked, versions
from .shape import HARD_DELETES, HistoryRefusedError, Shape, Time, as_time, literal, same, sample_of, taken, time_type


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
        shape = _shape(
            str(target), keys, snapshot_at, hard_deletes, tracked, surrogate_key, changed_at, first_effective_from
        )
        note = {"scd2": "snapshot", "snapshot_at": str(snapshot_at), "run_id": run_id}
        first_column = first_effective_from if isinstance(first_effective_from, str) else None
        needed = {"changed_at": changed_at, "first_effective_from": first_column}
        batch, rows = declare(spark, str(target), recall(str(target)), snapshot, shape, needed, note)
        at = as_time(snapshot_at, shape.time_type)
        told = _Snapshot(batch, at, first_effective_from)
        said = _said(told, rows, present)
        if told.is_newest:
            return _tell_newest(told, said)
        return _told_already(told, said) or _tell_late(told, said)


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
        """Tell whether this snapshot is newer than all others, and the current versions say all that it meets."""
        return self.last is None or (self.current_say_all and self.last < self.at)  # type: ignore[operator]

    @property
    def current_say_all(self) -> bool:
        """Tell whether the current versions say what the newest snapshot said of every key."""
        memory = self.batch.memory
        if self.last is None or not memory.in_step:
            return False
        newest = memory.snapshots[self.last]
        return newest.no_word == 0 and (self.shape.absence_ends or newest.missing == 0)

    @property
    def has_wishes(self) -> bool:
        """Tell whether a version may start at another time than its snapshot's."""
        return self.shape.changed_at is not None or self.shape.first_effective_from is not None

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
    parts = [(F.col(f"`{n}`") if n in names else F.lit(None).cast(shape.columns[n])).alias(n) for n in shape.values]
    return F.struct(F.lit(True).alias("_there"), *parts)


def _said(told: _Snapshot, rows: DataFrame, present: DataFrame | None) -> DataFrame:
    """One row a key: `_rows` (how many the snapshot has) and `_said`, the values; NULL where only `present` names it."""
    keys = list(told.shape.keys)
    said = rows.select(*(f"`{key}`" for key in keys), _values(told.shape, told.batch.told).alias("_said"))
    if present is not None:
        named = present.select(*(F.col(f"`{key}`").cast(told.shape.columns[key]).alias(key) for key in keys)).dropna()
        said = said.unionByName(named.withColumn("_said", F.lit(None).cast(said.schema["_said"].dataType)))
    return said.groupBy(*keys).agg(F.count("_said").alias("_rows"), F.first("_said", ignorenulls=True).alias("_said"))


def _compared(told: _Snapshot, said: DataFrame, before: DataFrame) -> tuple[DataFrame, dict[str, int]]:
    """Return the keys of which the snapshot says another thing than was known, and counts of all of them.

    `before` has the key, `_was_word`, and the values as the struct `_was`; `_own` is the text of its columns where it
    was said at this very time.
    """
    shape = told.shape
    names = [name for name in shape.values if name in told.batch.told]
    joined = said.join(before, list(shape.keys), "full_outer").withColumns(
        {
            "_now": F.when(F.col("_said").isNotNull(), PRESENT).when(F.col("_rows") == 0, NO_WORD).otherwise(ABSENT),
            "_was_word": F.coalesce("_was_word", F.lit(ABSENT)),
        }
    )
    both = (F.col("_now") == PRESENT) & (F.col("_was_word") == PRESENT)
    unlike = [~same(F.col(f"_said.`{n}`"), F.col(f"_was.`{n}`"), shape.columns[n]) for n in names]
    other_columns = F.coalesce(F.col("_own") != told.columns, F.lit(False)) & (F.col("_now") == PRESENT)
    differs = (
        (F.col("_now") != F.col("_was_word")) | other_columns | (both & reduce(Column.__or__, unlike, F.lit(False)))
    )
    seen = Observation()
    is_null = has_null(shape.keys)
    observed = joined.observe(
        seen,
        F.count_if(F.col("_rows").isNotNull() | (F.col("_was_word") == PRESENT)).alias("keys"),
        F.sum(F.when(is_null, F.col("_rows")).otherwise(0)).alias("nulls"),
        F.count_if(~is_null & (F.col("_rows") > 1)).alias("twice"),
        F.count_if(F.col("_now") == NO_WORD).alias("no_word"),
        F.count_if(F.col("_rows").isNull()).alias("missing"),
    )
    differing = observed.where(differs | is_null).persist()
    counts = {"differing": differing.count()}
    counts |= {name: int(value or 0) for name, value in seen.get.items()}
    if 0 < counts["differing"] <= FEW:
        here = taken(differing)
        differing.unpersist()
        return here, counts
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
        *(F.col(f"_said.`{name}`").alias(name) for name in shape.values),
        literal(told.at, shape.time_type).alias("_at"),
        F.col("_now").alias("_word"),
        F.lit(told.columns).alias("_columns"),
        F.lit(None).cast("bigint").alias("_fact"),
        F.lit(told.batch.memory.next).cast("bigint").alias("_told"),
    )


def _telling(told: _Snapshot, counts: dict[str, int], found: Difference | None) -> Telling:
    changes = found is not None and (not found.result.is_empty or told.batch.widens)
    return Telling(told.batch.memory.next, told.at, told.columns, changes, counts["no_word"], counts["missing"])


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
    history = existing(told.batch.spark, told.batch.target, told.shape)
    differing, counts = _compared(told, said, _current(told, history))
    found = None
    try:
        _refuse(told, said, counts)
        differs, few = counts["differing"] > 0, counts["differing"] <= FEW
        if differs or told.batch.widens:
            moved = differing.where(F.col("_now") != NO_WORD)
            had = None if history is None else moved.where("_was IS NOT NULL").select(*told.shape.keys, "_was.*")
            wanted = versions(_newest_words(told, moved, history), told.shape)
            found = difference(wanted, had, told.shape, counts["keys"], few=few)
        words = [_new_words(told, differing)] if differs else []
        return write(
            told.batch, found, words, _telling(told, counts, found), counts["keys"], current_only=True, few=few
        )
    finally:
        differing.unpersist()
        if found is not None:
            found.rows.unpersist()


def _current(told: _Snapshot, history: DataFrame | None) -> DataFrame:
    """What the current versions say of each key, in the form that `_compared` takes."""
    shape = told.shape
    others = [name for name in shape.all_columns if name not in shape.keys]
    if history is None:
        nothing = {name: F.lit(None).cast(kind) for name, kind in shape.columns.items()}
        nothing |= {shape.surrogate_key: F.lit(""), "record_hash": F.lit("")}
        nothing |= {name: F.lit(None).cast(shape.time_type) for name in ("effective_from", "effective_to")}
        nothing |= {name: F.lit(None).cast("boolean") for name in ("is_current", "is_deleted")}
        history = told.batch.spark.range(0).withColumns(nothing)
    return history.where("is_current").select(
        *(f"`{key}`" for key in shape.keys),
        F.when(F.col("is_deleted"), ABSENT).otherwise(PRESENT).alias("_was_word"),
        F.struct(*(f"`{name}`" for name in others)).alias("_was"),
        F.lit(None).cast("string").alias("_own"),
    )


def _newest_words(told: _Snapshot, moved: DataFrame, history: DataFrame | None) -> DataFrame:
    """The words to replay: each current version as it stands, and then what the snapshot says."""
    shape = told.shape
    keys = [F.col(f"`{key}`") for key in shape.keys]
    kind = shape.time_type
    was_present = F.col("_was_word") == PRESENT
    values = [
        F.when(
            F.col("_now") == PRESENT,
            F.col(f"_said.`{name}`") if name in told.batch.told else F.when(was_present, F.col(f"_was.`{name}`")),
        ).alias(name)
        for name in shape.values
    ]
    told_before = _known_keys(told, moved, history)
    new = told_before.select(
        *keys,
        *values,
        literal(told.at, kind).alias("_at"),
        F.col("_now").alias("_word"),
        F.when(~was_present, literal(told.last, kind)).alias("_lacked"),
        F.lit(False).alias("_fixed"),
        "_known",
    )
    new = _with_wishes(told, new).withColumn("_first", F.when(~F.col("_known"), F.col("_first"))).drop("_known")
    if history is None:
        return new
    standing = moved.where("_was IS NOT NULL").select(
        *keys,
        *(F.col(f"_was.`{name}`").alias(name) for name in shape.values),
        F.col("_was.effective_from").alias("_at"),
        F.col("_was_word").alias("_word"),
        F.lit(None).cast(kind).alias("_lacked"),
        F.lit(True).alias("_fixed"),
        F.lit(None).cast(kind).alias("_first"),
        F.lit(None).cast(kind).alias("_changed"),
    )
    return standing.unionByName(new)


def _known_keys(told: _Snapshot, moved: DataFrame, history: DataFrame | None) -> DataFrame:
    """Add `_known`: whether the key had a version before, closed ones included, so that this is not its first."""
    shape, first = told.shape, told.first
    stands = F.col("_was").isNotNull()
    if first is None or told.last is None or history is None or shape.hard_deletes != "invalidate":
        return moved.withColumn("_known", stands)
    if not isinstance(first, str) and as_time(first, shape.time_type) <= told.last:  # type: ignore[operator]
        return moved.withColumn("_known", stands)  # every snapshot so far lacked the key, so it can't start there
    closed = history.where("NOT is_current").select(*shape.keys).distinct().withColumn("_closed", F.lit(True))
    return moved.join(closed, list(shape.keys), "left").withColumn("_known", stands | F.col("_closed").isNotNull())


def _told_already(told: _Snapshot, said: DataFrame) -> MergeResult | None:
    """Recognise the newest snapshot told again unchanged; None where it is another one, or says something else."""
    memory = told.batch.memory
    if told.at != told.last or not told.current_say_all or memory.snapshots[told.at].columns != told.columns:
        return None
    history = existing(told.batch.spark, told.batch.target, told.shape)
    differing, counts = _compared(told, said, _current(told, history))
    differing.unpersist()
    if counts["differing"] or told.batch.widens:
        return None
    _refuse(told, said, counts)
    return MergeResult(keys=counts["keys"], unchanged=counts["keys"])


# --- a snapshot of the past -------------------------------------------------------------------------------------


def _tell_late(told: _Snapshot, said: DataFrame) -> MergeResult:
    """Weave in a snapshot that is older than others, was told before, or meets what only the memory knows."""
    batch, shape = told.batch, told.shape
    known = that_count(words_of(batch.spark, batch.memory, shape), shape).persist()
    resolved = filled(known, shape, batch.memory.column_sets)
    differing, counts = _compared(told, said, _state_at(told, resolved, told.at))
    found = None
    try:
        _refuse(told, said, counts)
        words = []
        few = counts["differing"] * (1 + len(batch.memory.snapshots)) <= FEW
        if counts["differing"]:
            words = [_new_words(told, differing), *_restated(told, differing, resolved)]
        is_known = told.at in batch.memory.snapshots
        moves_starts = not is_known and told.has_wishes
        if words or moves_starts or not batch.memory.in_step or batch.widens:
            found = _rewoven(told, known, words, counts["keys"], few=few)
        same_columns = is_known and batch.memory.snapshots[told.at].columns == told.columns
        heals = not batch.memory.in_step and found is not None and found.result.is_empty
        telling = _telling(told, counts, found) if words or not same_columns or heals else None
        return write(batch, found, words, telling, counts["keys"], current_only=False, few=few)
    finally:
        known.unpersist()
        differing.unpersist()
        if found is not None:
            found.rows.unpersist()


def _rewoven(told: _Snapshot, known: DataFrame, words: Sequence[DataFrame], keys: int, *, few: bool) -> Difference:
    """Replay the keys that the snapshot touches from all their words."""
    batch, shape = told.batch, told.shape
    columns = word_columns(shape)
    everything = reduce(DataFrame.unionByName, [part.select(*columns) for part in (known, *words)])
    history = existing(batch.spark, batch.target, shape)
    if batch.memory.in_step and not batch.widens:
        few = few and keys <= FEW
        touched = [part.select(*shape.keys) for part in words]
        following = min((at for at in batch.memory.snapshots if at > told.at), default=None)  # type: ignore[operator]
        if told.has_wishes and following is not None:
            # Keys that appear in the next snapshot are now known to be missing in this one: their start may move.
            touched.append(known.where(F.col("_at") == literal(following, shape.time_type)).select(*shape.keys))
        affected = reduce(DataFrame.union, touched).distinct()
        everything = everything.join(affected, list(shape.keys), "left_semi")
        history = None if history is None else history.join(affected, list(shape.keys), "left_semi")
    else:
        few = False
    sets = {*batch.memory.column_sets, column_set(told.columns)}
    full = filled(that_count(everything, shape), shape, sets)
    full = lacked(full, shape, _times(told)) if told.has_wishes else full
    wanted = versions(_with_wishes(told, full.withColumn("_fixed", F.lit(False))), shape)
    return difference(wanted, history, shape, keys, few=few)


def _state_at(told: _Snapshot, resolved: DataFrame, at: Time) -> DataFrame:
    """What was known of each key at a time, in the form that `_compared` takes."""
    shape = told.shape
    newest = Window.partitionBy(*shape.keys).orderBy(F.desc("_at"))
    moment = literal(at, shape.time_type)
    last = resolved.where(F.col("_at") <= moment).withColumn("_rank", F.row_number().over(newest)).where("_rank = 1")
    return last.select(
        *(f"`{key}`" for key in shape.keys),
        F.col("_word").alias("_was_word"),
        _values(shape, shape.values).alias("_was"),
        F.when(F.col("_at") == moment, F.col("_columns")).alias("_own"),
    )


def _restated(told: _Snapshot, differing: DataFrame, resolved: DataFrame) -> list[DataFrame]:
    """Say again what the next snapshots said of the keys that change here.

    A word holds until the next one, so a snapshot that agreed with the one before it is not in the memory; with this
    one in between it no longer agrees. Later snapshots follow where the next one lacks a column.
    """
    shape = told.shape
    snapshots = told.batch.memory.snapshots
    covered: set[str] = set()
    restated = []
    for at, telling in snapshots.items():
        names = column_set(telling.columns)[1]
        if at <= told.at or names <= covered:  # type: ignore[operator]
            continue
        covered |= names
        state = _state_at(told, resolved, at)
        silent = differing.select(*shape.keys).join(state, list(shape.keys), "left").where("_own IS NULL")
        restated.append(
            silent.select(
                *(f"`{key}`" for key in shape.keys),
                *(F.col(f"_was.`{name}`").alias(name) for name in shape.values),
                literal(at, shape.time_type).alias("_at"),
                F.coalesce("_was_word", F.lit(ABSENT)).alias("_word"),
                F.lit(telling.columns).alias("_columns"),
                F.lit(None).cast("bigint").alias("_fact"),
                F.lit(told.batch.memory.next).cast("bigint").alias("_told"),
            )
        )
    return restated


def _times(told: _Snapshot) -> DataFrame:
    """Map the time of every snapshot, this one included, to the one before it."""
    times = sorted({*told.batch.memory.snapshots, told.at})  # type: ignore[type-var]
    kinds = {"timestamp": pa.timestamp("us", "UTC"), "date": pa.date32(), "bigint": pa.int64()}
    kind = kinds[told.shape.time_type]
    table = pa.table({"_at": pa.array(times, kind), "_before": pa.array([None, *times[:-1]], kind)})
    return told.batch.spark.createDataFrame(table)
