"""One snapshot on its way: what it says of each key, and how that differs from what was known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from .batches import Batch, has_null
from .difference import Difference
from .memory import FEW, Telling
from .replay import ABSENT, NO_WORD, PRESENT
from .shape import HistoryRefusedError, Shape, Time, as_time, literal, same, sample_of, taken
from .words import columns_text


@dataclass(frozen=True)
class Told:
    """Snapshots on their way, all with the same columns."""

    batch: Batch
    times: tuple[Time, ...]
    """When they were taken, oldest first."""
    first: Time | str | None

    @property
    def shape(self) -> Shape:
        """What the history looks like."""
        return self.batch.shape

    @property
    def last(self) -> Time | None:
        """The newest snapshot known before these."""
        return max(self.batch.memory.snapshots, default=None)

    @property
    def is_newest(self) -> bool:
        """Tell whether the snapshots are newer than all others, and the current versions say all that they meet."""
        return self.last is None or (self.current_say_all and self.last < self.times[0])  # type: ignore[operator]

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
        """The columns of the snapshots, as their words name them."""
        return columns_text(self.batch.told)


class Snapshot(Told):
    """One snapshot on its way."""

    @property
    def at(self) -> Time:
        """When it was taken."""
        return self.times[0]


def values(shape: Shape, names: Sequence[str]) -> Column:
    """The business columns as one struct; those not in `names` are NULL."""
    parts = [(F.col(f"`{n}`") if n in names else F.lit(None).cast(shape.columns[n])).alias(n) for n in shape.values]
    return F.struct(F.lit(True).alias("_there"), *parts)


def said_by(told: Snapshot, rows: DataFrame, present: DataFrame | None) -> DataFrame:
    """One row a key: `_rows` (how many the snapshot has) and `_said`, the values; NULL where only `present` names it."""
    keys = list(told.shape.keys)
    said = rows.select(*(f"`{key}`" for key in keys), values(told.shape, told.batch.told).alias("_said"))
    if present is not None:
        named = present.select(*(F.col(f"`{key}`").cast(told.shape.columns[key]).alias(key) for key in keys)).dropna()
        said = said.unionByName(named.withColumn("_said", F.lit(None).cast(said.schema["_said"].dataType)))
    return said.groupBy(*keys).agg(F.count("_said").alias("_rows"), F.first("_said", ignorenulls=True).alias("_said"))


def compared(told: Snapshot, said: DataFrame, before: DataFrame) -> tuple[DataFrame, dict[str, int]]:
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
    # Without a single row Spark reports no counts, and waits for them for ever: this one is counted by none of them.
    nobody = told.batch.spark.range(1).select(*(F.lit(None).cast(c.dataType).alias(c.name) for c in joined.schema))
    both = (F.col("_now") == PRESENT) & (F.col("_was_word") == PRESENT)
    unlike = [~same(F.col(f"_said.`{n}`"), F.col(f"_was.`{n}`"), shape.columns[n]) for n in names]
    other_columns = F.coalesce(F.col("_own") != told.columns, F.lit(False)) & (F.col("_now") == PRESENT)
    differs = (
        (F.col("_now") != F.col("_was_word")) | other_columns | (both & reduce(Column.__or__, unlike, F.lit(False)))
    )
    seen = Observation()
    is_null = has_null(shape.keys)
    observed = joined.unionByName(nobody).observe(
        seen,
        F.count_if(F.col("_rows").isNotNull() | (F.col("_was_word") == PRESENT)).alias("keys"),
        F.sum(F.when(is_null, F.col("_rows")).otherwise(0)).alias("nulls"),
        F.count_if(~is_null & (F.col("_rows") > 1)).alias("twice"),
        F.count_if(F.col("_now") == NO_WORD).alias("no_word"),
        F.count_if(F.col("_rows").isNull() & F.col("_now").isNotNull()).alias("missing"),
    )
    differing = observed.where((differs | is_null) & F.col("_now").isNotNull()).persist()
    counts = {"differing": differing.count()}
    counts |= {name: int(value or 0) for name, value in seen.get.items()}
    if 0 < counts["differing"] <= FEW:
        here = taken(differing)
        differing.unpersist()
        return here, counts
    return differing, counts


def refuse(told: Snapshot, said: DataFrame, counts: dict[str, int]) -> None:
    """Refuse a snapshot in which keys can't be told apart.

    Raises:
        HistoryRefusedError: with the counts and a sample of the keys.
    """
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


def new_words(told: Snapshot, differing: DataFrame) -> DataFrame:
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


def telling(told: Snapshot, counts: dict[str, int], found: Difference | None) -> Telling:
    """Return what to remember of the snapshot as a whole."""
    changes = found is not None and (not found.result.is_empty or told.batch.widens)
    return Telling(told.batch.memory.next, told.at, told.columns, changes, counts["no_word"], counts["missing"])


def with_wishes(told: Told, words: DataFrame) -> DataFrame:
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


def times_before(told: Told) -> DataFrame:
    """Map the time of every snapshot, those on their way included, to the one before it."""
    times = sorted({*told.batch.memory.snapshots, *told.times})
    kind = arrow_time(told.shape.time_type)
    table = pa.table({"_at": pa.array(times, kind), "_before": pa.array([None, *times[:-1]], kind)})
    return told.batch.spark.createDataFrame(table)


def arrow_time(kind: str) -> pa.DataType:
    """Return the type that Arrow has for the times of snapshots."""
    return {"timestamp": pa.timestamp("us", "UTC"), "date": pa.date32(), "bigint": pa.int64()}[kind]
