"""A snapshot of the past, or one told again: woven in between its neighbours, from what the memory says of its time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from .batches import write
from .difference import Difference, MergeResult, difference, existing
from .memory import FEW, words_of
from .replay import ABSENT, filled, lacked, versions
from .shape import Time, literal
from .snapshot import Snapshot, Told, compared, new_words, refuse, telling, times_before, values, with_wishes
from .words import column_set, that_count, word_columns


def tell_late(told: Snapshot, said: DataFrame) -> MergeResult:
    """Weave in a snapshot that is older than others, was told before, or meets what only the memory knows."""
    batch, shape = told.batch, told.shape
    known = that_count(words_of(batch.spark, batch.memory, shape), shape).persist()
    resolved = filled(known, shape, batch.memory.column_sets)
    differing, counts = compared(told, said, _state_at(told, resolved, told.at))
    found = None
    try:
        refuse(told, said, counts)
        words = []
        few = counts["differing"] * (1 + len(batch.memory.snapshots)) <= FEW
        if counts["differing"]:
            words = [new_words(told, differing), *_restated(told, differing, resolved)]
        is_known = told.at in batch.memory.snapshots
        moves_starts = not is_known and told.has_wishes and told.at != max((*batch.memory.snapshots, told.at))
        if words or moves_starts or not batch.memory.in_step or batch.widens:
            found = rewoven(told, known, words, counts["keys"], few=few)
        same_columns = is_known and batch.memory.snapshots[told.at].columns == told.columns
        heals = not batch.memory.in_step and found is not None and found.result.is_empty
        tellings = [telling(told, counts, found)] if words or not same_columns or heals else []
        return write(batch, found, words, tellings, counts["keys"], current_only=False, few=few)
    finally:
        known.unpersist()
        differing.unpersist()
        if found is not None:
            found.rows.unpersist()


def rewoven(told: Told, known: DataFrame, words: Sequence[DataFrame], keys: int, *, few: bool) -> Difference:
    """Replay the keys that the snapshots touch from all their words."""
    batch, shape = told.batch, told.shape
    columns = word_columns(shape)
    everything = reduce(DataFrame.unionByName, [part.select(*columns) for part in (known, *words)])
    history = existing(batch.spark, batch.target, shape)
    if batch.memory.in_step and not batch.widens:
        few = few and keys <= FEW
        touched = [part.select(*shape.keys) for part in words]
        following = following_times(told)
        if told.has_wishes and following:
            # Keys that appear in the next snapshot are now known to be missing in this one: their start may move.
            after = [literal(at, shape.time_type) for at in following]
            touched.append(known.where(F.col("_at").isin(after)).select(*shape.keys))
        affected = reduce(DataFrame.union, touched).distinct()
        everything = everything.join(affected, list(shape.keys), "left_semi")
        history = None if history is None else history.join(affected, list(shape.keys), "left_semi")
    else:
        few = False
    sets = {*batch.memory.column_sets, column_set(told.columns)}
    full = filled(that_count(everything, shape), shape, sets)
    full = lacked(full, shape, times_before(told)) if told.has_wishes else full
    wanted = versions(with_wishes(told, full.withColumn("_fixed", F.lit(False))), shape)
    return difference(wanted, history, shape, keys, few=few)


def _state_at(told: Snapshot, resolved: DataFrame, at: Time) -> DataFrame:
    """What was known of each key at a time, in the form that `compared` takes."""
    shape = told.shape
    newest = Window.partitionBy(*shape.keys).orderBy(F.desc("_at"))
    moment = literal(at, shape.time_type)
    last = resolved.where(F.col("_at") <= moment).withColumn("_rank", F.row_number().over(newest)).where("_rank = 1")
    return last.select(
        *(f"`{key}`" for key in shape.keys),
        F.col("_word").alias("_was_word"),
        values(shape, shape.values).alias("_was"),
        F.when(F.col("_at") == moment, F.col("_columns")).alias("_own"),
    )


def _restated(told: Snapshot, differing: DataFrame, resolved: DataFrame) -> list[DataFrame]:
    """Say again what the next snapshots said of the keys that change here.

    A word holds until the next one, so a snapshot that agreed with the one before it is not in the memory; with this
    one in between it no longer agrees. Later snapshots follow where the next one lacks a column.
    """
    shape = told.shape
    snapshots = told.batch.memory.snapshots
    covered: set[str] = set()
    restated = []
    for at, said in snapshots.items():
        names = column_set(said.columns)[1]
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
                F.lit(said.columns).alias("_columns"),
                F.lit(None).cast("bigint").alias("_fact"),
                F.lit(told.batch.memory.next).cast("bigint").alias("_told"),
            )
        )
    return restated


def following_times(told: Told) -> list[Time]:
    """Return the known snapshots that follow one of those on their way directly."""
    known = list(told.batch.memory.snapshots)
    places = {bisect_right(known, at) for at in told.times}
    return [known[place] for place in sorted(places) if place < len(known)]
