"""Health: a score from 0 to 100 for each customer, as the sum of what five components contribute.

A component that can't be judged is missing: its weight falls to the others. So the contributions always add up to the
score, and each says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from .definitions import exact, last_days, quotient


@dataclass(frozen=True)
class Health:
    """The weights of the components, in their order, and what they are judged by."""

    weights: Mapping[str, int]
    login_days: int
    full_adoption_rate: float
    ticket_days: int
    severe: list[str]
    severe_open_penalty: int
    billing_months: int
    bands: Mapping[str, float]
    """Name → least score; below all of them it is at_risk."""


@dataclass(frozen=True)
class Component:
    """A score, clamped to 0…100 later and NULL where the component is missing, and the reason for either."""

    score: Column
    why: Column


def health_measures(rules: Health) -> dict[str, Column]:
    """What is needed of the facts (customer_facts), beside the net costs."""
    is_recent = last_days(F.col("ticket_date"), rules.ticket_days, F.col("date"))
    has_login = last_days(F.col("login_date"), rules.login_days, F.col("date"))
    # A rating comes with the resolution; before it nobody knew it.
    rating = F.when(is_recent & ~F.col("is_open"), F.col("csat"))
    survey = F.struct("survey_score", "reported_score", "survey_date")
    month = F.struct("billed_month", "revenue_usd", "is_suspect")
    return {
        "active_users": F.count_if("is_active"),
        "recent_logins": F.count_if(F.col("is_active") & has_login),
        "recent_tickets": F.count_if(is_recent),
        "breaches": F.count_if(is_recent & F.col("is_breached")),
        "severe_open": F.count_if(F.col("is_open") & F.col("severity").isin(*rules.severe)),
        "ratings": F.count(rating),
        "rating_sum": F.coalesce(F.sum(rating), F.lit(0)),
        "survey": F.max_by(survey, "survey_date"),
        "months": F.sort_array(F.collect_list(F.when(F.col("billed_month").isNotNull(), month)), asc=False),
    }


def with_health(customers: DataFrame, cost_days: int, rules: Health, users_known: Column | None = None) -> DataFrame:
    """Add health_score, health_band and health_components. Grain: date, org_id.

    `users_known` tells whether anything was known of users on the date; it always was where it is left out.
    """
    components = {
        "usage": _usage(cost_days),
        "engagement": _engagement(rules, F.lit(True) if users_known is None else users_known),
        "support": _support(rules),
        "satisfaction": _satisfaction(rules),
        "billing": _billing(),
    }
    scores = {f"_{name}": part.score for name, part in components.items()}
    parts = F.array(*(_part(name, part.why, rules.weights[name]) for name, part in components.items()))
    present = F.aggregate(
        "_parts", F.lit(0), lambda sum_, part: sum_ + F.when(part["score"].isNull(), 0).otherwise(part["weight"])
    )
    contributions = F.transform("_parts", _with_contribution)
    nothing = F.lit(0).cast("decimal(10,2)")
    score = F.aggregate(
        "health_components",
        nothing,
        lambda sum_, part: (sum_ + F.coalesce(part["contribution"], nothing)).cast("decimal(10,2)"),
    )
    return (
        _with_operands(customers, cost_days, rules)
        .withColumns(scores)
        .withColumn("_parts", parts)
        .withColumn("_weights", present)
        .withColumn("health_components", contributions)
        .withColumn("health_score", F.when(F.col("_weights") > 0, score))
        .withColumn("health_band", _band(rules))
    )


def _with_operands(customers: DataFrame, cost_days: int, rules: Health) -> DataFrame:
    """Add what the components divide, so that a quotient names columns: its terms stand in it several times."""
    recent, previous = F.col("recent_net_cost_usd"), F.col("previous_net_cost_usd")
    trusted = F.filter(F.slice("months", 2, F.size("months")), lambda month: ~month["is_suspect"])
    nothing = F.lit(0).cast("decimal(38,6)")
    total = F.aggregate("_earlier", nothing, lambda sum_, month: (sum_ + month["revenue_usd"]).cast("decimal(38,6)"))
    return customers.withColumns(
        {
            "_is_covered": F.coalesce(F.date_sub("date", 2 * cost_days - 1) >= F.col("data_since"), F.lit(False)),
            "_half_change": 50 * (recent - previous),
            "_larger": F.greatest(recent, previous),
            "_newest": F.get("months", F.lit(0)),
            "_earlier": F.slice(trusted, 1, rules.billing_months),
        }
    ).withColumns(
        {
            "_earlier_months": F.size("_earlier"),
            "_earlier_usd": total,
            "_hundredfold_usd": 100 * F.col("_newest.revenue_usd") * F.size("_earlier"),
        }
    )


def _part(name: str, why: Column, weight: int) -> Column:
    score = F.col(f"_{name}")
    return F.struct(
        F.lit(name).alias("name"),
        F.when(score.isNotNull(), F.least(F.greatest(score, F.lit(0)), F.lit(100)).cast("decimal(10,6)")).alias(
            "score"
        ),
        F.lit(weight).alias("weight"),
        why.alias("why"),
    )


def _with_contribution(part: Column) -> Column:
    """Add score × weight ÷ the weights present: a quotient of 17 places, rounded half up to 2."""
    weight, present = (number.cast("decimal(10,0)") for number in (part["weight"], F.col("_weights")))
    return F.struct(
        part["name"].alias("name"),
        part["score"].alias("score"),
        part["weight"].alias("weight"),
        F.round(part["score"] * weight / present, 2).cast("decimal(10,2)").alias("contribution"),
        part["why"].alias("why"),
    )


def _band(rules: Health) -> Column:
    score = F.col("health_score")
    band = F.when(score.isNotNull(), "at_risk")
    for limit, name in sorted((limit, name) for name, limit in rules.bands.items()):
        band = F.when(score >= exact(limit), name).otherwise(band)
    return band


def _usage(cost_days: int) -> Component:
    """50 + 50 × the change of net cost ÷ the larger of the two."""
    recent, previous = F.col("recent_net_cost_usd"), F.col("previous_net_cost_usd")
    is_covered, has_cost = F.col("_is_covered"), F.col("_larger") > 0
    score = 50 + quotient(F.col("_half_change"), F.col("_larger"))
    costs = F.format_string(
        f"net cost of %s USD in the last {cost_days} days, %s USD in the {cost_days} before", usd(recent), usd(previous)
    )
    return Component(
        score=F.when(is_covered & has_cost, score),
        why=F.when(~is_covered, f"fewer than {2 * cost_days} days of usage are known")
        .when(has_cost, costs)
        .otherwise(f"no net cost in {2 * cost_days} days"),
    )


def _engagement(rules: Health, users_known: Column) -> Component:
    """100 × the share of active users that log in, of the share that is enough."""
    active, recent = F.col("active_users"), F.col("recent_logins")
    enough = f"{100 * rules.full_adoption_rate:g} %% are enough"
    said = F.format_string(f"%d of %d active users logged in within {rules.login_days} days; {enough}", recent, active)
    return Component(
        score=F.when(users_known, quotient(100 * recent, active * exact(rules.full_adoption_rate))),
        why=F.when(~users_known, "nothing was known of users yet").when(active > 0, said).otherwise("no active users"),
    )


def _support(rules: Health) -> Component:
    """100 × the share of tickets within their agreement, less a penalty for each severe one that is open."""
    tickets, breaches, severe = F.col("recent_tickets"), F.col("breaches"), F.col("severe_open")
    kept = F.coalesce(quotient(100 * (tickets - breaches), tickets), F.lit(100))
    return Component(
        score=kept - rules.severe_open_penalty * severe,
        why=F.format_string(
            f"%d of %d tickets of {rules.ticket_days} days in breach; %d {' or '.join(rules.severe)} open",
            breaches,
            tickets,
            severe,
        ),
    )


def _satisfaction(rules: Health) -> Component:
    """The newest scored survey, else the mean rating of tickets, else the relationship score."""
    survey, ratings, relationship = F.col("survey"), F.col("ratings"), F.col("relationship_score")
    mean_rating = F.format_number(F.col("rating_sum") / F.nullif(ratings, F.lit(0)), 2)
    return Component(
        score=F.coalesce(
            survey["survey_score"],
            quotient(25 * (F.col("rating_sum") - ratings), ratings),
            quotient(relationship + 100, F.lit(2)),
        ),
        why=F.when(
            survey.isNotNull(),
            F.format_string("survey of %s: %s", survey["survey_date"].cast("string"), plain(survey["reported_score"])),
        )
        .when(
            ratings > 0,
            F.format_string(f"mean of %d rated tickets in {rules.ticket_days} days: %s of 5", ratings, mean_rating),
        )
        .when(relationship.isNotNull(), F.format_string("relationship score %s", plain(relationship)))
        .otherwise(f"no scored survey, no rated ticket in {rules.ticket_days} days, no relationship score"),
    )


def _billing() -> Component:
    """100 × the newest month's revenue ÷ the mean of the months before it, of which suspect ones are left out."""
    newest, count, total = F.col("_newest"), F.col("_earlier_months"), F.col("_earlier_usd")
    revenue, is_suspect = newest["revenue_usd"], newest["is_suspect"]
    month = F.date_format(newest["billed_month"], "yyyy-MM")
    mean = usd(total / F.nullif(count, F.lit(0)))
    return Component(
        score=F.when(is_suspect, None)
        .when(revenue <= 0, 0)
        .when(total > 0, F.least(quotient(F.col("_hundredfold_usd"), total), F.lit(100))),
        why=F.when(newest.isNull(), "never billed")
        .when(is_suspect, F.format_string("%s has a suspect exchange rate", month))
        .when(revenue <= 0, F.format_string("%s: revenue of %s USD", month, usd(revenue)))
        .when(count == 0, F.format_string("%s: revenue of %s USD, no trusted month before it", month, usd(revenue)))
        .otherwise(
            F.format_string("%s: revenue of %s USD, mean of %d months before %s USD", month, usd(revenue), count, mean)
        ),
    )


def usd(amount: Column) -> Column:
    """Write an amount for people: 1,234.50."""
    return F.format_number(amount, 2)


def plain(number: Column) -> Column:
    """Write a decimal without the zeros at its end."""
    return F.regexp_replace(number.cast("string"), r"\.?0+$", "")
