"""The stream's life: landing → bronze → silver, quarantine and increments; once, or until it is told to stop.

There is one stream process on a lake: the caller holds the lock `stream` (common/lake/locks.py) for as long as these
functions run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from ..common.config import Config, require_landing
from ..common.errors import CloudlakeError, ConfigurationError
from ..common.names import BRONZE_EVENTS as BRONZE
from ..common.quality.outcomes import Outcomes
from ..common.session import let_go
from .bronze_events import BronzeQuery
from .committed import require_lines
from .monitor import Monitor
from .silver_events import SilverQuery

_POLL_SECONDS = 0.2
_FOLLOWING = "500 milliseconds"
"""How often silver looks for lines in bronze: a look costs next to nothing, and what has come need not wait."""


@dataclass
class StreamResult(Outcomes):
    """What a stretch of stream did; load_id is the largest that silver holds, None where it holds nothing."""

    micro_batches: int = 0
    load_id: int | None = None
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)


class _Stopped(Exception):
    """A micro-batch came after the stop; it is left to the next run."""


def run_once(session: Callable[[], SparkSession], config: Config, run_id: str) -> StreamResult:
    """Take what is there to bronze, then to silver, and end. The caller holds the stream lock.

    `session` gives the Spark session; it is asked for one only where there is something to do.

    Raises:
        CloudlakeError: a micro-batch failed; what was committed stays, and the next run goes on from there.
        ConfigurationError: there is no landing zone.
    """
    started = time.monotonic()
    _require_landing(config)
    session = cache(session)
    bronze = BronzeQuery(session, config, run_id)
    if bronze.has_work():
        _run_to_end(bronze)
    warnings = bronze.reconcile_files()
    silver = SilverQuery(session, config, run_id)
    if silver.has_work():
        _run_to_end(silver)
    return _result(silver, started, warnings)


def reload_events(
    session: Callable[[], SparkSession], config: Config, run_id: str, *, read_again: bool = False
) -> StreamResult:
    """Take what is there, then make silver.usage_events anew from bronze. The caller holds the stream lock.

    The result counts every line of bronze. Every mart of usage has to be rebuilt after it. `read_again`: bronze itself is
    made whole from the landing zone by it, so lines that it lacks now are no loss.

    Raises:
        CloudlakeError: bronze no longer holds what silver was made from, or something failed; silver is as it was, or made anew as a whole.
        ConfigurationError: there is no landing zone.
    """
    started = time.monotonic()
    _require_landing(config)
    if not read_again:
        require_lines(config.lake)
    session = cache(session)
    bronze = BronzeQuery(session, config, run_id)
    if bronze.has_work():
        _run_to_end(bronze)
    warnings = bronze.reconcile_files()
    silver = SilverQuery(session, config, run_id)
    if not config.lake.has_files(BRONZE):
        return _result(silver, started, warnings)
    counts = silver.reload()
    return StreamResult(
        **asdict(counts),
        micro_batches=1,
        load_id=silver.largest_load_id(),
        seconds=time.monotonic() - started,
        warnings=warnings + silver.warnings,
    )


def run_continuously(
    session: Callable[[], SparkSession],
    config: Config,
    run_id: str,
    stop: threading.Event,
    monitor: Monitor,
    beside: AbstractContextManager[object] | None = None,
) -> StreamResult:
    """Process micro-batches until `stop` is set; the ones at hand then end. The caller holds the stream lock.

    `beside` is entered while the queries run: what works beside them, such as the lookout of the alerts.

    Raises:
        CloudlakeError: a query died.
        ConfigurationError: there is no landing zone.
    """
    started = time.monotonic()
    _require_landing(config)
    session = cache(session)
    bronze = BronzeQuery(session, config, run_id)
    config.landing_zone.make_folder(bronze.folder)
    silver = SilverQuery(session, config, run_id)
    interval = f"{config.stream.trigger.interval_seconds} seconds"
    ending = threading.Event()
    running: list[tuple[BronzeQuery | SilverQuery, StreamingQuery]] = []
    monitor.watch(bronze, silver)
    session().streams.addListener(monitor)
    with beside or nullcontext():
        try:
            running.append((bronze, _start(bronze, ending, processingTime=interval)))
            monitor.event("started")
            while not stop.wait(_POLL_SECONDS) and all(query.isActive for _, query in running):
                # Delta has nothing to stream from before there is a first line, or a next one after a lost checkpoint.
                if len(running) == 1 and silver.has_work():
                    running.append((silver, _start(silver, ending, processingTime=_FOLLOWING)))
                monitor.beat()
        finally:
            ending.set()
            for _, query in running:
                _stop_after_batch(query)
            session().streams.removeListener(monitor)
    for job, query in running:
        _raise_failure(job, query)
    bronze.listed = bronze.list_files()
    return _result(silver, started, bronze.reconcile_files())


def _require_landing(config: Config) -> None:
    require_landing(config)
    name = str(config.landing)
    if ":" in name and set(name) & set("*?[]{}\\"):
        raise ConfigurationError(
            f"{name}: Spark can't list a folder whose path has a colon and one of * ? [ ] {{ }} \\; give it another name"
        )


def _run_to_end(job: BronzeQuery | SilverQuery) -> None:
    query = _start(job, threading.Event(), availableNow=True)
    try:
        query.awaitTermination()
    except Exception:
        if job.failure is None:
            raise
    _raise_failure(job, query)


def _start(job: BronzeQuery | SilverQuery, stop: threading.Event, **trigger: Any) -> StreamingQuery:
    def take(rows: DataFrame, batch_id: int) -> None:
        if stop.is_set():
            raise _Stopped
        try:
            job.take(rows, batch_id)
        except Exception as error:
            job.failure = error
            raise
        let_go()

    writer = job.stream().writeStream.foreachBatch(take).queryName(job.checkpoint.job)
    writer = writer.option("checkpointLocation", job.checkpoint.place)
    return writer.trigger(**trigger).start()


def _stop_after_batch(query: StreamingQuery) -> None:
    """Let the micro-batch at hand end, with its entry in the checkpoint, then stop the query."""
    while query.isActive and query.status["isTriggerActive"]:
        time.sleep(_POLL_SECONDS / 4)
    query.stop()


def _raise_failure(job: BronzeQuery | SilverQuery, query: StreamingQuery) -> None:
    """Raise what made a query die: the error of its micro-batch where Python saw it, else Spark's."""
    if job.failure is not None:
        raise job.failure
    error = query.exception()
    if error is not None and _Stopped.__name__ not in str(error):
        raise CloudlakeError(f"the stream query {job.checkpoint.job} died: {str(error).splitlines()[0]}") from error


def _result(silver: SilverQuery, started: float, warnings: list[str]) -> StreamResult:
    return StreamResult(
        **asdict(silver.totals),
        micro_batches=silver.micro_batches,
        load_id=silver.largest_load_id(),
        seconds=time.monotonic() - started,
        warnings=warnings + silver.warnings,
    )
