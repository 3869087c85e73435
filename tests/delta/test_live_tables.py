"""The tables of this minute: windows, recent events, and how little is written to keep them so."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from cloudlake.alerts import judging as alerts
from cloudlake.common import live
from cloudlake.common.config import Config
from cloudlake.common.contracts.schemas import arrow_schema, spark_schema
from cloudlake.common.scd2 import join_as_of
from cloudlake.serving import live_customers, live_org_daily_usage, live_usage_windows
from cloudlake.serving.customer_live import CUSTOMERS
from cloudlake.serving.customer_live import TABLE as CUSTOMER_LIVE
from cloudlake.serving.publication import publish
from cloudlake.serving.served import SERVED, serve
from cloudlake.streaming.recent_events import RECENT, refresh_recent_events
from live_lake import NOW, commit, event, opened, spread, write_masters
from oracle import assert_same
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

HOURS = 24


def windows_by_hand(events: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[int, Decimal]]:
    """Each event counted in the four windows that hold its quarter of an hour, windows of the last 24 hours only."""
    quarter = timedelta(minutes=15)
    found: dict[tuple[Any, ...], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    buckets = [(e["event_time"] - (e["event_time"] - NOW) % quarter, e) for e in events]
    newest = max(bucket for bucket, _ in buckets)
    for bucket, row in buckets:
        for step in range(4):
            start = bucket - step * quarter
            if start > newest - timedelta(hours=HOURS):
                number, cost = found[start, row["org_id"], row["service"]]
                found[start, row["org_id"], row["service"]] = (number + 1, cost + row["cost_usd"])
    return found


def assert_windows_are(config: Config, events: list[dict[str, Any]]) -> None:
    rows = config.lake.rows(live.WINDOWS)
    found = {(r["window_start"], r["org_id"], r["service"]): (r["events"], r["cost_usd"]) for r in rows}
    assert found == windows_by_hand(events)
    assert {row["window_end"] - row["window_start"] for row in rows} == {timedelta(hours=1)}
    served = config.lake.read_small(live.WINDOWS)
    assert_same(live_usage_windows(config), served, list(config.registry[live.WINDOWS].key), "the live read")


def test_windows_and_days_follow_the_increments_and_only_what_changed_is_written(tmp_path: Path) -> None:
    config = opened(tmp_path)
    for table in SERVED:
        assert serve(config, table, "r").rows_out == 0, "nothing has come yet"
    events = spread(300, hours=30)
    commit(config, 1, events[:200])
    commit(config, 2, events[200:])
    for table in SERVED:
        assert serve(config, table, "r").rows_out == config.lake.read_small(table).num_rows
    assert_windows_are(config, events)

    versions = {table: config.lake.version(table) for table in SERVED}
    assert all(serve(config, table, "r").skipped for table in SERVED)
    assert {table: config.lake.version(table) for table in SERVED} == versions, "nothing new commits nothing"

    late = [event(900, NOW - timedelta(hours=3), "0.25"), event(901, NOW - timedelta(days=40), "7")]
    commit(config, 3, late)
    assert serve(config, live.WINDOWS, "r").rows_out == 4, "one late event stands in four windows"
    assert serve(config, live.DAILY, "r").rows_out == 2
    assert config.lake.last_note(live.DAILY)["served"] == 3
    found = config.lake.dataset(live.DAILY).to_table(filter=pc.field("org_id") == "org_1")
    assert found.num_rows, "what was changed can be searched by those who read without Spark"
    assert_windows_are(config, [*events, *late])

    newer = [event(902, NOW + timedelta(hours=2), "1")]
    commit(config, 4, newer)
    done = serve(config, live.WINDOWS, "r")
    assert done.rows_out == 4 and "left" in done.message, "two hours of windows have left"
    assert_windows_are(config, [*events, *late, *newer])
    assert serve(config, live.DAILY, "r").rows_out == 1
    served = config.lake.read_small(live.DAILY)
    assert_same(live_org_daily_usage(config), served, ["org_id", "usage_date", "service"], "the live read")
    assert sum(row["cost_usd"] for row in served.to_pylist()) == sum(
        row["cost_usd"] for row in [*events, *late, *newer]
    )


def recent_by_spark(spark: SparkSession, config: Config) -> pa.Table:
    """speed.recent_events computed by the history engine's own join."""
    events = config.lake.read(spark, "silver.usage_events")
    newest = events.agg(F.max("event_time")).collect()[0][0]
    orgs = config.lake.read(spark, "silver.customers_orgs").select(
        "org_id", "org_name", "industry", "plan_tier", "effective_from", "effective_to", "is_deleted"
    )
    resources = config.lake.read(spark, "silver.resources").select(
        "resource_id", F.col("state").alias("resource_state"), F.col("tags").alias("resource_tags"),
        "effective_from", "effective_to", "is_deleted",
    )  # fmt: skip
    recent = events.where(F.col("event_time") >= F.lit(newest - timedelta(hours=HOURS)))
    named = join_as_of(recent, orgs, "org_id", "event_time").drop("effective_from", "effective_to", "is_deleted")
    rows = join_as_of(named, resources, "resource_id", "event_time").withColumn(
        "cost_per_unit_usd", F.expr("round(cost_usd / nullif(value, 0), 6)")
    )
    schema = spark_schema(config.registry[RECENT])
    return rows.select(*(F.col(f.name).cast(f.dataType).alias(f.name) for f in schema.fields)).toArrow()


