"""The steps of a batch run, with their edges: tables from the contracts, then the stream, the audit, what is put in force."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime

from ..alerts.lookout import look_once
from ..batch import audit as quality_audit
from ..batch import gold_build
from ..batch.bronze import ingestion as bronze_ingestion
from ..batch.bronze.sources import Sources
from ..batch.gold import marts_of
from ..batch.silver import transformation as silver_transformation
from ..common.clock import now_utc
from ..common.config import Config
from ..common.contracts.table import Table
from ..common.errors import CloudlakeError, LockedError
from ..common.lake.locks import lock_holder, process_lock
from ..common.names import EVENTS
from ..common.session import Sessions
from ..common.steps import Expected, StepResult
from ..serving import publication, served
from ..serving.postgres import publish as publish_to_postgres
from ..streaming import dry_run
from . import stream_run
from .steps import Step


@dataclass(frozen=True)
class Options:
    """What a batch run was asked to do."""

    jobs: tuple[str, ...] = ("all",)
    as_of: date | None = None
    snapshot_at: datetime | None = None
    business_date: date | None = None
    """The date that databases are asked for; yesterday where none is given."""
    full_reload: bool = False
    continue_on_failure: bool = False
    parallel: int = 2
    master: str | None = None
    """Where Spark runs, so that the line that resumes the run says it too."""
    replayed: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Silver table → refused rows that are judged again."""
    again: Mapping[str, tuple[date, date]] = field(default_factory=dict)
    """Mart → the first and the last day of those that are built again, whatever has changed."""


def batch_steps(
    sessions: Sessions, config: Config, options: Options, run_id: str, now: datetime, stack: ExitStack
) -> list[Step]:
    """Return every step of a batch run; `stack` keeps the stream's lock that a step takes until the run ends."""
    return [
        *table_steps(sessions, config, options, run_id, now),
        _stream_step(sessions, config, run_id, stack, options.full_reload),
        Step(
            "quality",
            (),
            lambda: quality_audit.audit(
                sessions,
                config,
                run_id=run_id,
                now=now_utc(),
                parallel=options.parallel,
                full_reload=options.full_reload,
            ),
            lambda expected: quality_audit.describe(config, options.full_reload, expected),
            waits=tuple(table.name for table in config.registry.layer("silver", "gold")),
        ),
        Step(
            "publish",
            ("quality",),
            lambda: publication.publish(config, run_id),
            lambda expected: "puts what was built in force",
            waits=tuple(table.name for table in config.registry.layer("gold")),
            closing=True,
        ),
        _alerts_step(config, run_id),
        *(_serving_step(config, table, run_id) for table in served.SERVED),
        *([_postgres_step(config)] if config.settings.postgres.nightly else []),
    ]


def _stream_step(sessions: Sessions, config: Config, run_id: str, stack: ExitStack, full_reload: bool) -> Step:
    """The step that catches the stream up, where no stream is running; with `full_reload`, makes silver anew."""

    def run() -> StepResult:
        if full_reload:
            result = stream_run.reload_once(sessions, config, run_id)
        else:
            try:
                stack.enter_context(process_lock(config.lake, "stream", run_id))
            except LockedError:
                return StepResult(skipped=True, message="left to the stream that is running")
            result = stream_run.take_once(sessions, config, run_id)
        return StepResult(
            rows_in=result.landed,
            rows_out=result.accepted,
            quarantined=result.quarantined,
            duplicates=result.duplicates,
            skipped=result.landed == 0,
            message="; ".join(result.warnings)
            or ("nothing new" if not result.landed else f"{result.micro_batches} micro-batch(es)"),
        )

    def plan(expected: Expected) -> str:
        if full_reload:
            expected[EVENTS] = None
            return "rebuilds it from bronze in one commit: --full-reload"
        return dry_run.describe(config, expected)

    return Step(EVENTS, (), run, plan)


def _alerts_step(config: Config, run_id: str) -> Step:
    """The step that judges again by the baselines that were published; a running stream does so by itself."""

    def run() -> StepResult:
        holder = lock_holder(config.lake, "stream")
        if holder is not None and holder.get("run_id") != run_id:
            return StepResult(skipped=True, message="left to the stream that is running")
        with ExitStack() as stack:
            if holder is None:
                stack.enter_context(process_lock(config.lake, "stream", run_id))
            seen = look_once(config, run_id)
        message = "; ".join(seen.faults) or ("" if seen.changed else "nothing new")
        return StepResult(rows_out=seen.changed, skipped=not seen.changed, message=message)

    return Step("speed.alerts", (), run, lambda expected: "judges what is served then", waits=("publish", EVENTS))


