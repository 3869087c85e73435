"""Locks that keep two processes of a kind apart on one lake."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..clock import now_utc
from ..errors import ConfigurationError, LockedError
from .tables import Lake


def _lock_file(lake: Lake, name: str) -> Path:
    return lake.root / ".locks" / f"{name}.lock"


@contextmanager
def process_lock(lake: Lake, name: str, run_id: str) -> Iterator[None]:
    """Be the only process of a kind (`batch`, `stream`, `serving`) on a lake; freed when the process ends.

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
            yield
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
