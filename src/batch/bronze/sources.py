"""The sources of one run: each database is asked once, and sources of a set are taken together or not at all."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.names import LANDED
from ...common.quality.quarantine import ENTRY
from .asking import Answer, ask
from .landed import LandedFile, examined, snapshot_time


def business_date_of(given: date | None, now: datetime) -> date:
    """Return the date that databases are asked for: the one given, else yesterday in UTC."""
    return given or (now - timedelta(days=1)).date()


class Sources:
    """What is asked and judged once in a run, whichever step needs it first."""

    def __init__(
        self,
        config: Config,
        now: datetime,
        snapshot_at: datetime | None = None,
        business_date: date | None = None,
        *,
        keep: bool = True,
    ) -> None:
        """Begin a run at `now`; without `keep` nothing is written, and what comes is only told."""
        self._config, self._now, self._snapshot_at, self._keep = config, now, snapshot_at, keep
        self.day = business_date_of(business_date, now)
        self._answers: dict[str, Answer] = {}
        self._there: dict[str, dict[str, str]] = {}
        self._lock = threading.RLock()

    def answer(self, table: Table) -> Answer | None:
        """Return what the database says of a source, together with all of its set; None where it is no query."""
        if table.query is None:
            return None
        with self._lock:
            if table.short_name not in self._answers:
                mine = [one for one in self._set_of(table) if one.query is not None]
                self._answers |= self._asked(mine)
            return self._answers[table.short_name]

    def _asked(self, tables: Sequence[Table]) -> dict[str, Answer]:
        times = self._config.settings.times
        _, reason = snapshot_time(f"{self.day}/", self._now, None, times, self._now)
        if reason:
            told = reason.replace("its folder", "--business-date")
            return {table.short_name: Answer(self.day, fault=f"{told}; nothing was asked") for table in tables}
        return ask(self._config, tables, self.day, keep=self._keep)

    def _set_of(self, table: Table) -> list[Table]:
        if table.set_name is None:
            return [table]
        return [one for one in self._config.registry.layer("bronze") if one.set_name == table.set_name]

    def ready(self, table: Table, files: Sequence[LandedFile]) -> tuple[list[LandedFile], list[str]]:
        """Return the deliveries that may be taken, and why the others wait.

        Of a set, all the sources are there for a date, that is in one folder, or none of them is taken. What is refused
        by itself is told by itself.
        """
        if table.set_name is None:
            return list(files), []
        lacking = {folder: self.lacking(table, folder) for folder in {_folder(file) for file in files}}
        ready = [file for file in files if file.reason or not lacking[_folder(file)]]
        waiting = {_folder(file) for file in files if not file.reason and lacking[_folder(file)]}
        return ready, [lacking[folder] for folder in sorted(waiting)]

    def lacking(self, table: Table, folder: str) -> str:
        """Say what the set of a source lacks in a folder; "" where nothing."""
        if table.set_name is None:
            return ""
        with self._lock:
            for one in self._set_of(table):
                if one.name not in self._there:
                    self._there[one.name] = self._found(one)
            lacks = [
                f"{one.short_name} ({self._there[one.name].get(folder, 'not delivered')})"
                for one in self._set_of(table)
                if self._there[one.name].get(folder, "not delivered")
            ]
        where = folder or "the landing folder itself"
        return f"set {table.set_name} lacks {', '.join(lacks)} in {where}, so nothing of it is taken there" if lacks else ""

    def _found(self, table: Table) -> dict[str, str]:
        """Return the folders in which a source was delivered, each with the reason why that can't be taken, or ""."""
        answer = self.answer(table)
        known = self._config.lake.rows(LANDED, filters=[("source", "=", table.short_name)])
        taken = [row["path"] for row in known if row["status"] == "ingested"]
        found = {path.rpartition("/")[0]: "" for path in taken if not path.startswith(ENTRY)}  # a mended row is no delivery
        for file, _ in examined(self._config, table, known, self._snapshot_at, self._now):
            found[_folder(file)] = file.reason
        if answer is not None and not answer.fault:
            found.setdefault(str(answer.day), "")
        elif answer is not None:
            found.setdefault(str(answer.day), answer.fault)
        return found


def _folder(file: LandedFile) -> str:
    return file.path.rpartition("/")[0]
