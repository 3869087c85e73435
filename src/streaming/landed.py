"""What the lake knows of the event files it has read (ops.landed_files), and which of them are no longer what was read.

Content decides: a file is what was read if its hash is. So that 100,000 files can be looked at every minute, the hash
is taken only where the size is the same and a time is not: the modification time, or the time of the last change,
which nobody can set back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from ..common.clock import now_utc
from ..common.config import Config
from ..common.names import LANDED
from .event_files import EventFile, hashed

SOURCE = "usage_events"
_COLUMNS = ["source", "path", "sha256", "size_bytes", "modified_at", "bronze_version", "ingested_at"]
_TOLERANCE = timedelta(days=1)
"""A file's clock may be ahead of ours by so much."""


class LandedFiles:
    """The event files that bronze holds, by their path relative to the landing root."""

    def __init__(self, config: Config) -> None:
        self._config, self._zone = config, config.landing_zone
        rows = config.lake.rows(LANDED, _COLUMNS, [("source", "=", SOURCE)])
        events = sorted(rows, key=lambda row: row["ingested_at"])
        self._rows: dict[str, dict[str, Any]] = {row["path"]: row for row in events}
        self._looked_at: dict[EventFile, EventFile] = {}

    def __contains__(self, path: object) -> bool:
        return path in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def versions(self) -> dict[str, int]:
        """The version of bronze that holds each file."""
        return {path: row["bronze_version"] or 0 for path, row in self._rows.items()}

    def not_read(self, files: Iterable[EventFile]) -> list[EventFile]:
        """Return the files that bronze does not hold."""
        return [file for file in files if file.path not in self._rows]

    def note(self, files: Iterable[EventFile], now: datetime, version: int, run_id: str, job: str) -> None:
        """Note files as read at a time into a version of bronze."""
        self._append([self._row(file, now, version) for file in files], run_id, job)

    def _row(self, file: EventFile, now: datetime, version: int | None) -> dict[str, Any]:
        return {
            "source": SOURCE,
            "path": file.path,
            "sha256": file.sha256,
            "size_bytes": file.size,
            "modified_at": file.modified_at,
            "status": "ingested",
            "bronze_version": version,
            "ingested_at": now,
        }

    def _append(self, rows: list[dict[str, Any]], run_id: str, job: str) -> None:
        noted = [row | {"run_id": run_id} for row in rows]
        self._config.lake.append_small(noted, self._config.registry[LANDED], {"run_id": run_id, "job": job})
        self._rows |= {row["path"]: row for row in rows}

    def changed(self, files: Iterable[EventFile], run_id: str = "", job: str = "") -> list[str]:
        """Return a warning for each file that is no longer what was read.

        With a run, files that were touched and hold what they held are noted anew, so that their hash is not taken
        again, and so are files that were read before hashes were noted; the caller then holds the stream lock.
        """
        now = now_utc()
        warnings, noted, untold = [], [], []
        for file in files:
            row = self._rows.get(file.path)
            if row is None:
                continue
            same, is_unhashed = file.was_read_as(row), row["sha256"] is None
            if same is None or (same and is_unhashed and run_id):
                known = self._look(file)
                untold += [file.path] if same is None and is_unhashed else []
                same = same or self._is_same(known, row)
                if same:
                    noted.append(self._row(known, now, row["bronze_version"]))
            if not same:
                warnings.append(_replaced(file, row))
        if run_id and noted:
            self._append(noted, run_id, job)
            untold = [path for path in untold if self._rows[path]["ingested_at"] == now]
            warnings += [_untellable(untold)] if untold else []
        return warnings

    def _look(self, file: EventFile) -> EventFile:
        """Return a file with its hash, without one where it can't be read; each state of a file is read once."""
        if file not in self._looked_at:
            try:
                self._looked_at[file] = hashed(self._zone, file)
            except OSError:
                self._looked_at[file] = file
        return self._looked_at[file]

    def _is_same(self, file: EventFile, row: dict[str, Any]) -> bool:
        if row["sha256"] is None:  # Read before hashes were noted: only the modification time speaks of its content.
            return bool(row["modified_at"] == file.modified_at)
        return bool(file.sha256 == row["sha256"])

    def odd_times(self, files: Iterable[EventFile], now: datetime) -> list[str]:
        """Return a warning where files have a modification time that can't be: before conf/'s limit, or to come."""
        oldest = self._config.stream.events.oldest_file
        odd = [file for file in files if not is_likely(file.modified_at, oldest, now)]
        if not odd:
            return []
        return [
            f"{odd[0].path}: its modification time is {odd[0].modified_at:%Y-%m-%d}, "
            f"{'as that of others, ' * (len(odd) > 1)}{len(odd)} file(s) in all; their events are taken, how long they waited is "
            "told by the time they were put there"
        ]


def is_likely(modified_at: datetime, oldest: datetime, now: datetime) -> bool:
    """Tell whether a file may have been modified at a time."""
    return oldest <= modified_at <= now + _TOLERANCE


def _untellable(paths: list[str]) -> str:
    return (
        f"{paths[0]}: it was read before hashes were noted, and has since been written, copied or renamed with the same size and time"
        f"{f', as were {len(paths) - 1} others' * (len(paths) > 1)}; whether it holds what was read can't be told. From now on it can"
    )


def _replaced(file: EventFile, row: dict[str, Any]) -> str:
    if row["size_bytes"] != file.size:
        what = f"it has {file.size} bytes and had {row['size_bytes']} when it was read"
    elif row["sha256"] is None:
        what = f"it was written again at {file.modified_at:%Y-%m-%d %H:%M:%S}, after it was read"
    else:
        what = f"it is as long as when it was read and holds something else, since {file.changed_at:%Y-%m-%d %H:%M:%S}"
    return (
        f"{file.path}: {what}; a stream never reads a file again. Rename it, or copy it under a new name: then it is read, "
        "and lines that were read already count as duplicates"
    )
