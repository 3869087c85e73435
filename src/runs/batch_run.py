"""The batch run: its steps from the contracts, in their order, independent ones side by side in one application."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import date, datetime
from graphlib import TopologicalSorter

from ..batch import gold_build as gold_aggregation
from ..batch.bronze import ingestion as bronze_ingestion
from ..batch.silver import transformation as silver_transformation
from ..common.clock import now_utc
from ..common.config import Config
from ..common.contracts.table import Registry, Table
from ..common.errors import CloudlakeError, ConfigurationError, did_you_mean, explain_failure
from ..common.session import Sessions
from ..common.steps import Expected, StepResult
from .steps import Step, StepRecord


@dataclass(frozen=True)
class Options:
    """What a batch run was asked to do."""

    jobs: tuple[str, ...] = ("all",)
    as_of: date | None = None
    snapshot_at: datetime | None = None
    full_reload: bool = False
    dry_run: bool = False
    continue_on_failure: bool = False
    parallel: int = 2
    replayed: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Silver table → refused rows that are judged again."""


class Pinned:
    """The state of silver a run computes gold from, taken once, when the first mart asks."""

    def __init__(self, config: Config, as_of: date | None) -> None:
        self._arguments = (config, as_of)
        self._lock = threading.Lock()
        self._pins: gold_aggregation.Pins | None = None

    def __call__(self) -> gold_aggregation.Pins:
        """Return the pins of this run."""
        with self._lock:
            if self._pins is None:
                self._pins = gold_aggregation.Pins(*self._arguments)
            return self._pins


def table_steps(sessions: Sessions, config: Config, options: Options, run_id: str, now: datetime) -> list[Step]:
    """Return the steps of bronze, silver and gold that a batch run owns, with their edges from the contracts."""
    silver = tuple(table.name for table in config.registry.layer("silver"))
    pins = Pinned(config, options.as_of)
    steps = []
    for table in config.registry.layer("bronze", "silver", "gold"):
        if table.writer != "batch":
            continue
        needs = table.inputs
        waits = silver if table.layer == "gold" else ()
        work, plan = _work(sessions, config, options, run_id, now, table, pins)
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
) -> tuple[Callable[[], StepResult], Callable[[Expected], str]]:
    if table.layer == "bronze":
        return (
            lambda: bronze_ingestion.ingest(config, table, now=now, run_id=run_id, snapshot_at=options.snapshot_at),
            lambda expected: bronze_ingestion.describe(config, table, options.snapshot_at, expected, now),
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
        lambda: gold_aggregation.build(sessions, config, table, pins(), run_id=run_id, full_reload=options.full_reload),
        lambda expected: gold_aggregation.describe(config, table, options.as_of, options.full_reload, expected),
    )


LAYER_JOBS = ("bronze", "silver", "gold", "serving")


def select(steps: Sequence[Step], jobs: Sequence[str], registry: Registry) -> list[Step]:
    """Return the steps that some jobs name: `all`, a layer, or a table (`silver.users`, or `users` for every layer of it).

    Raises:
        ConfigurationError: a job is neither.
    """
    names = {step.name for step in steps}
    known = {"all", *LAYER_JOBS, *names, *(name.partition(".")[2] for name in names if "." in name)}
    wanted: set[str] = set()
    for job in jobs:
        if job not in known:
            raise ConfigurationError(f"--jobs {job}: there is no such job{did_you_mean(job, known)}")
        wanted |= {n for n in names if job == "all" or job in (n, *n.split(".", 1))}
    if wanted & {table.name for table in registry.layer("gold")}:
        wanted |= {name for step in steps if step.closing for name in (step.name, *step.needs)}
    return [step for step in steps if step.name in wanted]


def run_steps(
    steps: Sequence[Step],
    *,
    parallel: int,
    continue_on_failure: bool,
    on_end: Callable[[StepRecord], None],
    cpu_seconds: Callable[[], float] = time.process_time,
    verbose: bool = False,
) -> list[StepRecord]:
    """Run steps in the order of their edges, up to `parallel` side by side.

    A step whose needs have failed is not run; without `continue_on_failure` nothing new starts after a failure.
    Returns a record for each step, in the order they ended.
    """
    by_name = {step.name: step for step in steps}
    edges = {s.name: {n for n in (*s.needs, *s.waits) if n in by_name and n != s.name} for s in steps}
    order = TopologicalSorter(edges)
    order.prepare()
    records: dict[str, StepRecord] = {}
    running: dict[Future[StepRecord], str] = {}
    ready: list[str] = []
    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="step") as pool:
        while order.is_active():
            ready.extend(order.get_ready())
            while ready and len(running) < parallel:
                name = ready.pop(0)
                reason = _blocked(by_name[name], records, continue_on_failure)
                if reason:
                    records[name] = StepRecord(name, "not_run", None, None, StepResult(message=reason))
                    on_end(records[name])
                    order.done(name)
                else:
                    running[pool.submit(_measured, by_name[name], cpu_seconds, verbose)] = name
            if running:
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    name = running.pop(future)
                    records[name] = future.result()
                    on_end(records[name])
                    order.done(name)
    return list(records.values())


def _blocked(step: Step, records: dict[str, StepRecord], continue_on_failure: bool) -> str:
    broken = [name for name, record in records.items() if record.status in ("failed", "not_run") and record.blocks]
    needed = [name for name in step.needs if name in broken]
    if needed:
        return f"needs {', '.join(needed)}"
    if broken and step.closing:
        failed = [name for name in broken if records[name].status == "failed"]
        return f"nothing is published, because {', '.join(failed)} failed"
    if broken and not continue_on_failure:
        return f"not started after {broken[0]} failed"
    return ""


def _measured(step: Step, cpu_seconds: Callable[[], float], verbose: bool) -> StepRecord:
    """Run a step and note the CPU time the application used meanwhile (steps side by side share it)."""
    before = cpu_seconds()
    record = _run_step(step, verbose)
    record.cpu_seconds = cpu_seconds() - before
    return record


def _run_step(step: Step, verbose: bool) -> StepRecord:
    started = now_utc()
    try:
        result = step.run()
    except (Exception, SystemExit) as error:
        if verbose:
            import traceback

            traceback.print_exc()
        code = error.exit_code if isinstance(error, CloudlakeError) else 1
        return StepRecord(step.name, "failed", started, now_utc(), StepResult(), explain_failure(error), code, error)
    if result.fault:
        return StepRecord(step.name, "failed", started, now_utc(), result, result.fault, 1, blocks=False)
    return StepRecord(step.name, "skipped" if result.skipped else "done", started, now_utc(), result)
