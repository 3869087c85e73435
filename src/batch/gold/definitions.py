"""Definitions that marts share: the month, growth, shares, rounding, medians and percentiles."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from pyspark.sql import Column
from pyspark.sql import functions as F

IS_CURRENT = "is_current AND NOT is_deleted"
"""The condition for the version of a master that is in force."""


def exact(number: float | str) -> Column:
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


def quotient(amount: Column, by: Column) -> Column:
    """Return amount ÷ by to 6 places, rounded once, half away from zero; NULL where `by` is 0.

    Spark rounds a quotient to the places its type happens to have, so that a second rounding to 6 can go wrong; here
    the remainder decides. Both are decimals or whole numbers, below 10¹⁵.
    """
    wide = "decimal(30,9)"
    divisor = F.nullif(F.abs(by.cast(wide)), F.lit(0).cast(wide))
    dividend = (F.abs(amount.cast(wide)) * F.lit(1_000_000)).cast("decimal(38,9)")
    rest = dividend % divisor
    whole = ((dividend - rest) / divisor).cast("decimal(30,0)")
    rounded = whole + F.when(rest * F.lit(2) >= divisor, F.lit(1)).otherwise(F.lit(0))
    is_negative = (amount < 0) != (by < 0)
    return (F.when(is_negative, -rounded).otherwise(rounded) * F.lit(Decimal("0.000001"))).cast("decimal(28,6)")


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
