"""The batch run: chosen steps, run in their order under the locks they need, recorded, and told as one result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..batch.bronze import ingestion as bronze_ingestion
from ..batch.bronze.sources import business_date_of
from ..common.clock import new_run_id, now_utc
from ..common.config import Config, require_landing
from ..common.errors import CloudlakeError, LockedError
from ..common.lake.locks import lock_holder, process_lock
from ..common.names import EVENTS
from ..common.quality import gates
from ..common.session import Sessions
from ..common.steps import Expected, StepResult
from ..upkeep.open_lineage import Journal, StepEnd, Story
from . import health, trust
from .batch_steps import Options, batch_steps
from .declaring import declare_all
from .record import reconciliation, record_killed, record_not_done, record_step, record_trace, write_report
from .runner import run_steps, select
from .steps import Step, StepRecord
from .telling import tell_of_runs

__all__ = ["Options", "Run", "plan_batch", "run_batch"]


@dataclass(frozen=True)
class Run:
    """A batch run that has ended: its steps, the record of the whole, and where every record went in it."""

    run_id: str
    whole: StepRecord
    """The run itself, as ops.job_runs has it; its exit code is the gravest of its steps."""
    records: Sequence[StepRecord]
    reconciliation: Sequence[Mapping[str, Any]]
    report: str
    """Where its report lies."""

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        return self.whole.exit_code

    @property
    def failed(self) -> list[StepRecord]:
        """The steps that failed."""
        return [record for record in self.records if record.status == "failed"]


def run_batch(config: Config, options: Options, *, on_end: Callable[[StepRecord], None]) -> Run:
    """Run what some jobs name, record it, and write its report; `on_end` hears of each step as it ends.

    Raises:
        ConfigurationError: a job, the landing zone or a delivery that the run needs is not there.
        LockedError: another batch runs, or a stream where silver.usage_events is to be made anew.
        CloudlakeError: a table's log is damaged.
    """
    now = now_utc()
    run_id = new_run_id(now)
    if any(table.query for table in config.registry.layer("bronze")):  # who goes on tomorrow goes on with this date
        options = replace(options, business_date=business_date_of(options.business_date, now))
    try:
        return _run_batch(config, options, run_id, now, on_end)
    except CloudlakeError as error:
        record_not_done(config, run_id, "run", now, error, _asked(config, options))
        raise
    finally:
        tell_of_runs(config)


def _run_batch(
    config: Config, options: Options, run_id: str, now: datetime, on_end: Callable[[StepRecord], None]
) -> Run:
    health.require_sound(config)
    with ExitStack() as stack:
        sessions = Sessions("cloudlake-batch")
        chosen = _chosen(sessions, config, options, run_id, now, stack)
        sources = [t for t in config.registry.layer("bronze") if t.is_source and t.name in {step.name for step in chosen}]
        if not trust.unreadable_records(config):  # a record that is made anew first says nothing yet
            bronze_ingestion.require_deliveries(config, sources, options.snapshot_at, now)
        record_killed(config, stack.enter_context(process_lock(config.lake, "batch", run_id)))
        if options.full_reload and any(step.name == EVENTS for step in chosen):
            _lock_for_reload(config, run_id, stack)
        started = now_utc()
        story, journal = Story.of(config, run_id), Journal(config, run_id)
        stack.callback(journal.close)
        journal.write([story.begun(started)])

        def recorded(record: StepRecord) -> None:
            on_end(record)
            record_step(config.lake, config.registry, run_id, record)
            record_trace(config.lake, run_id, record)
            if isinstance(record.failure, gates.GateFailed):
                gates.record_failure(config.lake, config.registry, run_id, record.failure)
            if record.started_at and record.ended_at and record.status != "skipped":
                journal.write(story.step(_step_end(record, record.started_at, record.ended_at)))

        records = run_steps(
            _after_the_books(sessions, config, options, run_id, chosen),
            parallel=options.parallel,
            continue_on_failure=options.continue_on_failure,
            on_end=recorded,
            cpu_seconds=sessions.cpu_seconds,
        )
        trust.close(config)
        ran = _conclude(config, options, run_id, started, records)
        journal.write([story.ended(now_utc(), ran.whole.status, ran.whole.error)])
        return ran


def _step_end(record: StepRecord, started: datetime, ended: datetime) -> StepEnd:
    result = record.result
    return StepEnd(record.step, record.status, started, ended, result.rows_out, result.bytes_written, record.error)


def plan_batch(config: Config, options: Options) -> list[tuple[str, str]]:
    """Return the steps that a run would take, in their order, and what each would do; nothing is written.

    Raises:
        ConfigurationError: as `run_batch`.
    """
    now = now_utc()
    with ExitStack() as stack:
        steps = _chosen(Sessions("cloudlake-batch"), config, options, new_run_id(now), now, stack)
    order = {name: position for position, name in enumerate([*config.registry.order(), "quality", "publish"])}
    expected: Expected = {}
    in_order = sorted(steps, key=lambda step: order.get(step.name, len(order)))
    return [(step.name, step.plan(expected)) for step in in_order]


def _chosen(
    sessions: Sessions, config: Config, options: Options, run_id: str, now: datetime, stack: ExitStack
) -> list[Step]:
    chosen = select(batch_steps(sessions, config, options, run_id, now, stack), options.jobs, config.registry)
    if any(step.name.startswith("bronze.") or step.name == EVENTS for step in chosen):
        require_landing(config)
    return chosen


def _after_the_books(
    sessions: Sessions, config: Config, options: Options, run_id: str, chosen: list[Step]
) -> list[Step]:
    """Let all steps wait until the tables they trust have been compared with the books, and with their contracts."""
    names = {step.name for step in chosen}

    def run() -> StepResult:
        holder = lock_holder(config.lake, "stream")
        stream_runs = holder is not None and holder.get("run_id") != run_id
        opened = trust.open_books(
            config,
            names & config.registry.tables.keys(),
            full_reload=options.full_reload,
            stream_runs=stream_runs,
            run_id=run_id,
        )
        declared = declare_all(config, sessions, run_id, trust.STREAM if stream_runs else ())
        if declared:
            opened.skipped = False
            opened.message = "; ".join([opened.message, *declared])
        opened.detail = {"asked": _asked(config, options)}  # a run that is killed says here how to go on
        return opened

    return [Step("books", (), run), *(replace(step, needs=(*step.needs, "books")) for step in chosen)]


def _lock_for_reload(config: Config, run_id: str, stack: ExitStack) -> None:
    """Keep the stream out for the rest of the run: silver.usage_events is made anew under a stopped stream only."""
    try:
        stack.enter_context(process_lock(config.lake, "stream", run_id))
    except LockedError as error:
        raise LockedError(
            f"--full-reload of {EVENTS} needs the stream stopped: scripts/run_streaming_pipeline.sh stop, or leave the "
            f"table out with --jobs. {error}"
        ) from None


def _conclude(config: Config, options: Options, run_id: str, started: datetime, records: list[StepRecord]) -> Run:
    failed = [record for record in records if record.status == "failed"]
    whole = StepRecord(
        "run",
        "failed" if failed else "done",
        started,
        now_utc(),
        StepResult(),
        "; ".join(record.error for record in failed),
        max((record.exit_code for record in failed), default=0),
    )
    record_step(config.lake, config.registry, run_id, whole, _asked(config, options))
    counted = reconciliation(config, run_id)
    return Run(run_id, whole, records, counted, write_report(config, run_id, whole, records, counted))


def _asked(config: Config, options: Options) -> dict[str, Any]:
    """Return what a run was asked to do and with which folders: enough to ask for it again."""
    asked = {name: value for name, value in vars(options).items() if value is not None and name != "replayed"}
    if not options.again:
        asked.pop("again")
    if options.replayed:
        asked["replayed"] = {table: len(rows) for table, rows in options.replayed.items()}
    return asked | {"lake": str(config.lake.root), "landing": str(config.landing), "conf": str(config.conf)}
