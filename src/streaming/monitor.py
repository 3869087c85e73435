"""What the long-running stream shows of itself: a heartbeat file, ops.stream_progress, and metrics for Prometheus.

`<lake>/run/stream.json` says every few seconds that the stream is alive, what its last micro-batch did and how far it
is behind. It is replaced at once, so a reader never sees half of it.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from ..common.clock import now_utc
from ..common.config import Config
from ..common.lake.tables import Lake
from ..common.names import EVENTS as SILVER
from ..common.names import RECONCILIATION
from ..common.names import REFUSED_EVENTS as QUARANTINE
from ..common.quality.outcomes import Outcomes
from ..common.quality.quarantine import OPEN
from .bronze_events import BronzeQuery
from .event_files import EventFile, list_files, other_files
from .isolation import STEP_FAILED
from .landed import LandedFiles, is_likely
from .silver_events import SilverQuery

PROGRESS = "ops.stream_progress"
_FLUSH_SECONDS = 30.0
_WATCH_SECONDS = 60.0
OUTCOMES = ("landed", "accepted", "quarantined", "duplicates")


def run_file(name: str) -> str:
    """Return where, below the lake's root, the stream keeps its heartbeat, pid or log."""
    return f"run/{name}"


_HEARTBEAT = run_file("stream.json")


def heartbeat(lake: Lake) -> dict[str, Any]:
    """Return what the stream last said of itself ({} where none has run)."""
    return lake.storage.read_state(_HEARTBEAT)


def behind(
    files: Iterable[EventFile], versions: Mapping[str, int], done: int, now: datetime, oldest: datetime
) -> tuple[int, float]:
    """Return how many landed files silver does not hold, and the age of the oldest in seconds.

    Args:
        files: the files that lie in the landing zone.
        versions: the bronze version that holds each file that was read.
        done: the bronze version up to which silver has everything.
        now: the time.
        oldest: an earlier modification time is none; the time that the file was put there counts instead.
    """
    left = [file for file in files if versions.get(file.path, done + 1) > done]
    waiting = [file.modified_at if is_likely(file.modified_at, oldest, now) else file.changed_at for file in left]
    return len(waiting), max(0.0, (now - min(waiting, default=now)).total_seconds())


def lag(config: Config, now: datetime) -> tuple[int, float]:
    """Return how far the lake is behind the landing zone, from its tables: for when no stream runs."""
    done = config.lake.newest(RECONCILIATION, "to_version")  # of events alone: a file has no range
    files = list_files(config.landing_zone, config.stream.events.folder)
    return behind(
        files, LandedFiles(config).versions, -1 if done is None else done, now, config.stream.events.oldest_file
    )


def landing_warnings(config: Config, now: datetime) -> list[str]:
    """Return what is wrong with files of the landing folder, from the lake's tables: for when no stream runs."""
    zone, folder = config.landing_zone, config.stream.events.folder
    files, landed = list_files(zone, folder), LandedFiles(config)
    return landed.changed(files) + landed.odd_times(files, now) + other_files(zone, folder)


def kept_apart(config: Config) -> list[str]:
    """Return a warning where lines that made a micro-batch fail wait for somebody."""
    if not config.lake.exists(QUARANTINE):
        return []
    reasons = config.lake.read_small(QUARANTINE, columns=["reasons"], filters=[("status", "=", OPEN)])[
        "reasons"
    ].to_pylist()
    number = sum(STEP_FAILED in names for names in reasons)
    if not number:
        return []
    return [
        f"{number} line(s) made {SILVER} fail and are kept apart: cloudlake quarantine list --reason {STEP_FAILED}, and show "
        f"says why; mend the cause, then cloudlake quarantine replay --reason {STEP_FAILED}"
    ]


