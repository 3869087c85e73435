"""speed.recent_events: the newest events with what was known about them at their time.

A function of silver alone, computed anew from it, without Spark: whatever a crash or a replay left behind, the next
refresh makes it right, and a micro-batch need not wait for it.
"""

from __future__ import annotations

from datetime import date, timedelta

from ..common import live
from ..common.config import Config
from ..common.lake.duck import connected, view_files
from ..common.lake.provenance import MadeFrom, Pins
from ..common.names import EVENTS

RECENT = "speed.recent_events"
ORGS, RESOURCES = "silver.customers_orgs", "silver.resources"

_IN_FORCE = """
    {version}.effective_from <= event.event_time
    AND ({version}.effective_to IS NULL OR event.event_time < {version}.effective_to)
    AND NOT {version}.is_deleted
"""


def _micro(column: str) -> str:
    """Return the SQL of an amount of up to 14 digits before the point as a whole number of millionths."""
    return f"CAST(CAST({column} AS DECIMAL(38, 6)) * 1000000 AS HUGEINT)"


# cost ÷ value in whole micro-dollars, rounded half away from zero; a value is never negative.
_COST_PER_UNIT = """
CAST(CAST(
    sign(event.cost_usd) * ((2 * abs(micro_cost) * 1000000 + micro_value) // (2 * nullif(micro_value, 0)))
AS DECIMAL(28, 0)) * CAST(0.000001 AS DECIMAL(6, 6)) AS DECIMAL(28, 6))
"""
# What no version covers is NULL, never a second row: common.scd2.join_as_of says the same for Spark.
_RECENT = f"""
WITH newest AS (SELECT max(event_time) AS event_time FROM events),
event AS (
    SELECT events.*, {_micro("cost_usd")} AS micro_cost, {_micro("value")} AS micro_value
    FROM events, newest WHERE events.event_time >= newest.event_time - to_hours({{hours}})
)
SELECT
    event.* EXCLUDE (micro_cost, micro_value), CAST(event.event_time AS DATE) AS usage_date,
    org.org_name, org.industry, org.plan_tier,
    resource.state AS resource_state, resource.tags AS resource_tags,
    {_COST_PER_UNIT} AS cost_per_unit_usd
FROM event
LEFT JOIN orgs AS org ON org.org_id = event.org_id AND {_IN_FORCE.format(version="org")}
LEFT JOIN resources AS resource ON resource.resource_id = event.resource_id AND {_IN_FORCE.format(version="resource")}
"""


def refresh_recent_events(config: Config, run_id: str) -> bool:
    """Bring speed.recent_events to silver and its masters as they are now, in one commit; none where nothing is new."""
    lake, contract = config.lake, config.registry[RECENT]
    pins = Pins.of(lake, (EVENTS, ORGS, RESOURCES))
    made_from = MadeFrom(pins.versions, {"hours": config.stream.live.hours})
    if made_from.holds(lake.last_note(RECENT)):
        return False
    files = _recent_files(config, pins[EVENTS])
    if not files:
        return False
    masters = {"orgs": ORGS, "resources": RESOURCES}
    views = {name: live.read_pinned(config, table, pins[table]) for name, table in masters.items()}
    with connected(**views) as connection:
        view_files(connection, "events", files)
        sql = f"SELECT {', '.join(contract.columns)} FROM ({_RECENT.format(hours=config.stream.live.hours)})"
        rows = connection.sql(sql).to_arrow_reader(100_000)
        lake.create(contract)
        lake.replace_small(rows, contract, note={**made_from.note, "run_id": run_id})
    return True


def _recent_files(config: Config, version: int) -> list[str]:
    """Return the files of the dates that the last hours before the newest event can lie on."""
    if version < 0:
        return []
    days = [date.fromisoformat(text) for text in config.lake.partition_values(EVENTS, "usage_date", version)]
    if not days:
        return []
    first = max(days) - timedelta(days=-(-config.stream.live.hours // 24))
    return config.lake.files(EVENTS, version, ("usage_date", [str(day) for day in days if day >= first]))
