"""Silver → gold: each mart read from pinned inputs, computed by its pure function, checked, and replaced in one commit.

The commit of a mart notes the versions of its inputs, the business date, and a fingerprint of its contract and
settings. From that follows what a run has to rebuild (gold_refresh.py): nothing, some days or months, or all.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.config import Config
from ..common.contracts.room import in_declared_types, numbers_named
from ..common.contracts.table import Table
from ..common.errors import QualityGateError
from ..common.faults import crash_point
from ..common.lake.tables import Lake
from ..common.names import EVENTS
from ..common.scd2.memory import recall
from ..common.session import Sessions
from ..common.steps import Expected, StepResult
from .gold import mart_of
from .gold_refresh import Plan, inputs_for, note_of, plan, sql_list, with_span, within

USERS = "silver.users"
ROWS_PER_FILE = 100_000


class SilverState:
    """The state of silver that one run computes gold from: a version of each table, the business date, the load_id.

    All of it is read without Spark; the date and the load_id when a mart that has something to do asks for them.
    """

    def __init__(self, config: Config, as_of: date | None) -> None:
        self._lake, self._as_of = config.lake, as_of
        self._lock = threading.Lock()
        self.versions = {table.name: config.lake.version(table.name) for table in config.registry.layer("silver")}

    @property
    def date_source(self) -> str:
        """What the business date follows from: the option, or a version of the events."""
        return str(self._as_of) if self._as_of else f"{EVENTS}@{self._lake.rows_since(EVENTS, self.versions[EVENTS])}"

    @property
    def business_date(self) -> date | None:
        """`--as-of`, else the last closed day of the data, DATE(max(event_time) − 23 h); None where there are no events."""
        return self._as_of or self._newest[0]

    @cached_property
    def users_since(self) -> date | None:
        """The date of the first snapshot of users, None where there is none."""
        return users_since(self._lake)

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
        lake, version = self._lake, self.versions[EVENTS]
        days = lake.partition_values(EVENTS, "usage_date", version) if version >= 0 else set()
        if not days:
            return None, 0
        # The newest event lies in the newest partition, so what is read is a day, not the history.
        newest = lake.read_small(EVENTS, version, ["event_time"], [("usage_date", "=", date.fromisoformat(max(days)))])
        closed = pc.max(newest["event_time"]).as_py() - timedelta(hours=23)
        return closed.date(), int(lake.newest(EVENTS, "load_id", version))


def users_since(lake: Lake) -> date | None:
    """Return the date (UTC) of the first snapshot of users, as the history remembers it; None where there is none."""
    times = recall(lake.path(USERS)).snapshots
    first = min(times, default=None)
    return first.astimezone(UTC).date() if isinstance(first, datetime) else None


def build(
    sessions: Sessions,
    config: Config,
    table: Table,
    pins: SilverState,
    *,
    run_id: str,
    full_reload: bool = False,
    again: tuple[date, date] | None = None,
) -> StepResult:
    """Bring one mart up to date: compute what its inputs' changes concern, check it, and replace it in one commit.

    `again`: from this to that day it is built again, whatever has changed; whole where it is no union of days or months.

    Raises:
        QualityGateError: the new state breaks its contract, or a number has no room in it; the old one stays in force.
    """
    lake, mart = config.lake, mart_of(table)
    lake.create(table)
    found, wanted = lake.last_note(table.name), note_of(config, table, pins.versions)
    if mart.takes_as_of:
        is_known = found.get("date_source") == pins.date_source
        day = found["as_of"] if is_known else pins.business_date
        wanted |= {"date_source": pins.date_source, "as_of": str(day)}
        if day is None:
            return StepResult(skipped=True, message="no events yet, so no business date; name one with --as-of")
    if mart.takes_users_since:
        wanted |= {"users_since": str(pins.users_since) if pins.users_since else None}
    what = Plan(None, "--full-reload") if full_reload else plan(config, table, found, wanted)
    if again:
        what = with_span(what, mart, *again)
    if what.is_nothing:
        return StepResult(skipped=True, message=what.reason)
    load_id = pins.load_id if EVENTS in config.registry.upstream([table.name]) else 0
    note = wanted | {"run_id": run_id, "load_id": load_id}
    where = None if what.parts is None else f"{mart.part} IN ({sql_list(what.parts)})"
    rows = computed(sessions(), config, table, wanted, what)
    if mart.is_large:
        with numbers_named(table):
            count = _write_large(lake, rows, table, where, note)
    else:
        with numbers_named(table):
            small = rows.toArrow()
        check(small, table)
        count = small.num_rows
        lake.replace_small(small, table, where=where, note=note)
    crash_point("after_gold_write")
    return StepResult(rows_in=count, rows_out=count, message=what.extent(mart.unit))


def _write_large(lake: Lake, rows: DataFrame, table: Table, where: str | None, note: Mapping[str, Any]) -> int:
    """Write rows in files that each hold a span of time, so that a later change of a day rewrites one of them."""
    part = mart_of(table).part
    rows = rows.persist()
    try:
        count = rows.count()
        files = 1 + count // ROWS_PER_FILE
        in_files = rows.repartitionByRange(files, part) if part and files > 1 else rows.coalesce(1)
        lake.replace(in_files, table.name, where=where, note=note)
    finally:
        rows.unpersist()
    return count


def computed(spark: SparkSession, config: Config, table: Table, note: Mapping[str, Any], what: Plan) -> DataFrame:
    """Return the rows that the plan asks for, computed from the input versions that the note names."""
    mart = mart_of(table)
    inputs = {}
    for argument, name in table.arguments.items():
        rows = config.lake.read(spark, name, note["inputs"][name])
        inputs[argument] = rows if what.parts is None else inputs_for(table, name, rows, what.parts)
    known = config.settings.definitions.model_dump() | table.parameters
    known["renamed_fields"] = config.stream.events.said_as()
    if mart.takes_as_of:
        known["as_of"] = date.fromisoformat(note["as_of"])
    if mart.takes_users_since:
        known["users_since"] = note["users_since"] and date.fromisoformat(note["users_since"])
    rows = mart.compute(**inputs, **mart.arguments(**known))
    if what.parts is not None:
        rows = rows.where(within(F.col(mart.part), mart.unit, what.parts))
    return in_declared_types(rows, table)


def check(rows: pa.Table, table: Table) -> None:
    """Check that each key stands once, and that its required columns hold no NULL.

    Raises:
        QualityGateError: it is not so.
    """
    keys = list(table.key)
    doubled = rows.num_rows - rows.group_by(keys).aggregate([]).num_rows
    nulls = sum(rows[key].null_count for key in keys if table.columns[key].required)
    if doubled or nulls:
        raise QualityGateError(
            f"{table.name}: {doubled} row(s) repeat a key and {nulls} key value(s) are NULL ({', '.join(keys)}); "
            f"the mart was not replaced. This is a defect of the transform: report it with the run's id."
        )


def describe(config: Config, table: Table, as_of: date | None, full_reload: bool, expected: Expected) -> str:
    """Say what a run would do with the mart, and why; what it would change is added to `expected`."""
    mart = mart_of(table)
    found, wanted = config.lake.last_note(table.name), note_of(config, table, {})
    if mart.takes_as_of:
        moves = as_of is None and (
            EVENTS in expected or found.get("date_source") != f"{EVENTS}@{config.lake.rows_since(EVENTS)}"
        )
        wanted["as_of"] = None if moves else str(as_of or found.get("as_of"))
    if mart.takes_users_since:
        since = users_since(config.lake)
        wanted["users_since"] = str(since) if since else None
    what = Plan(None, "--full-reload") if full_reload else plan(config, table, found, wanted, expected)
    if what.is_nothing:
        return f"skips it: {what.reason}"
    expected[table.name] = what.parts
    parts = (mart.part, what.parts) if what.parts is not None else ()
    rows = config.lake.count(table.name, *parts)
    return f"rebuilds {what.extent(mart.unit)}, about {rows:,} rows: {what.reason}"
