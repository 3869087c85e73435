"""The served answer read live, without Spark: the published batch view plus the increments after its load_id."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from ..common.config import Config
from .publish import published
from .serving_layer import BATCH_VIEW, SPEED_VIEW

_SQL = """
WITH both_views AS (
    SELECT org_id, usage_date, service, {measures}, 0 AS speed_events FROM batch
    UNION ALL BY NAME
    SELECT org_id, CAST(bucket_start AT TIME ZONE 'UTC' AS DATE) AS usage_date, service, {measures}, events AS speed_events
    FROM speed
)
SELECT {columns} FROM (
    SELECT org_id, usage_date, service, {sums}, CAST(sum(speed_events) AS BIGINT) AS speed_events
    FROM both_views GROUP BY ALL
) ORDER BY org_id, usage_date, service
"""


def live_org_daily_usage(config: Config) -> pa.Table:
    """Return serving.org_daily_usage as of this moment: same grain, columns and digits as the served table.

    L is taken first, then the increments: what a micro-batch adds in between is counted once.
    """
    publication = published(config.lake)
    load_id = publication.load_id(BATCH_VIEW)
    contract = config.registry["serving.org_daily_usage"]
    measures = {n: c.type for n, c in contract.columns.items() if n not in (*contract.key, "speed_events")}
    sums = ", ".join(f"CAST(sum({name}) AS {kind}) AS {name}" for name, kind in measures.items())
    for name in (BATCH_VIEW, SPEED_VIEW):
        config.lake.create(config.registry[name])
    views = {
        "batch": config.lake.read_small(BATCH_VIEW, publication.version(BATCH_VIEW) or 0),
        "speed": config.lake.read_small(SPEED_VIEW, filters=[("load_id", ">", load_id)]),
    }
    with duckdb.connect() as connection:
        for name, rows in views.items():
            connection.register(name, rows)
        query = _SQL.format(measures=", ".join(measures), sums=sums, columns=", ".join(contract.column_names))
        return connection.sql(query).to_arrow_table()
