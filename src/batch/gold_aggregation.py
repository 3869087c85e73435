"""Silver → gold: each mart read from pinned inputs, computed by its pure function, checked, and replaced in one commit.

A mart is skipped where nothing that goes into it has changed: the commit of a mart notes the versions of its inputs,
the business date, and a fingerprint of its contract and settings.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ..common.config import Config
from ..common.contracts import Table
from ..common.errors import QualityGateError
from ..common.faults import crash_point
from ..common.runs import StepResult
from ..common.schemas import spark_schema
from ..common.session import Sessions
from .gold import MARTS

EVENTS = "silver.usage_events"


class Pins:
    """The state of silver that one run computes gold from: a version of each table, the business date, the load_id.

    The versions are taken at once, without Spark; the date and the load_id are read when a mart that has something
    to do asks for them.
    """

    def __init__(self, sessions: Sessions, config: Config, as_of: date | None) -> None:
        self._sessions, self._config, self._as_of = sessions, config, as_of
        self._lock = threading.Lock()
        self.versions = {table.name: config.lake.version(table.name) for table in config.registry.layer("silver")}

    @property
    def date_source(self) -> str:
        """What the business date follows from: the option, or a version of the events."""
        return str(self._as_of) if self._as_of else f"{EVENTS}@{self.versions[EVENTS]}"

    @property
    def business_date(self) -> date | None:
        """`--as-of`, else the last closed day of the data, DATE(max(event_time) − 23 h); None where there are no events."""
        return self._as_of or self._newest[0]

    @property
    def load_id(self) -> int:
        """The largest load_id of the pinned events, 0 where there are none."""
        return self._newest[1]

    @property
    def _newest(self) -> tuple[date | None, int]:
        with self._lock:
            return self._read_newest

    @cached_property
    def _read_newest(self) -> tuple[date | None, int]:
        version = self.versions[EVENTS]
        if version < 0:
            return None, 0
        events = self._config.lake.read(self._sessions(), EVENTS, version)
        closed = F.to_date(F.max("event_time") - F.expr("INTERVAL 23 HOURS"))
        day, load_id = events.agg(closed, F.max("load_id")).collect()[0]
        return day, load_id or 0


def note_of(config: Config, table: Table, versions: Mapping[str, int]) -> dict[str, Any]:
    """Return what decides whether a mart must be computed again: its inputs' versions, its contract and settings."""
    inputs = {name: versions.get(name, config.lake.version(name)) for name in table.inputs}
    settings = config.settings.definitions.model_dump_json() + table.model_dump_json()
    return {"inputs": inputs, "fingerprint": hashlib.sha256(settings.encode()).hexdigest()[:16]}


def is_current(config: Config, table: Table, pins: Pins) -> bool:
    """Tell whether the mart already is what its inputs make it."""
    found = config.lake.last_note(table.name)
    if any(found.get(key) != value for key, value in note_of(config, table, pins.versions).items()):
        return False
    if not MARTS[table.name].takes_as_of:
        return True
    return bool(found.get("date_source") == pins.date_source) or found.get("as_of") == str(pins.business_date)


def build(
    sessions: Sessions, config: Config, table: Table, pins: Pins, *, run_id: str, full_reload: bool = False
) -> StepResult:
    """Compute one mart and replace it.

    Raises:
        QualityGateError: the new state breaks its contract; the old one stays in force.
    """
    config.lake.create(table)
    if not full_reload and is_current(config, table, pins):
        return StepResult(skipped=True, message="inputs unchanged")
    mart = MARTS[table.name]
    note = note_of(config, table, pins.versions) | {"run_id": run_id, "load_id": 0}
    if mart.takes_as_of:
        if pins.business_date is None:
            return StepResult(skipped=True, message="no events yet, so no business date; name one with --as-of")
        note |= {"as_of": str(pins.business_date), "date_source": pins.date_source}
    if EVENTS in config.registry.upstream([table.name]):
        note["load_id"] = pins.load_id
    spark = sessions()
    inputs = [config.lake.read(spark, name, version) for name, version in note["inputs"].items()]
    schema = spark_schema(table)
    definitions = config.settings.definitions.model_dump()
    as_of = {"as_of": pins.business_date} if mart.takes_as_of else {}
    rows = mart.compute(*inputs, **mart.arguments(**definitions, **table.parameters, **as_of))
    rows = rows.select(*(F.col(name).cast(schema[name].dataType).alias(name) for name in table.column_names))
    rows = rows.coalesce(1).persist()
    try:
        count = check(rows, table)
        config.lake.replace(rows, table.name, note=note)
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
    wanted = note_of(config, table, {})
    changed = [name for name, version in wanted["inputs"].items() if found.get("inputs", {}).get(name) != version]
    if changed:
        return f"rebuilds it: {', '.join(changed)} changed"
    if found.get("fingerprint") != wanted["fingerprint"]:
        return "rebuilds it: its contract or a setting changed"
    if MARTS[table.name].takes_as_of and as_of and found.get("as_of") != str(as_of):
        return f"rebuilds it: business date {found.get('as_of')} → {as_of}"
    return "skips it, unless this run changes an input"
