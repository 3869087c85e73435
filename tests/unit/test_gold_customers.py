"""Customer marts on hand-made rows: users and logins."""

from __future__ import annotations

from datetime import UTC, date, datetime

from cloudlake.batch.gold import customers
from pyspark.sql import SparkSession


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
