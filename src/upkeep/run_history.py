"""The runs of a lake, as ops.job_runs and the process locks tell them: what ran, how it ended, where it failed, what resumes it.

A run that was killed never says so. It is known by what it left: steps without a row of the whole run, or its name in a
lock that nobody holds any more.
"""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..common.config import Config
from ..common.errors import ConfigurationError, did_you_mean
from ..common.lake.locks import Holder, holders
from ..common.lake.storage import Storage
from ..common.names import JOB_RUNS

BATCH = "run"
WHOLE = (BATCH, "stream", "maintain", "backfill", "erase")
"""Steps that stand for a whole run: a batch run's, under which its other steps are, and those of runs with one step."""
ENDED_BADLY = ("failed", "interrupted")
SHOWN = 20
_ROWS = 1500
"""So many of the newest rows are looked at to list the runs: a batch run has about 60 steps."""
_SCRIPTS = {"run": "scripts/run_batch_pipeline.sh", "stream": "scripts/run_streaming_pipeline.sh start"}
_BRIEF = ["run_id", "step", "status", "started_at", "ended_at", "seconds", "error"]


@dataclass(frozen=True)
class RecordedRun:
    """A run: what it was, and how it ended."""

    run_id: str
    kind: str
    """batch, stream, maintain, …"""
    status: str
    """done, skipped, failed, running, or interrupted where its process ended without a word."""
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    error: str = ""
    failed_steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunDetails:
    """A run with its steps, where to read on, and the line that resumes it."""

    run: RecordedRun
    steps: Sequence[Mapping[str, Any]]
    """The rows of its steps, in the order that they started; the whole run's is not among them."""
    log: str = ""
    report: str = ""
    resume: str = ""
    """The line that goes on where the run stopped; empty where nothing is left to do."""
    asked: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {**asdict(self.run), "steps": list(self.steps), "log": self.log, "report": self.report,
                "resume": self.resume, "asked": dict(self.asked)}  # fmt: skip


def recorded_runs(config: Config, *, failed: bool = False, limit: int = SHOWN) -> list[RecordedRun]:
    """Return the newest runs, newest first; only those that failed or were interrupted where `failed`."""
    lake = config.lake
    rows: list[dict[str, Any]] = []
    least = lake.least_of_newest(JOB_RUNS, "run_id", _ROWS)
    if least is not None:
        rows = lake.read_small(JOB_RUNS, columns=_BRIEF, filters=[("run_id", ">=", least)]).to_pylist()
    by_run: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_run[row["run_id"]].append(row)
    held = {holder.run_id: holder for holder in holders(lake) if holder.run_id}
    runs = [_run(run_id, by_run[run_id], held.get(run_id)) for run_id in {*by_run, *held}]
    wanted = [run for run in runs if run.status in ENDED_BADLY or not failed]
    return sorted(wanted, key=lambda run: run.run_id, reverse=True)[:limit]


def recorded_run(config: Config, name: str) -> RunDetails:
    """Return one run with its steps.

    Args:
        config: the lake.
        name: its id, or as much of it as only one of the newest runs begins with.

    Raises:
        ConfigurationError: no run is recorded under that name, or more than one.
    """
    lake = config.lake
    run_id = _full_id(config, name)
    held = {holder.run_id: holder for holder in holders(lake)}
    rows = []
    if lake.exists(JOB_RUNS):
        rows = lake.read_small(JOB_RUNS, filters=[("run_id", "=", run_id)]).to_pylist()
    run = _run(run_id, rows, held.get(run_id))
    whole = _whole(rows)
    steps = [row for row in rows if row is not whole]
    steps.sort(key=lambda row: (row["started_at"] or datetime.max.replace(tzinfo=UTC), row["step"]))
    asked = _asked(rows)
    report, log = f"reports/{run_id}.json", _log(lake.storage, run)
    log, report = (lake.storage.at(path) if path and lake.storage.is_file(path) else "" for path in (log, report))
    return RunDetails(run, steps, log, report, _resume(run, asked), asked)


def resume_line(config: Config, run: RecordedRun) -> str:
    """Return the line that goes on where a run stopped; "" where nothing is left to do."""
    rows = []
    if config.lake.exists(JOB_RUNS):
        only = [("run_id", "=", run.run_id), ("step", "in", [BATCH, "backfill", "books"])]
        rows = config.lake.read_small(JOB_RUNS, columns=["step", "detail"], filters=only).to_pylist()
    return _resume(run, _asked(rows))


