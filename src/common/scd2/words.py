"""Words: what was said of one key at one time, as the memory keeps them; and the history that changes alone make. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from ..errors import did_you_mean
from .replay import ABSENT, PRESENT, versions
from .shape import HistoryRefusedError, Shape, as_dict, is_time_type, named_json


def columns_text(names: Iterable[str]) -> str:
    """Write the columns of a telling as words name them."""
    return json.dumps(sorted(names), ensure_ascii=False)


def column_set(text: str) -> tuple[str, frozenset[str]]:
    """Pair the text that names a set of columns with the set."""
    return text, frozenset(json.loads(text))


def that_count(words: DataFrame, shape: Shape) -> DataFrame:
    """Keep of several words for one key and time the one that counts."""
    order = [F.desc("_told")] if shape.input == "snapshots" else [(F.col("_word") == ABSENT).desc(), F.desc("_fact")]
    best = Window.partitionBy(*shape.keys, "_at").orderBy(*order)
    return words.withColumn("_rank", F.row_number().over(best)).where("_rank = 1").drop("_rank")


def word_columns(shape: Shape) -> list[str]:
    """The columns of a word."""
    return [*shape.columns, "_at", "_word", "_columns", "_fact", "_told"]


def standing_words(shape: Shape, standing: DataFrame) -> DataFrame:
    """The current versions as words: they stand, and have every column."""
    return standing.select(
        *(f"`{name}`" for name in shape.columns),
        F.col("effective_from").alias("_at"),
        F.when(F.col("is_deleted"), ABSENT).otherwise(PRESENT).alias("_word"),
        F.lit(columns_text(shape.columns)).alias("_columns"),
        F.lit(None).cast("bigint").alias("_fact"),
        F.lit(None).cast("bigint").alias("_told"),
        F.lit(True).alias("_fixed"),
    )


def words_in(
    rows: DataFrame, shape: Shape, told: Sequence[str], telling: int, sequence_by: str, deletes: str | None
) -> DataFrame:
    """Bring changes to words, one for each row; `told` are the business columns that they have."""
    is_delete = F.coalesce(F.col(f"`{deletes}`").cast("boolean"), F.lit(False)) if deletes else F.lit(False)
    text = named_json([name for name in shape.values if name in told], shape.columns)
    values = [
        (F.when(~is_delete, F.col(f"`{n}`")) if n in told else F.lit(None).cast(shape.columns[n])).alias(n)
        for n in shape.values
    ]
    columns = columns_text(told)
    return rows.select(
        *(f"`{key}`" for key in shape.keys),
        *values,
        F.col(f"`{sequence_by}`").cast(shape.time_type).alias("_at"),
        F.when(is_delete, ABSENT).otherwise(PRESENT).alias("_word"),
        F.lit(columns).alias("_columns"),
        F.when(is_delete, F.lit(0)).otherwise(F.xxhash64(text, F.lit(columns))).cast("bigint").alias("_fact"),
        F.lit(telling).cast("bigint").alias("_told"),
    )


def shape_of(
    target: str,
    changes: DataFrame,
    keys: Sequence[str],
    sequence_by: str,
    tracked: Sequence[str] | None,
    surrogate_key: str,
) -> Shape:
    """Return what a history of these changes looks like, so far as is known before its columns are.

    Raises:
        HistoryRefusedError: the sequence is no column, or of no type that orders.
    """
    if sequence_by not in changes.columns:
        hint = did_you_mean(sequence_by, changes.columns)
        raise HistoryRefusedError(target, [f"sequence_by: '{sequence_by}' is not a column{hint}"])
    kind = changes.schema[sequence_by].dataType.simpleString()
    if not is_time_type(kind):
        raise HistoryRefusedError(
            target, [f"sequence_by: '{sequence_by}' is {kind}; cast it to a timestamp, a date or an integer"]
        )
    return Shape(
        input="changes",
        keys=tuple([keys] if isinstance(keys, str) else keys),
        time_type=kind,
        tracked=None if tracked is None else tuple(tracked),
        surrogate_key=surrogate_key,
    )


def history_of(
    changes: DataFrame,
    *,
    keys: Sequence[str],
    sequence_by: str,
    deletes: str = "is_delete",
    tracked: Sequence[str] | None = None,
    surrogate_key: str = "sk",
) -> DataFrame:
    """Return the history that a table has after `apply_changes` was told all of these changes, and nothing else.

    Pure: nothing is read or written. Grain in: key, sequence. Grain out: key, effective_from. The keys and the sequence
    must not be NULL; the arguments are those of `apply_changes`.
    """
    marker = deletes if deletes in changes.columns else None
    columns = as_dict(changes.schema, [name for name in (sequence_by, marker) if name])
    shape = replace(shape_of("history_of", changes, keys, sequence_by, tracked, surrogate_key), columns=columns)
    words = that_count(words_in(changes, shape, tuple(columns), 0, sequence_by, marker), shape)
    return versions(words.withColumn("_fixed", F.lit(False)), shape)
