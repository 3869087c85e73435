"""Quality gates that stop a run, and the audited way past one: for what that run stopped at, and nothing else."""

from __future__ import annotations

import getpass
from typing import Any

from ..clock import now_utc
from ..contracts.table import Registry
from ..errors import ConfigurationError, QualityGateError, did_you_mean
from ..lake.tables import Lake


class GateFailed(QualityGateError):
    """A gate stopped something that a person may let pass with `cloudlake gate accept`."""

    def __init__(self, rule: str, table: str, subject: str, found: str, run_id: str) -> None:
        super().__init__(
            f"{found} Nothing of it is visible. Deliver it again corrected, or, where it is meant: "
            f"cloudlake gate accept --run {run_id} --rule {rule} --reason TEXT, and run again."
        )
        self.rule, self.table, self.subject, self.found = rule, table, subject, found


def is_accepted(lake: Lake, rule: str, subject: str) -> bool:
    """Tell whether a person has let this subject pass this gate."""
    return bool(
        lake.rows("ops.gates", ["rule"], [("rule", "=", rule), ("subject", "=", subject), ("status", "=", "accepted")])
    )


def record_failure(lake: Lake, registry: Registry, run_id: str, failure: GateFailed) -> None:
    """Note a gate that stopped something, so that it can be accepted."""
    lake.append_small(
        [_row(run_id, failure.rule, failure.table, failure.subject, "failed", failure.found)], registry["ops.gates"]
    )


def accept(lake: Lake, registry: Registry, run_id: str, rule: str, reason: str) -> list[dict[str, Any]]:
    """Let pass what a gate stopped in one run; returns the accepted subjects.

    Raises:
        ConfigurationError: that run did not fail at that gate, or no reason is given.
    """
    failed = lake.rows("ops.gates", filters=[("status", "=", "failed")])
    runs = {row["run_id"] for row in failed}
    if run_id not in runs:
        raise ConfigurationError(f"--run {run_id}: no gate stopped that run{did_you_mean(run_id, runs)}")
    rules = {row["rule"] for row in failed if row["run_id"] == run_id}
    if rule not in rules:
        raise ConfigurationError(f"--rule {rule}: that gate did not stop run {run_id}{did_you_mean(rule, rules)}")
    if not reason.strip():
        raise ConfigurationError("--reason: say why, in words; it is kept")
    chosen = [row for row in failed if row["run_id"] == run_id and row["rule"] == rule]
    rows = [_row(run_id, rule, row["table"], row["subject"], "accepted", reason) for row in chosen]
    lake.append_small(rows, registry["ops.gates"])
    return rows


def _row(run_id: str, rule: str, table: str, subject: str, status: str, message: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "rule": rule,
        "table": table,
        "subject": subject,
        "status": status,
        "message": message,
        "decided_by": getpass.getuser() if status == "accepted" else None,
        "at": now_utc(),
    }
