"""Silver → gold: each mart read from pinned inputs, computed by its pure function, checked, and replaced in one commit.

A mart is skipped where nothing that goes into it has changed: the commit of a mart notes the versions of its inputs,
the business date, and a fingerprint of its contract and settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.config import Config
from ..common.contracts import Table
from ..common.errors import QualityGateError
from ..common.faults import crash_point
from ..common.runs import StepResult
from ..common.schemas import spark_schema
from .gold import customers, revenue, support, usage_marts


@dataclass(frozen=True)
class Mart:
    """How a mart is computed: its function takes the contract's inputs in order, then the business date if it asks."""

    compute: Callable[..., DataFrame]
    takes_business_date: bool = False


MARTS = {
    "gold.usage_daily": Mart(usage_marts.usage_daily),
    "gold.org_daily_usage_by_service": Mart(usage_marts.org_daily_usage_by_service),
    "gold.revenue_by_org_month": Mart(revenue.revenue_by_org_month),
    "gold.tickets_by_org_date": Mart(support.tickets_by_org_date, takes_business_date=True),
    "gold.customer_summary": Mart(customers.customer_summary),
}


@dataclass(frozen=True)
class Pins:
    """The state of silver that one run computes gold from: a version of each input, the business date, the load_id."""

    versions: dict[str, int]
    business_date: date | None
    load_id: int


def pin(spark: SparkSession, config: Config, as_of: date | None) -> Pins:
    """Pin one version of each silver table, before the first mart.

    The business date is `as_of`, else the last closed day of the data: DATE(max(event_time) − 23 h); None where there
    are no events yet.
    """
    versions = {table.name: config.lake.version(table.name) for table in config.registry.layer("silver")}
    version = versions["silver.usage_events"]
    newest, load_id = None, 0
    if version >= 0:
        events = config.lake.read(spark, "silver.usage_events", version)
        newest, load_id = (
            events.agg(F.max("event_time"), F.max("load_id"))
            .select(F.to_date(F.col("max(event_time)") - F.expr("INTERVAL 23 HOURS")), "max(load_id)")
            .collect()[0]
        )
    return Pins(versions, as_of or newest, load_id or 0)


def note_of(config: Config, table: Table, mart: Mart, pins: Pins) -> dict[str, Any]:
    """Return what a mart's commit notes, and what decides whether it must be computed again."""
    versions = {name: pins.versions.get(name, config.lake.version(name)) for name in table.inputs}
    settings = config.settings.definitions.model_dump_json() + table.model_dump_json()
    return {
        "inputs": versions,
        "as_of": str(pins.business_date) if mart.takes_business_date else None,
        "fingerprint": hashlib.sha256(settings.encode()).hexdigest()[:16],
    }


def is_current(config: Config, table: Table, pins: Pins) -> bool:
    """Tell whether the mart already is what its inputs make it."""
    wanted = note_of(config, table, MARTS[table.name], pins)
    found = config.lake.last_note(table.name)
    return all(found.get(key) == value for key, value in wanted.items())


def build(
    spark: SparkSession, config: Config, table: Table, pins: Pins, *, run_id: str, full_reload: bool = False
) -> StepResult:
    """Compute one mart and replace it.

    Raises:
        QualityGateError: the new state breaks its contract; the old one stays in force.
    """
    config.lake.create(table)
    if not full_reload and is_current(config, table, pins):
        return StepResult(skipped=True, message="inputs unchanged")
    mart = MARTS[table.name]
    if mart.takes_business_date and pins.business_date is None:
        return StepResult(skipped=True, message="no events yet, so no business date; name one with --as-of")
    note = note_of(config, table, mart, pins)
    inputs = [config.lake.read(spark, name, version) for name, version in note["inputs"].items()]
    arguments = [pins.business_date] if mart.takes_business_date else []
    schema = spark_schema(table)
    rows = mart.compute(*inputs, *arguments)
    rows = (
        rows.select(*(F.col(name).cast(schema[name].dataType).alias(name) for name in table.column_names))
        .coalesce(1)
        .persist()
    )
    try:
        count = check(rows, table)
        load_id = pins.load_id if "silver.usage_events" in config.registry.upstream([table.name]) else 0
        config.lake.replace(rows, table.name, note={**note, "run_id": run_id, "load_id": load_id})
        crash_point("after_gold_write")
    finally:
        rows.unpersist()
    return StepResult(rows_in=count, rows_out=count)


def check(rows: DataFrame, table: Table) -> int:
    """Return the number of rows; the key must be unique, and its required columns without NULLs.

    Raises:
        QualityGateError: it is not.
    """
    keys = list(table.key)
    has_null = F.lit(False)
    for key in keys:
        if table.columns[key].required:
            has_null = has_null | F.col(key).isNull()
    grouped = rows.groupBy(*keys).agg(F.count(F.lit(1)).alias("_rows"))
    total, doubled, nulls = grouped.agg(
        F.coalesce(F.sum("_rows"), F.lit(0)),
        F.count_if(F.col("_rows") > 1),
        F.count_if(has_null),
    ).collect()[0]
    if doubled or nulls:
        raise QualityGateError(
            f"{table.name}: {doubled} key(s) stand more than once and {nulls} hold NULL ({', '.join(keys)}); "
            f"the mart was not replaced. This is a defect of the transform: report it with the run's id."
        )
    return int(total)


def describe(config: Config, table: Table, as_of: date | None, full_reload: bool) -> str:
    """Say what a run would do with the mart, and why, from what the lake holds now."""
    found = config.lake.last_note(table.name)
    if not found:
        return "builds it for the first time"
    if full_reload:
        return "rebuilds it: --full-reload"
    mart = MARTS[table.name]
    date_then = date.fromisoformat(found["as_of"]) if found.get("as_of") else None
    wanted = note_of(config, table, mart, Pins({}, as_of or date_then, 0))
    changed = [name for name, version in wanted["inputs"].items() if found.get("inputs", {}).get(name) != version]
    if changed:
        return f"rebuilds it: {', '.join(changed)} changed"
    if found.get("as_of") != wanted["as_of"]:
        return f"rebuilds it: business date {found.get('as_of')} → {wanted['as_of']}"
    if found.get("fingerprint") != wanted["fingerprint"]:
        return "rebuilds it: its contract or a setting changed"
    return "skips it, unless this run changes an input"
