"""Marts of customers: one line for each current organisation."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from .definitions import IS_CURRENT, last_days


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
    is_open_critical = (F.col("severity") == "critical") & (F.col("status") == "open")
    scored = surveys.where("nps_score_reported IS NOT NULL")
    parts = [
        usage.groupBy("org_id").agg(
            F.sum("cost_usd").alias("usage_cost_usd"),
            F.min("usage_date").alias("first_usage_date"),
            F.max("usage_date").alias("last_usage_date"),
        ),
        revenue.groupBy("org_id").agg(F.sum("revenue_usd").alias("revenue_usd")),
        _counts_by(resources.where(IS_CURRENT), "state", "resources_by_state"),
        users.where(IS_CURRENT)
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
    rows = organisations.where(IS_CURRENT).select("org_id", "org_name", "industry", "plan_tier", "lifecycle_stage")
    for part in parts:
        rows = rows.join(part, "org_id", "left")
    zeros = ("usage_cost_usd", "revenue_usd", "users", "active_users", "tickets", "open_critical_tickets")
    return rows.withColumns(_zeros(zeros) | _no_counts("resources_by_state"))


def user_activity(organisations: DataFrame, users: DataFrame, *, as_of: date) -> DataFrame:
    """One row for each current organisation: its current users by role and by when the active ones last logged in.

    `logged_in_<N>d` counts the last N days, which end with the business date; `adoption_rate` is logged_in_30d ÷
    active_users, NULL without active users.
    """
    current = users.where(IS_CURRENT)
    logged_in = F.to_date("last_login")
    active_users = F.count_if("active")
    logins = {
        f"logged_in_{days}d": F.count_if(F.col("active") & last_days(logged_in, days, F.lit(as_of)))
        for days in (7, 30, 90)
    }
    counts = current.groupBy("org_id").agg(
        F.count(F.lit(1)).alias("users"),
        active_users.alias("active_users"),
        *(count.alias(name) for name, count in logins.items()),
        F.count_if(logged_in.isNull()).alias("never_logged_in"),
        (logins["logged_in_30d"] / F.nullif(active_users, F.lit(0))).alias("adoption_rate"),
    )
    rows = organisations.where(IS_CURRENT).select("org_id").join(counts, "org_id", "left")
    rows = rows.join(_counts_by(current, "role", "users_by_role"), "org_id", "left")
    return rows.withColumns(_zeros(("users", "active_users", *logins, "never_logged_in")) | _no_counts("users_by_role"))


def _counts_by(rows: DataFrame, name: str, into: str) -> DataFrame:
    """Count an organisation's rows by the values of a column, as a map; NULL is no value."""
    counts = rows.where(F.col(name).isNotNull()).groupBy("org_id", name).count()
    entries = F.array_sort(F.collect_list(F.struct(name, "count")))
    return counts.groupBy("org_id").agg(F.map_from_entries(entries).alias(into))


def _zeros(names: Iterable[str]) -> dict[str, Column]:
    return {name: F.coalesce(name, F.lit(0)) for name in names}


def _no_counts(name: str) -> dict[str, Column]:
    return {name: F.coalesce(name, F.create_map().cast("map<string, bigint>"))}