def test_recent_events_are_silvers_last_day_with_what_was_known_then(spark: SparkSession, tmp_path: Path) -> None:
    config = opened(tmp_path)
    assert not refresh_recent_events(config, "r"), "nothing has come yet"
    events = spread(200, hours=40, cost="1.000003")
    edge = [
        event(700, NOW - timedelta(hours=HOURS), "1"),
        event(701, NOW - timedelta(hours=HOURS, microseconds=1), "1"),
        event(702, NOW, "-0.000005", value=Decimal(2)),
        event(703, NOW, "0.000005", value=Decimal(2)),
        event(704, NOW, "1", value=None),
        event(705, NOW - timedelta(hours=6), "999999999999.999999", value=Decimal("0.000001")),
        event(706, NOW - timedelta(days=400), "1"),
    ]
    commit(config, 1, [*events, *edge])
    assert refresh_recent_events(config, "r"), "masters that have not come yet know nobody"
    assert {row["org_name"] for row in config.lake.rows(RECENT)} == {None}
    write_masters(config, changed_at=NOW - timedelta(hours=6))
    assert refresh_recent_events(config, "r")
    expected = recent_by_spark(spark, config)
    found = config.lake.read_small(RECENT)
    assert_same(found, expected, ["event_id", "usage_date"], RECENT)
    rows = {row["event_id"]: row for row in found.to_pylist()}
    assert "evt_700" in rows and "evt_701" not in rows and "evt_706" not in rows
    assert {row["org_name"] for row in rows.values()} == {"Old", "New", "One", None}
    assert {row["resource_state"] for row in rows.values()} == {"running", "stopped", None}
    assert rows["evt_702"]["cost_per_unit_usd"] == Decimal("-0.000003") == -rows["evt_703"]["cost_per_unit_usd"]
    assert rows["evt_704"]["cost_per_unit_usd"] is None
    assert rows["evt_705"]["plan_tier"] == "pro", "the new version holds from its very start"

    before = config.lake.version(RECENT)
    assert not refresh_recent_events(config, "r")
    assert config.lake.version(RECENT) == before
    commit(config, 2, [event(800, NOW + timedelta(hours=20), "1")])
    assert refresh_recent_events(config, "r")
    left = {row["event_time"] for row in config.lake.rows(RECENT)}
    assert min(left) >= NOW - timedelta(hours=4), "what is older than a day before the newest event has left"


