"""Upkeep as a run of its own: under the batch lock, beside a stream, noted in ops.job_runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from ..common.clock import new_run_id, now_utc
from ..common.config import Config
from ..common.errors import CloudlakeError, explain_failure
from ..common.lake.locks import process_lock
from ..common.names import BRONZE_EVENTS, RECONCILIATION
from ..common.names import EVENTS as SILVER
from ..common.session import Sessions
from ..common.steps import StepResult
from ..streaming.checkpoints import first_unread
from ..streaming.silver_load import JOB
from ..upkeep.erase import Erasure, erase, require_gone
from ..upkeep.maintain import Maintained, maintain
from . import trust
from .record import record_killed, record_step
from .steps import StepRecord

T = TypeVar("T")


@dataclass(frozen=True)
class Recorded:
    """A piece of upkeep that is noted as a run: its name, and what makes a line of ops.job_runs of its outcome."""

    name: str
    asked: dict[str, Any]


def recorded(config: Config, what: Recorded, locks: tuple[str, ...], work: Callable[[str], tuple[T, StepResult]]) -> T:
    """Do a piece of upkeep under some process locks, and note how it ended.

    Raises:
        LockedError: another process holds one of them.
    """
    run_id = new_run_id(now_utc())
    with ExitStack() as stack:
        for lock in locks:
            record_killed(config, stack.enter_context(process_lock(config.lake, lock, run_id)))
        started = now_utc()
        try:
            outcome, result = work(run_id)
        except Exception as error:
            code = error.exit_code if isinstance(error, CloudlakeError) else 1
            failed = StepRecord(what.name, "failed", started, now_utc(), StepResult(), explain_failure(error), code)
            record_step(config.lake, config.registry, run_id, failed, what.asked)
            raise
        status = "failed" if result.fault else "skipped" if result.skipped else "done"
        done = StepRecord(what.name, status, started, now_utc(), result, result.fault)
        record_step(config.lake, config.registry, run_id, done, what.asked | result.detail)
        return outcome


def unread_versions(config: Config) -> dict[str, int]:
    """Return the first version of bronze's events that the stream may still read, be its checkpoint lost or not."""
    lake = config.lake
    newest = (
        lake.newest(RECONCILIATION, "to_version") if lake.exists(SILVER) else None
    )  # of events alone: a file has no range
    counted = -1 if newest is None else int(newest)
    by_checkpoint = first_unread(config.lake, JOB)
    return {BRONZE_EVENTS: counted + 1 if by_checkpoint is None else min(counted + 1, by_checkpoint)}


def run_maintain(config: Config, only: str | None = None, *, dry_run: bool = False) -> Maintained:
    """Keep every table, or one, in order, or say what would be done.

    Raises:
        ConfigurationError: there is no table of that name.
        LockedError: a batch runs.
    """
    sessions = Sessions("cloudlake-maintain")
    unread = unread_versions(config)
    if dry_run:
        return maintain(config, sessions, now_utc(), unread=unread, only=only, dry_run=True)

    def work(run_id: str) -> tuple[Maintained, StepResult]:
        done = maintain(config, sessions, now_utc(), unread=unread, only=only)
        trust.close(config)
        changed = [kept for kept in done.tables if kept.is_changed]
        counts = {
            "rows": sum(kept.rows for kept in done.tables),
            "files_before": sum(kept.files[0] for kept in done.tables),
            "files_after": sum(kept.files[1] for kept in done.tables),
            "files_gone": sum(kept.pruned for kept in done.tables),
            "log_files_gone": sum(kept.entries for kept in done.tables),
            "bytes_gone": sum(kept.bytes for kept in done.tables),
            "leftovers": len(done.leftovers),
        }
        return done, StepResult(
            rows_out=counts["rows"],
            skipped=not changed and not done.leftovers,
            fault="; ".join(done.faults),
            detail=counts,
        )

    return recorded(config, Recorded("maintain", {"table": only}), ("batch",), work)


def run_erase(config: Config, user: str, *, dry_run: bool = False) -> Erasure:
    """Take a person out of the lake, or say what is there. The run's record names nobody.

    Raises:
        ConfigurationError: nobody of that id is known.
        LockedError: a batch runs.
        CloudlakeError: an address is left somewhere; each place is named.
    """
    sessions = Sessions("cloudlake-erase")
    if dry_run:
        return erase(config, user, sessions, now_utc(), "", dry_run=True)

    def work(run_id: str) -> tuple[Erasure, StepResult]:
        found = erase(config, user, sessions, now_utc(), run_id)
        require_gone(found, config)
        counts = {
            "rows": found.rows,
            "files_gone": found.files,
            "masked": len(found.masked),
            "landing": len(found.landing),
        }
        trust.close(config)
        return found, StepResult(rows_out=sum(found.rows.values()), skipped=found.was_erased, detail=counts)

    return recorded(config, Recorded("erase", {}), ("batch",), work)
