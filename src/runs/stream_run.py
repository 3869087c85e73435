"""The stream with the lookout beside it: once, or long-running: started again when it dies, given up after a limit."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JNetworkError
from pyspark.sql import SparkSession

from ..alerts.lookout import Lookout, look_once, report_death
from ..common.clock import new_run_id, now_utc
from ..common.config import Config
from ..common.errors import CloudlakeError, ConfigurationError, QualityGateError, explain_failure
from ..common.lake.books import Finding
from ..common.lake.locks import process_lock
from ..common.session import Sessions
from ..common.steps import StepResult
from ..streaming.monitor import Monitor, run_file
from ..streaming.pipeline import StreamResult, reload_events, run_continuously, run_once
from . import health, trust
from .record import record_killed, record_not_done, record_step
from .steps import StepRecord
from .telling import tell_of_runs

PID = run_file("stream.pid")
HOPELESS = (ConfigurationError, QualityGateError, Py4JNetworkError)
"""What starting again does not mend; the last says that Spark's process has ended."""


def take_once(session: Callable[[], SparkSession], config: Config, run_id: str) -> StreamResult:
    """Take what is there, then judge it and tell people. The caller holds the stream lock; errors as `run_once`."""
    found = trust.open_stream_books(config, run_id)
    result = _made_anew(session, config, run_id, found) or run_once(session, config, run_id)
    return _looked_after(config, run_id, result, found)


def reload_once(session: Callable[[], SparkSession], config: Config, run_id: str) -> StreamResult:
    """Take what is there, judge it, and make silver.usage_events anew; as `reload_events`."""
    found = trust.open_stream_books(config, run_id, full_reload=True)
    again = trust.is_read_again(found)
    return _looked_after(config, run_id, reload_events(session, config, run_id, read_again=again), found)


def _made_anew(
    session: Callable[[], SparkSession], config: Config, run_id: str, found: list[Finding]
) -> StreamResult | None:
    """Make silver's events anew where the books found that they must be; None where not."""
    if not trust.needs_reload(found):
        return None
    return reload_events(session, config, run_id, read_again=trust.is_read_again(found))


def _looked_after(config: Config, run_id: str, result: StreamResult, found: list[Finding]) -> StreamResult:
    """Make anew what the books found wrong and is derived from silver, judge what came in, and tell people."""
    if found:
        result.warnings += trust.mend_derived(config, found, run_id)
    result.warnings += look_once(config, run_id).faults
    return result


def run_stream(config: Config, work: Callable[[Sessions, Config, str], StreamResult]) -> StreamResult:
    """Stream as the one process that does so, and note it as a run.

    Raises:
        LockedError: another stream runs.
        CloudlakeError: a table's log is damaged.
    """
    run_id = new_run_id(now_utc())
    started = now_utc()
    try:
        return _run_stream(config, work, run_id)
    except Exception as error:
        record_not_done(config, run_id, "stream", started, error)
        raise
    finally:
        tell_of_runs(config)


def _run_stream(config: Config, work: Callable[[Sessions, Config, str], StreamResult], run_id: str) -> StreamResult:
    health.require_sound(config)
    with process_lock(config.lake, "stream", run_id) as left:
        record_killed(config, left)
        started = now_utc()
        result = work(Sessions("cloudlake-stream"), config, run_id)
        trust.close(config)
        done = StepResult(
            result.landed, result.accepted, result.quarantined, result.duplicates, skipped=not result.landed
        )
        record = StepRecord("stream", "done" if result.landed else "skipped", started, now_utc(), done)
        record_step(config.lake, config.registry, run_id, record)
    return result


def serve_stream(
    session: Callable[[], SparkSession],
    config: Config,
    run_id: str,
    stop: threading.Event,
    warn: Callable[[str], None],
) -> StreamResult:
    """Stream until `stop` is set; the caller holds the stream lock.

    Args:
        session: gives the Spark session when it is needed.
        config: the lake, the landing zone and the settings.
        run_id: the run.
        stop: set to end the stream; the micro-batches at hand then end first.
        warn: hears at once of what went wrong and does not end it.

    Raises:
        CloudlakeError: the stream died more often in a row than conf/ allows.
        ConfigurationError: starting again would not help.
    """
    found = trust.open_stream_books(config, run_id)
    _made_anew(session, config, run_id, found)
    if found:
        trust.mend_derived(config, found, run_id)
    monitor = Monitor(config, run_id)
    close_metrics = monitor.metrics.serve(config.stream.monitor.metrics_port)
    with _pid_file(config):
        try:
            return _keep_running(session, config, run_id, stop, warn, monitor)
        finally:
            close_metrics()


def _keep_running(
    session: Callable[[], SparkSession],
    config: Config,
    run_id: str,
    stop: threading.Event,
    warn: Callable[[str], None],
    monitor: Monitor,
) -> StreamResult:
    restart = config.stream.restart
    result = StreamResult()
    deaths = 0
    while True:
        started = time.monotonic()
        try:
            monitor.beat(at_once=True)
            lookout = Lookout(config, run_id)
            last = run_continuously(session, config, run_id, stop, monitor, beside=lookout)
            last.warnings += lookout.faults
            last.add(result)
            result = last
            break
        except Exception as error:
            reason = explain_failure(error)
            result.add(monitor.take_totals())
            if stop.is_set():  # The service manager has told Spark's process to end as well; the next run goes on.
                warn(f"the stream was cut off while it ended: {reason}")
                break
            deaths = 1 if time.monotonic() - started >= restart.forget_after_seconds else deaths + 1
            report_death(config, "stream", deaths, reason)
            if deaths > restart.limit or isinstance(error, HOPELESS):
                monitor.event("gave_up", reason)
                raise _given_up(error, deaths, reason) from error
            pause = min(restart.first_seconds * 2 ** (deaths - 1), restart.max_seconds) * random.uniform(0.75, 1)
            warn(f"the stream died ({reason}); again in {pause:.0f} s")
            monitor.event("died", reason)
            if stop.wait(pause):
                break
    monitor.event("stopped")
    return result


def _given_up(error: Exception, deaths: int, reason: str) -> CloudlakeError:
    if isinstance(error, ConfigurationError | QualityGateError):
        return error
    return CloudlakeError(
        f"the stream died {deaths} time(s) in a row and is not started again: {reason}. What was committed is kept; "
        "mend the cause, then scripts/run_streaming_pipeline.sh start goes on where it stopped"
    )


@contextmanager
def _pid_file(config: Config) -> Iterator[None]:
    config.lake.storage.replace(PID, f"{os.getpid()}\n".encode(), durable=False)
    try:
        yield
    finally:
        config.lake.storage.delete(PID)