def test_a_served_table_of_an_earlier_contract_is_brought_to_the_new_one(tmp_path: Path) -> None:
    config = opened(tmp_path)
    table = config.registry[live.DAILY]
    names = [name for name in reversed(table.column_names) if name != "events_without_value"]
    earlier = table.model_copy(update={"columns": {name: table.columns[name] for name in names}})
    config.lake.create(earlier)
    commit(config, 1, [event(0, NOW, "1.5"), event(1, NOW, "2.5")])
    first = dict.fromkeys(names) | {"org_id": "org_0", "usage_date": NOW.date(), "service": "genai"}
    config.lake.append_small([first], earlier)
    assert serve(config, live.DAILY, "r").rows_out == 2
    assert config.lake.read_small(live.DAILY).column_names == table.column_names
    assert_same(config.lake.read_small(live.DAILY), live_org_daily_usage(config), list(table.key), "the live read")

    recent = config.registry[RECENT]
    fewer = {name: column for name, column in recent.columns.items() if name not in ("event_id", "load_id")}
    config.lake.create(recent.model_copy(update={"columns": fewer}))
    assert refresh_recent_events(config, "r")
    assert config.lake.read_small(RECENT).column_names == recent.column_names


def customer(org: str, **changes: Any) -> dict[str, Any]:
    """A row of gold.customer_360."""
    part = {"name": "usage", "score": Decimal(50), "weight": 25, "contribution": Decimal("1.5"), "why": "as ever"}
    return {
        "org_id": org,
        "org_name": f"{org} Ltd",
        "resources_by_state": [("running", 3), ("stopped", 1)],
        "health_score": Decimal("71.5"),
        "health_components": [part, part | {"name": "billing", "score": None, "contribution": None}],
        "contradictions": ["free_plan_with_revenue"],
    } | changes


def test_a_customers_line_follows_publications_events_and_alerts(tmp_path: Path) -> None:
    config = opened(tmp_path)
    published_360, table = config.registry[CUSTOMERS], CUSTOMER_LIVE

    def publish_customers(*rows: dict[str, Any]) -> None:
        config.lake.create(published_360)
        rows_ = pa.Table.from_pylist(list(rows), schema=arrow_schema(published_360))
        config.lake.replace_small(rows_, published_360, note={"run_id": "r", "load_id": 0})
        publish(config, "r")

    def lines() -> dict[str, tuple[Any, ...]]:
        names = ("newest_date", "newest_cost_usd", "newest_events", "open_alerts")
        return {row["org_id"]: tuple(row[name] for name in names) for row in config.lake.rows(table)}

    publish_customers(customer("org_0"), customer("org_9"))
    assert serve(config, table, "r").rows_out == 2
    assert lines()["org_0"] == (None, 0, 0, 0), "nothing has been used yet"
    commit(config, 1, [event(0, NOW, "1.5"), event(3, NOW, "2"), event(6, NOW - timedelta(days=1), "50")])
    assert serve(config, table, "r").rows_out == 2
    assert lines() == {"org_0": (NOW.date(), Decimal("3.5"), 2, 0), "org_9": (NOW.date(), 0, 0, 0)}
    assert serve(config, table, "r").skipped
    commit(config, 2, [event(9, NOW, "900")])
    alerts.judge(config, "r", NOW)
    assert serve(config, table, "r").rows_out == 1, "only the organisation concerned is written"
    assert lines()["org_0"] == (NOW.date(), Decimal("903.5"), 3, 2)
    publish_customers(customer("org_9", resources_by_state=[("running", 4)]))
    assert serve(config, table, "r").rows_out == 1
    (row,) = config.lake.rows(table)
    assert row == customer("org_9", resources_by_state=[("running", 4)]) | {
        name: row[name] for name in row if name not in customer("org_9")
    }
    assert_same(live_customers(config), config.lake.read_small(table), ["org_id"], "the live read")
