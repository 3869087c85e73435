"""What a history looks like: its keys, its columns, its time, and how values are compared and hashed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, time
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from ..errors import CloudlakeError, did_you_mean

Time = datetime | date | int

PROPERTY = "cloudlake.scd2"
HARD_DELETES = ("ignore", "invalidate", "new_record")
HISTORY_COLUMNS = ("effective_from", "effective_to", "is_current", "is_deleted", "record_hash")

INTEGERS = ["tinyint", "smallint", "int", "bigint"]
_TIMES = (*INTEGERS, "timestamp", "timestamp_ntz", "date")
_JSON = {
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
    "timeZone": "UTC",
    "ignoreNullFields": "true",
}


class HistoryRefusedError(CloudlakeError):
    """A batch contradicts itself or its history; nothing of it was written."""

    def __init__(self, target: str, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__(f"{target}: refused, nothing was written\n" + "\n".join(f"- {fault}" for fault in faults))


@dataclass(frozen=True)
class Declared:
    """How a table is described and laid out where it is created."""

    description: str = ""
    comments: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    cluster: tuple[str, ...] = ()
    """The columns that the rows of each file, and the files of each partition, are ordered by."""


UNDECLARED = Declared()


@dataclass(frozen=True)
class Shape:
    """The declaration of one history. `columns` are the business columns, keys included, with their types."""

    input: str
    keys: tuple[str, ...]
    time_type: str
    tracked: tuple[str, ...] | None
    surrogate_key: str
    hard_deletes: str = "invalidate"
    changed_at: str | None = None
    first_effective_from: str | None = None
    columns: Mapping[str, T.DataType] = field(default_factory=dict, compare=False)

    @property
    def values(self) -> list[str]:
        """The business columns that are no keys, sorted by name."""
        return sorted(name for name in self.columns if name not in self.keys)

    @property
    def tracked_columns(self) -> list[str]:
        """The columns in which a change opens a version, sorted by name."""
        if self.tracked is None:
            return [name for name in self.values if name != self.changed_at]
        return [name for name in self.values if name in self.tracked]

    @property
    def all_columns(self) -> list[str]:
        """The columns of the table, in their order where it is created."""
        return [self.surrogate_key, *self.keys, *(n for n in self.columns if n not in self.keys), *HISTORY_COLUMNS]

    @property
    def absence_ends(self) -> bool:
        """Tell whether a missing or deleted key ends what was known of it."""
        return self.hard_deletes != "ignore"

    def to_property(self) -> str:
        """Write the declaration as the table property that later batches are compared with."""
        declared = {name: value for name, value in asdict(replace(self, columns={})).items() if name != "columns"}
        return json.dumps(declared, sort_keys=True)

    def faults_against(self, declared: str, target_columns: Sequence[str]) -> list[str]:
        """Say where this batch asks for another history than the table was built as."""
        built = json.loads(declared)
        asked = json.loads(self.to_property())
        faults = []
        for name, value in asked.items():
            if name == "tracked" and grows(built[name], value, target_columns):
                continue
            same = (
                set(value) == set(built[name]) if name == "tracked" and value and built[name] else value == built[name]
            )
            if not same:
                faults.append(
                    f"{name}: the table was built with {show(built[name])}, this batch asks for {show(value)}"
                )
        return faults


def grows(built: Sequence[str] | None, asked: Sequence[str] | None, target_columns: Sequence[str]) -> bool:
    """Tell whether the tracked columns only gain columns that the table has never had."""
    if not built or not asked or not set(built) < set(asked):
        return False
    return not (set(asked) - set(built)) & set(target_columns)


def show(value: object) -> str:
    """Write a setting for people."""
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


# --- the input's columns ----------------------------------------------------------------------------------------


def column_faults(
    rows: DataFrame, needed: Mapping[str, str | None], shape_keys: Sequence[str], own: Sequence[str]
) -> list[str]:
    """Say which columns a batch lacks, and which it must not have. `needed` maps a parameter to the column it names."""
    faults = [f"key '{k}' is not a column{did_you_mean(k, rows.columns)}" for k in shape_keys if k not in rows.columns]
    for parameter, name in needed.items():
        if name is not None and name not in rows.columns:
            faults.append(f"{parameter}: '{name}' is not a column{did_you_mean(name, rows.columns)}")
    if not shape_keys:
        faults.append("keys: name at least one column")
    for name in rows.columns:
        if name in own or name in HISTORY_COLUMNS:
            faults.append(f"column '{name}' is one that the history adds itself; rename or drop it")
    return faults


def widened(rows: DataFrame, known: Mapping[str, T.DataType], names: Sequence[str]) -> tuple[DataFrame, list[str]]:
    """Bring the named columns to the types the history has; say which can't be."""
    faults = []
    for name in names:
        found = rows.schema[name].dataType
        kept = known.get(name, found)
        if found.simpleString() == kept.simpleString():
            continue
        if _fits(found.simpleString(), kept.simpleString()):
            rows = rows.withColumn(name, F.col(name).cast(kept))
        else:
            faults.append(
                f"column '{name}' is {found.simpleString()}, the history has {kept.simpleString()}; cast it before telling"
            )
    return rows, faults


def _fits(found: str, kept: str) -> bool:
    if found in INTEGERS and kept in INTEGERS:
        return INTEGERS.index(found) < INTEGERS.index(kept)
    return (found, kept) == ("float", "double") or found == "void"


# --- time -------------------------------------------------------------------------------------------------------


def time_type(value: object) -> str | None:
    """Return the type that effective_from has for this snapshot_at, None where it is no time."""
    if isinstance(value, datetime):
        return "timestamp"
    if isinstance(value, date):
        return "date"
    return "bigint" if isinstance(value, int) and not isinstance(value, bool) else None


