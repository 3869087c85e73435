"""Tell a history changes: from this sequence on, a key has these values, or is deleted.

A key whose facts are all newer than what is known of it is replayed from its current version; any other from all its
facts. So in-order batches cost what their keys cost, however long the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from ..lake.conflicts import Conflicts
from ..lake.small import CONFLICTS, table_lock
from ..lake.storage import full_path
from .batches import Batch, declare, has_null, write
from .difference import Difference, MergeResult, difference, existing
from .memory import FEW, Telling, recall, words_of
from .replay import ABSENT, filled, versions
from .shape import HistoryRefusedError, sample_of, taken
from .words import column_set, columns_text, shape_of, standing_words, that_count, word_columns, words_in


def apply_changes(
    spark: SparkSession,
    target: str,
    changes: DataFrame,
    *,
    keys: Sequence[str],
    sequence_by: str,
    deletes: str = "is_delete",
    tracked: Sequence[str] | None = None,
    surrogate_key: str = "sk",
    run_id: str | None = None,
    conflicts: Conflicts = CONFLICTS,
) -> MergeResult:
    """Tell the history at `target` a batch of changes.

    Facts may come late, in any order and repeatedly. The table is created where it is missing; otherwise what changes
    is one commit.

    Args:
        spark: The session; nothing else may commit on it meanwhile.
        target: Folder of the table; its memory lies at `<target>__memory`.
        changes: One row a fact: key, sequence, values, and where there is one the delete marker.
        keys: The columns that name what changes.
        sequence_by: The column that orders facts, a timestamp, date or integer; it becomes effective_from.
        deletes: The column that marks a deletion; where it is missing or NULL the row is an upsert.
        tracked: The columns in which a change opens a version; None: all but keys, sequence and delete marker.
        surrogate_key: Name of the surrogate key.
        run_id: Written into the note of the commit.
        conflicts: How often all of it is done again where another commit comes between.

    Raises:
        HistoryRefusedError: a NULL in a key or in the sequence, or another declaration than the table was built with.
    """
    target = full_path(target)
    with table_lock(f"{target}__apply"):
        shape = shape_of(target, changes, keys, sequence_by, tracked, surrogate_key)
        note = {"scd2": "changes", "run_id": run_id}
        needed = {"sequence_by": sequence_by, "deletes": deletes if deletes in changes.columns else None}

        def tell() -> MergeResult:
            memory = recall(target)
            apart = [name for name in needed.values() if name is not None]
            batch, rows = declare(spark, target, memory, changes, shape, needed, note, apart)
            return _tell(batch, words_in(rows, batch.shape, batch.told, memory.next, sequence_by, needed["deletes"]))

        return conflicts.retried(tell)


@dataclass(frozen=True)
class _News:
    """The facts of a batch that were not known; `_late` on those of keys with known facts as new or newer."""

    words: DataFrame
    keys: int
    facts: int
    late: int


def _tell(batch: Batch, facts: DataFrame) -> MergeResult:
    facts = facts.persist()
    kept = [facts]
    try:
        news = _news(batch, facts, kept)
        found = None
        if news.facts or batch.widens or not batch.memory.in_step:
            found = _woven(batch, news, kept)
            kept.append(found.rows)
        changes = found is not None and (not found.result.is_empty or batch.widens)
        heals = not batch.memory.in_step and not changes
        needed = news.facts or batch.widens or heals
        tellings = [Telling(batch.memory.next, None, columns_text(batch.told), changes)] if needed else []
        words = [news.words] if news.facts else []
        current_only = news.late == 0 and batch.memory.in_step
        return write(batch, found, words, tellings, news.keys, current_only=current_only, few=news.facts <= FEW)
    finally:
        for rows in kept:
            rows.unpersist()


def _news(batch: Batch, facts: DataFrame, kept: list[DataFrame]) -> _News:
    """Refuse what can't be full_path, and leave out what is known."""
    shape = batch.shape
    no_key, no_time = has_null(shape.keys), F.col("_at").isNull()
    counts = facts.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(no_key).alias("no_key"),
        F.count_if(no_time).alias("no_time"),
        F.min("_at").cast("string").alias("low"),
        F.count_distinct(*(F.col(f"`{key}`") for key in shape.keys)).alias("keys"),
    ).collect()[0]
    faults = []
    if counts["no_key"]:
        sample = sample_of(facts.where(no_key), shape.keys)
        faults.append(f"{counts['no_key']} rows have a NULL in the key ({', '.join(shape.keys)}), such as: {sample}")
    if counts["no_time"]:
        sample = sample_of(facts.where(no_time), shape.keys)
        faults.append(f"{counts['no_time']} rows have no sequence, such as: {sample}")
    if faults:
        raise HistoryRefusedError(batch.target, faults)
    told = that_count(taken(facts) if counts["rows"] <= FEW else facts, shape)
    if batch.memory.is_new or counts["low"] is None:
        words = told.withColumn("_late", F.lit(False))
    else:
        words = _unknown(batch, told, F.lit(counts["low"]).cast(shape.time_type))
    words = taken(words) if counts["rows"] <= FEW else words.persist()
    kept.append(words)
    fresh, late = words.agg(F.count(F.lit(1)), F.count_if("_late")).collect()[0]
    return _News(words, counts["keys"], fresh, late)


