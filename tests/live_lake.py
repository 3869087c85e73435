"""A lake whose speed side is written by hand, without Spark: events, their increments, histories of two masters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from cloudlake.common.config import Config, load_config
from cloudlake.common.receivers import Notifications

ROOT = Path(__file__).resolve().parents[1]
NOW = datetime(2025, 8, 31, 18, tzinfo=UTC)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def opened(folder: Path, **notifications: Any) -> Config:
    """The lake in a folder; `notifications` replaces what conf/lake.yaml says of them."""
    (folder / "landing").mkdir(exist_ok=True)
    config = load_config(str(ROOT / "conf"), str(folder / "lake"), str(folder / "landing"))
    if not notifications:
        return config
    quick = {"attempts": 2, "timeout_seconds": 2, "resend_seconds": 0.5} | notifications
    told = Notifications.model_validate(quick)
    return replace(config, settings=config.settings.model_copy(update={"notifications": told}))


def event(number: int, at: datetime, cost: str, **changes: Any) -> dict[str, Any]:
    """A row of silver.usage_events, of one of three organisations and two services."""
    return {
        "event_id": f"evt_{number}",
        "event_time": at,
        "usage_date": at.date(),
        "org_id": f"org_{number % 3}",
        "resource_id": f"res_{number % 4}" if number % 5 else None,
        "service": ("genai", "compute")[number % 2],
        "region": "us-east",
        "metric": "requests",
        "value": Decimal(number % 7),
        "unit": "count",
        "unit_imputed": False,
        "cost_usd": Decimal(cost),
        "carbon_kg": Decimal("0.5") if number % 2 else None,
        "genai_tokens": None,
        "schema_version": 2,
        "quality_flags": [],
        "_source_file": "x.jsonl",
        "_ingested_at": NOW,
    } | changes


def commit(config: Config, load_id: int, events: Iterable[dict[str, Any]]) -> None:
    """Commit a micro-batch as the stream does: silver, then the increments."""
    rows = [row | {"load_id": load_id} for row in events]
    sums: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        at = row["event_time"]
        bucket = at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)
        total = sums[bucket, row["org_id"], row["service"], row["region"]]
        carbon = row["carbon_kg"]
        total["events"] += 1
        total["cost_usd"] += row["cost_usd"]
        total["requests"] += row["value"] or 0
        total["carbon_kg"] = carbon if total.get("carbon_kg") is None else total["carbon_kg"] + (carbon or 0)
        total["carbon_events"] += carbon is not None
        total["carbon_cost_usd"] += row["cost_usd"] if carbon is not None else 0
        total["events_without_value"] += row["value"] is None
    key = ("bucket_start", "org_id", "service", "region")
    nothing = {"cpu_hours": 0, "storage_gb_hours": 0, "genai_tokens": None}
    increments = [{"load_id": load_id} | dict(zip(key, k, strict=True)) | nothing | v for k, v in sums.items()]
    note = {"load_id": load_id}
    config.lake.append_small(rows, config.registry["silver.usage_events"], note)
    config.lake.append_small(increments, config.registry["speed.usage_increments"], note)


def spread(count: int, hours: float, until: datetime = NOW, cost: str = "1.5") -> list[dict[str, Any]]:
    """Events at even distances over the hours before a time, which one of them has."""
    return [event(n, until - timedelta(hours=hours) * n / count, cost) for n in range(count)]


def version(key: str, value: str, since: datetime, until: datetime | None = None, **more: Any) -> dict[str, Any]:
    """What every row of a history has."""
    return {key: value, "effective_from": since, "effective_to": until, "is_current": until is None} | {
        "is_deleted": False, "record_hash": "h", "quality_flags": []
    } | more  # fmt: skip


def write_masters(config: Config, changed_at: datetime) -> None:
    """Two known organisations and three resources; org_0 and res_1 change at a time, res_2 is deleted then."""
    orgs = [
        version("org_id", "org_0", LONG_AGO, changed_at, org_name="Old", industry="retail", plan_tier="free"),
        version("org_id", "org_0", changed_at, org_name="New", industry="retail", plan_tier="pro"),
        version("org_id", "org_1", LONG_AGO, org_name="One", industry=None, plan_tier="pro"),
    ]
    resources = [
        version("resource_id", "res_0", LONG_AGO, org_id="org_0", state="running", tags=[("env", ["prod", "test"])]),
        version("resource_id", "res_1", LONG_AGO, changed_at, org_id="org_1", state="running", tags=[]),
        version("resource_id", "res_1", changed_at, org_id="org_1", state="stopped", tags=None),
        version("resource_id", "res_2", LONG_AGO, changed_at, org_id="org_1", state="running", tags=None),
    ]
    config.lake.append_small(orgs, config.registry["silver.customers_orgs"])
    config.lake.append_small(resources, config.registry["silver.resources"])
