"""Customer marts on hand-made rows: users and logins, the dimension by time, and the last 30 days."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from cloudlake.batch.gold import customer_versions, customers
from cloudlake.common.usage import MEASURES
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def test_logins_count_in_windows_that_end_with_the_business_date(spark: SparkSession) -> None:
    def at(month: int, day: int) -> datetime:
        return datetime(2025, month, day, 23, 59, tzinfo=UTC)

    organisations = spark.createDataFrame(
        [("full", True, False), ("empty", True, False), ("asleep", True, False), ("left", False, False)],
        "org_id string, is_current boolean, is_deleted boolean",
    )
    users = spark.createDataFrame(
        [
            ("full", "admin", True, at(8, 31), True),
            ("full", "admin", True, at(8, 25), True),  # the first of the last 7 days
            ("full", "developer", True, at(8, 24), True),
            ("full", "developer", True, at(8, 1), True),  # the 31st day back
            ("full", None, True, at(6, 3), True),  # the first of the last 90 days
            ("full", "devops", True, at(9, 1), True),  # after the business date
            ("full", "devops", False, at(8, 31), True),
            ("full", "devops", False, None, True),
            ("full", "devops", True, None, True),
            ("full", "analyst", True, at(8, 31), False),  # no longer so
            ("asleep", "admin", False, at(8, 31), True),
        ],
        "org_id string, role string, active boolean, last_login timestamp, is_current boolean",
    ).selectExpr("*", "false AS is_deleted")
    rows = customers.user_activity(organisations, users, as_of=date(2025, 8, 31)).collect()
    found = {row["org_id"]: row for row in rows}
    assert set(found) == {"full", "empty", "asleep"}
    full, empty, asleep = found["full"], found["empty"], found["asleep"]
    assert (full["users"], full["active_users"], full["never_logged_in"]) == (9, 7, 2)
    assert (full["logged_in_7d"], full["logged_in_30d"], full["logged_in_90d"]) == (2, 3, 5)
    assert full["adoption_rate"] == 3 / 7
    assert full["users_by_role"] == {"admin": 2, "developer": 2, "devops": 4}
    assert (empty["users"], empty["logged_in_90d"], empty["users_by_role"], empty["adoption_rate"]) == (0, 0, {}, None)
    assert (asleep["users"], asleep["active_users"], asleep["adoption_rate"]) == (1, 0, None)


def test_a_week_s_segment_holds_from_monday_and_joins_the_attributes_by_time(spark: SparkSession) -> None:
    def day(month: int, number: int) -> datetime:
        return datetime(2025, month, number, tzinfo=UTC)

    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    names = [name for name in customer_versions.ATTRIBUTES if name != "plan_tier"]
    organisations = spark.createDataFrame(
        [
            ("a", "free", long_ago, day(7, 10)),
            ("a", "pro", day(7, 10), None),
            # Two versions that differ only in what the dimension leaves out.
            ("b", "free", long_ago, day(7, 10)),
            ("b", "free", day(7, 10), None),
            # Deleted on the very Monday on which a week's segment would begin; back two days later.
            ("c", "free", long_ago, day(7, 21)),
            ("c", "free", day(7, 23), None),
        ],
        "org_id string, plan_tier string, effective_from timestamp, effective_to timestamp",
    ).selectExpr("*", "false AS is_deleted", *(f"CAST(NULL AS STRING) AS {name}" for name in names))
    history = spark.createDataFrame(
        [
            ("a", date(2025, 7, 6), "Potential", "watch"),
            ("a", date(2025, 7, 13), "Potential", "watch"),
            ("a", date(2025, 7, 20), "Loyal", "watch"),
            ("c", date(2025, 7, 6), "New", "healthy"),
            ("c", date(2025, 7, 13), "New", "healthy"),
            ("c", date(2025, 7, 20), "Lost", "healthy"),
            ("c", date(2025, 7, 27), "Lost", "at_risk"),
        ],
        "org_id string, week_ending date, segment string, health_band string",
    )
    rows = customer_versions.dim_customer(organisations, history).orderBy("org_id", "effective_from").collect()

    def told(org_id: str) -> list[tuple[object, ...]]:
        wanted = ("plan_tier", "segment", "health_band", "effective_from", "effective_to", "is_current")
        mine = [row for row in rows if row["org_id"] == org_id]
        return [
            tuple(row[name].replace(tzinfo=UTC) if isinstance(row[name], datetime) else row[name] for name in wanted)
            for row in mine
        ]

    assert told("a") == [
        ("free", None, None, long_ago, day(7, 7), False),
        ("free", "Potential", "watch", day(7, 7), day(7, 10), False),
        ("pro", "Potential", "watch", day(7, 10), day(7, 21), False),
        ("pro", "Loyal", "watch", day(7, 21), None, True),
    ]
    assert told("b") == [("free", None, None, long_ago, None, True)]
    assert told("c") == [
        ("free", None, None, long_ago, day(7, 7), False),
        ("free", "New", "healthy", day(7, 7), day(7, 21), False),
        ("free", None, None, day(7, 23), day(7, 28), False),
        ("free", "Lost", "at_risk", day(7, 28), None, True),
    ]
    assert len({row["customer_sk"] for row in rows}) == 9 and not any(row["is_deleted"] for row in rows)


def test_the_last_30_days_take_their_share_of_a_month_and_contradictions_are_named(spark: SparkSession) -> None:
    summary = spark.createDataFrame(
        [("free", "free", "churned"), ("lead", "pro", "lead"), ("prospect", None, "prospect"), ("empty", "free", None)],
        "org_id string, plan_tier string, lifecycle_stage string",
    )
    org = summary.select("org_id")
    zeros = {name: F.lit(0) for name in MEASURES}
    usage = spark.createDataFrame(
        [
            ("free", date(2025, 8, 15), Decimal("2")),
            ("free", date(2025, 7, 17), Decimal("3")),  # the first of the last 30 days
            ("prospect", date(2025, 7, 16), Decimal("5")),
            ("lead", date(2025, 8, 16), Decimal("5")),
            ("lead", date(2025, 8, 1), Decimal("0.000001")),
        ],
        "org_id string, usage_date date, cost decimal(28,6)",
    ).withColumns(zeros | {"cost_usd": F.col("cost"), "genai_tokens": F.lit(None).cast("bigint")})
    revenue = spark.createDataFrame(
        [
            ("free", date(2025, 7, 1), Decimal("100"), False),
            ("free", date(2025, 8, 1), Decimal("310"), True),
            ("lead", date(2025, 6, 1), Decimal("9"), True),
            ("lead", date(2025, 9, 1), Decimal("9"), True),
        ],
        "org_id string, month date, revenue_usd decimal(28,6), has_fx_suspect boolean",
    )
    tickets = spark.createDataFrame(
        [("free", date(2025, 8, 1), 3, 2, 1), ("free", date(2025, 8, 2), 1, 0, 0), ("free", date(2025, 7, 1), 9, 9, 9)],
        "org_id string, date date, tickets bigint, resolved bigint, sla_breached bigint",
    )
    rows = customers.customer_360(summary, org, org, usage, revenue, tickets, as_of=date(2025, 8, 15)).collect()
    found = {row["org_id"]: row for row in rows}
    free, lead, prospect, empty = (found[name] for name in ("free", "lead", "prospect", "empty"))
    # 15 of July's 31 days and 15 of August's.
    assert (free["cost_30d_usd"], free["revenue_30d_usd"]) == (5, Decimal("48.387097") + 150)
    assert (free["tickets_30d"], free["resolved_30d"], free["sla_breached_30d"]) == (4, 2, 1)
    assert free["has_fx_suspect_30d"] is True and free["contradictions"] == [
        "churned_with_cost",
        "free_plan_with_revenue",
    ]
    assert (lead["revenue_30d_usd"], lead["has_fx_suspect_30d"], lead["contradictions"]) == (
        0,
        False,
        ["lead_with_cost"],
    )
    assert (prospect["cost_30d_usd"], prospect["contradictions"]) == (0, [])
    assert (empty["tickets_30d"], empty["events_30d"], empty["genai_tokens_30d"], empty["contradictions"]) == (
        0,
        0,
        None,
        [],
    )
