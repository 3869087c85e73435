"""What touches led to: rates, and revenue that is credited to the cent."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from cloudlake.batch.gold import marketing
from pyspark.sql import SparkSession


def test_revenue_is_split_over_the_conversions_of_its_month_and_the_month_before(spark: SparkSession) -> None:
    june, july, august = (datetime(2025, month, 30, tzinfo=UTC) for month in (6, 7, 8))
    touches = spark.createDataFrame(
        [
            ("t1", "three", "welcome", "email", june, True, True),
            ("t2", "three", "welcome", "email", june, True, True),
            ("t3", "three", "webinar", "email", july, None, True),
            ("t4", "three", "welcome", "email", june, True, False),  # no conversion, no credit
            ("t5", "credit note", "welcome", "ads", july, True, True),
            ("t6", "credit note", "welcome", "ads", july, True, True),
            ("t7", "unbilled", None, "ads", july, False, True),
            ("t8", "late", "webinar", "email", august, False, None),
        ],
        "touch_id string, org_id string, campaign string, channel string, touched_at timestamp, clicked boolean, converted boolean",
    )
    revenue = spark.createDataFrame(
        [
            ("three", date(2025, 6, 1), Decimal("1")),
            ("three", date(2025, 7, 1), Decimal("100")),
            ("three", date(2025, 8, 1), Decimal("10.5")),
            ("three", date(2025, 9, 1), Decimal("77")),  # too late for any
            ("three", date(2025, 5, 1), Decimal("77")),  # too early
            ("credit note", date(2025, 7, 1), Decimal("-0.000003")),
            ("late", date(2025, 8, 1), Decimal("77")),
        ],
        "org_id string, month date, revenue_usd decimal(28,6)",
    )
    rows = marketing.marketing_effectiveness(touches, revenue, lookback_months=1).collect()
    found = {(row["month"].month, row["campaign"], row["channel"]): row for row in rows}
    welcome = found[6, "welcome", "email"]
    # June's 1 in two halves; July's 100 in three: 33.333334 to t1, 33.333333 to t2 and t3.
    assert welcome["influenced_revenue_usd"] == Decimal("1") + Decimal("66.666667")
    assert (welcome["touches"], welcome["orgs"], welcome["clicks"], welcome["conversions"]) == (3, 1, 3, 2)
    assert (welcome["click_rate"], welcome["conversion_rate"]) == (1.0, 2 / 3)
    webinar = found[7, "webinar", "email"]
    assert webinar["influenced_revenue_usd"] == Decimal("33.333333") + Decimal("10.5")
    assert (webinar["clicks"], webinar["conversions"], webinar["conversions_without_click"]) == (0, 1, 1)
    assert found[7, "welcome", "ads"]["influenced_revenue_usd"] == Decimal("-0.000003")
    assert found[7, "welcome", "ads"]["conversions_without_click"] == 0
    assert found[7, None, "ads"]["influenced_revenue_usd"] == 0
    assert (found[8, "webinar", "email"]["conversions"], found[8, "webinar", "email"]["conversion_rate"]) == (0, 0.0)
    assert len(rows) == 5
