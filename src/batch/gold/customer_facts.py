"""What was known of each organisation on a day: the facts that segment and health are computed from.

A fact is looked at from a day: from the business date, or from each Sunday. It counts where it is dated up to that day.
Facts of all kinds lie on one pile, each with columns of its own, and one aggregation makes a row of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from ...common.scd2.reading import as_of as in_force
from .definitions import IS_CURRENT, quotient


@dataclass(frozen=True)
class Days:
    """The days from which facts are looked at: both functions add `date`, and repeat a row for each day."""

    facts: Callable[[DataFrame, str], DataFrame]
    """Takes facts and the column of their own day; a fact is seen from that day on."""
    masters: Callable[[DataFrame], DataFrame]
    """Takes the versions of a master; keeps those that count on a day."""


def business_date(day: date) -> Days:
    """One day, with the masters as they are now."""
    return Days(
        facts=lambda rows, own: rows.where(F.col(own) <= F.lit(day)).withColumn("date", F.lit(day)),
        masters=lambda rows: rows.where(IS_CURRENT).withColumn("date", F.lit(day)),
    )


def sundays(usage: DataFrame, until: date) -> Days:
    """Each Sunday from the week of the first usage up to a day, with the masters in force at the Sunday's end."""
    last = F.lit(until - timedelta(days=(until.weekday() + 1) % 7))

    def since(day: str) -> Column:
        first = F.date_add(day, 6 - F.weekday(day))
        return F.explode(F.when(first <= last, F.sequence(first, last, F.expr("INTERVAL 7 DAYS"))))

    first_usage = F.broadcast(usage.agg(F.min("usage_date").alias("first_usage")))
    end = F.expr("CAST(date_add(date, 1) AS TIMESTAMP) - INTERVAL 1 MICROSECOND")
    return Days(
        facts=lambda rows, own: rows.withColumn("date", since(own)),
        masters=lambda rows: in_force(rows.crossJoin(first_usage).withColumn("date", since("first_usage")), end),
    )


def known(facts: list[DataFrame], measures: Mapping[str, Column]) -> DataFrame:
    """One row for each day and customer of that day: the measures over all facts of the organisation.

    `customers` must be among the facts; `data_since` is the first date with usage of anyone.
    """
    pile = reduce(lambda pile, rows: pile.unionByName(rows, allowMissingColumns=True), facts)
    rows = pile.groupBy("date", "org_id").agg(
        F.bool_or("is_customer").alias("is_customer"),
        F.max("signup_date").alias("signup_date"),
        F.max("relationship_score").alias("relationship_score"),
        F.min("usage_date").alias("first_usage_date"),
        *(measure.alias(name) for name, measure in measures.items()),
    )
    first = F.min("first_usage_date").over(Window.partitionBy("date"))
    return rows.withColumn("data_since", first).where("is_customer")


def net_cost(cost_days: int) -> dict[str, Column]:
    """The net cost of the last so many days, and of as many before."""
    age = F.date_diff("date", "usage_date")
    return {
        "recent_net_cost_usd": _sum_where(age < cost_days, "net_cost_usd"),
        "previous_net_cost_usd": _sum_where((age >= cost_days) & (age < 2 * cost_days), "net_cost_usd"),
    }


def _sum_where(condition: Column, name: str) -> Column:
    return F.coalesce(F.sum(F.when(condition, F.col(name))), F.lit(0))


# --- the facts, each with org_id and date -------------------------------------------------------------------------


def customers(organisations: DataFrame, days: Days) -> DataFrame:
    """The organisations that are customers on a day: is_customer, signup_date, relationship_score."""
    return days.masters(organisations).select(
        "org_id",
        "date",
        "signup_date",
        F.col("nps_score").alias("relationship_score"),
        F.lit(True).alias("is_customer"),
    )


def usage_by_date(costs: DataFrame, days: Days) -> DataFrame:
    """The dates with usage: usage_date, services, net_cost_usd.

    `costs` is gold.cost_anomalies, a row for each organisation, date and service with usage. Net cost has what was
    expected in place of an anomaly.
    """
    net = F.when(F.col("is_anomaly"), F.col("expected_usd")).otherwise(F.col("cost_usd"))
    dates = costs.groupBy("org_id", "usage_date").agg(
        F.sum(net).alias("net_cost_usd"), F.count(F.lit(1)).alias("services")
    )
    return days.facts(dates, "usage_date")


def billed_months(revenue: DataFrame, days: Days) -> DataFrame:
    """The billed months: billed_month, revenue_usd, is_suspect, months_back (1 in the newest that anyone was billed for)."""
    months = revenue.select(
        "org_id", F.col("month").alias("billed_month"), "revenue_usd", F.col("has_fx_suspect").alias("is_suspect")
    )
    newest_first = Window.partitionBy("date").orderBy(F.desc("billed_month"))
    return days.facts(months, "billed_month").withColumn("months_back", F.dense_rank().over(newest_first))


def logins(users: DataFrame, days: Days) -> DataFrame:
    """The users of a day: is_active, login_date (of the last login that the version in force on that day knows)."""
    return days.masters(users).select(
        "org_id", "date", F.col("active").alias("is_active"), F.to_date("last_login").alias("login_date")
    )


def ticket_states(tickets: DataFrame, days: Days) -> DataFrame:
    """The tickets created up to a day: ticket_date, is_open (not resolved up to that day), is_breached, severity, csat."""
    states = tickets.select(
        "org_id",
        F.to_date("created_at").alias("ticket_date"),
        F.to_date("resolved_at").alias("resolved_date"),
        F.col("sla_breached").alias("is_breached"),
        "severity",
        "csat",
    )
    is_resolved = F.coalesce(F.col("resolved_date") <= F.col("date"), F.lit(False))
    return days.facts(states, "ticket_date").withColumn("is_open", ~is_resolved).drop("resolved_date")


def scored_surveys(surveys: DataFrame, days: Days, survey_scale: str) -> DataFrame:
    """The surveys with a score: survey_date, survey_score from 0 to 100, reported_score."""
    reported = F.col("nps_score_reported")
    score = F.col("nps_score") * 10 if survey_scale == "0..10" else quotient(reported + 100, F.lit(2))
    scored = surveys.select(
        "org_id", "survey_date", score.cast("decimal(28,6)").alias("survey_score"), reported.alias("reported_score")
    )
    return days.facts(scored.where("survey_score IS NOT NULL"), "survey_date")
