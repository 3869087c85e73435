"""Runs: their ids, the locks that keep two of a kind apart, and the record of what each step did."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from .contracts import Registry
from .errors import CloudlakeError, ConfigurationError, LockedError
from .lake import Lake


def new_run_id(now: datetime) -> str:
    """Return an id that sorts by time and is never given twice."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def now_utc() -> datetime:
    """Return the clock's time, UTC; the only place that asks it, so that transforms get time as an argument."""
    return datetime.now(UTC)


# --- locks ------------------------------------------------------------------------------------------------------


def _lock_file(lake: Lake, name: str) -> Path:
    return lake.root / ".locks" / f"{name}.lock"


@contextmanager
def process_lock(lake: Lake, name: str, run_id: str) -> Iterator[None]:
    """Be the only process of a kind (`batch`, `stream`, `serving`) on a lake; freed when the process ends.

    Raises:
        LockedError: another process holds it; the message names the holder.
        ConfigurationError: the lake folder can't be written.
    """
    path = _lock_file(lake, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
    except OSError as error:
        raise ConfigurationError(
            f"{lake.root}: the lake folder can't be written ({error.strerror}); check its owner and rights, or name another with --lake"
        ) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock_holder(lake, name) or {}
            raise LockedError(
                f"another {name} run holds the lake {lake.root}: process {holder.get('pid', '?')} on {holder.get('host', '?')}, "
                f"run {holder.get('run_id', '?')} since {holder.get('since', '?')}. Wait for it to end, or stop that process."
            ) from None
        handle.truncate(0)
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "run_id": run_id,
            "since": now_utc().isoformat(timespec="seconds"),
            "command": command,
        }
        handle.write(json.dumps(holder))
        handle.flush()
        try:
            yield
        finally:
            handle.truncate(0)


def lock_holder(lake: Lake, name: str) -> dict[str, Any] | None:
    """Return who holds a lock (pid, host, run_id, since, command), or None where it is free."""
    path = _lock_file(lake, name)
    if not path.exists():
        return None
    with path.open("r") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                return dict(json.loads(handle.read() or "{}"))
            except json.JSONDecodeError:
                return {}
    return None


# --- steps ------------------------------------------------------------------------------------------------------


@dataclass
class StepResult:
    """What a step did: rows read, written and refused, and a line for the summary where there is something to say."""

    rows_in: int = 0
    rows_out: int = 0
    quarantined: int = 0
    duplicates: int = 0
    skipped: bool = False
    bytes_written: int = 0
    message: str = ""
    fault: str = ""
    """Something was refused that a person must mend; the step counts as failed, and what depends on it goes on."""
    detail: dict[str, Any] = field(default_factory=dict)


Expected = dict[str, Set[date] | None]
"""Tables that a run is expected to change, with the days concerned (None: any)."""


@dataclass(frozen=True)
class Step:
    """One node of a run: the table it makes, the steps it needs, and what it does."""

    name: str
    needs: tuple[str, ...]
    """Steps that must not have failed."""
    run: Callable[[], StepResult]
    plan: Callable[[Expected], str] = lambda expected: "runs"
    """Says what the step would do, without doing it, and notes what it would change."""
    waits: tuple[str, ...] = ()
    """Steps that must have ended, however they ended."""
    closing: bool = False
    """Runs only where no step of the run has failed."""


@dataclass
class StepRecord:
    """How a step of a run ended."""

    step: str
    status: str
    started_at: datetime | None
    ended_at: datetime | None
    result: StepResult
    error: str = ""
    exit_code: int = 0
    failure: BaseException | None = None
    cpu_seconds: float = 0.0
    blocks: bool = True
    """Whether what needs the step is kept from running by its failure."""

    @property
    def seconds(self) -> float:
        """Wall time."""
        if self.started_at is None or self.ended_at is None:
            return 0.0
        return (self.ended_at - self.started_at).total_seconds()


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


def explain_failure(error: BaseException) -> str:
    """Say what a failure means and what to do, where its cause is one that operators meet."""
    if isinstance(error, CloudlakeError):
        return str(error)
    text = str(error)
    known = {
        "No space left on device": "the disk is full; free space and run again",
        "File too large": "a file grew over the process's limit (ulimit -f); raise it and run again",
        "Permission denied": "the lake can't be written; check the owner and rights of its folders and run again",
        "Read-only file system": "the lake can't be written; it lies on a read-only file system",
        "OutOfMemoryError": "Spark ran out of memory; raise spark.driver.memory in conf/spark-defaults.conf",
    }
    for sign, advice in known.items():
        if sign in text:
            return f"{sign}: {advice}. Nothing half done is visible; the old version stays in force."
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return f"{type(error).__name__}: {first[:500]}; --verbose shows the whole trace"
