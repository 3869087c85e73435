"""Dimensions that no source delivers: the calendar and the regions.

What they bring along is handed to Spark through Arrow: a list of Python would start Python workers for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import holidays
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from .definitions import month_of


def dim_date(
    usage: DataFrame,
    invoices: DataFrame,
    tickets: DataFrame,
    touches: DataFrame,
    surveys: DataFrame,
    *,
    holidays_of: str,
    first_year: int,
    last_year: int,
) -> DataFrame:
    """One row for each date of the whole years from the first to the last fact dated first_year … last_year.

    Facts are usage (gold.usage_daily), invoices, tickets (opened or resolved), marketing touches and surveys.
    """
    dated = {
        "usage_date": usage,
        "month": invoices,
        "to_date(created_at)": tickets,
        "to_date(resolved_at)": tickets,
        "to_date(touched_at)": touches,
        "survey_date": surveys,
    }
    facts = reduce(DataFrame.union, [rows.selectExpr(f"{day} AS date") for day, rows in dated.items()])
    facts = facts.where(F.year("date").between(first_year, last_year))
    span = facts.agg(F.min("date").alias("first"), F.max("date").alias("last"))
    year_end = F.make_date(F.year("last"), F.lit(12), F.lit(31))
    dates = span.select(F.explode(F.sequence(F.trunc("first", "year"), year_end)).alias("date"))
    named = holidays.country_holidays(holidays_of, years=range(first_year, last_year + 1))
    free = usage.sparkSession.createDataFrame(
        pa.table({"date": pa.array(named.keys(), pa.date32()), "holiday_name": pa.array(named.values(), pa.string())})
    )
    day = F.col("date")
    return dates.join(F.broadcast(free), "date", "left").withColumns(
        {
            "year": F.year(day),
            "quarter": F.quarter(day),
            "month": month_of(day),
            "month_number": F.month(day),
            "month_name": F.date_format(day, "MMMM"),
            "week_start": F.trunc(day, "week"),
            "iso_year": F.extract(F.lit("YEAROFWEEK"), day),
            "iso_week": F.weekofyear(day),
            "day_of_month": F.day(day),
            "day_of_year": F.dayofyear(day),
            "day_of_week": F.weekday(day) + 1,
            "day_name": F.date_format(day, "EEEE"),
            "is_weekend": F.weekday(day) >= 5,
            "is_month_end": day == F.last_day(day),
            "is_holiday": F.col("holiday_name").isNotNull(),
        }
    )


def dim_region(resources: DataFrame, *, regions: Mapping[str, Mapping[str, str]]) -> DataFrame:
    """One row for each region that is declared, or that a version of a resource names; those have no attributes."""
    attributes = pa.schema(
        [(name, pa.string()) for name in ("region", "continent", "country", "currency", "time_zone")]
    )
    rows = [{"region": region, **place} for region, place in regions.items()]
    declared = resources.sparkSession.createDataFrame(pa.Table.from_pylist(rows, attributes))
    return declared.join(resources.select("region").where("region IS NOT NULL").distinct(), "region", "full")
