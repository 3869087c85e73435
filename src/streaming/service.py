"""The long-running stream: started again with growing pauses when it dies, given up after a limit, ended cleanly."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from py4j.protocol import Py4JNetworkError
from pyspark.sql import SparkSession

from ..common.config import Config
from ..common.errors import CloudlakeError, ConfigurationError, QualityGateError
from ..common.runs import explain_failure
from .lookout import report_death
from .monitor import Monitor, run_folder
from .streaming_pipeline import StreamResult, run_continuously

PID = "stream.pid"
HOPELESS = (ConfigurationError, QualityGateError, Py4JNetworkError)
"""What starting again does not mend; the last says that Spark's process has ended."""


def serve_stream(
    session: Callable[[], SparkSession],
    config: Config,
    run_id: str,
    stop: threading.Event,
) -> StreamResult:
    """Stream until `stop` is set; the caller holds the stream lock.

    Args:
        session: gives the Spark session when it is needed.
        config: the lake, the landing zone and the settings.
        run_id: the run.
        stop: set to end the stream; the micro-batches at hand then end first.

    Raises:
        CloudlakeError: the stream died more often in a row than conf/ allows.
        ConfigurationError: starting again would not help.
    """
    monitor = Monitor(config, run_id)
    close_metrics = monitor.metrics.serve(config.stream.monitor.metrics_port)
    with _pid_file(config):
        try:
            return _keep_running(session, config, run_id, stop, monitor)
        finally:
            close_metrics()


def _keep_running(
    session: Callable[[], SparkSession], config: Config, run_id: str, stop: threading.Event, monitor: Monitor
) -> StreamResult:
    restart = config.stream.restart
    result = StreamResult()
    deaths = 0
    while True:
        started = time.monotonic()
        try:
            monitor.beat(at_once=True)
            last = run_continuously(session, config, run_id, stop, monitor)
            last.add(result)
            result = last
            break
        except Exception as error:
            reason = explain_failure(error)
            result.add(monitor.take_totals())
            if stop.is_set():  # The service manager has told Spark's process to end as well; the next run goes on.
                print(f"warning: the stream was cut off while it ended: {reason}", file=sys.stderr)
                break
            deaths = 1 if time.monotonic() - started >= restart.forget_after_seconds else deaths + 1
            report_death(config, "stream", deaths, reason)
            if deaths > restart.limit or isinstance(error, HOPELESS):
                monitor.event("gave_up", reason)
                raise _given_up(error, deaths, reason) from error
            pause = min(restart.first_seconds * 2 ** (deaths - 1), restart.max_seconds) * random.uniform(0.75, 1)
            print(f"warning: the stream died ({reason}); again in {pause:.0f} s", file=sys.stderr, flush=True)
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
def _pid_file(config: Config) -> Iterator[Path]:
    path = run_folder(config.lake) / PID
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{os.getpid()}\n", encoding="utf-8")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
