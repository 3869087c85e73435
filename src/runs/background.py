"""The stream in the background: start it, end it, and what is known of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..common.config import Config
from ..common.errors import CloudlakeError, ConfigurationError
from ..common.lake.locks import lock_holder, process_lock
from ..common.project import checkout
from ..streaming.monitor import heartbeat, kept_apart, lag, landing_warnings
from ..upkeep.leftovers import LOG_BYTES
from .record import record_killed

START_SECONDS = 120.0
STOP_SECONDS = 300.0
STALE_BEATS = 15
_LOG = "stream.log"


class NotStartedError(CloudlakeError):
    """The stream ended at once; carries its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def start_stream(config: Config, master: str | None = None, settings: Sequence[str] = ()) -> str:
    """Start the stream in the background, wait until it runs, and say what runs.

    Args:
        config: the lake, the landing zone and the settings.
        master: where Spark runs; None for what conf/ says.
        settings: settings of Spark, K=V.

    Raises:
        ConfigurationError: the code runs from no checkout.
        LockedError: a stream runs already; the message names it.
        NotStartedError: it ended at once.
    """
    project = checkout()
    if project is None:
        raise ConfigurationError(
            "the stream is started in the background by scripts of a checkout; here: cloudlake stream run"
        )
    with process_lock(config.lake, "stream", "start") as left:
        record_killed(config, left)
        before = heartbeat(config.lake).get("run_id")
    storage = config.run_folder
    where = ("--lake", str(config.lake.root), "--landing", str(config.landing), "--conf", str(config.conf))
    spark = [*(["--master", master] if master else []), *(word for one in settings for word in ("--spark-conf", one))]
    script = str(project / "scripts" / "run_streaming_pipeline.sh")
    with storage.open_log(_LOG, LOG_BYTES) as out:
        from_here = out.tell()
        process = subprocess.Popen(
            [script, "run", *where, *spark], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        state = heartbeat(config.lake)
        if state.get("run_id") != before and state.get("state") == "running":
            return f"the stream runs: process {state['pid']}, run {state['run_id']}; log: {storage.at(_LOG)}"
        code = process.poll()
        if code is not None:
            said = storage.read(_LOG)[from_here:].decode("utf-8", "replace").splitlines()
            raise NotStartedError(
                "\n".join([f"the stream did not start; {storage.at(_LOG)} says:", *said[-5:]]), code or 1
            )
        time.sleep(0.2)
    return f"the stream is still starting after {START_SECONDS:.0f} s (process {process.pid}); see {storage.at(_LOG)}"


def stop_stream(config: Config) -> int | None:
    """Tell the running stream to end, wait until its micro-batch has ended, and return its process; None: none ran.

    Raises:
        ConfigurationError: it runs on another machine.
        CloudlakeError: it has not ended in time.
    """
    holder = lock_holder(config.lake, "stream")
    if holder is None:
        return None
    pid, state = int(holder.get("pid", 0)), heartbeat(config.lake)
    if holder.get("host") != socket.gethostname():
        raise ConfigurationError(f"the stream runs on {holder.get('host')}, process {pid}; stop it there")
    if state.get("run_id") != holder.get("run_id"):
        raise ConfigurationError(
            f"process {pid} ({holder.get('command')}) takes the events that are there and ends by itself; wait for it"
        )
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while (lock_holder(config.lake, "stream") or {}).get("pid") == pid:
        if time.monotonic() > end:
            raise CloudlakeError(
                f"process {pid} has not ended in {STOP_SECONDS:.0f} s; its micro-batch may be large, see "
                f"{config.run_folder.at(_LOG)}. Killing it (kill -9 {pid}) loses nothing: the next start goes on"
            )
        time.sleep(0.1)
    return pid


def stream_state(config: Config, now: datetime) -> dict[str, Any]:
    """Return the state of the stream as plain data; `problem` says what is wrong, and what to do."""
    holder, state = lock_holder(config.lake, "stream"), heartbeat(config.lake)
    running = holder is not None and state.get("run_id") == holder.get("run_id")
    found: dict[str, Any] = {"running": running, "problem": "", **state}
    if not running:
        files, seconds = lag(config, now)
        found |= {"lag_files": files, "lag_seconds": round(seconds, 1), "warnings": landing_warnings(config, now)}
    found["warnings"] = [*found.get("warnings", []), *kept_apart(config)]
    age = (now - datetime.fromisoformat(state["at"])).total_seconds() if state else None
    found["heartbeat_age_seconds"] = None if age is None else round(age, 1)
    if running and age is not None and age > STALE_BEATS * config.stream.monitor.heartbeat_seconds:
        found["problem"] = (
            f"the stream (process {state['pid']}) has not been heard of for {age:.0f} s: see {config.run_folder.at(_LOG)}; "
            "kill it and run scripts/run_streaming_pipeline.sh start"
        )
    elif not running and state.get("state") == "failed":
        found["problem"] = (
            f"the stream gave up: {state['error']}. Mend it, then scripts/run_streaming_pipeline.sh start"
        )
    elif not running and holder is None and state and state["state"] != "stopped":
        found["problem"] = (
            f"the stream was cut off (process {state['pid']}, heard of last at {state['at']}); "
            "scripts/run_streaming_pipeline.sh start goes on where it stopped"
        )
    return found
