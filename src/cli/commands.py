"""The use cases behind the command line: they put steps of batch, streaming and serving together and report."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from ..batch import audit as quality_audit
from ..batch.bronze import ingestion as bronze_ingestion
from ..common.clock import new_run_id, now_utc
from ..common.config import Config, require_landing
from ..common.errors import LockedError
from ..common.lake.locks import lock_holder, process_lock
from ..common.quality import gates
from ..common.session import PROJECT_ROOT, Sessions
from ..common.steps import Expected, StepResult
from ..runs import batch_run as pipeline
from ..runs.record import record_step
from ..runs.steps import Step, StepRecord
from ..serving import publication as publish
from ..serving import served as serving_layer
from . import dictionary as dictionary_page
from . import tables as console

EVENTS = "silver.usage_events"


def batch(config: Config, arguments: argparse.Namespace, replayed: Mapping[str, Collection[str]] | None = None) -> int:
    """Run the batch pipeline and return its exit code; `replayed` names refused rows to judge again, by silver table."""
    options = pipeline.Options(
        jobs=tuple(arguments.jobs),
        as_of=arguments.as_of,
        snapshot_at=arguments.snapshot_at,
        full_reload=arguments.full_reload,
        dry_run=arguments.dry_run,
        continue_on_failure=arguments.continue_on_failure,
        parallel=arguments.parallel or config.settings.parallel,
        replayed=replayed or {},
    )
    now = now_utc()
    run_id = new_run_id(now)
    with ExitStack() as stack:
        sessions = Sessions("cloudlake-batch")
        steps = _steps(sessions, config, options, run_id, now, stack)
        chosen = pipeline.select(steps, options.jobs, config.registry)
        if any(step.name.startswith("bronze.") or step.name == EVENTS for step in chosen):
            require_landing(config.landing)
        if options.dry_run:
            return _dry_run(chosen, config)
        sources = [t for t in config.registry.layer("bronze") if t.file and t.name in {step.name for step in chosen}]
        bronze_ingestion.require_deliveries(config, sources, options.snapshot_at, now)
        stack.enter_context(process_lock(config.lake, "batch", run_id))
        if options.full_reload and any(step.name == EVENTS for step in chosen):
            _lock_for_reload(config, run_id, stack)
        started = now_utc()

        def on_end(record: StepRecord) -> None:
            print(console.progress_line(record), file=sys.stderr, flush=True)
            record_step(config.lake, config.registry, run_id, record)
            if isinstance(record.failure, gates.GateFailed):
                gates.record_failure(config.lake, config.registry, run_id, record.failure)

        records = pipeline.run_steps(
            chosen,
            parallel=options.parallel,
            continue_on_failure=options.continue_on_failure,
            on_end=on_end,
            cpu_seconds=sessions.cpu_seconds,
            verbose=arguments.verbose,
        )
        return _conclude(config, run_id, started, records, vars(arguments))


def _steps(
    sessions: Sessions, config: Config, options: pipeline.Options, run_id: str, now: datetime, stack: ExitStack
) -> list[Step]:
    """Return every step of a batch run; `stack` keeps the stream's lock that a step takes until the run ends."""
    return [
        *pipeline.table_steps(sessions, config, options, run_id, now),
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
            lambda: publish.publish(config, run_id),
            lambda expected: "puts what was built in force",
            waits=tuple(table.name for table in config.registry.layer("gold")),
            closing=True,
        ),
        _alerts_step(config, run_id),
        *(_serving_step(config, table, run_id) for table in serving_layer.SERVED),
    ]


def _lock_for_reload(config: Config, run_id: str, stack: ExitStack) -> None:
    """Keep the stream out for the rest of the run: silver.usage_events is made anew under a stopped stream only."""
    try:
        stack.enter_context(process_lock(config.lake, "stream", run_id))
    except LockedError as error:
        raise LockedError(
            f"--full-reload of {EVENTS} needs the stream stopped: scripts/run_streaming_pipeline.sh stop, or leave the "
            f"table out with --jobs. {error}"
        ) from None


def _stream_step(sessions: Sessions, config: Config, run_id: str, stack: ExitStack, full_reload: bool) -> Step:
    """The step that catches the stream up, where no stream is running; with `full_reload`, makes silver anew."""

    def run() -> StepResult:
        from ..runs import stream_run

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
        from ..streaming import dry_run as pending

        if full_reload:
            expected[EVENTS] = None
            return "rebuilds it from bronze in one commit: --full-reload"
        return pending.describe(config, expected)

    return Step(EVENTS, (), run, plan)


def _alerts_step(config: Config, run_id: str) -> Step:
    """The step that judges again by the baselines that were published; a running stream does so by itself."""

    def run() -> StepResult:
        from ..alerts.lookout import look_once

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
        lambda: serving_layer.serve(config, table, run_id),
        lambda expected: "merges the speed and the batch view",
        waits=("publish", EVENTS, "speed.alerts"),
    )


def _dry_run(steps: list[Step], config: Config) -> int:
    order = {name: position for position, name in enumerate([*config.registry.order(), "quality", "publish"])}
    print("A run would do this; nothing has been written.")
    expected: Expected = {}
    for step in sorted(steps, key=lambda step: order.get(step.name, len(order))):
        print(f"  {step.name:36} {step.plan(expected)}")
    return 0


