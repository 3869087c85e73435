"""What the texts in an event line stand for: numbers with every digit, enumerations, names looked up. Pure functions of columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F

from ..contracts.schemas import spark_type
from ..quality.rows import folded

INTEGERS = ("int", "bigint")
"""The types of whole numbers."""
_DECIMAL = r"^[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d{1,3})?$"
_VANISHING = r"^[+-]?(\d+([.]\d*)?|[.]\d+)[eE]-\d+$"
_MAX_NUMBER_LENGTH = 1000


def every_digit(field: str, text: Column) -> Column:
    """Return a number's text as the line has it. Spark passes numbers through double, exact to 15 digits only."""
    token = F.regexp_extract("raw", rf'"{field}"\s*:\s*(-?[0-9.]+([eE][+-]?[0-9]+)?)', 1)
    is_same = token.try_cast("double") == text.try_cast("double")
    return F.when(F.col("_has_long_number") & is_same, token).otherwise(text)


def number_in(text: Column, kind: str) -> Column:
    """Return the decimal number that a text writes, rounded once, half away from zero; NULL where it writes none.

    An exponent of more digits is a number too small to matter, or too large for any type; a text of more than a
    thousand characters is none. (Casting those would take minutes.)
    """
    is_short = F.length(text) <= _MAX_NUMBER_LENGTH
    plain = F.when(is_short & text.rlike(_DECIMAL), text).when(is_short & text.rlike(_VANISHING), F.lit("0"))
    if kind not in INTEGERS:
        return plain.try_cast(spark_type(kind))
    number = plain.try_cast("decimal(38,18)")
    return F.when(number == F.floor(number), number.try_cast(kind))


def in_unit(number: Column, exponent: int) -> Column:
    """Return a number brought to another unit, a power of ten away."""
    return number * F.lit(Decimal(1).scaleb(exponent)) if exponent else number


def shifted(text: Column, exponent: int) -> Column:
    """Return the text of a number that is a power of ten away, with every digit it has; other texts as they are."""
    if not exponent:
        return text
    said = F.coalesce(F.regexp_extract(text, r"[eE]([+-]?\d{1,3})$", 1).try_cast("int"), F.lit(0))
    moved = F.concat(F.regexp_extract(text, "^[^eE]*", 0), F.lit("e"), (said + exponent).cast("string"))
    return F.when(text.rlike(_DECIMAL), moved).otherwise(text)


def canonical(text: Column, spellings: Mapping[str, str]) -> Column:
    """Return the canonical value of a spelling, NULL for an unknown one. The canonical spelling itself is the fast path."""
    values = sorted(set(spellings.values()))
    return F.when(text.isin(values), text).otherwise(looked_up(spellings, folded(text)))


def looked_up(pairs: Mapping[str, str] | Mapping[str, int], key: Column) -> Column:
    """Return what a key stands for, NULL where it is none of them."""
    kind = "INT" if all(isinstance(value, int) for value in pairs.values()) else "STRING"
    return F.try_element_at(F.from_json(F.lit(json.dumps(dict(pairs))), f"MAP<STRING, {kind}>"), key)


def any_of(conditions: Iterable[Column]) -> Column:
    """Tell whether any of the conditions is true; NULL is not."""
    return reduce(Column.__or__, [F.coalesce(condition, F.lit(False)) for condition in conditions], F.lit(False))


def names_of(conditions: Mapping[str, Column]) -> Column:
    """Return the sorted names of the conditions that are true."""
    return F.array_compact(F.array(*(F.when(conditions[name], F.lit(name)) for name in sorted(conditions))))
