"""This minute's usage without Spark: DuckDB over the published batch view and the increments that came after it.

One definition for its three users: the served tables, readers of the live answer, and the alert rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa

from .config import Config
from .contracts.arrow_room import arrow_in_declared_types
from .contracts.schemas import arrow_schema, as_declared
from .contracts.table import Table
from .lake.duck import connected
from .lake.provenance import Pins
from .names import INCREMENTS as SPEED_VIEW
from .publication import Publication, published
from .usage.sums import MEASURES

BATCH_VIEW = "gold.org_daily_usage_by_service"
DAILY = "serving.org_daily_usage"
WINDOWS = "serving.usage_windows"

_DAILY = """
WITH both_views AS (
    SELECT org_id, usage_date, service, {measures}, 0 AS speed_events FROM {batch}
    UNION ALL BY NAME
    SELECT org_id, CAST(bucket_start AS DATE) AS usage_date, service, {measures}, events AS speed_events FROM {speed}
)
SELECT org_id, usage_date, service, {sums}, CAST(sum(speed_events) AS BIGINT) AS speed_events
FROM both_views GROUP BY ALL ORDER BY org_id, usage_date, service
"""
_WINDOWS = """
SELECT make_timestamp(start) AS window_start, make_timestamp(start + {length}) AS window_end, org_id, service, {sums}
FROM (SELECT *, epoch_us(bucket_start) // {slide} * {slide} - step * {slide} AS start FROM {speed}, range({steps}) AS s(step))
WHERE start > {newest} - {span}
GROUP BY ALL ORDER BY window_start, org_id, service
"""
_MINUTE = 60_000_000


@dataclass(frozen=True)
class LivePins(Pins):
    """The state of both views that an answer is computed from: gold's published version, the increments' version, and L."""

    load_id: int

    def __str__(self) -> str:
        return f"load {self.load_id}, {super().__str__()}"


def pin(config: Config) -> LivePins:
    """Return the state of both views now; L is taken before the increments, so nothing in between counts twice."""
    return pin_of(config, published(config.lake))


def pin_of(config: Config, publication: Publication) -> LivePins:
    """Return the state of both views where a publication is in force; the increments' is that of now."""
    version = publication.version(BATCH_VIEW)
    load_id = publication.load_id(BATCH_VIEW)
    versions = {BATCH_VIEW: -1 if version is None else version, SPEED_VIEW: config.lake.version(SPEED_VIEW)}
    return LivePins(versions, load_id)


def served_up_to(config: Config, pins: LivePins) -> int:
    """Return S: the larger of L and the newest load_id whose increments are committed."""
    return max(pins.load_id, int(_newest(config, pins, "load_id") or 0))


def newest_bucket(config: Config, pins: LivePins) -> datetime | None:
    """Return the start of the newest quarter of an hour with events, None where there are no increments."""
    newest: datetime | None = _newest(config, pins, "bucket_start")
    return newest


def newest_date(config: Config, pins: LivePins) -> date | None:
    """Return the newest date with usage in either view, None where there is none."""
    batch = None if pins[BATCH_VIEW] < 0 else config.lake.newest(BATCH_VIEW, "usage_date", pins[BATCH_VIEW])
    bucket = newest_bucket(config, pins)
    return max((day for day in (batch, bucket and bucket.date()) if day), default=None)


def _newest(config: Config, pins: LivePins, column: str) -> Any:
    return None if pins[SPEED_VIEW] < 0 else config.lake.newest(SPEED_VIEW, column, pins[SPEED_VIEW])


def read_pinned(config: Config, table: str, version: int, filters: Sequence[tuple[str, str, Any]] = ()) -> pa.Table:
    """Return the rows of a small table at a version that satisfy the filters; none where the version is -1."""
    contract = config.registry[table]
    if version < 0:
        return arrow_schema(contract).empty_table()
    return as_declared(config.lake.read_small(table, version, filters=filters), contract)


def answer(table: Table, sql: str, views: Mapping[str, pa.Table]) -> pa.Table:
    """Compute a table from small views with DuckDB, in UTC, and bring it to the columns of its contract.

    Raises:
        QualityGateError: a number has no room in its column.
    """
    with connected(**views) as connection:
        found = connection.sql(sql).to_arrow_table()
    return arrow_in_declared_types(found, table)


def org_daily_usage(config: Config, pins: LivePins, since: date | None = None) -> pa.Table:
    """Return serving.org_daily_usage: gold at L plus the increments after L; of the dates from `since`, where given."""
    table = config.registry[DAILY]
    by_date: list[tuple[str, str, Any]] = [("usage_date", ">=", since)] if since else []
    by_load: list[tuple[str, str, Any]] = [("load_id", ">", pins.load_id)]
    if since:
        by_load.append(("bucket_start", ">=", datetime.combine(since, time.min, UTC)))
    views = {
        "batch": read_pinned(config, BATCH_VIEW, pins[BATCH_VIEW], by_date),
        "speed": read_pinned(config, SPEED_VIEW, pins[SPEED_VIEW], by_load),
    }
    return answer(table, daily_sql(table, wide=True), views)


def daily_sql(table: Table, batch: str = "batch", speed: str = "speed", *, wide: bool = False) -> str:
    """Return the SQL of serving.org_daily_usage (`table`) over the batch view and the increments that came after it.

    `wide` sums keep the type that DuckDB adds them in, so that the reader can tell by name what has no room.
    """
    return _DAILY.format(measures=", ".join(MEASURES), sums=_sums(table, wide), batch=batch, speed=speed)


def usage_windows(config: Config, pins: LivePins) -> pa.Table:
    """Return serving.usage_windows: the windows that start in the last hours of event time, from the increments."""
    table = config.registry[WINDOWS]
    newest = newest_bucket(config, pins)
    if newest is None:
        return arrow_schema(table).empty_table()
    since = newest - timedelta(hours=config.stream.live.hours)
    speed = read_pinned(config, SPEED_VIEW, pins[SPEED_VIEW], [("bucket_start", ">", since)])
    return answer(table, windows_sql(config, wide=True), {"speed": speed})


def windows_sql(config: Config, speed: str = "speed", *, wide: bool = False) -> str:
    """Return the SQL of serving.usage_windows over the increments, the newest of them among these; `wide` as above."""
    live = config.stream.live
    return _WINDOWS.format(
        sums=_sums(config.registry[WINDOWS], wide),
        slide=live.slide_minutes * _MINUTE,
        length=live.window_minutes * _MINUTE,
        steps=live.window_minutes // live.slide_minutes,
        newest=f"(SELECT max(epoch_us(bucket_start)) FROM {speed})",
        span=live.hours * 60 * _MINUTE,
        speed=speed,
    )


def _sums(table: Table, wide: bool) -> str:
    if wide:
        return ", ".join(f"sum({name}) AS {name}" for name in MEASURES)
    return ", ".join(f"CAST(sum({name}) AS {table.columns[name].type}) AS {name}" for name in MEASURES)