def _serving_step(config: Config, table: str, run_id: str) -> Step:
    """The step that brings a served table to this moment."""
    return Step(
        table,
        ("publish",),
        lambda: served.serve(config, table, run_id),
        lambda expected: "merges the speed and the batch view",
        waits=("publish", EVENTS, "speed.alerts"),
    )


def _postgres_step(config: Config) -> Step:
    """The step that brings PostgreSQL to what is in force; its failure leaves the lake published and is told."""

    def run() -> StepResult:
        try:
            tables = publish_to_postgres(config)
        except CloudlakeError as error:
            again = "cloudlake publish --to postgres"
            remedy = "" if again in str(error) else f". Once that is mended: {again}"
            return StepResult(fault=f"the lake is published, PostgreSQL is not: {error}{remedy}")
        changed = [one for one in tables if one.what in ("new", "changed")]
        return StepResult(
            rows_out=sum(one.rows for one in changed), skipped=not changed, message=f"{len(changed)} table(s)"
        )

    return Step(
        "postgres",
        ("publish",),
        run,
        lambda expected: "brings PostgreSQL to what is in force then",
        waits=("publish", *served.SERVED),
    )


class Pinned:
    """The state of silver a run computes gold from, taken once, when the first mart asks."""

    def __init__(self, config: Config, as_of: date | None) -> None:
        self._arguments = (config, as_of)
        self._lock = threading.Lock()
        self._pins: gold_build.SilverState | None = None

    def __call__(self) -> gold_build.SilverState:
        """Return the pins of this run."""
        with self._lock:
            if self._pins is None:
                self._pins = gold_build.SilverState(*self._arguments)
            return self._pins


def table_steps(sessions: Sessions, config: Config, options: Options, run_id: str, now: datetime) -> list[Step]:
    """Return the steps of bronze, silver and gold that a batch run owns, with their edges from the contracts."""
    marts_of(config.registry)  # what conf/ says of them is checked before anything runs
    silver = tuple(table.name for table in config.registry.layer("silver"))
    pins = Pinned(config, options.as_of)
    sources = Sources(config, now, options.snapshot_at, options.business_date)
    steps = []
    for table in config.registry.layer("bronze", "silver", "gold"):
        if table.writer != "batch":
            continue
        needs = table.inputs
        waits = silver if table.layer == "gold" else ()
        work, plan = _work(sessions, config, options, run_id, now, table, pins, sources)
        steps.append(Step(table.name, needs, _weighed(config, table.name, work), plan, waits))
    return steps


def _weighed(config: Config, table: str, work: Callable[[], StepResult]) -> Callable[[], StepResult]:
    """Let a step also say how many bytes its commits added to its table."""

    def run() -> StepResult:
        before = config.lake.version(table)
        result = work()
        result.bytes_written = config.lake.bytes_added(table, before)
        return result

    return run


def _work(
    sessions: Sessions,
    config: Config,
    options: Options,
    run_id: str,
    now: datetime,
    table: Table,
    pins: Pinned,
    sources: Sources,
) -> tuple[Callable[[], StepResult], Callable[[Expected], str]]:
    if table.layer == "bronze":
        return (
            lambda: bronze_ingestion.ingest(
                config, table, now=now, run_id=run_id, snapshot_at=options.snapshot_at, sources=sources
            ),
            lambda expected: bronze_ingestion.describe(
                config, table, options.snapshot_at, expected, now, options.business_date
            ),
        )
    if table.layer == "silver":
        return (
            lambda: silver_transformation.transform(
                sessions,
                config,
                table,
                now=now,
                run_id=run_id,
                full_reload=options.full_reload,
                replayed=options.replayed.get(table.name, ()),
            ),
            lambda expected: silver_transformation.describe(config, table, options.full_reload, expected),
        )
    return (
        lambda: gold_build.build(
            sessions,
            config,
            table,
            pins(),
            run_id=run_id,
            full_reload=options.full_reload,
            again=options.again.get(table.name),
        ),
        lambda expected: gold_build.describe(config, table, options.as_of, options.full_reload, expected),
    )
