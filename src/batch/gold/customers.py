"""Marts of customers: one line for each current organisation."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ...common.usage import sum_measures
from .definitions import IS_CURRENT, last_days, quotient


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

    `tickets` is gold.tickets_by_org_date, so that what is open at the business date is said once. `last_nps` is the
    score of the newest survey that reports one, as reported; `mean_nps` the mean of those scores.
    """
    open_critical = F.when(F.col("severity") == "critical", F.col("open"))
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
            F.sum("tickets").alias("tickets"), F.sum(open_critical).alias("open_critical_tickets")
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


def customer_360(
    summary: DataFrame,
    rfm: DataFrame,
    health: DataFrame,
    usage: DataFrame,
    revenue: DataFrame,
    tickets: DataFrame,
    *,
    as_of: date,
) -> DataFrame:
    """One row for each current organisation: summary, segment and health, and the last 30 days, with contradictions.

    `usage` is gold.usage_daily, `tickets` gold.tickets_by_org_date.
    """
    day = F.lit(as_of)
    recent_usage = usage.where(last_days(F.col("usage_date"), 30, day)).groupBy("org_id").agg(*sum_measures(wide=True))
    recent_tickets = tickets.where(last_days(F.col("date"), 30, day)).groupBy("org_id")
    ticket_counts = ("tickets", "resolved", "sla_breached")
    parts = [
        rfm,
        health,
        recent_usage.select("org_id", *(F.col(old).alias(new) for old, new in _RECENT_USAGE.items())),
        _recent_revenue(revenue, day),
        recent_tickets.agg(*(F.sum(name).alias(f"{name}_30d") for name in ticket_counts)),
    ]
    rows = summary
    for part in parts:
        rows = rows.join(part, "org_id", "left")
    sums = [name for name in _RECENT_USAGE.values() if name not in ("genai_tokens_30d", "carbon_kg_30d")]
    sums += ["revenue_30d_usd", *(f"{name}_30d" for name in ticket_counts)]
    return rows.withColumns(
        _zeros(sums) | {"has_fx_suspect_30d": F.coalesce("has_fx_suspect_30d", F.lit(False))}
    ).withColumn("contradictions", _contradictions())


_RECENT_USAGE = {
    "events": "events_30d",
    "cost_usd": "cost_30d_usd",
    "requests": "requests_30d",
    "cpu_hours": "cpu_hours_30d",
    "storage_gb_hours": "storage_gb_hours_30d",
    "genai_tokens": "genai_tokens_30d",
    "carbon_kg": "carbon_kg_30d",
}


def _recent_revenue(revenue: DataFrame, day: Column) -> DataFrame:
    """The revenue of the last 30 days: of each month the share of its days that lie in them, to 6 places."""
    first, last = F.greatest("month", F.date_sub(day, 29)), F.least(F.last_day("month"), day)
    days = F.date_diff(last, first) + 1
    share = quotient(F.col("revenue_usd") * days, F.day(F.last_day("month")))
    return (
        revenue.where(days > 0)
        .groupBy("org_id")
        .agg(F.sum(share).alias("revenue_30d_usd"), F.bool_or("has_fx_suspect").alias("has_fx_suspect_30d"))
    )


def _contradictions() -> Column:
    """Name what does not go together, sorted: cost of a customer who has left or never was one, revenue of a free plan."""
    has_cost, has_revenue = F.col("cost_30d_usd") > 0, F.col("revenue_30d_usd") > 0
    stage = F.col("lifecycle_stage")
    found = {
        "churned_with_cost": (stage == "churned") & has_cost,
        "free_plan_with_revenue": (F.col("plan_tier") == "free") & has_revenue,
        "lead_with_cost": (stage == "lead") & has_cost,
        "prospect_with_cost": (stage == "prospect") & has_cost,
    }
    return F.array_compact(F.array(*(F.when(condition, name) for name, condition in found.items())))


def _counts_by(rows: DataFrame, name: str, into: str) -> DataFrame:
    """Count an organisation's rows by the values of a column, as a map; NULL is no value."""
    counts = rows.where(F.col(name).isNotNull()).groupBy("org_id", name).count()
    entries = F.array_sort(F.collect_list(F.struct(name, "count")))
    return counts.groupBy("org_id").agg(F.map_from_entries(entries).alias(into))


def _zeros(names: Iterable[str]) -> dict[str, Column]:
    return {name: F.coalesce(name, F.lit(0)) for name in names}


def _no_counts(name: str) -> dict[str, Column]:
    return {name: F.coalesce(name, F.create_map().cast("map<string, bigint>"))}
