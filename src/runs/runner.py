"""Runs chosen steps in the order of their edges, independent ones side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter

from ..common.clock import now_utc
from ..common.contracts.table import Registry
from ..common.errors import CloudlakeError, ConfigurationError, did_you_mean, explain_failure
from ..common.steps import StepResult
from .steps import Step, StepRecord

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
                    running[pool.submit(_measured, by_name[name], cpu_seconds)] = name
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


def _measured(step: Step, cpu_seconds: Callable[[], float]) -> StepRecord:
    """Run a step and note the CPU time the application used meanwhile (steps side by side share it)."""
    before = cpu_seconds()
    record = _run_step(step)
    record.cpu_seconds = cpu_seconds() - before
    return record


def _run_step(step: Step) -> StepRecord:
    started = now_utc()
    try:
        result = step.run()
    except (Exception, SystemExit) as error:
        code = error.exit_code if isinstance(error, CloudlakeError) else 1
        return StepRecord(step.name, "failed", started, now_utc(), StepResult(), explain_failure(error), code, error)
    if result.fault:
        return StepRecord(step.name, "failed", started, now_utc(), result, result.fault, 1, blocks=False)
    return StepRecord(step.name, "skipped" if result.skipped else "done", started, now_utc(), result)
