"""What has been told: the table `<target>__memory`, of which the history is a pure function.

Two kinds of rows. A *telling* (`_record`) is one batch: its snapshot's time, the columns it had, its number `_told`.
A *word* is a fact: what was said about one key at `_at`. Of changes every fact is kept; of snapshots a word only where
it differs from the snapshot before, so an unchanged snapshot of a million rows is one row. The table only grows: of
two words for one key and time, the one told last counts (snapshots), or the one the tie-break prefers (changes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..lake.log import commits_of, schema_of, version_of
from ..lake.opening import is_table
from ..lake.small import append_arrow_path, read_small_path
from ..lake.tables import append_path, committing, read_path
from .difference import as_declared
from .shape import PROPERTY, UNDECLARED, Declared, Shape, Time, as_dict, taken
from .words import column_set, word_columns

FEW = 10_000
"""So many rows are taken into the driver: less than a Spark job costs."""

MEMORY_COLUMNS = ("_record", "_at", "_word", "_columns", "_fact", "_told", "_changes", "_no_word", "_missing")

_TYPES = {
    "_record": "string",
    "_word": "string",
    "_columns": "string",
    "_fact": "bigint",
    "_told": "bigint",
    "_changes": "boolean",
    "_no_word": "bigint",
    "_missing": "bigint",
}


@dataclass(frozen=True)
class Telling:
    """One batch that was told. `changes`: it had to change the history; `no_word`, `missing`: keys of that kind in it."""

    told: int
    at: Time | None
    columns: str
    changes: bool
    no_word: int = 0
    missing: int = 0


@dataclass(frozen=True)
class Memory:
    """The memory of one history as it stood when the batch began."""

    path: str
    tellings: tuple[Telling, ...]
    version: int
    applied: int
    """The newest telling that the history holds; -1 where none is known."""

    @property
    def is_new(self) -> bool:
        """Tell whether nothing was ever told."""
        return self.version < 0

    @property
    def next(self) -> int:
        """The number of the next telling: grows with every write, whatever else commits to the memory."""
        return self.version + 1

    @property
    def in_step(self) -> bool:
        """Tell whether the history holds all that was told; it does not after a crash between the two writes.

        A telling that changed nothing was compared with a history in step, or it would have changed something.
        """
        newest = max(self.tellings, key=lambda telling: telling.told, default=None)
        return newest is None or not newest.changes or newest.told <= self.applied

    @cached_property
    def snapshots(self) -> dict[Time, Telling]:
        """The snapshots by time, oldest first; of those told again the last telling."""
        by_time = {telling.at: telling for telling in sorted(self.tellings, key=lambda telling: telling.told)}
        return {at: by_time[at] for at in sorted(at for at in by_time if at is not None)}

    @property
    def column_sets(self) -> set[tuple[str, frozenset[str]]]:
        """Every set of columns that a telling had, with the text that names it in a word."""
        return {column_set(telling.columns) for telling in self.tellings}


def memory_path(target: str) -> str:
    """Return where the memory of a history lies."""
    return f"{target.rstrip('/')}__memory"


def recall(target: str) -> Memory:
    """Read the tellings, without Spark."""
    path = memory_path(target)
    if not is_table(path):
        return Memory(path, (), -1, -1)
    names = ["_told", "_at", "_columns", "_changes", "_no_word", "_missing"]
    version = version_of(path)
    rows = read_small_path(path, version, names, [("_record", "=", "telling")]).to_pylist()
    tellings = tuple(
        Telling(row["_told"], row["_at"], row["_columns"], row["_changes"], row["_no_word"], row["_missing"])
        for row in rows
    )
    return Memory(path, tellings, version, last_applied(target))


def last_snapshot(target: str) -> Time | None:
    """Return when the newest snapshot was taken that the history at `target` was told, None where it was told none."""
    return max(recall(target).snapshots, default=None)


def last_applied(target: str) -> int:
    """Return the newest telling that a commit of the history names, -1 where no commit on record does."""
    if not is_table(target):
        return -1
    for after in (version_of(target) - 10, -1):
        told = [commit.note["told"] for commit in commits_of(target, after) if "told" in commit.note]
        if told:
            return int(max(told))
    return -1


def words_of(spark: SparkSession, memory: Memory, shape: Shape) -> DataFrame:
    """Read the words that count, one for each key and time, with a NULL for every column the memory has never had."""
    words = read_path(spark, memory.path, memory.version).where("_record = 'word'")
    have = as_dict(words.schema, ())
    absent = {n: F.lit(None).cast(kind) for n, kind in shape.columns.items() if n not in have}
    return words.withColumns(absent) if absent else words


def telling_rows(spark: SparkSession, tellings: Sequence[Telling], shape: Shape) -> DataFrame:
    """Write tellings as rows of the memory."""
    rows = spark.createDataFrame(pa.Table.from_pylist([_as_row(telling) for telling in tellings]))
    own = [
        F.col(name).cast(kind).alias(name) if name in rows.columns else F.lit(None).cast(kind).alias(name)
        for name, kind in _TYPES.items()
    ]
    nothing = [F.lit(None).cast(kind).alias(name) for name, kind in shape.columns.items()]
    return rows.select(*nothing, F.col("_at").cast(shape.time_type).alias("_at"), *own)


def _as_row(telling: Telling) -> dict[str, Any]:
    return {
        "_record": "telling",
        "_at": telling.at,
        "_columns": telling.columns,
        "_told": telling.told,
        "_changes": telling.changes,
        "_no_word": telling.no_word,
        "_missing": telling.missing,
    }


def remember(
    spark: SparkSession,
    memory: Memory,
    shape: Shape,
    tellings: Sequence[Telling],
    words: Sequence[DataFrame],
    note: dict[str, Any],
    declared: Declared = UNDECLARED,
    *,
    few: bool,
) -> None:
    """Write tellings and their words in one commit; `few` words are written without a Spark job."""
    if not words and not memory.is_new:  # the unchanged snapshot of every night
        rows_of = pa.Table.from_pylist([_as_row(one) for one in tellings], schema_of(memory.path))
        append_arrow_path(memory.path, rows_of, note)
        return
    rows = [telling_rows(spark, tellings, shape)]
    for part in words:
        empty = {"_record": F.lit("word"), "_changes": F.lit(None).cast("boolean")}
        empty |= {name: F.lit(None).cast("bigint") for name in ("_no_word", "_missing")}
        rows.append(part.select(*word_columns(shape)).withColumns(empty))
    everything = reduce(DataFrame.unionByName, rows)
    if memory.is_new:
        with committing(spark, memory.path, note):
            writer = as_declared(everything, memory.path, declared, {PROPERTY: shape.to_property()})
            writer.partitionedBy(F.col("_record")).create()
    elif few and not set(shape.columns) - set(schema_of(memory.path).names):
        append_arrow_path(memory.path, taken(everything).toArrow(), note)
    else:
        append_path(everything, memory.path, note=note, add_columns=True)
