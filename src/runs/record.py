"""What is kept of a run: a row of ops.job_runs for each step, its report, and where every record went."""

from __future__ import annotations

import json
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..common.config import Config
from ..common.contracts.table import Registry
from ..common.lake.locks import Holder
from ..common.lake.tables import Lake
from ..common.steps import StepResult
from .steps import StepRecord

JOB_RUNS = "ops.job_runs"


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
        known = lake.read_small(JOB_RUNS, columns=["step"], filters=[("run_id", "=", left.run_id)])["step"].to_pylist()
    if step not in known:
        error = f"process {left.pid} on {left.host} was killed, or its machine went down"
        record_step(
            lake, config.registry, left.run_id, StepRecord(step, "interrupted", left.since, None, StepResult(), error)
        )


def record_trace(lake: Lake, run_id: str, record: StepRecord) -> None:
    """Append the whole trace of a failed step to the run's log, <lake>/logs/<run>.log."""
    if record.failure is None:
        return
    log = lake.root / "logs" / f"{run_id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as out:
        out.write(f"{record.step} failed at {_plain(record.ended_at)}:\n")
        out.writelines(traceback.format_exception(record.failure))


def reconciliation(config: Config, run_id: str | None = None) -> list[dict[str, Any]]:
    """Return where every landed record of each source went, over all deliveries or those one run counted."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(config.lake.rows("ops.reconciliation"), key=lambda row: row["counted_at"]):
        newest[row["table"], row["delivery"]] = row
    measures = ("landed", "accepted", "quarantined", "duplicates")
    totals: dict[str, dict[str, Any]] = defaultdict(lambda: dict.fromkeys(measures, 0) | {"reasons": {}, "flags": {}})
    for (table, _), row in newest.items():
        if run_id is not None and row["run_id"] != run_id:
            continue
        for measure in measures:
            totals[table][measure] += row[measure]
        for kind in ("reasons", "flags"):
            for name, count in json.loads(row[kind] or "{}").items():
                totals[table][kind][name] = totals[table][kind].get(name, 0) + count
    return [{"table": table, **totals[table], "holds": _holds(totals[table])} for table in sorted(totals)]


def _holds(row: Mapping[str, Any]) -> bool:
    return bool(row["landed"] == row["accepted"] + row["quarantined"] + row["duplicates"])


def write_report(
    config: Config,
    run_id: str,
    whole: StepRecord,
    records: Sequence[StepRecord],
    counted: Sequence[Mapping[str, Any]],
) -> Path:
    """Write a run's report as JSON to <lake>/reports/."""
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
    path = config.lake.root / "reports" / f"{run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=_plain), encoding="utf-8")
    return path


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
