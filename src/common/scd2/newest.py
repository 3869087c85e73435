"""The newest snapshot: compared with the current versions alone, so that its cost does not grow with the history."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from .batches import write
from .difference import MergeResult, difference, existing
from .memory import FEW
from .replay import ABSENT, NO_WORD, PRESENT, versions
from .shape import as_time, literal
from .snapshot import Snapshot, Told, compared, new_words, refuse, telling, with_wishes


def tell_newest(told: Snapshot, said: DataFrame) -> MergeResult:
    """Compare a snapshot that is newer than all others with the current versions."""
    history = existing(told.batch.spark, told.batch.target, told.shape)
    differing, counts = compared(told, said, _current(told, history))
    found = None
    try:
        refuse(told, said, counts)
        differs, few = counts["differing"] > 0, counts["differing"] <= FEW
        if differs or told.batch.widens:
            moved = differing.where(F.col("_now") != NO_WORD)
            had = None if history is None else moved.where("_was IS NOT NULL").select(*told.shape.keys, "_was.*")
            wanted = versions(_newest_words(told, moved, history), told.shape)
            found = difference(wanted, had, told.shape, counts["keys"], few=few)
        words = [new_words(told, differing)] if differs else []
        tellings = [telling(told, counts, found)]
        return write(told.batch, found, words, tellings, counts["keys"], current_only=True, few=few)
    finally:
        differing.unpersist()
        if found is not None:
            found.rows.unpersist()


def _current(told: Snapshot, history: DataFrame | None) -> DataFrame:
    """What the current versions say of each key, in the form that `compared` takes."""
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


def _newest_words(told: Snapshot, moved: DataFrame, history: DataFrame | None) -> DataFrame:
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
    new = with_wishes(told, new).withColumn("_first", F.when(~F.col("_known"), F.col("_first"))).drop("_known")
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


def _known_keys(told: Told, moved: DataFrame, history: DataFrame | None) -> DataFrame:
    """Add `_known`: whether the key had a version before, closed ones included, so that this is not its first."""
    stands, closed = F.col("_was").isNotNull(), closed_keys(told, history)
    if closed is None:
        return moved.withColumn("_known", stands)
    marked = moved.join(closed.withColumn("_closed", F.lit(True)), list(told.shape.keys), "left")
    return marked.withColumn("_known", stands | F.col("_closed").isNotNull())


def closed_keys(told: Told, history: DataFrame | None) -> DataFrame | None:
    """Return the keys that have closed versions, None where it does not matter for where a version starts."""
    shape, first = told.shape, told.first
    if first is None or told.last is None or history is None or shape.hard_deletes != "invalidate":
        return None
    if not isinstance(first, str) and as_time(first, shape.time_type) <= told.last:  # type: ignore[operator]
        return None  # every snapshot so far lacked the key, so it can't start there
    return history.where("NOT is_current").select(*shape.keys).distinct()


def told_already(told: Snapshot, said: DataFrame) -> MergeResult | None:
    """Recognise the newest snapshot told again unchanged; None where it is another one, or says something else."""
    memory = told.batch.memory
    if told.at != told.last or not told.current_say_all or memory.snapshots[told.at].columns != told.columns:
        return None
    history = existing(told.batch.spark, told.batch.target, told.shape)
    differing, counts = compared(told, said, _current(told, history))
    differing.unpersist()
    if counts["differing"] or told.batch.widens:
        return None
    refuse(told, said, counts)
    return MergeResult(keys=counts["keys"], unchanged=counts["keys"])
