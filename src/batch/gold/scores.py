"""The scores of customers: at the business date, and at the end of each week.

customer_history holds on each Sunday what customer_rfm and customer_health would have said then. It follows from the
data alone and not from the nights on which something ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from .customer_facts import (
    Days,
    billed_months,
    business_date,
    customers,
    known,
    logins,
    net_cost,
    scored_surveys,
    sundays,
    ticket_states,
    usage_by_date,
)
from .health import Health, health_measures, with_health
from .segments import Rfm, rfm_measures, with_segment


def customer_rfm(
    organisations: DataFrame,
    costs: DataFrame,
    revenue: DataFrame,
    *,
    as_of: date,
    cost_days: int,
    rfm: Mapping[str, Any],
) -> DataFrame:
    """One row for each current organisation: recency, frequency, monetary value, and the segment they make.

    `costs` is gold.cost_anomalies, `revenue` gold.revenue_by_org_month.
    """
    days, rules = business_date(as_of), Rfm(**rfm)
    facts = [customers(organisations, days), usage_by_date(costs, days), billed_months(revenue, days)]
    return with_segment(known(facts, net_cost(cost_days) | rfm_measures(rules)), rules)


def customer_health(
    organisations: DataFrame,
    users: DataFrame,
    costs: DataFrame,
    tickets: DataFrame,
    surveys: DataFrame,
    revenue: DataFrame,
    *,
    as_of: date,
    survey_scale: str,
    cost_days: int,
    health: Mapping[str, Any],
) -> DataFrame:
    """One row for each current organisation: health_score, health_band and the components that explain them."""
    days, rules = business_date(as_of), Health(**health)
    facts = _all_facts(days, organisations, users, costs, tickets, surveys, revenue, survey_scale)
    return with_health(known(facts, net_cost(cost_days) | health_measures(rules)), cost_days, rules)


def customer_history(
    organisations: DataFrame,
    users: DataFrame,
    costs: DataFrame,
    tickets: DataFrame,
    surveys: DataFrame,
    revenue: DataFrame,
    *,
    as_of: date,
    users_since: date | None,
    survey_scale: str,
    cost_days: int,
    rfm: Mapping[str, Any],
    health: Mapping[str, Any],
) -> DataFrame:
    """One row for each Sunday up to the business date and each organisation in force at its end.

    Only what was dated up to that Sunday counts; organisations and users are those of its end. Versions of users reach
    back to before `users_since`, the date of their first snapshot, but a last login says nothing of those weeks: only
    the business date itself takes the newest snapshot as known.
    """
    days, segments, scores = sundays(costs, as_of), Rfm(**rfm), Health(**health)
    facts = _all_facts(days, organisations, users, costs, tickets, surveys, revenue, survey_scale)
    measures = net_cost(cost_days) | rfm_measures(segments) | health_measures(scores)
    users_known = F.col("date") >= F.least(F.lit(users_since).cast("date"), F.lit(as_of))
    rows = with_health(with_segment(known(facts, measures), segments), cost_days, scores, users_known)
    return rows.withColumn("week_ending", F.col("date"))


def _all_facts(
    days: Days,
    organisations: DataFrame,
    users: DataFrame,
    costs: DataFrame,
    tickets: DataFrame,
    surveys: DataFrame,
    revenue: DataFrame,
    survey_scale: str,
) -> list[DataFrame]:
    return [
        customers(organisations, days),
        logins(users, days),
        usage_by_date(costs, days),
        ticket_states(tickets, days),
        scored_surveys(surveys, days, survey_scale),
        billed_months(revenue, days),
    ]
