"""Rows on which a step fails in a way that nobody foresaw: found by halving, and kept apart, so that the rest goes on.

Nothing of this runs, or costs anything, unless a step has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ...common.quality.rows import trimmed
from ..bronze.deliveries import Delivery, payload_of

STEP_FAILED = "step_failed"
"""The reason of a row that is kept apart because its step fails on it."""
LIMIT = 20
"""More rows than this are not the fault of rows: the step is broken, or what it runs on."""


def place(rows: DataFrame) -> Column:
    """Return what names a bronze row: its delivery and what stands in it."""
    return F.sha2(F.concat_ws("\n", "_delivery", payload_of(rows), "_corrupt_record"), 256)


def find_culprits(
    judge: Callable[[DataFrame], DataFrame], rows: DataFrame, deliveries: Sequence[Delivery]
) -> list[str]:
    """Return the places of the rows that can't be judged, found by halving deliveries, then rows.

    Empty where no row is to blame: all can be judged, none at all can, or more than LIMIT can't.

    Args:
        judge: the transform that failed; it is tried on parts of the rows.
        rows: bronze rows with `_delivery`.
        deliveries: those that the rows belong to.
    """
    if _fails(judge, rows.limit(0)) or not _fails(judge, rows):
        return []

    def of_deliveries(ids: Sequence[str]) -> bool:
        return _fails(judge, rows.where(F.col("_delivery").isin(list(ids))))

    failing = _halved(of_deliveries, [delivery.id for delivery in deliveries])
    named = rows.where(F.col("_delivery").isin(failing)).withColumn("_place", place(rows))
    places = sorted({row[0] for row in named.select("_place").collect()})

    def of_rows(part: Sequence[str]) -> bool:
        return _fails(judge, named.where(F.col("_place").between(part[0], part[-1])).drop("_place"))

    found = _halved(of_rows, places)
    return found if len(found) <= LIMIT else []


def _fails(judge: Callable[[DataFrame], DataFrame], rows: DataFrame) -> bool:
    try:
        judge(rows).write.format("noop").mode("overwrite").save()
    except Exception:
        return True
    return False


def _halved(fails: Callable[[Sequence[str]], bool], names: Sequence[str]) -> list[str]:
    """Return the names, of some that fail together, that fail alone, or those that fail only together.

    Looking for them ends where more than LIMIT are found.
    """
    if len(names) < 2:
        return list(names)
    middle = len(names) // 2
    found: list[str] = []
    for half in (names[:middle], names[middle:]):
        if len(found) <= LIMIT and fails(half):
            found += _halved(fails, half)
    return found or list(names)


def kept_apart(rows: DataFrame, like: DataFrame) -> DataFrame:
    """Return bronze rows as refused ones, unread, with the columns that judged rows have.

    Args:
        rows: the bronze rows.
        like: judged rows, for their columns.
    """
    sources = like.select("raw.*").columns
    raw = [
        trimmed(F.col(f"`{name}`")).alias(name) if name in rows.columns else F.lit(None).cast("string").alias(name)
        for name in sources
    ]
    known: dict[str, Column] = {
        "raw": F.struct(*raw),
        "_row": payload_of(rows),
        "_payload": payload_of(rows),
        "_reasons": F.array(F.lit(STEP_FAILED)),
        "quality_flags": F.slice(F.array(F.lit("")), 1, 0),
        "_outcome": F.lit("quarantined"),
    }
    known |= {name: F.col(name) for name in rows.columns if name.startswith("_")}
    nothing = F.lit(None)
    return rows.select(
        *(known.get(field.name, nothing).cast(field.dataType).alias(field.name) for field in like.schema.fields)
    )
