"""serving.customer_live: the published customer_360, with the newest day's usage and the open alerts of this minute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa

from ..common import live
from ..common.config import Config
from ..common.publication import published

TABLE = "serving.customer_live"
CUSTOMERS, ALERTS = "gold.customer_360", "speed.alerts"

_SQL = """
WITH usage AS (
    SELECT org_id, sum(cost_usd) AS cost_usd, CAST(sum(events) AS BIGINT) AS events
    FROM {days} WHERE usage_date = {newest} GROUP BY org_id
),
trouble AS (SELECT org_id, count(*) AS alerts FROM {alerts} WHERE status = 'open' GROUP BY org_id)
SELECT customers.*, {newest} AS newest_date,
    coalesce(usage.cost_usd, 0) AS newest_cost_usd, coalesce(usage.events, 0) AS newest_events,
    coalesce(trouble.alerts, 0) AS open_alerts
FROM {customers} AS customers LEFT JOIN usage USING (org_id) LEFT JOIN trouble USING (org_id) ORDER BY org_id
"""


def pin(config: Config) -> live.LivePins:
    """Return the state of the inputs now."""
    usage, version = live.pin(config), published(config.lake).version(CUSTOMERS)
    others = {CUSTOMERS: -1 if version is None else version, ALERTS: config.lake.version(ALERTS)}
    return replace(usage, versions={**usage.versions, **others})


def customer_live(config: Config, pins: live.LivePins) -> pa.Table:
    """Return a row for each customer of the published customer_360."""
    newest = live.newest_date(config, pins)
    days = live.org_daily_usage(config, pins, newest)
    views: dict[str, Any] = {
        "customers": live.read_pinned(config, CUSTOMERS, pins[CUSTOMERS]),
        "alerts": live.read_pinned(config, ALERTS, pins[ALERTS]),
        "days": days,
    }
    return live.answer(config.registry[TABLE], sql(*views), views)


def sql(customers: str, alerts: str, days: str) -> str:
    """Return the SQL of a row for each customer, over customer_360, the alerts and the daily usage.

    The usage is of the newest date, or of more: the newest is looked for.
    """
    newest = f"(SELECT max(usage_date) FROM {days})"
    return _SQL.format(newest=newest, customers=customers, alerts=alerts, days=days)
