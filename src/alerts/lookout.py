"""The lookout beside the stream: judges what came in, tells people, keeps speed.recent_events fresh.

It works in threads of its own, on small tables and without Spark. Nothing it does, and nothing that goes wrong here,
stops or slows a micro-batch: a target that is down is tried again later, a fault is reported and the stream goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..common.clock import now_utc
from ..common.config import Config
from ..common.errors import explain_failure
from ..common.names import INCREMENTS, RECONCILIATION, REFUSED_EVENTS
from ..common.publication import PUBLISHED
from ..streaming import recent_events
from . import judging as alerts
from . import run_news

LOG = logging.getLogger("cloudlake.lookout")
_POLL_SECONDS = 1.0
_TENTH = 9
"""A refresh that took a second is followed by nine without one."""
_WELL_AFTER_SECONDS = 600.0
"""A stream that has run so long without dying runs well again: alerts about its restarts are resolved."""


class Lookout:
    """Looks after a running stream, from entering the block to leaving it.

    `faults` has what went wrong, once each; `changed` how many alerts were raised, changed or resolved.
    """

    def __init__(self, config: Config, run_id: str) -> None:
        self.config, self.run_id = config, run_id
        self.faults: list[str] = []
        self.changed = 0
        self._leaving, self._bell = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=work, name=f"lookout-{work.__name__}", daemon=True)
            for work in (self._watch, self._tell)
        ]
        self._judged: Any = None
        self._next_refresh = 0.0
        self._is_well = False

    def __enter__(self) -> Lookout:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Judge and tell a last time. A target that is down keeps the stream from ending for one attempt's time."""
        self._leaving.set()
        watch, tell = self._threads
        watch.join()
        self._bell.set()
        tell.join(self.config.settings.notifications.timeout_seconds)

    def _watch(self) -> None:
        entered = time.monotonic()
        while not self._leaving.wait(_POLL_SECONDS):
            self._look()
            if not self._is_well and time.monotonic() - entered >= _WELL_AFTER_SECONDS:
                self._try(lambda: alerts.settle_restart(self.config, now_utc()))
                self._is_well = True
            if time.monotonic() >= self._next_refresh:
                started = time.monotonic()
                self._try(self._refresh)
                took = time.monotonic() - started
                pause = max(self.config.stream.live.refresh_seconds, _TENTH * took)
                self._next_refresh = time.monotonic() + pause
        self._look()
        self._try(self._refresh)

    def _look(self) -> None:
        """Judge where something has come in, or has been published, since the last time."""
        self._try(self._judge_news)

    def _judge_news(self) -> None:
        state = self._state()
        if state != self._judged:
            self.changed += alerts.judge(self.config, self.run_id, now_utc())
            self._judged = state
            self._bell.set()

    def _refresh(self) -> None:
        recent_events.refresh_recent_events(self.config, self.run_id)

    def _state(self) -> tuple[Any, ...]:
        lake = self.config.lake
        names = (INCREMENTS, REFUSED_EVENTS, RECONCILIATION)
        versions = [lake.version(name) for name in names]
        published = lake.storage.look(PUBLISHED)
        return (*versions, published.version if published else "")

    def _tell(self) -> None:
        while not self._leaving.is_set():
            self._bell.wait(self.config.settings.notifications.resend_seconds)
            self._bell.clear()
            self._try(self._deliver)
        self._threads[0].join()
        self._try(self._deliver)

    def _deliver(self) -> None:
        for fault in alerts.tell(self.config, now_utc()):
            self._report(f"alerts are kept and sent later: {fault}")
        for fault in run_news.tell(self.config, now_utc()):
            self._report(fault)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # the stream must go on; the fault is shown in its log and at its end
            self._report(f"alerts and live tables: {explain_failure(error)}")

    def _report(self, fault: str) -> None:
        if fault not in self.faults:
            self.faults.append(fault)
            LOG.warning(fault)


def look_once(config: Config, run_id: str) -> Lookout:
    """Judge, tell and refresh once; return the lookout that did, with its faults. The caller holds the stream lock."""
    with Lookout(config, run_id) as lookout:
        pass
    return lookout


def report_death(config: Config, query: str, deaths: int, reason: str) -> None:
    """Raise the alert that a query of the stream has died, and tell people, within one attempt's time.

    What goes wrong is logged, not raised: the stream has troubles enough. The alert is resolved once the stream has run
    well again for a while.
    """

    def work() -> None:
        try:
            message = f"{query} died, {deaths} time(s) in a row: {reason}"
            alerts.raise_restart(config, query, deaths, message, now_utc())
            alerts.tell(config, now_utc())
        except Exception as error:
            LOG.warning("alerts: %s", explain_failure(error))

    telling = threading.Thread(target=work, name="report-death", daemon=True)
    telling.start()
    telling.join(config.settings.notifications.timeout_seconds)