def is_time_type(name: str) -> bool:
    """Tell whether a column of this type can order changes."""
    return name in _TIMES


def as_time(value: Time, kind: str) -> Time:
    """Bring a time to the type of the history; a datetime without zone is UTC.

    Raises:
        TypeError: a number where a date is needed, or the other way round.
    """
    if kind in INTEGERS:
        if time_type(value) != "bigint":
            raise TypeError(f"{value!r} is not an integer")
        return value
    if isinstance(value, datetime):
        aware = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.date() if kind == "date" else aware
    if isinstance(value, date):
        return value if kind == "date" else datetime.combine(value, time(), UTC)
    raise TypeError(f"{value!r} is not a date or a datetime")


def literal(value: Time | None, kind: str) -> Column:
    """Write a time as a literal of the given type, whatever the process's time zone."""
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(sep=" ") + ("" if kind == "timestamp_ntz" else "Z")
        return F.lit(text).cast(kind)
    return F.lit(value.isoformat() if isinstance(value, date) else value).cast(kind)


# --- values -----------------------------------------------------------------------------------------------------


def holds_map(kind: T.DataType) -> bool:
    """Tell whether a MAP hides in a type: Spark can't compare, group or join on those."""
    if isinstance(kind, T.ArrayType):
        return holds_map(kind.elementType)
    if isinstance(kind, T.StructType):
        return any(holds_map(part.dataType) for part in kind.fields)
    return isinstance(kind, T.MapType)


def settled(column: Column, kind: T.DataType) -> Column:
    """Give equal values one form: map entries sorted by key, -0.0 as 0.0."""
    if isinstance(kind, T.MapType):
        entries = F.map_entries(column)
        plain = F.transform(
            entries,
            lambda e: F.struct(
                settled(e["key"], kind.keyType).alias("key"), settled(e["value"], kind.valueType).alias("value")
            ),
        )
        return F.array_sort(plain)
    if isinstance(kind, T.ArrayType):
        if not _has_forms(kind.elementType):
            return column
        return F.transform(column, lambda element: settled(element, kind.elementType))
    if isinstance(kind, T.StructType):
        if not _has_forms(kind):
            return column
        parts = [settled(column[part.name], part.dataType).alias(part.name) for part in kind.fields]
        return F.when(column.isNotNull(), F.struct(*parts))
    if isinstance(kind, (T.DoubleType, T.FloatType)):
        return (column + F.lit(0.0)).cast(kind)
    return column


def _has_forms(kind: T.DataType) -> bool:
    if isinstance(kind, T.ArrayType):
        return _has_forms(kind.elementType)
    if isinstance(kind, T.StructType):
        return any(_has_forms(part.dataType) for part in kind.fields)
    return isinstance(kind, (T.MapType, T.DoubleType, T.FloatType))


def named_json(names: Sequence[str], types: Mapping[str, T.DataType]) -> Column:
    """Write columns as one JSON object of sorted names, NULLs left out: equal text means equal values."""
    if not names:
        return F.lit("{}")
    return F.to_json(F.struct(*(settled(F.col(f"`{n}`"), types[n]).alias(n) for n in sorted(names))), _JSON)


def record_hash(shape: Shape) -> Column:
    """Hash the tracked columns: a NULL differs from an empty string, and a new column leaves old hashes as they are."""
    return F.sha2(named_json(shape.tracked_columns, shape.columns), 256)


def surrogate_key(shape: Shape) -> Column:
    """Name a version by its key and its start, so that a rebuilt history has the keys it had."""
    parts = [settled(F.col(f"`{key}`"), shape.columns[key]).alias(key) for key in shape.keys]
    return F.sha2(F.to_json(F.struct(*parts, F.col("effective_from")), _JSON), 256)


def same(left: Column, right: Column, kind: T.DataType) -> Column:
    """Compare two values of one type, NULL equal to NULL."""
    if holds_map(kind):
        left, right = (F.to_json(F.struct(settled(side, kind).alias("v")), _JSON) for side in (left, right))
    return left.eqNullSafe(right)


def taken(rows: DataFrame) -> DataFrame:
    """Compute a few rows now, and go on with them as literals: smaller plans, and nothing is computed twice."""
    plain = rows.select(
        *(F.col(f"`{part.name}`").cast(_nullable(part.dataType)).alias(part.name) for part in rows.schema)
    )
    return rows.sparkSession.createDataFrame(plain.toArrow(), schema=plain.schema)


def _nullable(kind: T.DataType) -> T.DataType:
    """Allow NULL everywhere: Arrow refuses a NULL struct whose fields are declared not to be NULL."""
    if isinstance(kind, T.StructType):
        return T.StructType([T.StructField(part.name, _nullable(part.dataType)) for part in kind.fields])
    if isinstance(kind, T.ArrayType):
        return T.ArrayType(_nullable(kind.elementType))
    if isinstance(kind, T.MapType):
        return T.MapType(_nullable(kind.keyType), _nullable(kind.valueType))
    return kind


def sample_of(rows: DataFrame, columns: Sequence[str]) -> str:
    """Show the keys of up to five rows, and no other column: what else they hold may be personal."""
    shown = rows.select(*(F.col(f"`{name}`").cast("string").alias(name) for name in columns)).limit(5).collect()
    return "; ".join(", ".join(f"{name}={row[name]!r}" for name in columns) for row in shown)


def as_dict(schema: T.StructType, leave_out: Sequence[str]) -> dict[str, Any]:
    """Return a schema's columns and types, in order, without some."""
    return {part.name: part.dataType for part in schema.fields if part.name not in leave_out}
