"""A small lake that tests damage and have mended: what a run makes of it, and what must be the same afterwards."""

from __future__ import annotations

import json
import shutil

from cloudlake.common.config import Config
from cloudlake.runs import trust
from deltalake import write_deltalake
from flow import cloudlake

MARTS = "gold.usage_daily gold.org_daily_usage_by_service gold.tickets_by_org_date gold.user_activity"
JOBS = f"customers_orgs users support_tickets usage_events {MARTS} serving.org_daily_usage".split()
ANSWERS = (
    "silver.users", "silver.support_tickets", "silver.usage_events", "quarantine.usage_events", "speed.usage_increments",
    "gold.usage_daily", "gold.org_daily_usage_by_service", "gold.tickets_by_org_date", "gold.user_activity", "serving.org_daily_usage",
)  # fmt: skip
APART = {"load_id", "run_id", "_run_id", "_ingested_at", "quarantined_at", "resolved_at", "speed_events"}


def run(config: Config, *arguments: str) -> int:
    jobs = arguments or ("--jobs", *JOBS)
    return cloudlake(config.lake.root, config.landing, "batch", *jobs)


def rows_of(config: Config, name: str) -> list[str]:
    table = config.lake.read_small(name)
    rows = table.select([column for column in table.column_names if column not in APART]).to_pylist()
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)


def remove(config: Config, *names: str) -> None:
    for name in names:
        shutil.rmtree(config.lake.path(name))


def foreign(config: Config, name: str) -> None:
    write_deltalake(config.lake.path(name), config.lake.read_small(name).slice(0, 1), mode="append")


def assert_whole(config: Config, answers: dict[str, list[str]]) -> None:
    for name, rows in answers.items():
        if name != "speed.usage_increments":
            assert rows_of(config, name) == rows, name
    landed = {(r["table"], r["delivery"]): r for r in config.lake.rows("ops.reconciliation")}
    assert all(r["landed"] == r["accepted"] + r["quarantined"] + r["duplicates"] for r in landed.values())
    assert trust.compared(config, trust.watched(config)) == []
