"""What is kept of a run: a row of ops.job_runs for each step, its report, and where every record went."""

from __future__ import annotations

import json
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..common.clock import now_utc
from ..common.config import Config
from ..common.contracts.table import Registry
from ..common.errors import ConfigurationError, LockedError, explain_failure
from ..common.lake.damage import log_damage
from ..common.lake.duck import connected
from ..common.lake.locks import Holder
from ..common.lake.tables import Lake
from ..common.names import JOB_RUNS, RECONCILIATION
from ..common.steps import StepResult
from .steps import StepRecord

_MEASURES = ("landed", "accepted", "quarantined", "duplicates")
_COUNTED = ["table", "delivery", "run_id", "counted_at", "reasons", "flags", *_MEASURES]
# Grouped by what was refused, so that a stream's many micro-batches are few rows.
_TOTALS = f"""
WITH newest AS (FROM counted QUALIFY row_number() OVER (PARTITION BY "table", delivery ORDER BY counted_at DESC) = 1)
SELECT "table", count(*), reasons, flags, {", ".join(f"sum({name})" for name in _MEASURES)}
FROM newest WHERE $run_id IS NULL OR run_id = $run_id GROUP BY ALL
"""


def record_step(
    lake: Lake, registry: Registry, run_id: str, record: StepRecord, detail: Mapping[str, Any] | None = None
) -> None:
    """Append how a step ended to ops.job_runs."""
    row = {
        "run_id": run_id,
        "step": record.step,
        "table": record.step if "." in record.step else None,
        "status": record.status,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "rows_in": record.result.rows_in,
        "rows_out": record.result.rows_out,
        "rows_quarantined": record.result.quarantined,
        "seconds": round(record.seconds, 3),
        "cpu_seconds": round(record.cpu_seconds, 3),
        "bytes_written": record.result.bytes_written,
        "error": record.error or None,
        "detail": json.dumps(dict(detail or record.result.detail), sort_keys=True, default=str),
    }
    lake.append_small([row], registry[JOB_RUNS], {"run_id": run_id})


def record_killed(config: Config, left: Holder | None) -> None:
    """Note a run that was killed, from what it left in the lock that this process has now, so that it stays known.

    A run that has a row of its own, under the step that stands for the whole, is left as it is.
    """
    if left is None or not left.run_id or left.since is None:
        return
    step, lake = "run" if left.kind == "batch" else left.kind, config.lake
    known = []
    if lake.exists(JOB_RUNS):
        if not lake.is_readable(JOB_RUNS, lake.version(JOB_RUNS)):
            return
        known = lake.read_small(JOB_RUNS, columns=["step"], filters=[("run_id", "=", left.run_id)])["step"].to_pylist()
    if step not in known:
        error = f"process {left.pid} on {left.host} was killed, or its machine went down"
        record_step(
            lake, config.registry, left.run_id, StepRecord(step, "interrupted", left.since, None, StepResult(), error)
        )


def record_not_done(
    config: Config, run_id: str, step: str, started: datetime, error: Exception, asked: Mapping[str, Any] | None = None
) -> None:
    """Note a run that ended before it had steps: refused by a health check, without landing zone, given up.

    One that another run's lock kept out, or whose arguments are wrong, is no run; nor is there a record of the first
    run of a lake before it has begun.
    """
    lake = config.lake
    is_usage = isinstance(error, LockedError) or (isinstance(error, ConfigurationError) and str(error).startswith("--"))
    if is_usage or not lake.exists(JOB_RUNS) or log_damage(lake, JOB_RUNS) is not None:
        return
    record = StepRecord(step, "failed", started, now_utc(), StepResult(), explain_failure(error), failure=error)
    record_step(lake, config.registry, run_id, record, asked)
    record_trace(lake, run_id, record)


def record_trace(lake: Lake, run_id: str, record: StepRecord) -> None:
    """Append the whole trace of a failed step to the run's log, <lake>/logs/<run>.log."""
    if record.failure is None:
        return
    told = [f"{record.step} failed at {_plain(record.ended_at)}:\n", *traceback.format_exception(record.failure)]
    with lake.storage.open_log(f"logs/{run_id}.log") as log:
        log.write("".join(told).encode("utf-8", "backslashreplace"))


def reconciliation(config: Config, run_id: str | None = None) -> list[dict[str, Any]]:
    """Return where every landed record of each source went, over all deliveries or those one run counted."""
    if not config.lake.exists(RECONCILIATION):
        return []
    counted = config.lake.read_small(RECONCILIATION, columns=_COUNTED)
    totals: dict[str, dict[str, Any]] = defaultdict(lambda: dict.fromkeys(_MEASURES, 0) | {"reasons": {}, "flags": {}})
    with connected(counted=counted) as connection:
        rows = connection.execute(_TOTALS, {"run_id": run_id}).fetchall()
    for table, deliveries, reasons, flags, *measured in rows:
        for measure, number in zip(_MEASURES, measured, strict=True):
            totals[table][measure] += int(number)
        for kind, text in (("reasons", reasons), ("flags", flags)):
            for name, count in json.loads(text or "{}").items():
                totals[table][kind][name] = totals[table][kind].get(name, 0) + count * deliveries
    return [{"table": table, **totals[table], "holds": _holds(totals[table])} for table in sorted(totals)]


def _holds(row: Mapping[str, Any]) -> bool:
    return bool(row["landed"] == row["accepted"] + row["quarantined"] + row["duplicates"])


def write_report(
    config: Config,
    run_id: str,
    whole: StepRecord,
    records: Sequence[StepRecord],
    counted: Sequence[Mapping[str, Any]],
) -> str:
    """Write a run's report as JSON to <lake>/reports/; returns where it lies."""
    content = {
        "run_id": run_id,
        "status": whole.status,
        "exit_code": whole.exit_code,
        "started_at": whole.started_at,
        "ended_at": whole.ended_at,
        "seconds": round(whole.seconds, 3),
        "steps": _plain_records(records),
        "reconciliation": counted,
    }
    path = f"reports/{run_id}.json"
    config.lake.storage.replace(path, json.dumps(content, indent=2, default=_plain).encode(), durable=False)
    return config.lake.storage.at(path)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _plain_records(records: Iterable[StepRecord]) -> list[dict[str, Any]]:
    return [
        {
            "step": record.step,
            "status": record.status,
            "started_at": record.started_at,
            "ended_at": record.ended_at,
            "seconds": round(record.seconds, 3),
            "rows_in": record.result.rows_in,
            "rows_out": record.result.rows_out,
            "quarantined": record.result.quarantined,
            "duplicates": record.result.duplicates,
            "message": record.result.message,
            "error": record.error,
            **record.result.detail,
        }
        for record in records
    ]