class Metrics:
    """The stream's metrics, served on loopback."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"cloudlake_stream_{name}", text, labels, registry=self.registry)

        self.lines = Counter("cloudlake_stream_lines", "Lines by where they went", ["outcome"], registry=self.registry)
        self.restarts = Counter(
            "cloudlake_stream_restarts", "Times the stream was started again", registry=self.registry
        )
        self.input_rate = gauge("input_lines_per_second", "Lines that arrive in a second", ("query",))
        self.batch_seconds = gauge("batch_seconds", "Duration of the last micro-batch with lines", ("query",))
        self.quarantine_rate = gauge("quarantine_rate", "Share of the last micro-batch's lines that were refused")
        self.lag_files = gauge("lag_files", "Landed files that silver does not hold yet")
        self.lag_seconds = gauge("lag_seconds", "Age of the oldest of them")
        self.heartbeat = gauge("heartbeat_timestamp_seconds", "When the stream last said that it is alive")

    def serve(self, port: int) -> Callable[[], None]:
        """Serve the metrics on 127.0.0.1; returns what ends that. A port that is taken is a warning, not a failure."""
        if port == 0:
            return lambda: None
        try:
            server, thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        except OSError as error:
            print(
                f"warning: no metrics at 127.0.0.1:{port} ({error.strerror}); set monitor.metrics_port in conf/streaming.yaml",
                file=sys.stderr,
            )
            return lambda: None

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join(5)

        return close


class Monitor(StreamingQueryListener):
    """Watches one stream process: hears of each micro-batch from Spark, and says what it knows at each heartbeat."""

    def __init__(self, config: Config, run_id: str) -> None:
        self._config, self._run_id = config, run_id
        self._lock = threading.Lock()
        self._rows: list[dict[str, Any]] = []
        self._beaten = self._flushed = self._watched = 0.0
        self._bronze: BronzeQuery | None = None
        self._silver: SilverQuery | None = None
        self.metrics = Metrics()
        self.state: dict[str, Any] = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "run_id": run_id,
            "state": "starting",
            "started_at": now_utc().isoformat(timespec="seconds"),
            "restarts": 0,
            "error": "",
            "last_batch": None,
            "lag_files": None,
            "lag_seconds": None,
            "warnings": [],
            **dict.fromkeys(OUTCOMES, 0),
        }

    # --- what it is told ---

    def watch(self, bronze: BronzeQuery, silver: SilverQuery) -> None:
        """Watch these queries from now on."""
        self._bronze, self._silver = bronze, silver

    def take_totals(self) -> Outcomes:
        """Return what the queries that died had counted; from then on they are no longer watched."""
        silver, self._bronze, self._silver = self._silver, None, None
        return silver.totals if silver is not None else Outcomes()

    def event(self, name: str, error: str = "") -> None:
        """Note an event in the stream's life."""
        if name == "died":
            self.state["restarts"] += 1
            self.metrics.restarts.inc()
        states = {"started": "running", "died": "waiting to start again", "gave_up": "failed", "stopped": "stopped"}
        self.state |= {"state": states[name], "error": error or self.state["error"]}
        with self._lock:
            self._rows.append(self._row(name, error=error or None))
        self.flush()
        self.beat(at_once=True)

    def onQueryStarted(self, event: QueryStartedEvent) -> None:
        """Spark's call; what starts is noted once for both queries."""

    def onQueryIdle(self, event: QueryIdleEvent) -> None:
        """Spark's call; nothing to note."""

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:
        """Spark's call; the supervisor sees the end itself."""

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        """Note a micro-batch that had lines."""
        progress = event.progress
        if progress.numInputRows == 0:
            return
        query, seconds = str(progress.name), progress.durationMs.get("triggerExecution", 0) / 1000
        silver = self._silver
        counts = None
        if silver is not None and query == silver.checkpoint.job:
            counts = silver.counted.pop(progress.batchId, None)
        found: dict[str, Any] = {"lines": progress.numInputRows}
        if counts is not None:
            found |= {name: getattr(counts, name) for name in OUTCOMES if name != "landed"}
            self._count(progress.batchId, seconds, {"landed": counts.landed, **found})
        rate = float(progress.inputRowsPerSecond)
        rate = rate if rate < float("inf") else 0.0
        self.metrics.input_rate.labels(query).set(rate)
        self.metrics.batch_seconds.labels(query).set(seconds)
        row = self._row("progress", query=query, batch_id=progress.batchId, **found)
        with self._lock:
            self._rows.append(row | {"lines_per_second": rate, "seconds": seconds})

    def _count(self, batch_id: int, seconds: float, found: Mapping[str, int]) -> None:
        numbers = {name: int(found[name]) for name in OUTCOMES}
        for name, number in numbers.items():
            self.metrics.lines.labels(name).inc(number)
            self.state[name] += number
        self.metrics.quarantine_rate.set(numbers["quarantined"] / max(1, numbers["landed"]))
        ended = now_utc().isoformat(timespec="seconds")
        self.state["last_batch"] = {"batch_id": batch_id, "at": ended, "seconds": seconds, **numbers}

    # --- what it says ---

    def beat(self, at_once: bool = False) -> None:
        """Say that the stream is alive, if it is time to."""
        clock = time.monotonic()
        if not at_once and clock - self._beaten < self._config.stream.monitor.heartbeat_seconds:
            return
        self._beaten = clock
        now = now_utc()
        if self._bronze is not None and self._silver is not None:
            files = self._bronze.list_files()
            oldest = self._config.stream.events.oldest_file
            number, seconds = behind(files, self._bronze.versions, self._silver.done_version, now, oldest)
            self.state |= {"lag_files": number, "lag_seconds": round(seconds, 1)}
            self.metrics.lag_files.set(number)
            self.metrics.lag_seconds.set(seconds)
            if clock - self._watched >= _WATCH_SECONDS:
                self._watched = clock
                self._warn(self._bronze.warnings(files) + self._silver.warnings)
        self.metrics.heartbeat.set(now.timestamp())
        self._write(now)
        if clock - self._flushed >= _FLUSH_SECONDS:
            self.flush()

    def _warn(self, warnings: list[str]) -> None:
        for warning in warnings:
            if warning not in self.state["warnings"]:
                print(f"warning: {warning}", file=sys.stderr, flush=True)
        self.state["warnings"] = warnings

    def _write(self, now: datetime) -> None:
        state = {**self.state, "at": now.isoformat(timespec="seconds")}
        self._config.lake.storage.keep_state(_HEARTBEAT, state, durable=False)

    def flush(self) -> None:
        """Append what was noted to ops.stream_progress."""
        self._flushed = time.monotonic()
        with self._lock:
            rows, self._rows = self._rows, []
        self._config.lake.append_small(rows, self._config.registry[PROGRESS], {"run_id": self._run_id})

    def _row(self, event: str, **known: Any) -> dict[str, Any]:
        behind_by = {name: self.state[name] for name in ("lag_files", "lag_seconds", "restarts")}
        return {"run_id": self._run_id, "at": now_utc(), "event": event, **behind_by, **known}