def _unknown(batch: Batch, told: DataFrame, low: Column) -> DataFrame:
    """Leave out the facts that the memory has, or has better ones for; mark the keys of which it has newer ones.

    Only facts as new as the batch's oldest are read: the statistics of the memory's files tell which hold any.
    """
    shape = batch.shape
    keys = list(shape.keys)
    known = words_of(batch.spark, batch.memory, shape).where(F.col("_at") >= low).select(*keys, "_at", "_word", "_fact")
    known = known.join(told.select(*keys).distinct(), keys, "left_semi").withColumn("_known", F.lit(True))
    both = told.withColumn("_known", F.lit(False)).unionByName(known, allowMissingColumns=True)
    rank = F.struct((F.col("_word") == ABSENT).alias("absent"), F.col("_fact").alias("fact"))
    by_key = Window.partitionBy(*keys)
    best = F.max(F.when(F.col("_known"), rank)).over(Window.partitionBy(*keys, "_at"))
    ranked = both.withColumn("_before", best).withColumn(
        "_newest", F.max(F.when(F.col("_known"), F.col("_at"))).over(by_key)
    )
    fresh = ranked.where(~F.col("_known") & (F.col("_before").isNull() | (rank > F.col("_before"))))
    late = F.coalesce(F.col("_newest") >= F.min("_at").over(by_key), F.lit(False))
    return fresh.withColumn("_late", late).drop("_known", "_before", "_newest")


def _woven(batch: Batch, news: _News, kept: list[DataFrame]) -> Difference:
    """Replay the keys that have news: from the current version where all news is newer, else from all their facts."""
    shape, memory = batch.shape, batch.memory
    history = existing(batch.spark, batch.target, shape)
    sets = {*memory.column_sets, column_set(columns_text(batch.told)), column_set(columns_text(shape.columns))}
    columns = word_columns(shape)
    fresh = news.words.select(*columns, F.lit(False).alias("_fixed"))
    if history is None or not memory.in_step:
        words, had = [fresh] if memory.is_new else [_remembered(batch), fresh], history
    else:
        keys = list(shape.keys)
        late = news.words.where("_late").select(*keys).distinct()
        in_order = news.words.where("NOT _late").select(*keys).distinct()
        standing = history.where("is_current").join(in_order, keys, "left_semi")
        standing = taken(standing) if news.facts <= FEW else standing.persist()
        kept.append(standing)
        words, had = [standing_words(shape, standing), fresh], standing
        if news.late:
            words.append(_remembered(batch).join(late, keys, "left_semi"))
            had = had.unionByName(history.join(late, keys, "left_semi"))
    everything = that_count(reduce(DataFrame.unionByName, words), shape)
    return difference(
        versions(filled(everything, shape, sets), shape),
        had,
        shape,
        news.keys,
        few=memory.in_step and news.facts <= FEW,
    )


def _remembered(batch: Batch) -> DataFrame:
    words = words_of(batch.spark, batch.memory, batch.shape)
    return words.select(*word_columns(batch.shape), F.lit(False).alias("_fixed"))
