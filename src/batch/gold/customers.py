"""Marts of customers: one line for each current organisation."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def customer_summary(
    organisations: DataFrame,
    usage: DataFrame,
    revenue: DataFrame,
    resources: DataFrame,
    users: DataFrame,
    tickets: DataFrame,
    surveys: DataFrame,
) -> DataFrame:
    """One row for each current organisation: counts and sums are 0, dates and scores NULL, where there is nothing.

    `last_nps` is the score of the newest survey that reports one, as reported; `mean_nps` the mean of those scores.
    """
    current = "is_current AND NOT is_deleted"
    is_open_critical = (F.col("severity") == "critical") & (F.col("status") == "open")
    scored = surveys.where("nps_score_reported IS NOT NULL")
    by_state = resources.where(current).where("state IS NOT NULL").groupBy("org_id", "state").count()
    states = by_state.groupBy("org_id").agg(
        F.map_from_entries(F.array_sort(F.collect_list(F.struct("state", "count")))).alias("resources_by_state")
    )
    parts = [
        usage.groupBy("org_id").agg(
            F.sum("cost_usd").alias("usage_cost_usd"),
            F.min("usage_date").alias("first_usage_date"),
            F.max("usage_date").alias("last_usage_date"),
        ),
        revenue.groupBy("org_id").agg(F.sum("revenue_usd").alias("revenue_usd")),
        states,
        users.where(current)
        .groupBy("org_id")
        .agg(F.count(F.lit(1)).alias("users"), F.count_if("active").alias("active_users")),
        tickets.groupBy("org_id").agg(
            F.count(F.lit(1)).alias("tickets"),
            F.count_if(F.coalesce(is_open_critical, F.lit(False))).alias("open_critical_tickets"),
        ),
        scored.groupBy("org_id").agg(
            F.max_by("nps_score_reported", "survey_date").alias("last_nps"),
            (F.sum("nps_score_reported").cast("double") / F.count("nps_score_reported")).alias("mean_nps"),
        ),
    ]
    rows = organisations.where(current).select("org_id", "org_name", "industry", "plan_tier", "lifecycle_stage")
    for part in parts:
        rows = rows.join(part, "org_id", "left")
    zeros = ("usage_cost_usd", "revenue_usd", "users", "active_users", "tickets", "open_critical_tickets")
    nothing = F.create_map().cast("map<string, bigint>")
    return rows.withColumns(
        {name: F.coalesce(name, F.lit(0)) for name in zeros}
        | {"resources_by_state": F.coalesce("resources_by_state", nothing)}
    )
