"""Several snapshots told at once: one commit, and the table that they make one by one, in whatever order.

What each snapshot says of each key is laid out in the order of time, together with what was known, and a word is kept
where it differs from the one before: in one pass over all rows, which Spark sorts on disk where they are too many for
memory. So nothing is cut: however many snapshots, the history gets one commit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.window import WindowSpec

from .batches import has_null, write
from .difference import Difference, MergeResult, difference, existing
from .late import following_times, rewoven
from .memory import FEW, Telling, words_of
from .newest import closed_keys
from .replay import ABSENT, NO_WORD, PRESENT, filled, lacked, versions
from .shape import HistoryRefusedError, Shape, Time, same, sample_of, taken
from .snapshot import Told, arrow_time, times_before, values, with_wishes
from .words import column_set, columns_text, standing_words, that_count, word_columns

_NEW = "new"
_AGAIN = "again"


@dataclass(frozen=True)
class _Counts:
    """What the snapshots have, before they are compared with anything."""

    said: Mapping[Time, int]
    no_word: Mapping[Time, int]
    keys: int = 0
    """Keys that they have or lack."""


def tell_several(told: Told, rows: DataFrame, present: DataFrame | None, at: str) -> MergeResult:
    """Tell a history several snapshots, told apart by the column `at` of `rows` and `present`.

    Raises:
        HistoryRefusedError: a NULL in a key, a key twice in one snapshot, or a row of a snapshot that is not named.
    """
    batch, shape = told.batch, told.shape
    spoken = _spoken(told, rows, present, at).persist()
    kept = [spoken]
    try:
        counts = _counted(told, spoken, at)
        history = existing(batch.spark, batch.target, shape)
        known = _standing(shape, history) if told.is_newest else _remembered(told).persist()
        kept += [known] if known is not None else []
        keys = _keys(shape, [spoken] if known is None else [spoken, known]).persist()
        kept.append(keys)
        counts = replace(counts, keys=keys.count())
        words = _words(told, spoken, known, keys).persist()
        kept.append(words)
        fresh = words.count()
        few = fresh <= FEW
        words = taken(words) if few else words
        found = None
        if told.is_newest:
            found = _opened(told, words, history, counts.keys, few=few) if fresh or batch.widens else None
        elif fresh or _moves_starts(told) or batch.widens or not batch.memory.in_step:
            parts = [words] if fresh else []
            few = fresh * (1 + len(batch.memory.snapshots)) <= FEW
            found = rewoven(told, words_that_count(told), parts, counts.keys, few=few)
        kept += [found.rows] if found is not None else []
        tellings = _tellings(told, counts, found, has_words=fresh > 0)
        parts = [words] if fresh else []
        return write(batch, found, parts, tellings, counts.keys, current_only=told.is_newest, few=few)
    finally:
        for cached in kept:
            cached.unpersist()


def words_that_count(told: Told) -> DataFrame:
    """Every word that is known, one for each key and time."""
    return that_count(words_of(told.batch.spark, told.batch.memory, told.shape), told.shape)


# --- what the snapshots have ------------------------------------------------------------------------------------


def _spoken(told: Told, rows: DataFrame, present: DataFrame | None, at: str) -> DataFrame:
    """One row for each row told: key, `_at`, `_now` (present, or no word where only `present` names the key), `_said`."""
    shape = told.shape
    moment = F.col(f"`{at}`").cast(shape.time_type).alias("_at")
    keys = [F.col(f"`{key}`") for key in shape.keys]
    said = rows.select(*keys, moment, F.lit(PRESENT).alias("_now"), values(shape, told.batch.told).alias("_said"))
    if present is None:
        return said
    named = present.select(*(F.col(f"`{key}`").cast(shape.columns[key]).alias(key) for key in shape.keys), moment)
    nothing = F.lit(None).cast(said.schema["_said"].dataType)
    return said.unionByName(
        named.dropna(subset=list(shape.keys)).select(*keys, "_at", F.lit(NO_WORD).alias("_now"), nothing.alias("_said"))
    )


def _counted(told: Told, spoken: DataFrame, at: str) -> _Counts:
    """Count each snapshot's keys, and refuse what can't be placed."""
    shape = told.shape
    rows = F.count_if(F.col("_now") == PRESENT)
    by_key = spoken.groupBy(*shape.keys, "_at").agg(rows.alias("_rows"))
    is_null = has_null(shape.keys)
    by_time = by_key.groupBy("_at").agg(
        F.sum(F.when(is_null, F.col("_rows")).otherwise(0)).alias("nulls"),
        F.count_if(~is_null & (F.col("_rows") > 1)).alias("twice"),
        F.count_if(F.col("_rows") > 0).alias("said"),
        F.count_if(F.col("_rows") == 0).alias("no_word"),
        F.sum("_rows").alias("rows"),
    )
    found = {row["_at"]: row for row in by_time.toArrow().to_pylist()}
    faults = []
    unnamed = [row for time, row in found.items() if time not in told.times]
    if unnamed:
        shown = "; ".join(str(row["_at"]) for row in unnamed[:5])
        count = sum(row["rows"] + row["no_word"] for row in unnamed)
        faults.append(f"{at}: {count} rows are of snapshots that `times` does not name, such as: {shown}")
    if nulls := sum(row["nulls"] for row in found.values()):
        sample = sample_of(spoken.where(is_null), shape.keys)
        faults.append(f"{nulls} rows have a NULL in the key ({', '.join(shape.keys)}), such as: {sample}")
    if twice := sum(row["twice"] for row in found.values()):
        sample = sample_of(by_key.where(~is_null & (F.col("_rows") > 1)), shape.keys)
        faults.append(f"{twice} keys are in one snapshot more than once, such as: {sample}")
    if faults:
        raise HistoryRefusedError(told.batch.target, faults)
    return _Counts({t: row["said"] for t, row in found.items()}, {t: row["no_word"] for t, row in found.items()})


def _keys(shape: Shape, parts: list[DataFrame]) -> DataFrame:
    return reduce(DataFrame.union, [part.select(*(f"`{key}`" for key in shape.keys)) for part in parts]).distinct()


# --- what was known ---------------------------------------------------------------------------------------------


def _as_known(shape: Shape, words: DataFrame, resolved: DataFrame) -> DataFrame:
    """Key, `_at` and `_own`: a word as it was told (`raw`), and with the values of columns that it did not have."""
    own = F.struct(
        F.col("_word").alias("word"),
        F.col("_columns").alias("columns"),
        F.col("_raw").alias("raw"),
        values(shape, shape.values).alias("full"),
    )
    return resolved.select(*(f"`{key}`" for key in shape.keys), "_at", own.alias("_own"))


def _standing(shape: Shape, history: DataFrame | None) -> DataFrame | None:
    """What the current versions say: all that newer snapshots meet."""
    if history is None:
        return None
    words = standing_words(shape, history.where("is_current")).withColumn("_raw", values(shape, shape.values))
    return _as_known(shape, words, words)


def _remembered(told: Told) -> DataFrame:
    words = words_that_count(told).withColumn("_raw", values(told.shape, told.shape.values))
    return _as_known(told.shape, words, filled(words, told.shape, told.batch.memory.column_sets))


def _points(told: Told) -> DataFrame:
    """The times at which each key may need a word: the new snapshots, and known ones that follow them.

    A known snapshot that agreed with the one before it is not in the memory; with a new one in between it may no longer
    agree, and is said again. Later ones follow where the next one lacks a column.
    """
    known = {at: said for at, said in told.batch.memory.snapshots.items() if at not in told.times}
    times = list(known)
    again: dict[Time, str] = {}
    for place in {bisect_right(times, at) for at in told.times}:
        covered: set[str] = set()
        for at in times[place:]:
            names = column_set(known[at].columns)[1]
            if not names <= covered:
                covered |= names
                again[at] = known[at].columns
    rows = [(at, _NEW, told.columns) for at in told.times] + [(at, _AGAIN, says) for at, says in again.items()]
    schema = pa.schema({"_at": arrow_time(told.shape.time_type), "_kind": pa.string(), "_says": pa.string()})
    table = pa.table(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)],
        schema=schema,
    )
    return told.batch.spark.createDataFrame(table)


# --- what is new ------------------------------------------------------------------------------------------------


def _words(told: Told, spoken: DataFrame, known: DataFrame | None, keys: DataFrame) -> DataFrame:
    """Return the words to remember: where a snapshot differs from the one before it, or from what it said before."""
    shape, names = told.shape, told.batch.told
    resolved = _in_order(told, spoken, known, keys)
    before = F.lag(F.struct("_word", values(shape, shape.values).alias("full"))).over(_by_key(shape))
    compared = resolved.withColumn("_before", before)
    is_present, own, is_new = F.col("_word") == PRESENT, F.col("_own"), F.col("_kind") == _NEW
    has_moved = (F.coalesce("_before._word", F.lit(ABSENT)) != F.col("_word")) | (
        is_present & _unlike(shape, shape.values, "_before.full")
    )
    told_names = [name for name in shape.values if name in names]
    says_other = (own["word"] != F.col("_word")) | (
        is_present & ((own["columns"] != F.lit(told.columns)) | _unlike(shape, told_names, "_own.raw"))
    )
    is_said = F.when(own.isNull(), has_moved).when(is_new, says_other).otherwise(F.lit(False))
    shown = {n: is_present if n in names else is_present & ~is_new for n in shape.values}
    return compared.where(F.col("_kind").isNotNull() & is_said).select(
        *(f"`{key}`" for key in shape.keys),
        *(F.when(shown[name], F.col(f"`{name}`")).alias(name) for name in shape.values),
        "_at",
        "_word",
        "_columns",
        F.lit(None).cast("bigint").alias("_fact"),
        F.lit(told.batch.memory.next).cast("bigint").alias("_told"),
    )


def _in_order(told: Told, spoken: DataFrame, known: DataFrame | None, keys: DataFrame) -> DataFrame:
    """One row for each key and time that may need a word, or has one: what is said of the key then."""
    shape = told.shape
    grain = [*shape.keys, "_at"]
    parts = [spoken, keys.crossJoin(F.broadcast(_points(told)))] + ([known] if known is not None else [])
    everything = reduce(lambda left, right: left.unionByName(right, allowMissingColumns=True), parts)
    if known is None:
        kind = F.struct(
            F.lit("").alias("word"), F.lit("").alias("columns"), *(_nothing(shape, n) for n in ("raw", "full"))
        )
        everything = everything.withColumn("_own", F.when(F.lit(False), kind))
    # 'present' is the larger word: a key that is both there and named as refused is there.
    once = everything.repartition(*(F.col(f"`{key}`") for key in shape.keys)).groupBy(*grain)
    first = {name: F.first(name, ignorenulls=True).alias(name) for name in ("_said", "_own", "_kind", "_says")}
    rows = once.agg(F.max("_now").alias("_now"), *first.values())
    held = F.last("_own", ignorenulls=True).over(_by_key(shape).rowsBetween(Window.unboundedPreceding, 0))
    is_new, own = F.col("_kind") == _NEW, F.col("_own")
    rows = rows.withColumn("_held", held).withColumns(
        {
            "_word": F.when(is_new, F.coalesce("_now", F.lit(ABSENT))).otherwise(
                F.coalesce("_held.word", F.lit(ABSENT))
            ),
            "_columns": F.when(~is_new & own.isNotNull(), own["columns"]).otherwise(F.col("_says")),
            **{
                name: F.when(is_new, F.col(f"_said.`{name}`"))
                .when(own.isNotNull(), F.col(f"_own.raw.`{name}`"))
                .otherwise(F.col(f"_held.full.`{name}`"))
                for name in shape.values
            },
        }
    )
    sets = {*told.batch.memory.column_sets, column_set(told.columns), column_set(columns_text(shape.columns))}
    return filled(rows.drop("_held", "_said", "_now"), shape, sets)


def _nothing(shape: Shape, name: str) -> Column:
    return F.struct(
        F.lit(True).alias("_there"), *(F.lit(None).cast(shape.columns[n]).alias(n) for n in shape.values)
    ).alias(name)


def _unlike(shape: Shape, names: list[str], other: str) -> Column:
    unlike = [~same(F.col(f"`{n}`"), F.col(f"{other}.`{n}`"), shape.columns[n]) for n in names]
    return reduce(Column.__or__, unlike, F.lit(False))


def _by_key(shape: Shape) -> WindowSpec:
    return Window.partitionBy(*shape.keys).orderBy("_at")


# --- what follows -----------------------------------------------------------------------------------------------


def _opened(told: Told, words: DataFrame, history: DataFrame | None, keys: int, *, few: bool) -> Difference:
    """Replay the keys that newer snapshots speak of from their current versions."""
    shape, grain = told.shape, list(told.shape.keys)
    replayed = words.select(*word_columns(shape), F.lit(False).alias("_fixed"))
    standing = None
    if history is not None:
        standing = history.where("is_current").join(words.select(*grain).distinct(), grain, "left_semi")
        replayed = standing_words(shape, standing).unionByName(replayed)
    full = filled(replayed, shape, {column_set(told.columns), column_set(columns_text(shape.columns))})
    if told.has_wishes:
        wishes = with_wishes(told, lacked(full, shape, times_before(told)))
        is_known, closed = F.col("_fixed"), closed_keys(told, history)
        if closed is not None:
            wishes = wishes.join(closed.withColumn("_closed", F.lit(True)), grain, "left")
            is_known |= F.col("_closed").isNotNull()
        nothing = F.lit(None).cast(shape.time_type)
        full = wishes.withColumns(
            {
                "_first": F.when(is_known, nothing).otherwise(F.col("_first")),
                "_changed": F.when(F.col("_fixed"), nothing).otherwise(F.col("_changed")),
            }
        )
    return difference(versions(full, shape), standing, shape, keys, few=few)


def _moves_starts(told: Told) -> bool:
    """Tell whether a new snapshot stands before a known one, in which keys may have appeared."""
    snapshots = told.batch.memory.snapshots
    is_new = any(at not in snapshots for at in told.times)
    return told.has_wishes and is_new and bool(following_times(told))


def _tellings(told: Told, counts: _Counts, found: Difference | None, *, has_words: bool) -> list[Telling]:
    """Return what to remember of each snapshot as a whole; nothing of those that only say what they said before."""
    memory = told.batch.memory
    changes = found is not None and (not found.result.is_empty or told.batch.widens)
    heals = not memory.in_step and found is not None and found.result.is_empty
    tellings = []
    for at in told.times:
        before = memory.snapshots.get(at)
        if has_words or heals or before is None or before.columns != told.columns:
            said, no_word = counts.said.get(at, 0), counts.no_word.get(at, 0)
            missing = counts.keys - said - no_word  # keys that appear later among them; of the newest, exact
            tellings.append(Telling(memory.next, at, told.columns, changes, no_word, missing))
    return tellings