def _conclude(config: Config, run_id: str, started: Any, records: list[StepRecord], arguments: dict[str, Any]) -> int:
    """Print the summary, write the report, note the run, and return the exit code: the gravest of its steps."""
    failed = [record for record in records if record.status == "failed"]
    exit_code = max((record.exit_code for record in failed), default=0)
    whole = StepRecord(
        "run",
        "failed" if failed else "done",
        started,
        now_utc(),
        StepResult(),
        "; ".join(r.error for r in failed),
        exit_code,
    )
    record_step(config.lake, config.registry, run_id, whole, {k: v for k, v in arguments.items() if v is not None})
    counted = console.reconciliation(config, run_id)
    report = {
        "run_id": run_id,
        "status": whole.status,
        "exit_code": exit_code,
        "started_at": whole.started_at,
        "ended_at": whole.ended_at,
        "seconds": round(whole.seconds, 3),
        "steps": console.record_json(records),
        "reconciliation": counted,
    }
    path = console.write_report(config, run_id, report)
    grids = [console.steps_grid(records)]
    if counted:
        grids.append(console.reconciliation_grid(counted, "Where every record went in this run"))
    console.print_grids(*grids)
    print(f"run {run_id} {whole.status} in {whole.seconds:.1f} s; report: {path}")
    for record in failed:
        print(f"error: {record.step}: {record.error}", file=sys.stderr)
    return exit_code


def stream(config: Config, mode: str) -> int:
    """Take the events: what is there (`once`), or in the foreground until SIGTERM or SIGINT (`run`)."""
    from ..runs import stream_run
    from ..runs import stream_run as service

    run_id = new_run_id(now_utc())
    with process_lock(config.lake, "stream", run_id):
        sessions = Sessions("cloudlake-stream")
        started = now_utc()
        if mode == "once":
            result = stream_run.take_once(sessions, config, run_id)
        else:
            stop = threading.Event()
            for signum in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signum, lambda *_: stop.set())
            print(f"streaming from {config.landing / config.stream.events.folder}; stop with Ctrl-C", file=sys.stderr)
            result = service.serve_stream(sessions, config, run_id, stop)
        done = StepResult(
            result.landed, result.accepted, result.quarantined, result.duplicates, skipped=not result.landed
        )
        record = StepRecord("stream", "done" if result.landed else "skipped", started, now_utc(), done)
        record_step(config.lake, config.registry, run_id, record)
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"stream: {result.landed:,} lines landed = {result.accepted:,} accepted + {result.quarantined:,} quarantined "
        f"+ {result.duplicates:,} duplicates, in {result.micro_batches} micro-batch(es), {result.seconds:.1f} s"
    )
    return 0


def serve(config: Config, interval: int | None) -> int:
    """Upsert the served tables, once or every `interval` seconds until interrupted."""
    run_id = new_run_id(now_utc())
    with process_lock(config.lake, "serving", run_id):
        while True:
            for table in serving_layer.SERVED:
                result = serving_layer.serve(config, table, run_id)
                print(
                    f"{now_utc():%H:%M:%S} {table:26} {result.rows_out:,} row(s) written; {result.message}".rstrip(
                        "; "
                    ),
                    flush=True,
                )
            if interval is None:
                return 0
            time.sleep(interval)


def status(config: Config, check: bool, as_json: bool) -> int:
    """Print what is in force and what is wrong, and return 1 under `check` where something is."""
    from . import status as status_page

    found = status_page.gather(config, now_utc())
    if as_json:
        print(json.dumps(found, indent=2, default=str))
    else:
        status_page.show(found)
    return 1 if check and found["problems"] else 0


def rollback(config: Config, to: str | None) -> int:
    """Put an earlier publication in force."""
    with process_lock(config.lake, "batch", new_run_id(now_utc())):
        left, target = publish.rollback(config, to)
    print(f"in force: {len(target.tables)} tables of run {target.run_id}, published {target.published_at}")
    print(f"left:     run {left.run_id}; to return to it: cloudlake rollback --to {left.run_id}")
    print(
        "The served tables follow with scripts/run_serving_layer.sh; the next run that builds something publishes anew."
    )
    return 0


def accept_gate(config: Config, run_id: str, rule: str, reason: str) -> int:
    """Let pass what a gate stopped in one run."""
    for row in gates.accept(config.lake, config.registry, run_id, rule, reason):
        print(f"accepted: {row['table']} {row['subject']} ({rule}); scripts/run_batch_pipeline.sh takes it now")
    return 0


def alerts(config: Config, options: argparse.Namespace) -> int:
    """List alerts, take one on, silence some, or tell people again."""
    from . import alerts as alerts_page

    now = now_utc()
    if options.action == "list":
        return alerts_page.show(config, options.status, options.json, now)
    if options.action == "ack":
        return alerts_page.acknowledge(config, options.id, now)
    if options.action == "silence":
        return alerts_page.silence(config, options.id, options.rule, options.org, options.until, now)
    return alerts_page.resend(config, options.id, now)


def history(config: Config, table: str, key: str) -> int:
    """Print the versions of one key, oldest first, and what changed between them."""
    from . import history as history_page

    return history_page.show(config, table, key)


def dictionary(config: Config, out: str | None, check: bool) -> int:
    """Write the data dictionary, or tell whether the written one is stale."""
    path = Path(out) if out else PROJECT_ROOT / "docs" / "data_dictionary.md"
    page = dictionary_page.render(config.registry)
    if check:
        if not path.exists() or path.read_text(encoding="utf-8") != page:
            print(f"error: {path} is stale; run cloudlake dictionary", file=sys.stderr)
            return 1
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    print(f"wrote {path}")
    return 0
