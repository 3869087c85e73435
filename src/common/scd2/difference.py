"""The difference between the versions a history has and those it must have, and the one commit that writes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, DataFrameWriterV2, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from ..lake.opening import is_table
from ..lake.storage import for_sql
from ..lake.tables import append_path, committing, delta_table, read_path
from .shape import PROPERTY, UNDECLARED, Declared, Shape, as_dict, same, taken

MANY = 100_000
"""A table that starts with so many rows gets deletion vectors: MERGE then marks rows instead of copying whole files (a
third of the time on a million rows). A smaller one does without, so that it can be read without Spark."""

PARTITION = "is_current"
ROWS_PER_FILE = 500_000

_RANGED = (T.StringType, T.IntegerType, T.LongType, T.ShortType, T.DateType)


@dataclass(frozen=True)
class MergeResult:
    """What one batch did. All but the first and the last count versions.

    `keys` that the batch spoke of (a snapshot also speaks of those it lacks); versions `opened` (new rows), `closed`
    (given an end), `changed` otherwise in place, `deleted` (withdrawn, as late facts may ask); keys `unchanged`.
    """

    keys: int = 0
    opened: int = 0
    closed: int = 0
    changed: int = 0
    deleted: int = 0
    unchanged: int = 0

    @property
    def is_empty(self) -> bool:
        """Tell whether the batch left every version as it was."""
        return not (self.opened or self.closed or self.changed or self.deleted)


@dataclass(frozen=True)
class Difference:
    """Rows to write: key, effective_from, the other columns, and `_action` (insert, update or delete)."""

    rows: DataFrame
    result: MergeResult
    low: Any
    high: Any


def existing(spark: SparkSession, target: str, shape: Shape) -> DataFrame | None:
    """Read the history, with a NULL for every column it does not have yet; None where it does not exist."""
    if not is_table(target):
        return None
    rows = read_path(spark, target)
    have = as_dict(rows.schema, ())
    absent = {n: F.lit(None).cast(kind) for n, kind in shape.columns.items() if n not in have}
    return (rows.withColumns(absent) if absent else rows).select(*shape.all_columns)


def difference(wanted: DataFrame, had: DataFrame | None, shape: Shape, keys: int, *, few: bool = False) -> Difference:
    """Compare the versions that some keys must have with those they have; `rows` is cached: unpersist it.

    `few`: the caller knows that few keys are compared. Their difference is then taken into the driver, which spares
    MERGE a job that copies its source.
    """
    grain = [*shape.keys, "effective_from"]
    others = [name for name in shape.all_columns if name not in grain]
    types = {**shape.columns, "effective_to": T.TimestampType(), "is_current": T.BooleanType()}
    want = wanted.select(*grain, F.struct(*(F.col(f"`{n}`") for n in others)).alias("_want"))
    if had is None:
        joined = want.withColumn("_have", F.lit(None).cast(want.schema["_want"].dataType))
    else:
        have = had.select(*grain, F.struct(*(F.col(f"`{n}`") for n in others)).alias("_have"))
        joined = want.join(have, grain, "full_outer")
    unlike = [~same(_part("_want", n), _part("_have", n), types.get(n, T.StringType())) for n in others]
    action = (
        F.when(F.col("_want").isNull(), "delete")
        .when(F.col("_have").isNull(), "insert")
        .when(reduce(Column.__or__, unlike), "update")
    )
    closes = F.col("_have.effective_to").isNull() & F.col("_want.effective_to").isNotNull()
    rows = (
        joined.withColumn("_action", action)
        .where("_action IS NOT NULL")
        .select(
            *grain,
            "_want.*",
            "_action",
            F.coalesce(closes & (F.col("_action") == "update"), F.lit(False)).alias("_closes"),
        )
    )
    return _counted_here(rows, shape, keys) if few else _counted(rows.persist(), shape, keys)


def _part(side: str, name: str) -> Column:
    return F.col(f"{side}.`{name}`")


def _counted(rows: DataFrame, shape: Shape, keys: int) -> Difference:
    is_update = F.col("_action") == "update"
    first = F.col(f"`{shape.keys[0]}`")
    counts = rows.agg(
        F.count_if(F.col("_action") == "insert").alias("opened"),
        F.count_if("_closes").alias("closed"),
        F.count_if(is_update & ~F.col("_closes")).alias("changed"),
        F.count_if(F.col("_action") == "delete").alias("deleted"),
        F.count_distinct(*(F.col(f"`{key}`") for key in shape.keys)).alias("touched"),
        F.min(first).alias("low"),
        F.max(first).alias("high"),
    ).collect()[0]
    result = MergeResult(keys, counts["opened"], counts["closed"], counts["changed"], counts["deleted"], 0)
    return Difference(rows, replace(result, unchanged=max(0, keys - counts["touched"])), counts["low"], counts["high"])


def _counted_here(rows: DataFrame, shape: Shape, keys: int) -> Difference:
    """Take a small difference into the driver and count it there."""
    rows = taken(rows)
    here = rows.toArrow()
    actions = Counter(zip(here["_action"].to_pylist(), here["_closes"].to_pylist(), strict=True))
    touched = len(here.select(list(shape.keys)).group_by(list(shape.keys)).aggregate([])) if here.num_rows else 0
    first = here[shape.keys[0]]
    is_ranged = isinstance(shape.columns[shape.keys[0]], _RANGED) and here.num_rows
    bounds = pc.min_max(first).as_py() if is_ranged else {"min": None, "max": None}
    result = MergeResult(
        keys=keys,
        opened=actions["insert", False],
        closed=actions["update", True],
        changed=actions["update", False],
        deleted=actions["delete", False],
        unchanged=max(0, keys - touched),
    )
    return Difference(rows, result, bounds["min"], bounds["max"])


def commit(
    spark: SparkSession,
    target: str,
    shape: Shape,
    found: Difference,
    note: Mapping[str, Any],
    declared: Declared = UNDECLARED,
    *,
    current_only: bool,
) -> None:
    """Write the difference in one commit; `current_only`: it touches no closed version, so none need be read."""
    if not is_table(target):
        _create(spark, target, shape, found, note, declared)
        return
    new_columns = [n for n in shape.columns if n not in as_dict(read_path(spark, target).schema, ())]
    if found.result.is_empty:
        if new_columns:
            _add_columns(spark, target, shape, new_columns, note)
        return
    only_opens = found.result == MergeResult(found.result.keys, found.result.opened, unchanged=found.result.unchanged)
    if only_opens:
        append_path(found.rows.select(*shape.all_columns), target, note=note, add_columns=bool(new_columns))
        return
    with committing(spark, target, note):
        _merge(spark, target, shape, found, current_only=current_only, evolve=bool(new_columns))


def _create(
    spark: SparkSession, target: str, shape: Shape, found: Difference, note: Mapping[str, Any], declared: Declared
) -> None:
    rows = found.rows.select(*shape.all_columns)
    if declared.cluster:
        files = 1 + found.result.opened // ROWS_PER_FILE
        rows = rows.repartitionByRange(files, *declared.cluster) if files > 1 else rows.coalesce(1)
        rows = rows.sortWithinPartitions(PARTITION, *declared.cluster)
    with committing(spark, target, note):
        properties = {PROPERTY: shape.to_property()}
        if found.result.opened >= MANY:
            properties["delta.enableDeletionVectors"] = "true"
        # Closed versions lie apart: what closes and opens versions in order never reads them.
        as_declared(rows, target, declared, properties).partitionedBy(F.col(PARTITION)).create()


def as_declared(rows: DataFrame, target: str, declared: Declared, properties: Mapping[str, str]) -> DataFrameWriterV2:
    """Return the writer that creates a table with its comments and properties."""
    have = {name: text for name, text in declared.comments.items() if name in rows.columns}
    described = rows.withColumns({n: F.col(f"`{n}`").alias(n, metadata={"comment": text}) for n, text in have.items()})
    writer = described.writeTo(for_sql(target)).using("delta")
    texts = {"comment": declared.description} if declared.description else {}
    for name, value in {**declared.properties, **properties, **texts}.items():
        writer = writer.tableProperty(name, value)
    return writer


def _add_columns(spark: SparkSession, target: str, shape: Shape, names: Sequence[str], note: Mapping[str, Any]) -> None:
    added = ", ".join(f"`{name}` {shape.columns[name].simpleString()}" for name in names)
    with committing(spark, target, note):
        spark.sql(f"ALTER TABLE {for_sql(target)} ADD COLUMNS ({added})")


def _merge(
    spark: SparkSession, target: str, shape: Shape, found: Difference, *, current_only: bool, evolve: bool
) -> None:
    grain = [*shape.keys, "effective_from"]
    matches = [F.col(f"kept.`{name}`") == F.col(f"new.`{name}`") for name in grain]
    if current_only:
        matches.append(F.col("kept.is_current"))
    first = shape.keys[0]
    if isinstance(shape.columns[first], _RANGED) and found.low is not None:
        kind = shape.columns[first].simpleString()
        low, high = (F.lit(str(bound)).cast(kind) for bound in (found.low, found.high))
        matches.append(F.col(f"kept.`{first}`").between(low, high))
    columns: dict[str, str | Column] = {f"`{name}`": F.col(f"new.`{name}`") for name in shape.all_columns}
    merge = delta_table(spark, target).alias("kept").merge(found.rows.alias("new"), reduce(Column.__and__, matches))
    if evolve:
        merge = merge.withSchemaEvolution()
    if found.result.deleted:
        merge = merge.whenMatchedDelete(condition="new._action = 'delete'")
    if found.result.closed or found.result.changed:
        merge = merge.whenMatchedUpdate(condition="new._action = 'update'", set=columns)
    if found.result.opened:
        merge = merge.whenNotMatchedInsert(condition="new._action = 'insert'", values=columns)
    merge.execute()
