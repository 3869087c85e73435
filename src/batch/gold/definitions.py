"""Definitions that marts share: the month, growth, shares, rounding, medians and percentiles."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from pyspark.sql import Column
from pyspark.sql import functions as F

IS_CURRENT = "is_current AND NOT is_deleted"
"""The condition for the version of a master that is in force."""


def exact(number: float | str | Decimal) -> Column:
    """Return a number of conf/ as the decimal it is written as, so that a comparison with money is exact."""
    return F.lit(Decimal(str(number)))


def once(value: Column, then: Callable[[Column], Column]) -> Column:
    """Return `then(value)` with the value reckoned once for a row.

    Spark copies the expression of a column to where the column is used, into a lambda too, which then reckons it for
    each element. A lambda's own variable is never copied.
    """
    return F.get(F.transform(F.array(value), then), F.lit(0))


def month_of(day: str | Column) -> Column:
    """Return the first day of a date's month."""
    return F.trunc(day, "month")


def growth_pct(new: Column, old: Column) -> Column:
    """Return 100 × (new − old) ÷ old as a double from exact sums; NULL where old is absent or not positive."""
    return F.when(old > 0, 100.0 * ((new - old).cast("double") / old.cast("double")))


def share_pct(part: Column, whole: Column) -> Column:
    """Return 100 × part ÷ whole as a double; NULL where the whole is 0."""
    return 100.0 * part.cast("double") / F.nullif(whole.cast("double"), F.lit(0.0))


def quotient(amount: Column, by: Column, places: int = 6) -> Column:
    """Return amount ÷ by to so many places, rounded once, half away from zero; NULL where `by` is 0.

    Spark rounds a quotient to the places its type happens to have, so that a second rounding can go wrong; here the
    whole part and the remainder are divided apart, and what is left of the remainder decides. Every step has a type
    that is exact: Spark shortens the places of a result that might need more than 38 digits.

    `amount` has up to 28 digits before the point, `by` up to 21 (to 9 places: 18), both up to 9 after it. The result
    has room for 31 digits before the point (to 9 places: 28); the reader brings it to its own type.
    """
    kind, result = "decimal(37,9)", f"decimal(37,{places})"
    divisor = F.nullif(F.abs(by.cast(kind)), F.lit(0).cast(kind))
    dividend = F.abs(amount.cast(kind))
    rest = dividend % divisor
    shifted = (rest.cast(f"decimal({36 - places},9)") * F.lit(10**places)).cast(kind)
    left = shifted % divisor
    whole = ((dividend - rest) / divisor).cast("decimal(38,0)").cast(result)
    steps = ((shifted - left) / divisor).cast("decimal(18,0)") + F.when(left + left >= divisor, 1).otherwise(0)
    rounded = whole + steps.cast("decimal(18,0)") * exact(Decimal(1).scaleb(-places))
    return F.when((amount < 0) != (by < 0), -rounded).otherwise(rounded)


def median(values: Column) -> Column:
    """Return the median of an ascending array of decimals to 6 places; NULL where it is empty.

    Of an even count it is the mean of the middle two, half away from zero.
    """

    def middle(ascending: Column) -> Column:
        size = F.size(ascending)
        low, high = F.floor((size - 1) / 2).cast("int"), F.floor(size / 2).cast("int")
        return F.round((F.get(ascending, low) + F.get(ascending, high)) / F.lit(2), 6)

    return once(values, middle)


def nearest_rank(values: Column, percent: float) -> Column:
    """Return the percentile of an ascending array by nearest rank: element ceil(percent ÷ 100 × size), from 1."""
    return F.get(values, F.ceil(F.size(values) * exact(percent) / 100).cast("int") - 1)


def last_days(day: Column, days: int, end: Column) -> Column:
    """Tell whether a date is one of the last so many dates, which end with `end`; NULL for a NULL date."""
    return day.between(F.date_sub(end, days - 1), end)
