"""Rows that nobody needs any more: increments that are published, closed refusals, records past their retention."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from ..common.config import Config
from ..common.contracts.schemas import arrow_schema
from ..common.lake.duck import connected
from ..common.lake.pruning import entries_of
from ..common.live import BATCH_VIEW
from ..common.names import BRONZE_EVENTS, EVENTS, INCREMENTS, JOB_RUNS, RECONCILIATION, RESULTS
from ..common.publication import publications
from ..common.quality.outcomes import summed
from ..common.quality.quarantine import OPEN

_TIMES = {
    JOB_RUNS: "coalesce(ended_at, started_at)",
    RESULTS: "checked_at",
    "ops.stream_progress": '"at"',
    "ops.notifications": '"at"',
}
"""The records that age. What decides about what lands next (ops.landed_files, ops.gates) stays for ever, and so do the counts
of files that tables are compared with (ops.reconciliation); those of micro-batches are summed."""


def purge(config: Config, table: str, now: datetime, *, unread: int | None, dry_run: bool) -> int:
    """Delete a table's rows that nobody needs any more, in one commit, and return how many there are.

    Args:
        config: the lake and its retention.
        table: the table.
        now: the time.
        unread: the first version of the table that a stream has not read, None where none reads it.
        dry_run: only count them.
    """
    kept = config.settings.retention
    if table == INCREMENTS:
        return _delete(config, table, _covered_increments(config), dry_run)
    if table == RECONCILIATION and kept.loads:
        return _sum_loads(config, now - timedelta(days=kept.loads), dry_run)
    if table in _TIMES and kept.ops:
        return _delete(config, table, f"{_TIMES[table]} < {_literal(now - timedelta(days=kept.ops))}", dry_run)
    if table.startswith("quarantine.") and kept.quarantine:
        return _forget_payloads(config, table, now - timedelta(days=kept.quarantine), dry_run)
    if table == BRONZE_EVENTS and kept.bronze:
        return _delete(config, table, _read_days(config, now.date() - timedelta(days=kept.bronze), unread), dry_run)
    return 0


def _literal(time: datetime) -> str:
    return f"'{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z'"  # as text: delta-rs compares with no literal of a time


def _delete(config: Config, table: str, where: str, dry_run: bool) -> int:
    if not where:
        return 0
    with connected(rows=config.lake.dataset(table)) as connection:
        ((count,),) = connection.sql(f"SELECT count(*) FROM rows WHERE {where}").fetchall()
    if count and not dry_run:
        config.lake.delete(table, where, {**config.lake.last_note(table), "purged": count})
    return int(count)


def _sum_loads(config: Config, before: datetime, dry_run: bool) -> int:
    """Sum the counts of micro-batches of earlier days, each run's by day, in one commit beside the stream that appends more.

    The days before the newest count stay as they are as well: alerts look at the loads of its last day.
    """
    lake, contract = config.lake, config.registry[RECONCILIATION]
    newest = lake.newest(RECONCILIATION, "counted_at")
    if newest is None:
        return 0
    before = min(before, newest - timedelta(days=1)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = lake.rows(RECONCILIATION, filters=[("table", "=", EVENTS), ("counted_at", "<", before)])
    loads = {int(row["delivery"]): row for row in sorted(rows, key=lambda row: row["counted_at"])}
    kept = summed([row for _, row in sorted(loads.items())])
    if len(kept) < len(rows) and not dry_run:
        where = f"\"table\" = '{EVENTS}' AND counted_at < {_literal(before)}"
        note = {**lake.last_note(RECONCILIATION), "summed": len(rows) - len(kept)}
        lake.replace_small(pa.Table.from_pylist(kept, schema=arrow_schema(contract)), contract, where=where, note=note)
    return len(rows) - len(kept)


def _covered_increments(config: Config) -> str:
    """Return the condition of increments that every publication holds, and no window can reach; "" where there are none.

    Those of the newest load stay: that a load is there is told by them.
    """
    covered = min((one.load_id(BATCH_VIEW) for one in publications(config.lake)), default=0)
    newest = config.lake.newest(INCREMENTS, "bucket_start")
    if not covered or newest is None:
        return ""
    live = config.stream.live
    windows_from = newest - timedelta(hours=live.hours, minutes=2 * live.window_minutes)
    last = config.lake.newest(INCREMENTS, "load_id")
    return f"load_id <= {covered} AND load_id < {last} AND bucket_start < {_literal(windows_from)}"


def _read_days(config: Config, before: date, unread: int | None) -> str:
    """Return the condition of event lines of days that silver has whole; "" where what it has not read is as old."""
    if unread is None:
        return ""
    times = entries_of(config.lake.path(BRONZE_EVENTS))
    if unread <= max(times, default=-1):
        first = datetime.fromtimestamp(times.get(unread, 0), UTC).date()
        before = min(before, first)
    return f"ingest_date < DATE '{before}'"


def _forget_payloads(config: Config, table: str, before: datetime, dry_run: bool) -> int:
    """Take the payload from rows that were closed long ago. The rows stay: they keep the same payload out, or replayed."""
    rows = config.lake.read_small(table, columns=["quarantine_id", "status", "resolved_at", "payload"])
    is_old = pc.fill_null(pc.less(rows["resolved_at"], pa.scalar(before, rows["resolved_at"].type)), False)
    is_closed = pc.and_(is_old, pc.not_equal(rows["status"], OPEN))
    found = rows.filter(pc.and_(is_closed, pc.is_valid(rows["payload"])))["quarantine_id"].to_pylist()
    if found and not dry_run:
        changes = [{"quarantine_id": one, "payload": None} for one in found]
        config.lake.update_small(config.registry[table], changes, {"forgotten": len(found)})
    return len(found)
