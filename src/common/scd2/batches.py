"""What both inputs do before anything is written: declare the history, refuse what contradicts it; and then write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from ..errors import did_you_mean
from ..faults import crash_point
from ..lake.log import property_of
from ..lake.opening import is_table
from ..lake.storage import for_sql
from ..lake.tables import committing, read_path
from .difference import Difference, MergeResult, commit
from .memory import MEMORY_COLUMNS, Memory, Telling, remember
from .shape import PROPERTY, UNDECLARED, Declared, HistoryRefusedError, Shape, as_dict, column_faults, grows, widened

_WORKING = (
    "first changed lacked fixed late said now was was_word own rows there known want have action closes before found"
)
WORKING_COLUMNS = (
    *MEMORY_COLUMNS,
    *(f"_{name}" for name in _WORKING.split()),
    "_opens",
    "_opened",
    "_ends",
    "_run",
    "_last",
    "_seen",
)


@dataclass(frozen=True)
class Batch:
    """One batch on its way: where it goes, what the history looks like with it, and the note of its commits."""

    spark: SparkSession
    target: str
    memory: Memory
    shape: Shape
    told: tuple[str, ...]
    """The business columns that the batch has; the history may have more."""
    note: Mapping[str, Any]
    widens: bool
    """The table is missing, or lacks a column that the memory or the batch has."""
    declared: Declared = UNDECLARED
    memory_declared: Declared = UNDECLARED


def declare(
    spark: SparkSession,
    target: str,
    memory: Memory,
    rows: DataFrame,
    shape: Shape,
    needed: Mapping[str, str | None],
    note: Mapping[str, Any],
    apart: Sequence[str] = (),
    tables: tuple[Declared, Declared] = (UNDECLARED, UNDECLARED),
) -> tuple[Batch, DataFrame]:
    """Complete the shape by the columns of the history and of the batch, and bring the batch's columns to its types.

    `apart` are columns of the batch that are no business columns; `tables` says how the history and its memory are
    described and laid out where they are created.

    Raises:
        HistoryRefusedError: with every fault in the declaration.
    """
    known = as_dict(read_path(spark, memory.path).schema, MEMORY_COLUMNS) if not memory.is_new else {}
    rows = _in_known_case(rows, known)
    rows = rows.drop(
        *(part.name for part in rows.schema if part.name not in known and isinstance(part.dataType, T.NullType))
    )
    told = [name for name in rows.columns if name not in apart]
    faults = column_faults(rows, {} if known else needed, shape.keys, (*WORKING_COLUMNS, shape.surrogate_key))
    if not faults and (declared := _declared(target, memory)) is not None:
        faults = shape.faults_against(declared, list(known))
    rows, types = widened(rows, known, told) if not faults else (rows, [])
    columns = {**known, **{n: rows.schema[n].dataType for n in told if n not in known}}
    faults += types
    if not faults and shape.tracked and not set(shape.tracked) & set(columns):
        hint = did_you_mean(shape.tracked[0], columns)
        faults.append(f"tracked: none of {', '.join(shape.tracked)} is a column{hint}")
    if faults:
        raise HistoryRefusedError(target, faults)
    have = read_path(spark, target).columns if is_table(target) else []
    widens = bool(set(columns) - set(have))
    return Batch(spark, target, memory, replace(shape, columns=columns), tuple(told), note, widens, *tables), rows


def _in_known_case(rows: DataFrame, known: Mapping[str, T.DataType]) -> DataFrame:
    by_lower = {name.lower(): name for name in known}
    renamed = {n: by_lower[n.lower()] for n in rows.columns if by_lower.get(n.lower(), n) != n}
    return rows.withColumnsRenamed(renamed) if renamed else rows


def _declared(target: str, memory: Memory) -> str | None:
    for path in (target, memory.path):
        if is_table(path):
            declared = property_of(path, PROPERTY)
            if declared is None:
                raise HistoryRefusedError(
                    target, [f"{path} was not built as a history; move it away or choose another target"]
                )
            if memory.is_new:
                raise HistoryRefusedError(target, [f"its memory {memory.path} is missing; restore it, or rebuild both"])
            return declared
    return None


def write(
    batch: Batch,
    found: Difference | None,
    words: Sequence[DataFrame],
    tellings: Sequence[Telling],
    keys: int,
    *,
    current_only: bool,
    few: bool,
) -> MergeResult:
    """Write the memory (where there is something to remember), then the history (where there is a difference)."""
    told = tellings[0].told if tellings else max((known.told for known in batch.memory.tellings), default=0)
    note = {**batch.note, "told": told}
    crash_point("scd2_before_memory")
    if tellings:
        remember(batch.spark, batch.memory, batch.shape, tellings, words, note, batch.memory_declared, few=few)
    crash_point("scd2_after_memory")
    if found is None:
        return MergeResult(keys=keys, unchanged=keys)
    _declare_grown(batch)
    commit(batch.spark, batch.target, batch.shape, found, note, batch.declared, current_only=current_only)
    crash_point("scd2_after_target")
    return found.result


def _declare_grown(batch: Batch) -> None:
    """Note in the table's property the tracked columns that it has gained."""
    for path in (batch.target, batch.memory.path):
        if batch.shape.tracked is None or not is_table(path):
            continue
        declared = json.loads(property_of(path, PROPERTY) or "{}")
        if grows(declared.get("tracked"), batch.shape.tracked, []):
            text = batch.shape.to_property().replace("'", "\\'")
            with committing(batch.spark, path, {**batch.note, "tracked": list(batch.shape.tracked)}):
                batch.spark.sql(f"ALTER TABLE {for_sql(path)} SET TBLPROPERTIES ('{PROPERTY}' = '{text}')")


def has_null(names: Sequence[str]) -> Column:
    """Tell whether any of the columns is NULL."""
    found = F.lit(False)
    for name in names:
        found = found | F.col(f"`{name}`").isNull()
    return found
