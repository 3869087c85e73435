"""Marts of customer support: tickets, and what customers answer to surveys."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from .definitions import median, month_of, nearest_rank


def tickets_by_org_date(tickets: DataFrame, *, as_of: date) -> DataFrame:
    """One row for each org_id, date of creation and severity, of the tickets created by the business date.

    A ticket is resolved where it was resolved by the business date; `open` counts the rest.
    """
    return (
        _by_the_date(tickets, as_of)
        .groupBy("org_id", F.col("_created_on").alias("date"), "severity")
        .agg(*_ticket_measures())
    )


def support_monthly(tickets: DataFrame, *, as_of: date) -> DataFrame:
    """One row for each month of creation, category and severity: the measures of `tickets_by_org_date`, and times.

    Percentiles are nearest rank over the tickets resolved by the business date. `open_over_30d` counts the open ones
    created before the last 30 days, which end with the business date: they are over 30 days old when it ends.
    """
    hours = F.array_sort(F.collect_list(_resolution_hours()))
    is_old = F.col("_created_on") < F.date_sub(F.lit(as_of), 29)
    return (
        _by_the_date(tickets, as_of)
        .groupBy(month_of("_created_on").alias("month"), "category", "severity")
        .agg(
            *_ticket_measures(),
            nearest_rank(hours, 50).alias("p50_resolution_hours"),
            nearest_rank(hours, 90).alias("p90_resolution_hours"),
            F.count_if(~F.col("_is_resolved") & is_old).alias("open_over_30d"),
        )
    )


def _by_the_date(tickets: DataFrame, as_of: date) -> DataFrame:
    """Keep the tickets created by the business date, with the day and whether they were resolved by it."""
    day = F.lit(as_of)
    return tickets.withColumns(
        {
            "_created_on": F.to_date("created_at"),
            "_is_resolved": F.coalesce(F.to_date("resolved_at") <= day, F.lit(False)),
        }
    ).where(F.col("_created_on") <= day)


def _resolution_hours() -> Column:
    return F.when(F.col("_is_resolved"), F.col("resolution_hours"))


def _ticket_measures() -> list[Column]:
    tickets = F.count(F.lit(1))
    breached = F.count_if(F.coalesce("sla_breached", F.lit(False)))
    hours = _resolution_hours()
    return [
        tickets.alias("tickets"),
        F.count_if("_is_resolved").alias("resolved"),
        F.count_if(~F.col("_is_resolved")).alias("open"),
        breached.alias("sla_breached"),
        (breached / tickets).alias("sla_breach_rate"),
        (F.sum("csat") / F.count("csat")).alias("avg_csat"),
        F.round(F.sum(hours) / F.count(hours).cast("decimal(20,0)"), 6).alias("avg_resolution_hours"),
    ]


def nps_by_month(surveys: DataFrame, *, min_scored: int) -> DataFrame:
    """One row for each month with surveys: how many are on the scale 0 to 10, and the net promoter score of those.

    `nps` is NULL under `min_scored` scored surveys. Mean and median are of the scores as reported, in scale or not.
    """
    reported = F.col("nps_score_reported")
    categories = {"promoters": "promoter", "passives": "passive", "detractors": "detractor"}
    nps = 100 * (F.col("promoters") - F.col("detractors")) / F.nullif("scored", F.lit(0))
    return (
        surveys.groupBy(month_of("survey_date").alias("month"))
        .agg(
            F.count(F.lit(1)).alias("surveys"),
            F.count("nps_score").alias("scored"),
            *(F.count_if(F.col("nps_category") == value).alias(name) for name, value in categories.items()),
            F.count_if(reported.isNotNull() & F.col("nps_score").isNull()).alias("out_of_scale"),
            (F.sum(reported).cast("double") / F.count(reported)).alias("mean_reported"),
            median(F.array_sort(F.collect_list(reported))).alias("median_reported"),
        )
        .withColumn("nps", F.when(F.col("scored") >= min_scored, nps))
    )
