"""`cloudlake stream`: take usage events, once, in the foreground or in the background, and say how the stream does."""

from __future__ import annotations

import json
import signal
import sys
import threading
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ..common.clock import spoken_age
from .arguments import Commands, Parser, add_command, require_java
from .typed import typed

if TYPE_CHECKING:
    from ..common.config import Config
    from ..streaming.pipeline import StreamResult

EXAMPLES = """examples:
  scripts/run_streaming_pipeline.sh start     stream in the background; the log is <lake>/run/stream.log
  scripts/run_streaming_pipeline.sh status    is it alive, how far is it behind; --json
  scripts/run_streaming_pipeline.sh stop      end it when the micro-batch at hand has ended
  scripts/run_streaming_pipeline.sh once      take what is there, then end
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    stream = add_command(commands, "stream", "Take usage events from landing to silver and the speed view.", EXAMPLES, spark=True)
    stream.add_argument(
        "mode",
        choices=["start", "stop", "status", "once", "run"],
        help="start: in the background; stop: end that one when its micro-batch has ended; status: what it does; "
        "once: what is there, then end; run: in the foreground until stopped",
    )
    stream.add_argument("--json", action="store_true", help="status as JSON")
    stream.add_argument(
        "--run-dir",
        metavar="DIR",
        help="the folder of this machine for the log of start (CLOUDLAKE_RUN_DIR; default <lake>/run, for a lake in a store "
        "~/.local/state/cloudlake/…)",
    )
    stream.set_defaults(run=run, makes_lake=lambda options: options.mode in ("start", "once", "run"))


def run(config: Config, arguments: Namespace) -> int:
    """Do what the mode says."""
    modes = {"start": _start, "stop": _stop, "status": _status, "once": _once, "run": _run}
    return modes[arguments.mode](config, arguments)


def _require_all(config: Config) -> None:
    from ..common.config import require_landing

    config.lake.storage.require_writable()
    require_java()
    require_landing(config)


def _start(config: Config, arguments: Namespace) -> int:
    from ..runs.background import start_stream

    _require_all(config)
    print(start_stream(config, arguments.master, arguments.spark_conf))
    return 0


def _stop(config: Config, arguments: Namespace) -> int:
    from ..runs.background import stop_stream

    pid = stop_stream(config)
    print("no stream is running" if pid is None else f"the stream has ended (process {pid})")
    return 0


def _status(config: Config, arguments: Namespace) -> int:
    """Print what the stream does; 0 where it runs and is heard of, else 1."""
    from ..common.clock import now_utc
    from ..runs.background import stream_state

    found = stream_state(config, now_utc())
    print(json.dumps(found, indent=2, default=str) if arguments.json else typed("\n".join(lines(found)), arguments))
    if found["problem"]:
        print(typed(f"error: {found['problem']}", arguments), file=sys.stderr)
    return 0 if found["running"] and not found["problem"] else 1


def _once(config: Config, arguments: Namespace) -> int:
    from ..runs.stream_run import run_stream, take_once

    _require_all(config)
    return _show(run_stream(config, take_once), arguments)


def _run(config: Config, arguments: Namespace) -> int:
    """Stream in the foreground until SIGTERM or SIGINT."""
    from ..runs.stream_run import run_stream, serve_stream

    _require_all(config)
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    print(f"streaming from {config.landing_zone.at(config.stream.events.folder)}; stop with Ctrl-C", file=sys.stderr)

    def warn(warning: str) -> None:
        print(typed(f"warning: {warning}", arguments), file=sys.stderr, flush=True)

    return _show(
        run_stream(config, lambda sessions, config, run_id: serve_stream(sessions, config, run_id, stop, warn)),
        arguments,
    )


def _show(result: StreamResult, arguments: Namespace) -> int:
    for warning in result.warnings:
        print(typed(f"warning: {warning}", arguments), file=sys.stderr)
    print(
        f"stream: {result.landed:,} lines landed = {result.accepted:,} accepted + {result.quarantined:,} quarantined "
        f"+ {result.duplicates:,} duplicates, in {result.micro_batches} micro-batch(es), {result.seconds:.1f} s"
    )
    return 0


def lines(found: dict[str, Any]) -> list[str]:
    """Say the state of the stream in lines for people."""
    if found["running"]:
        said = [f"stream: {found['state']}, process {found['pid']}, run {found['run_id']} since {found['started_at']}, "
                f"heard of {found['heartbeat_age_seconds']:.0f} s ago, {found['restarts']} restart(s)"]  # fmt: skip
    else:
        said = ["stream: not running" + (f" ({found['state']} at {found['at']})" if found.get("at") else "")]
    batch = found.get("last_batch")
    if batch:
        said.append(
            f"  last micro-batch: {batch['landed']:,} lines = {batch['accepted']:,} accepted + {batch['quarantined']:,} quarantined "
            f"+ {batch['duplicates']:,} duplicates in {batch['seconds']:.1f} s, at {batch['at']}"
        )
    if found.get("lag_files") is not None:
        oldest = f", the oldest landed {spoken_age(found['lag_seconds'] / 3600)} ago" if found["lag_files"] else ""
        said.append(f"  behind by {found['lag_files']:,} file(s){oldest}")
    said += [f"  warning: {warning}" for warning in found.get("warnings", [])]
    return said
