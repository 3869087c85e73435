"""News of runs, told to people once: a run that failed, was refused or killed, a feed or a night that is overdue, and recovery.

What there is to tell follows from ops.job_runs and the state of the lake; what was told stands in ops.notifications under
the key of each piece of news. So a crash loses none, and a target that was down hears of it the next time somebody tells.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from ..common.clock import spoken_age
from ..common.config import Config
from ..common.errors import explain_failure
from ..common.lake.locks import holders
from ..common.publication import published
from ..upkeep.run_history import RecordedRun, recorded_runs, resume_line
from .notifications import Notification, deliver

LOG = logging.getLogger("cloudlake.run_news")
NOTIFICATIONS = "ops.notifications"
TOLD_WITHIN = timedelta(days=1)
"""A run that failed earlier, and that a target has not heard of by then, is no news."""
_REMEMBERED = timedelta(days=90)
"""So long after trouble was told, its end is told too."""


@dataclass(frozen=True)
class News:
    """One thing to tell, under a key by which it is told once."""

    key: str
    kind: Literal["failed", "refused", "interrupted", "overdue", "recovered"]
    subject: str
    since: datetime | None
    error: str
    """The first line of what went wrong; empty where nothing did."""
    line: str
    """What to type; empty where nothing need be."""


@dataclass(frozen=True)
class Told:
    """What the targets were told: key → target → when."""

    when: Mapping[str, Mapping[str, datetime]]

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of a kind of news, the one told first first."""
        keys = [key for key in self.when if key.startswith(prefix)]
        return sorted(keys, key=lambda key: (min(self.when[key].values()), key))


# --- what there is to tell: pure ------------------------------------------------------------------------------------------


def of_runs(
    runs: Sequence[RecordedRun], refused: Iterable[str], resume: Mapping[str, str], told: Told, now: datetime
) -> list[News]:
    """Return the news of runs, oldest first: each that ended badly, and the end of such trouble.

    Args:
        runs: the newest runs.
        refused: the runs that a quality gate stopped.
        resume: run → the line that goes on.
        told: what was told before.
        now: the time.
    """
    stopped, found = set(refused), []
    for run in sorted(runs, key=lambda run: run.run_id):
        is_recent = run.started_at is not None and now - run.started_at <= TOLD_WITHIN
        if run.status in ("failed", "interrupted") and is_recent:
            kind: Literal["failed", "refused", "interrupted"]
            kind = "interrupted" if run.status == "interrupted" else "refused" if run.run_id in stopped else "failed"
            what = f"{run.kind} run {run.run_id} {'was ' if kind != 'failed' else ''}{kind}"
            steps = f" in {', '.join(run.failed_steps)}" if run.failed_steps else ""
            error = next(iter(run.error.splitlines()), "")
            found.append(
                News(
                    f"run:{run.kind}:{run.run_id}",
                    kind,
                    what + steps,
                    run.started_at,
                    error,
                    resume.get(run.run_id, ""),
                )
            )
    return found + _recovered_runs(runs, {news.key for news in found}, told)


def _recovered_runs(runs: Sequence[RecordedRun], new: set[str], told: Told) -> list[News]:
    found = []
    for kind in sorted({run.kind for run in runs}):
        failed = sorted({key for key in (*told.keys(f"run:{kind}:"), *new) if key.startswith(f"run:{kind}:")})
        if not failed:
            continue
        last = failed[-1].rpartition(":")[2]
        well = [
            run
            for run in runs
            if run.kind == kind and run.run_id > last and run.status in ("done", "skipped", "running")
        ]
        well = [run for run in well if kind == "stream" or run.status != "running"]
        if well:
            run = min(well, key=lambda run: run.run_id)
            what = (
                f"{kind} run {run.run_id} {'is running' if run.status == 'running' else 'ended well'} after run {last}"
            )
            found.append(News(f"recovered:{failed[-1]}", "recovered", what, run.started_at, "", ""))
    return found


def of_overdue(overdue: Sequence[News], told: Told) -> list[News]:
    """Return what is overdue, and what was and is no longer. An overdue key is `overdue:<what>:<since>`."""
    still = {news.key for news in overdue}
    found = list(overdue)
    for key in told.keys("overdue:"):
        what = key.split(":", 2)[1]
        if key not in still and not any(news.key.split(":", 2)[1] == what for news in overdue):
            found.append(News(f"recovered:{key}", "recovered", f"{what} is no longer overdue", None, "", ""))
    return found


