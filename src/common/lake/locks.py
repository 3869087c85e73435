"""Locks that keep two processes of a kind apart on one lake: locked files on a disk, leases in a store."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..clock import now_utc
from ..errors import ConfigurationError, LockedError
from . import leases
from .objects import ObjectStorage
from .tables import Lake

_KINDS = ("batch", "stream", "maintain", "backfill", "erase")


def _place(name: str) -> str:
    """Return where, below the lake's root, a lock lies."""
    return f".locks/{name}.lock"


def _lock_file(lake: Lake, name: str) -> Path:
    return lake.root / _place(name)


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

    On a disk it is a lock of the file, in a store a lease. Gives who had the lock before, where that one was killed and
    did not give it back.

    Raises:
        LockedError: another process holds it; the message names the holder.
        ConfigurationError: the lake can't be written.
    """
    told = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "run_id": run_id,
        "since": now_utc().isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    storage = lake.storage
    keeper = _leased(lake, storage, name, told) if isinstance(storage, ObjectStorage) else _flocked(lake, name, told)
    with keeper as left:
        yield left


@contextmanager
def _leased(lake: Lake, storage: ObjectStorage, name: str, told: Mapping[str, Any]) -> Iterator[Holder | None]:
    with ExitStack() as stack:
        try:
            before = stack.enter_context(leases.held(storage, _place(name), told, wait=False))
        except LockedError:
            raise _locked(lake, name) from None
        yield _holder(name, False, before or {})


@contextmanager
def _flocked(lake: Lake, name: str, told: Mapping[str, Any]) -> Iterator[Holder | None]:
    path = _lock_file(lake, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
    except OSError as error:
        raise _unwritable(lake, error) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked(lake, name) from None
        left = _holder(name, False, _told(path))
        handle.truncate(0)
        handle.write(json.dumps(told))
        handle.flush()
        try:
            yield left
        finally:
            handle.truncate(0)


def _unwritable(lake: Lake, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{lake.root}: the lake folder can't be written ({error.strerror}); check its owner and rights, or name another with --lake"
    )


def _locked(lake: Lake, name: str) -> LockedError:
    holder = lock_holder(lake, name) or {}
    return LockedError(
        f"another {name} run holds the lake {lake.root}: process {holder.get('pid', '?')} on {holder.get('host', '?')}, "
        f"run {holder.get('run_id', '?')} since {holder.get('since', '?')}. Wait for it to end, or stop that process."
    )


def lock_holder(lake: Lake, name: str) -> dict[str, Any] | None:
    """Return who holds a lock (pid, host, run_id, since, command), or None where it is free."""
    told, is_alive = _look(lake, name)
    return told if is_alive else None


def holders(lake: Lake) -> list[Holder]:
    """Return who holds the process locks, and who was killed with one: the lock is free then, and still names its run."""
    found = []
    names = [
        entry.name.removesuffix(".lock") for entry in lake.storage.entries(".locks") if entry.name.endswith(".lock")
    ]
    for name in names:
        told, is_alive = _look(lake, name)
        found.append(_holder(name, is_alive, told))
    return [holder for holder in found if holder is not None]


def _look(lake: Lake, name: str) -> tuple[dict[str, Any], bool]:
    """Return what a lock says of who has it, or had it and did not give it back, and whether that one is at work."""
    if isinstance(lake.storage, ObjectStorage):
        return leases.holder_of(lake.storage, _place(name))
    path = _lock_file(lake, name)
    if not path.exists():
        return {}, False
    with path.open("r") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_alive = False
        except BlockingIOError:
            is_alive = True
    return _told(path), is_alive


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
    if isinstance(lake.storage, ObjectStorage):
        leases.take_back(lake.storage, _place(name))
        return
    with _lock_file(lake, name).open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        handle.truncate(0)