def _full_id(config: Config, name: str) -> str:
    lake = config.lake
    if lake.exists(JOB_RUNS) and lake.count(JOB_RUNS, "run_id", [name]):
        return name
    known = {run.run_id for run in recorded_runs(config, limit=_ROWS)}
    found = sorted(run_id for run_id in known if run_id.startswith(name))
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigurationError(
            f"{name}: {len(found)} runs have an id that begins so, such as {found[-1]}; write more of it"
        )
    raise ConfigurationError(
        f"{name}: no run has that id{did_you_mean(name, sorted(known)[-SHOWN:])}; cloudlake runs lists them"
    )


def _whole(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the row that stands for the whole run, None where it never came to write one."""
    by_step = {row["step"]: row for row in rows}
    return next((by_step[step] for step in WHOLE if step in by_step), None)


def _run(run_id: str, rows: Sequence[Mapping[str, Any]], holder: Holder | None) -> RecordedRun:
    whole = _whole(rows)
    failed = tuple(row["step"] for row in rows if row["status"] == "failed" and row is not whole)
    is_alive = holder is not None and holder.alive
    if whole is not None and not is_alive:
        kind = "batch" if whole["step"] == BATCH else whole["step"]
        ended = whole["ended_at"] if whole["status"] != "interrupted" else None
        seconds = whole["seconds"] if ended is not None else None
        return RecordedRun(
            run_id, kind, whole["status"], whole["started_at"], ended, seconds, whole["error"] or "", failed
        )
    started = [row["started_at"] for row in rows if row["started_at"]]
    if holder is not None and holder.since is not None:
        started.append(holder.since)
    kind = holder.kind if holder is not None else "batch"
    error = next((row["error"] for row in rows if row["error"]), "")
    if not is_alive and not error:
        error = f"process {holder.pid} on {holder.host} ended without a word" if holder else "it ended without a word"
    status = "running" if is_alive else "interrupted"
    return RecordedRun(run_id, kind, status, min(started, default=None), None, None, error, failed)


# --- where to read on, and what to type ------------------------------------------------------------------------------


def _asked(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a batch run was asked: its own row says it, or else its first step, which is there in a killed run too."""
    details = {row["step"]: json.loads(row["detail"] or "{}") for row in rows}
    asked = details.get(BATCH) or details.get("backfill") or details.get("books", {}).get("asked", {})
    return dict(asked)


def _log(storage: Storage, run: RecordedRun) -> str:
    """Return the log that a run wrote to: its own where a step failed, the stream's, or the night's; "" where there is none."""
    own = f"logs/{run.run_id}.log"
    if storage.is_file(own):
        return own
    if run.kind == "stream":
        return "run/stream.log"
    for log in reversed(storage.entries("logs")):
        begun = _stamp(log.name.removeprefix("nightly-").removesuffix(".log"))
        if run.started_at is not None and begun is not None and begun <= run.started_at:
            return log.path if log.modified_seconds >= run.started_at.timestamp() else ""
    return ""


def _stamp(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _resume(run: RecordedRun, asked: Mapping[str, Any]) -> str:
    if run.status not in ENDED_BADLY or run.kind not in ("batch", "stream", "backfill"):
        return ""
    if run.kind == "stream":
        return _SCRIPTS["stream"]
    folders = [
        word for name in ("lake", "landing", "conf", "master") if asked.get(name) for word in (f"--{name}", asked[name])
    ]
    for table, (first, last) in asked.get("again", {}).items():
        return shlex.join(
            ["cloudlake", "backfill", "--table", table, "--from", str(first), "--to", str(last), *folders]
        )
    words = [_SCRIPTS["run"]]
    if tuple(asked.get("jobs", ("all",))) != ("all",):
        words += ["--jobs", *asked["jobs"]]
    words += [word for name in ("as_of", "snapshot_at", "business_date") if asked.get(name)
              for word in (f"--{name.replace('_', '-')}", str(asked[name]).replace(" ", "T"))]  # fmt: skip
    words += [f"--{name.replace('_', '-')}" for name in ("full_reload", "continue_on_failure") if asked.get(name)]
    return shlex.join([*words, *folders])