# --- telling ---------------------------------------------------------------------------------------------------------------


def tell(config: Config, now: datetime, overdue: Sequence[News] | None = None) -> list[str]:
    """Tell each target what it has not been told yet; return what went wrong, a line for each target.

    Each target is told in a thread of its own, and none is waited for longer than one attempt may take: what it has not
    taken by then is told the next time, under the same key.

    Args:
        config: the lake and the targets.
        now: the time.
        overdue: what is overdue now; None where nobody has looked, so nothing is told of it.
    """
    settings = config.settings.notifications
    if not settings.targets:
        return []
    try:
        told = _told(config, now)
        news = _news(config, now, told, overdue)
    except Exception as error:  # a record that can't be read; whoever asked has more to do than to tell
        return [f"news of runs: {explain_failure(error)}"]
    faults: dict[str, str] = {}
    threads = []
    for target in sorted(settings.targets):
        waiting = [one for one in news if target not in told.when.get(one.key, {})]
        # Who was never told of trouble need not be told of its end.
        waiting = [one for one in waiting if one.kind != "recovered" or _has_heard(one, target, told, waiting)]
        if waiting:
            thread = threading.Thread(
                target=_tell_all, args=(config, target, waiting, now, faults), name=f"tell-{target}", daemon=True
            )
            thread.start()
            threads.append((target, thread))
    end = time.monotonic() + settings.timeout_seconds
    for target, thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            faults.setdefault(target, f"{target}: no answer in {settings.timeout_seconds:g} s")
    return [f"news of runs are kept and told later: {fault}" for fault in faults.values()]


def _has_heard(recovery: News, target: str, told: Told, waiting: Sequence[News]) -> bool:
    trouble = recovery.key.partition(":")[2]
    return target in told.when.get(trouble, {}) or any(news.key == trouble for news in waiting)


def _news(config: Config, now: datetime, told: Told, overdue: Sequence[News] | None) -> list[News]:
    lake = config.lake
    runs = recorded_runs(config, limit=100)
    recent = [run.run_id for run in runs if run.status in ("failed", "interrupted")]
    gates: list[tuple[str, str, Any]] = [("run_id", "in", recent), ("status", "=", "failed")]
    refused = []
    if recent and lake.exists("ops.gates"):
        refused = lake.read_small("ops.gates", columns=["run_id"], filters=gates)["run_id"].to_pylist()
    resume = {run.run_id: resume_line(config, run) for run in runs if run.run_id in recent}
    found = of_runs(runs, refused, resume, told, now)
    return found + (of_overdue(overdue, told) if overdue is not None else [])


def _told(config: Config, now: datetime) -> Told:
    if not config.lake.exists(NOTIFICATIONS):
        return Told({})
    only = [("at", ">", now - _REMEMBERED), ("status", "=", "delivered")]
    when: dict[str, dict[str, datetime]] = {}
    for row in config.lake.read_small(
        NOTIFICATIONS, columns=["alert_id", "target", "at", "status"], filters=only
    ).to_pylist():
        when.setdefault(row["alert_id"], {})[row["target"]] = row["at"]
    return Told(when)


def _tell_all(config: Config, target: str, news: Sequence[News], now: datetime, faults: dict[str, str]) -> None:
    try:
        for one in news:
            deliver(Notification(one.key, one.subject, _facts(config, one, now)), target, config.settings.notifications)
            row = {"alert_id": one.key, "target": target, "status": "delivered", "at": now}
            config.lake.append_small([row], config.registry[NOTIFICATIONS])
    except Exception as error:  # nobody waits for this thread; what went wrong is told, and a run goes on
        faults[target] = explain_failure(error)


def _facts(config: Config, news: News, now: datetime) -> dict[str, Any]:
    """Return the body of a notification; docs/runbook.md describes it."""
    return {
        "kind": news.kind,
        "since": news.since.isoformat() if news.since else None,
        "error": news.error,
        "served": _served(config, now),
        "line": news.line,
        "lake": str(config.lake.root),
    }


def _served(config: Config, now: datetime) -> str:
    """Say what is still served, and how old it is."""
    publication = published(config.lake)
    if not publication.published_at:
        return "nothing is published yet"
    age = (now - datetime.fromisoformat(publication.published_at)).total_seconds() / 3600
    stream = "; the stream is running" if any(h.alive and h.lock == "stream" for h in holders(config.lake)) else ""
    return f"the publication of run {publication.run_id}, {spoken_age(max(0.0, age))} old{stream}"
