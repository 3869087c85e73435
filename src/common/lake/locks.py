"""Locks that keep two processes of a kind apart on one lake."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..clock import now_utc
from ..errors import ConfigurationError, LockedError
from .tables import Lake

_KINDS = ("batch", "stream", "maintain", "backfill", "erase")


def _lock_file(lake: Lake, name: str) -> Path:
    return lake.root / ".locks" / f"{name}.lock"


@dataclass(frozen=True)
class Holder:
    """Who holds a process lock or, where not `alive`, whose process ended without giving it back."""

    lock: str
    alive: bool
    run_id: str
    pid: int
    host: str
    since: datetime | None
    command: str

    @property
    def kind(self) -> str:
        """What ran: a batch run holds the stream's lock too while it takes events."""
        words = self.command.split()
        return next((name for name in _KINDS if name in words), self.lock)


@contextmanager
def process_lock(lake: Lake, name: str, run_id: str) -> Iterator[Holder | None]:
    """Be the only process of a kind (`batch`, `stream`, `serving`) on a lake; freed when the process ends.

    Gives who had the lock before, where that one was killed and did not give it back.

    Raises:
        LockedError: another process holds it; the message names the holder.
        ConfigurationError: the lake folder can't be written.
    """
    path = _lock_file(lake, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
    except OSError as error:
        raise ConfigurationError(
            f"{lake.root}: the lake folder can't be written ({error.strerror}); check its owner and rights, or name another with --lake"
        ) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock_holder(lake, name) or {}
            raise LockedError(
                f"another {name} run holds the lake {lake.root}: process {holder.get('pid', '?')} on {holder.get('host', '?')}, "
                f"run {holder.get('run_id', '?')} since {holder.get('since', '?')}. Wait for it to end, or stop that process."
            ) from None
        left = _holder(name, False, _told(path))
        handle.truncate(0)
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "run_id": run_id,
            "since": now_utc().isoformat(timespec="seconds"),
            "command": command,
        }
        handle.write(json.dumps(holder))
        handle.flush()
        try:
            yield left
        finally:
            handle.truncate(0)


def lock_holder(lake: Lake, name: str) -> dict[str, Any] | None:
    """Return who holds a lock (pid, host, run_id, since, command), or None where it is free."""
    path = _lock_file(lake, name)
    if not path.exists():
        return None
    with path.open("r") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                return dict(json.loads(handle.read() or "{}"))
            except json.JSONDecodeError:
                return {}
    return None


def holders(lake: Lake) -> list[Holder]:
    """Return who holds the process locks, and who was killed with one: the lock is free then, and still names its run."""
    found = []
    for path in sorted((lake.root / ".locks").glob("*.lock")):
        name = path.name.removesuffix(".lock")
        alive = lock_holder(lake, name)
        found.append(_holder(name, alive is not None, alive or _told(path)))
    return [holder for holder in found if holder is not None]


def _told(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _holder(lock: str, alive: bool, told: Mapping[str, Any]) -> Holder | None:
    if not told and not alive:
        return None
    since = told.get("since")
    return Holder(
        lock,
        alive,
        str(told.get("run_id", "")),
        int(told.get("pid", 0)),
        str(told.get("host", "?")),
        datetime.fromisoformat(since) if since else None,
        str(told.get("command", "")),
    )


def clear_left_lock(lake: Lake, name: str) -> None:
    """Take a killed process's name out of its lock; a lock that somebody holds is left alone."""
    with _lock_file(lake, name).open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        handle.truncate(0)
