"""Room for numbers: what does not fit the type that a contract declares is refused by name, never NULL, never a bare error.

Spark raises on such a cast without saying of which table, row or column; Arrow likewise (`arrow_room`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, DecimalType, IntegralType, MapType, StructType

from ..errors import QualityGateError
from .arrow_room import NO_ROOM, REMEDY
from .schemas import spark_schema
from .table import Table

_OVERFLOWS = ("NUMERIC_VALUE_OUT_OF_RANGE", "ARITHMETIC_OVERFLOW", "CAST_OVERFLOW", "BINARY_ARITHMETIC_OVERFLOW")
_DIGITS = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}


def in_declared_types(rows: DataFrame, table: Table) -> DataFrame:
    """Return the columns of the contract in its types; reading the result raises where a number has no room.

    What is raised names the table, the key, the column and the number; `numbers_named` makes it a readable error.
    """
    schema, key = spark_schema(table), _key_text(table)
    columns = []
    for name in table.column_names:
        found, wanted = rows.schema[name].dataType, schema[name].dataType
        value = F.col(name).cast(wanted)
        if not _always_fits(found, wanted):
            told = F.concat(
                F.lit(f"{table.name}: {name} of "), key, F.lit(" is "), F.coalesce(F.col(name).cast("string"), F.lit("")),
                F.lit(f", {NO_ROOM} {wanted.simpleString()}"),
            )  # fmt: skip
            value = F.when(_lacks_room(F.col(name), found, wanted), F.raise_error(told).cast(wanted)).otherwise(value)
        columns.append(value.alias(name))
    return rows.select(*columns)


@contextmanager
def numbers_named(table: Table) -> Iterator[None]:
    """Turn what Spark raises inside the block about a number without room into an error that people can read.

    Raises:
        QualityGateError: with the table, and with the key and the column where `in_declared_types` has told them.
    """
    try:
        yield
    except PySparkException as error:
        text = str(error)
        line = next((line for line in text.splitlines() if NO_ROOM in line), "")
        if line:
            told = line[line.index(table.name) :].partition(" SQLSTATE")[0]
            raise QualityGateError(f"{told}; {REMEDY}") from error
        if any(sign in text for sign in _OVERFLOWS):
            first = next(line for line in text.splitlines() if any(sign in line for sign in _OVERFLOWS))
            raise QualityGateError(f"{table.name}: a number on the way to it has no room: {first}; {REMEDY}") from error
        raise


def _key_text(table: Table) -> Column:
    parts = [F.concat(F.lit(f"{name} "), F.coalesce(F.col(name).cast("string"), F.lit("NULL"))) for name in table.key]
    return F.concat(F.lit("("), F.concat_ws(", ", *parts), F.lit(")"))


def _always_fits(found: DataType, wanted: DataType) -> bool:
    """Tell whether no value of a type can lack room in another."""
    if isinstance(found, ArrayType) and isinstance(wanted, ArrayType):
        return _always_fits(found.elementType, wanted.elementType)
    if isinstance(found, MapType) and isinstance(wanted, MapType):
        return _always_fits(found.valueType, wanted.valueType)
    if isinstance(found, StructType) and isinstance(wanted, StructType):
        pairs = zip(found.fields, wanted.fields, strict=True)
        return all(_always_fits(mine.dataType, theirs.dataType) for mine, theirs in pairs)
    is_number = isinstance(wanted, DecimalType | IntegralType) and isinstance(found, DecimalType | IntegralType)
    return found == wanted or not is_number or _whole_digits(found) <= _whole_digits(wanted, least=True)


def _whole_digits(kind: DataType, *, least: bool = False) -> int:
    """Return how many digits before the point a type holds at most; with `least`, how many it holds whatever they are."""
    if isinstance(kind, DecimalType):
        return kind.precision - kind.scale
    return _DIGITS[kind.simpleString()] - least


def _lacks_room(value: Column, found: DataType, wanted: DataType) -> Column:
    """Tell whether a value, or one inside it, has no room in a type."""
    if isinstance(found, ArrayType) and isinstance(wanted, ArrayType):
        inner, kind = found.elementType, wanted.elementType
        return F.coalesce(F.exists(value, lambda item: _lacks_room(item, inner, kind)), F.lit(False))
    if isinstance(found, MapType) and isinstance(wanted, MapType):
        return _lacks_room(F.map_values(value), ArrayType(found.valueType), ArrayType(wanted.valueType))
    if isinstance(found, StructType) and isinstance(wanted, StructType):
        pairs = zip(found.fields, wanted.fields, strict=True)
        faults = [
            _lacks_room(value.getField(mine.name), mine.dataType, theirs.dataType)
            for mine, theirs in pairs
            if not _always_fits(mine.dataType, theirs.dataType)
        ]
        return reduce(Column.__or__, faults)
    return value.isNotNull() & value.try_cast(wanted).isNull()
