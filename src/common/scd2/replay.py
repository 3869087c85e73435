"""From what was said about each key to the versions it must have: pure, and the only place that knows the rules.

A *word* is what one telling said about one key: `_at` (the sequence, or the time of the snapshot), `_word` (present,
absent, or no word), and the values. Words of one key have different times. For snapshots with a wish about when a
version starts, a word also carries `_first` and `_changed` (the wishes) and `_lacked` (the last snapshot that lacked
the key, where it was missing just before).
"""

from __future__ import annotations

from collections.abc import Collection

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.window import WindowSpec

from .shape import Shape, record_hash, surrogate_key

PRESENT = "present"
ABSENT = "absent"
NO_WORD = "no word"

Columns = str
"""The names of the columns a telling had, as a JSON list, sorted."""


def filled(words: DataFrame, shape: Shape, column_sets: Collection[tuple[Columns, frozenset[str]]]) -> DataFrame:
    """Give columns that a telling did not have the value of the word before; NULL at the start and after a deletion."""
    partial = [name for name in shape.values if any(name not in names for _, names in column_sets)]
    so_far = _by_key(shape).rowsBetween(Window.unboundedPreceding, 0)
    ends = (F.col("_word") == ABSENT) & F.lit(shape.absence_ends)
    resolved = {}
    for name in partial:
        had = F.col("_columns").isin([text for text, names in column_sets if name in names])
        nothing = F.struct(F.lit(None).cast(shape.columns[name]).alias("value"))
        told = F.when(ends, nothing).when(
            (F.col("_word") == PRESENT) & had, F.struct(F.col(f"`{name}`").alias("value"))
        )
        resolved[name] = F.last(told, ignorenulls=True).over(so_far)["value"]
    return words.withColumns(resolved) if resolved else words


def lacked(words: DataFrame, shape: Shape, before: DataFrame) -> DataFrame:
    """Add `_lacked`. `before` maps each snapshot's time (`_at`) to the one before it (`_before`)."""
    by_key = _by_key(shape)
    last_word = F.lag("_word").over(by_key)
    found = F.when(last_word.isNull() | (last_word == ABSENT), F.struct(F.col("_before").alias("at"))).when(
        last_word == PRESENT, F.struct(F.lit(None).cast(shape.time_type).alias("at"))
    )
    so_far = by_key.rowsBetween(Window.unboundedPreceding, 0)
    marked = words.join(F.broadcast(before), "_at", "left").withColumn("_found", found)
    return marked.withColumn("_lacked", F.last("_found", ignorenulls=True).over(so_far)["at"]).drop("_found", "_before")


def versions(words: DataFrame, shape: Shape) -> DataFrame:
    """Return the versions that follow from the words, with the columns of the table.

    Grain in: key, `_at`. Grain out: key, effective_from. A word with `_fixed` is a version that stands already: it
    starts at its `_at`, and where it is absent it is a deletion whose values are its own.
    """
    ignored = [NO_WORD] if shape.absence_ends else [NO_WORD, ABSENT]
    runs = _runs(words.where(~F.col("_word").isin(ignored)), shape)
    started = _started(runs, shape).withColumn("effective_to", F.lead("effective_from").over(_by_key(shape)))
    present = F.col("_word") == PRESENT
    started = _deletions(started, shape) if shape.hard_deletes == "new_record" else started.where(present)
    return started.withColumns(
        {
            shape.surrogate_key: surrogate_key(shape),
            "is_current": F.col("effective_to").isNull(),
            "is_deleted": ~present,
        }
    ).select(*shape.all_columns)


def _by_key(shape: Shape) -> WindowSpec:
    return Window.partitionBy(*shape.keys).orderBy("_at")


def _runs(words: DataFrame, shape: Shape) -> DataFrame:
    """Keep the last word of each run of words that say the same; `_opened` is the run's first."""
    by_key = _by_key(shape)
    so_far = by_key.rowsBetween(Window.unboundedPreceding, 0)
    wishes = ["_first", "_changed", "_lacked"] if _wishes(shape) else []
    hashed = words.withColumn("record_hash", F.when((F.col("_word") == PRESENT) | F.col("_fixed"), record_hash(shape)))
    last_word, last_hash = F.lag("_word").over(by_key), F.lag("record_hash").over(by_key)
    other_word = last_word.isNull() | (last_word != F.col("_word"))
    other_values = (F.col("_word") == PRESENT) & ~F.col("record_hash").eqNullSafe(last_hash)
    opens = hashed.withColumn("_opens", other_word | other_values)
    return (
        opens.withColumn(
            "_opened", F.last(F.when(F.col("_opens"), F.struct("_at", *wishes)), ignorenulls=True).over(so_far)
        )
        .withColumn("_ends", F.coalesce(F.lead("_opens").over(by_key), F.lit(True)))
        .where("_ends")
    )


def _wishes(shape: Shape) -> bool:
    return shape.changed_at is not None or shape.first_effective_from is not None


def _started(runs: DataFrame, shape: Shape) -> DataFrame:
    """Add when each run's version starts.

    A start that changed_at asks for depends on the start of the version before, so the runs of a key are folded in
    their order.
    """
    if not _wishes(shape):
        return runs.withColumn("effective_from", F.col("_opened._at"))
    so_far = _by_key(shape).rowsBetween(Window.unboundedPreceding, 0)
    present = F.col("_word") == PRESENT
    is_first = (F.sum((present | F.col("_fixed")).cast("int")).over(so_far) == 1) & present & ~F.col("_fixed")
    run = F.struct(
        F.col("_opened._at").alias("at"),
        F.when(is_first, F.col("_opened._first")).alias("first"),
        F.when(present, F.col("_opened._changed")).alias("changed"),
        F.col("_opened._lacked").alias("lacked"),
    )
    history = F.collect_list("_run").over(so_far)
    return runs.withColumn("_run", run).withColumn(
        "effective_from", F.aggregate(history, F.lit(None).cast(shape.time_type), _start)
    )


def _start(before: Column, run: Column) -> Column:
    """When a run's version starts, where the version before it started at `before`."""
    floor = F.coalesce(run["lacked"], before)
    from_first = (run["first"] <= run["at"]) & (run["lacked"].isNull() | (run["first"] > run["lacked"]))
    from_changed = (run["changed"] <= run["at"]) & (floor.isNull() | (run["changed"] > floor))
    return F.when(from_first, run["first"]).when(from_changed, run["changed"]).otherwise(run["at"])


def _deletions(runs: DataFrame, shape: Shape) -> DataFrame:
    """Turn runs of absence into deletion rows, which repeat the values before them; a key never seen has none."""
    by_key = _by_key(shape)
    absent = F.col("_word") == ABSENT
    repeats = absent & ~F.col("_fixed")
    last = F.lag(F.struct(F.lit(True).alias("_seen"), "record_hash", *(f"`{n}`" for n in shape.values))).over(by_key)
    runs = runs.withColumn("_last", last)
    repeated = {
        n: F.when(repeats, F.col(f"_last.`{n}`")).otherwise(F.col(f"`{n}`")) for n in ("record_hash", *shape.values)
    }
    return runs.where(~repeats | F.col("_last._seen")).withColumns(repeated)
