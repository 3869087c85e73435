"""Small tables written by hand, for the unit tests of transforms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def table(spark: SparkSession, columns: str, rows: Iterable[tuple[Any, ...]]) -> DataFrame:
    """Make a table of atoms: `columns` as DDL, values as anything whose text can be cast (decimals as "1.5").

    Names are separated from types by one blank and columns by a comma and a blank, so that decimal(28,6) is one type.
    """
    fields = [column.split(" ") for column in columns.split(", ")]
    texts = [tuple(None if value is None else str(value) for value in row) for row in rows]
    frame = spark.createDataFrame(texts, ", ".join(f"{name} string" for name, _ in fields))
    return frame.select(*(F.col(name).cast(kind).alias(name) for name, kind in fields))
