"""Anomalies and spikes on hand-made rows: limits, windows, ties, one observation, what cannot be judged."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from cloudlake.alerts.rules import AnomalyTest
from cloudlake.batch.gold import anomalies, mart_of
from cloudlake.common.config import load_config
from hand_made import table
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

DAY = date(2025, 8, 20)
EVENTS = (
    "event_id string, event_time timestamp, usage_date date, org_id string, resource_id string, service string, "
    "region string, metric string, cost_usd decimal(18,6), _source_file string"
)


def parameters(mart: str) -> dict[str, Any]:
    return load_config().registry[mart].parameters


def test_a_cost_is_an_anomaly_only_by_all_three_limits_over_its_own_past(spark: SparkSession) -> None:
    def past(org: str, days: list[int], *costs: str) -> list[tuple[Any, ...]]:
        each = costs * len(days) if len(costs) == 1 else costs
        return [(org, DAY - timedelta(days=back), "compute", cost) for back, cost in zip(days, each, strict=True)]

    week = list(range(1, 8))
    rows = [
        *past("at the limits", week, "5"), ("at the limits", DAY, "compute", "15"),
        *past("cheap", week, "1"), ("cheap", DAY, "compute", "10.999999"),
        *past("dear", week, "6"), ("dear", DAY, "compute", "17.999999"),
        # Differences of 2 from the median: 0.6745 × 17.790956 is not above 6 × 2, 0.6745 × 17.790957 is.
        *past("wild", [*week, 8], "1", "1", "1", "1", "5", "5", "5", "5"), ("wild", DAY, "compute", "20.790956"),
        *past("wilder", [*week, 8], "1", "1", "1", "1", "5", "5", "5", "5"), ("wilder", DAY, "compute", "20.790957"),
        *past("six before", week[:6], "1"), ("six before", DAY, "compute", "1000"),
        *past("other service", week, "1"), ("other service", DAY, "genai", "1000"),
        *past("broad", week, "1"), ("broad", DAY, "compute", "90"),
        ("first", DAY, "compute", "1000"),
        *past("window", [50, 51, 52, 53, 54, 55, 56], "1"), *past("window", [57], "1000"), ("window", DAY, "compute", "2"),
        *past("newest", list(range(1, 29)), "1"), *past("newest", list(range(29, 41)), "1000"), ("newest", DAY, "compute", "2"),
        *past("even", [*week, 8], *["1.000001"] * 4, *["1.000002"] * 4), ("even", DAY, "compute", "1"),
    ]  # fmt: skip
    lines = [
        # Exactly half of the cost is enough; of two dearest events the smaller id is named.
        ("e2", None, DAY, "at the limits", "r1", "compute", "us-east", "requests", "7.5", "f"),
        ("e1", None, DAY, "at the limits", None, "compute", "eu-west", "cpu_hours", "7.5", "f"),
        ("e3", None, DAY, "at the limits", "r1", "genai", "us-east", "requests", "99", "f"),
        ("e4", None, DAY, "wilder", "r2", "compute", "us-east", "requests", "10.395478", "f"),
        ("e5", None, DAY, "wilder", "r3", "compute", "us-east", "requests", "10.395479", "f"),
        ("b1", None, DAY, "broad", "r1", "compute", "us-east", "requests", "30", "f"),
        ("b2", None, DAY, "broad", "r2", "compute", "eu-west", "requests", "30", "f"),
        ("b3", None, DAY, "broad", "r3", "compute", "eu-west", "requests", "30", "f"),
        ("e6", None, DAY, "cheap", "r3", "compute", "us-east", "requests", "10.999999", "f"),
    ]
    mart = anomalies.cost_anomalies(
        table(spark, "org_id string, usage_date date, service string, cost_usd decimal(28,6)", rows),
        table(spark, EVENTS, lines),
        **parameters("gold.cost_anomalies"),
    )
    all_rows = mart.collect()
    assert len(all_rows) == len(rows)
    found = {row["org_id"]: row for row in all_rows if row["usage_date"] == DAY}
    assert {org for org, row in found.items() if row["is_anomaly"]} == {"at the limits", "wilder", "broad"}

    limit = found["at the limits"]
    assert (limit["baseline_days"], limit["expected_usd"], limit["mad_usd"], limit["impact_usd"]) == (
        7,
        5,
        Decimal("0.01"),
        10,
    )
    assert (limit["mad_score"], limit["z_score"], limit["above_p99"]) == (674.5, None, True)
    assert (limit["cause"], limit["single_event_id"]) == ("single_event", "e1")
    assert limit["drivers"] == [
        Row(dimension="metric", value="cpu_hours", cost_usd=Decimal("7.5")),
        Row(dimension="metric", value="requests", cost_usd=Decimal("7.5")),
        Row(dimension="region", value="eu-west", cost_usd=Decimal("7.5")),
    ]
    wilder = found["wilder"]
    assert (wilder["expected_usd"], wilder["mad_usd"], wilder["cause"]) == (3, 2, "single_event")
    assert wilder["single_event_id"] == "e5"
    assert [(d["dimension"], d["value"]) for d in wilder["drivers"]] == [
        ("metric", "requests"),
        ("region", "us-east"),
        ("resource_id", "r3"),
    ]
    assert abs(wilder["z_score"] - 17.790957 / (32 / 7) ** 0.5) < 1e-9
    broad = found["broad"]
    assert (broad["cause"], broad["single_event_id"]) == ("broad", None)
    assert [tuple(driver) for driver in broad["drivers"]] == [
        ("metric", "requests", 90),
        ("region", "eu-west", 60),
        ("region", "us-east", 30),
    ]
    unexplained = ("cause", "single_event_id", "drivers")
    assert [found["cheap"][name] for name in unexplained] == [None] * 3

    judged = ("expected_usd", "mad_usd", "impact_usd", "mad_score", "z_score", "above_p99", *unexplained)
    for org, baseline in (("six before", 6), ("other service", 0), ("first", 0)):
        assert found[org]["baseline_days"] == baseline and found[org]["is_anomaly"] is False
        assert [found[org][name] for name in judged] == [None] * len(judged), org
    assert (found["window"]["baseline_days"], found["window"]["expected_usd"]) == (7, 1)
    assert (found["newest"]["baseline_days"], found["newest"]["expected_usd"]) == (28, 1)
    test = AnomalyTest.of(parameters("gold.cost_anomalies"))  # the stream's rule judges the same rows likewise
    learned = [row for row in all_rows if row["expected_usd"] is not None]
    told = [test.holds(row["cost_usd"], row["expected_usd"], row["mad_usd"]) for row in learned]
    assert len(learned) > 10 and told == [row["is_anomaly"] for row in learned]
    even = found["even"]
    assert (even["expected_usd"], even["above_p99"]) == (Decimal("1.000002"), False)
    assert even["mad_usd"] == Decimal("0.01") and even["impact_usd"] == Decimal("-0.000002")


def test_a_spike_costs_far_more_than_its_like_in_that_month(spark: SparkSession) -> None:
    def line(event: str, day: str, cost: str, service: str = "compute", resource: str | None = "r1") -> tuple[Any, ...]:
        return (event, f"{day}T10:00:00Z", day, "o1", resource, service, "us-east", "requests", cost, "file")

    rows = [
        # The mean of the middle two is 3.0000005.
        line("a", "2025-07-01", "2"), line("b", "2025-07-02", "3"), line("c", "2025-07-03", "3.000001"),
        line("even", "2025-07-31", "40"),
        # Median 3: 15 is five times that and no more, 15.000001 is a spike.
        line("e", "2025-08-01", "3"), line("f", "2025-08-01", "3"), line("g", "2025-08-01", "3"),
        line("five times", "2025-08-02", "15"), line("spike", "2025-08-02", "15.000001", resource=None),
        # Median 0.1: far more, but not by ten dollars.
        line("h", "2025-08-01", "0.1", "genai"), line("i", "2025-08-01", "0.1", "genai"),
        line("ten above", "2025-08-01", "10.1", "genai"), line("nearly ten", "2025-08-01", "10.099999", "genai"),
        line("j", "2025-08-01", "0.1", "genai"),
        line("alone", "2025-09-01", "1000"),
    ]  # fmt: skip
    found = {
        row["event_id"]: row
        for row in anomalies.cost_spikes(table(spark, EVENTS, rows), **parameters("gold.cost_spikes")).collect()
    }
    assert set(found) == {"even", "spike", "ten above"}
    assert (found["even"]["median_usd"], found["even"]["excess_usd"]) == (Decimal("3.000001"), Decimal("36.999999"))
    spike = found["spike"]
    assert (spike["month"], spike["median_usd"], spike["excess_usd"]) == (date(2025, 8, 1), 3, Decimal("12.000001"))
    assert (spike["org_id"], spike["resource_id"], spike["source_file"]) == ("o1", None, "file")
    assert found["ten above"]["excess_usd"] == 10


def test_one_late_event_rebuilds_the_days_whose_baseline_it_is_part_of(spark: SparkSession) -> None:
    """The mart with only the parts that the plan names rebuilt equals the mart rebuilt whole."""
    mart, source = mart_of(load_config().registry["gold.cost_anomalies"]), "gold.org_daily_usage_by_service"
    wanted = parameters("gold.cost_anomalies")
    late = DAY - timedelta(days=9)
    days = [DAY - timedelta(days=back) for back in range(60)]
    rows = [("o", day, "compute", str(1 + day.day)) for day in days if day != late]
    columns = "org_id string, usage_date date, service string, cost_usd decimal(28,6)"
    before, after = (table(spark, columns, [*rows, *more]) for more in ([], [("o", late, "compute", "900")]))
    nothing = table(spark, EVENTS, [])

    def told(daily: DataFrame) -> dict[date, Row]:
        return {row["usage_date"]: row for row in anomalies.cost_anomalies(daily, nothing, **wanted).collect()}

    parts = mart.parts(source, {late}, wanted)
    needed = mart.needs(source, parts, wanted)
    rebuilt = told(after.where(F.col("usage_date").isin(sorted(needed))))
    whole, kept = told(after), told(before)
    assert kept | {day: row for day, row in rebuilt.items() if day in parts} == whole
    assert {day for day in whole if whole[day] != kept.get(day)} > {late, DAY}
