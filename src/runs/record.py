"""The record of runs: a row of ops.job_runs for each step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..common.contracts.table import Registry
from ..common.lake.tables import Lake
from .steps import StepRecord


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
    lake.append_small([row], registry["ops.job_runs"], {"run_id": run_id})
