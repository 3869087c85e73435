"""Marts of customer support."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def tickets_by_org_date(tickets: DataFrame, *, as_of: date) -> DataFrame:
    """One row for each org_id, date of creation and severity, of the tickets created by the business date.

    A ticket is resolved where it was resolved by the business date; `open` counts the rest.
    """
    day = F.lit(as_of).cast("date")
    is_resolved = F.coalesce(F.to_date("resolved_at") <= day, F.lit(False))
    breached = F.count_if(F.coalesce("sla_breached", F.lit(False)))
    hours = F.when(is_resolved, F.col("resolution_hours"))
    return (
        tickets.where(F.to_date("created_at") <= day)
        .groupBy("org_id", F.to_date("created_at").alias("date"), "severity")
        .agg(
            F.count(F.lit(1)).alias("tickets"),
            F.count_if(is_resolved).alias("resolved"),
            F.count_if(~is_resolved).alias("open"),
            breached.alias("sla_breached"),
            (breached / F.count(F.lit(1))).alias("sla_breach_rate"),
            (F.sum("csat") / F.count("csat")).alias("avg_csat"),
            F.round(F.sum(hours) / F.count(hours).cast("decimal(20,0)"), 6).alias("avg_resolution_hours"),
        )
    )
