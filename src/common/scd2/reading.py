"""Read a history: what was in force at a time, and what it was for facts of their own time."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from ..errors import CloudlakeError
from .shape import HISTORY_COLUMNS, Time, as_time, literal, named_json


def as_of(history: DataFrame, at: Time | Column) -> DataFrame:
    """Return the rows in force at a time: one for each key that existed then, deletions left out.

    A datetime without zone is UTC; a date against a history by timestamp is its midnight.
    """
    kind = history.schema["effective_from"].dataType.simpleString()
    moment = at if isinstance(at, Column) else literal(as_time(at, kind), kind)
    started = F.col("effective_from") <= moment
    open_then = F.col("effective_to").isNull() | (moment < F.col("effective_to"))
    return history.where(started & open_then & ~F.col("is_deleted"))


def join_as_of(facts: DataFrame, history: DataFrame, on: str | Sequence[str], at_column: str) -> DataFrame:
    """Add to each fact the version that was in force at the fact's own time.

    Grain out: that of `facts`, row for row; a fact that no version covers has NULLs. `on` names the key's columns,
    which both sides have; every other name must be on one side only.

    Raises:
        CloudlakeError: a column other than the key is on both sides.
    """
    keys = [on] if isinstance(on, str) else list(on)
    twice = sorted(set(facts.columns) & set(history.columns) - set(keys))
    if twice:
        raise CloudlakeError(
            f"join_as_of: {', '.join(twice)} on both sides; select or rename what you need of the history"
        )
    versions = history.where(~F.col("is_deleted")).alias("version")
    fact = facts.alias("fact")
    moment = F.col(f"fact.`{at_column}`")
    matches = F.col("version.effective_from") <= moment
    matches &= F.col("version.effective_to").isNull() | (moment < F.col("version.effective_to"))
    for key in keys:
        matches &= F.col(f"fact.`{key}`") == F.col(f"version.`{key}`")
    added = [F.col(f"version.`{name}`") for name in history.columns if name not in keys]
    return fact.join(versions, matches, "left").select("fact.*", *added)


def changes_of(history: DataFrame, keys: Sequence[str]) -> DataFrame:
    """Add `changed` to every version: the columns that differ from the version before it, with both values as JSON.

    Grain in and out: key, effective_from. `changed` is an ARRAY<STRUCT<column, before, after>> sorted by column,
    empty for a key's first version; the surrogate key and the history's own columns are left out.
    """
    kinds = {part.name: part.dataType for part in history.schema.fields}
    surrogate = history.columns[0]
    values = sorted(set(kinds) - set(keys) - set(HISTORY_COLUMNS) - {surrogate})
    by_key = Window.partitionBy(*keys).orderBy("effective_from")
    now = F.struct(*(named_json([name], kinds).alias(name) for name in values))
    pairs = F.array(
        *(
            F.struct(
                F.lit(n).alias("column"), F.col(f"_before.`{n}`").alias("before"), F.col(f"_now.`{n}`").alias("after")
            )
            for n in values
        )
    )
    differing = F.filter(pairs, lambda pair: F.col("_before").isNotNull() & (pair["before"] != pair["after"]))
    return (
        history.withColumn("_now", now)
        .withColumn("_before", F.lag("_now").over(by_key))
        .withColumn("changed", differing)
        .drop("_now", "_before")
    )
