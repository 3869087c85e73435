"""What a run rebuilds of a mart: nothing, some days or months, or all; found in Delta tables, without Spark."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cloudlake.batch import gold_build as gold_aggregation
from cloudlake.batch.gold import Mart, marts_of, months_later
from cloudlake.batch.gold_refresh import note_of, plan
from cloudlake.common.config import Config, load_config
from cloudlake.common.contracts.table import Touch
from cloudlake.common.steps import Expected
from deltalake import DeltaTable, write_deltalake

EVENTS, DAILY, BY_SERVICE = "silver.usage_events", "gold.usage_daily", "gold.org_daily_usage_by_service"
ANOMALIES = "gold.cost_anomalies"
REVENUE, INVOICES = "gold.revenue_by_org_month", "silver.billing_monthly"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(lake=str(tmp_path / "lake"), landing=str(tmp_path))


def append(config: Config, table: str, rows: list[dict[str, Any]], note: dict[str, Any] | None = None) -> None:
    config.lake.append_small(rows, config.registry[table], note)


def daily(day: str, cost: int = 1) -> dict[str, Any]:
    return {"usage_date": date.fromisoformat(day), "org_id": "o", "service": "s", "region": "r", "events": 1, "cost_usd": Decimal(cost)}  # fmt: skip


def built(config: Config, mart: str, **more: Any) -> None:
    """Pretend that a run has built the mart from its inputs as they are."""
    config.lake.create(config.registry[mart])
    write_deltalake(
        config.lake.path(mart), DeltaTable(config.lake.path(mart)).to_pyarrow_table(), mode="append",
        commit_properties=_noted(note_of(config, config.registry[mart], {}) | more),
    )  # fmt: skip


def _noted(note: dict[str, Any]) -> Any:
    import json

    from deltalake import CommitProperties

    return CommitProperties(custom_metadata={"userMetadata": json.dumps(note)})


def planned(config: Config, mart: str, expected: Expected | None = None, **more: Any) -> Any:
    table = config.registry[mart]
    return plan(config, table, config.lake.last_note(mart), note_of(config, table, {}) | more, expected)


def test_a_mart_is_built_whole_once_and_then_by_the_days_that_changed(config: Config) -> None:
    append(config, DAILY, [daily("2025-07-01"), daily("2025-07-02")])
    assert planned(config, BY_SERVICE).parts is None
    built(config, BY_SERVICE)
    assert planned(config, BY_SERVICE).is_nothing
    append(config, DAILY, [daily("2025-07-09")])
    append(config, DAILY, [daily("2025-07-02", cost=5)])
    found = planned(config, BY_SERVICE)
    assert found.parts == {date(2025, 7, 2), date(2025, 7, 9)} and "gold.usage_daily changed" in found.reason


def test_rows_that_are_only_written_anew_rebuild_nothing(config: Config) -> None:
    append(config, DAILY, [daily("2025-07-01"), daily("2025-07-02")])
    append(config, DAILY, [daily("2025-07-03")])
    built(config, BY_SERVICE)
    table = DeltaTable(config.lake.path(DAILY))
    assert table.optimize.compact()["numFilesRemoved"] == 2
    assert planned(config, BY_SERVICE).is_nothing
    table.update({"cost_usd": "CAST(9 AS DECIMAL(28,6))"}, predicate="usage_date = DATE '2025-07-02'")
    assert planned(config, BY_SERVICE).parts == {date(2025, 7, 2)}


def test_a_removed_row_rebuilds_the_day_it_was_of(config: Config) -> None:
    append(config, DAILY, [daily("2025-07-01"), daily("2025-07-02")])
    built(config, BY_SERVICE)
    DeltaTable(config.lake.path(DAILY)).delete("usage_date = DATE '2025-07-01'")
    assert planned(config, BY_SERVICE).parts == {date(2025, 7, 1)}


def test_a_mart_is_rebuilt_whole_where_what_changed_cannot_be_told(config: Config) -> None:
    append(config, DAILY, [daily("2025-07-01")])
    built(config, BY_SERVICE)
    DeltaTable(config.lake.path(DAILY)).delete("usage_date = DATE '2025-07-01'")
    for file in Path(config.lake.path(DAILY)).glob("*.parquet"):
        file.unlink()
    assert planned(config, BY_SERVICE).parts is None
    built(config, BY_SERVICE, fingerprint="another contract")
    assert planned(config, BY_SERVICE).reason == "its contract, a setting or the code changed"


def test_a_month_is_rebuilt_with_the_one_that_grows_from_it(config: Config) -> None:
    config.lake.create(config.registry[INVOICES])
    built(config, REVENUE)
    append(config, INVOICES, [{"invoice_id": "i", "org_id": "o", "month": date(2025, 12, 1)}])
    assert planned(config, REVENUE).parts == {date(2025, 12, 1), date(2026, 1, 1)}


def test_a_mart_of_two_split_inputs_is_rebuilt_where_either_moved(config: Config) -> None:
    """And a day of the costs with the days of whose baseline it is a part."""
    config.lake.create(config.registry[EVENTS])
    append(config, BY_SERVICE, [daily("2025-06-01")])
    built(config, ANOMALIES)
    late = {"event_id": "e", "usage_date": date(2025, 3, 1), "load_id": 1}
    append(config, EVENTS, [late])
    assert planned(config, ANOMALIES).parts == {date(2025, 3, 1)}
    append(config, BY_SERVICE, [daily("2025-07-01")])
    window = {date(2025, 7, 1) + timedelta(days=step) for step in range(57)}
    assert planned(config, ANOMALIES).parts == {date(2025, 3, 1)} | window


def test_a_first_snapshot_of_users_told_late_rebuilds_what_depends_on_it(config: Config) -> None:
    history = "gold.customer_history"
    for name in config.registry[history].inputs:
        config.lake.create(config.registry[name])
    since = {"as_of": "2025-08-30", "users_since": "2025-08-01"}
    built(config, history, **since)
    assert planned(config, history, **since).is_nothing
    found = planned(config, history, **since | {"users_since": "2025-07-01"})
    assert found.parts is None and found.reason == "first snapshot of users 2025-08-01 → 2025-07-01"


def test_the_business_date_rebuilds_the_marts_that_depend_on_it(config: Config) -> None:
    tickets = "gold.tickets_by_org_date"
    config.lake.create(config.registry["silver.support_tickets"])
    built(config, tickets, as_of="2025-08-30")
    assert planned(config, tickets, as_of="2025-08-30").is_nothing
    assert planned(config, tickets, as_of="2025-08-31").reason == "business date 2025-08-30 → 2025-08-31"


def test_a_dry_run_follows_expected_changes_from_mart_to_mart(config: Config) -> None:
    for name in (EVENTS, DAILY):
        config.lake.create(config.registry[name])
    built(config, DAILY)
    built(config, BY_SERVICE)
    append(config, DAILY, [daily("2025-07-05")])
    built(config, BY_SERVICE)
    expected: Expected = {EVENTS: {date(2025, 7, 5), date(2025, 7, 6)}}
    told = [gold_aggregation.describe(config, config.registry[name], None, False, expected) for name in (DAILY, BY_SERVICE)]  # fmt: skip
    assert told[0] == "rebuilds 2025-07-05, 2025-07-06, about 1 rows: silver.usage_events changed"
    assert told[1] == "rebuilds 2025-07-05, 2025-07-06, about 0 rows: gold.usage_daily changed"
    assert gold_aggregation.describe(config, config.registry[REVENUE], None, False, {INVOICES: None}).startswith("rebuilds all")  # fmt: skip


def test_what_a_part_needs_is_what_touches_it() -> None:
    days = {date(2025, 3, 30) + timedelta(days=step) for step in range(5)}
    for unit, ahead in (("day", 0), ("day", 56), ("month", 0), ("month", 1)):
        mart = Mart(lambda rows: rows, "usage_date", unit, {"in": Touch(column="usage_date", ahead=ahead)})  # type: ignore[arg-type]
        apart = timedelta(days=40 + ahead * (1 if unit == "day" else 31))
        for day in days:
            own = day if unit == "day" else months_later(day, 0)
            assert all(own in mart.needs("in", {part}, {}) for part in mart.parts("in", {day}, {}))
            assert own not in mart.needs("in", {max(mart.parts("in", {day}, {})) + apart}, {})


def test_each_split_mart_names_its_own_date_and_its_inputs_dates() -> None:
    registry = load_config().registry
    for name, mart in marts_of(registry).items():
        assert not mart.part or registry[name].columns[mart.part].type == "date", name
        assert set(mart.touches) <= set(registry[name].inputs), name
        assert all(registry[source].columns[touch.column].type == "date" for source, touch in mart.touches.items())
