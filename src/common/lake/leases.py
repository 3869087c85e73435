"""Locks of a lake in an object store: an object that says who holds it and until when, written on the condition that
nobody has changed it meanwhile.

A holder renews its lease while it holds it. One that ends without giving it back, or stands still, loses it when it has
expired and the clocks may differ no more; at once where its process is seen to be gone. Who has lost a lease must not
commit: every commit asks first (`require_held`), and is made as the successor of the version that was read under the
lease, never moved behind another's commit; so what a holder does that stood still in between fails by itself.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from ..clock import now_utc
from ..errors import LockedError, StoreError
from . import stores
from .objects import ObjectStorage

_held: set[Lease] = set()
_threads: dict[str, threading.Lock] = {}
_guard = threading.RLock()
_renewer: list[threading.Thread] = []
_wake = threading.Event()


@dataclass(eq=False)
class Lease:
    """A lease that this process holds or has lost."""

    storage: ObjectStorage
    path: str
    told: Mapping[str, Any]
    version: str
    seconds: float
    """For how long it holds from each renewal on."""
    expires: float
    """By the clock of the wall, which goes on while a machine sleeps."""
    expires_monotonic: float
    token: str
    is_lost: bool = False
    is_given_back: bool = False
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def require_held(self) -> None:
        """Check that it is held still.

        Raises:
            LockedError: it has expired, or another process has taken it over.
        """
        if self.is_lost or time.time() >= self.expires or time.monotonic() >= self.expires_monotonic:
            self.is_lost = True
            raise LockedError(
                f"{self.storage.at(self.path)}: this process has lost its lock: it stood still, or could not reach the store, for "
                f"longer than storage.lease_seconds ({self.seconds:g}); another may hold it. Nothing more was "
                "committed; run again"
            )

    def renew(self) -> None:
        """Hold it for longer; it is lost where another has taken it, or could have by now."""
        with self._changing:
            if self.is_given_back or self.is_lost:
                return
            if time.time() >= self.expires:
                self.is_lost = True
                return
            content, wall, monotonic = _content(self.told, self.token, self.seconds)
            version = self.storage.put_if(self.path, content, self.version)
            if version is None:
                self.is_lost = True
            else:
                self.version, self.expires, self.expires_monotonic = version, wall, monotonic

    def give_back(self) -> None:
        """Let the next one have it."""
        with self._changing:
            self.is_given_back = True
            if not self.is_lost:
                with suppress(StoreError):  # it expires
                    self.storage.put_if(self.path, _free(), self.version)


def require_held() -> None:
    """Check that this process holds every lease still that it has taken.

    Raises:
        LockedError: it does not.
    """
    with _guard:
        leases = list(_held)
    for lease in leases:
        lease.require_held()


@contextmanager
def held(
    storage: ObjectStorage, path: str, told: Mapping[str, Any], *, wait: bool
) -> Iterator[Mapping[str, Any] | None]:
    """Hold a lease for the length of a block; gives what was told of who had it before and did not give it back.

    Args:
        storage: the lake's storage.
        path: the lease.
        told: what others may know of the holder.
        wait: whether to wait until it is free.

    Raises:
        LockedError: another process holds it, and there is no waiting.
        StoreError: the store can't be reached.
    """
    with _in_this_process(storage.at(path), wait):
        lease, left = _taken(storage, path, told, wait)
        with _guard:
            _held.add(lease)
            _start_renewing()
        try:
            yield left
        finally:
            with _guard:
                _held.discard(lease)
            lease.give_back()


def holder_of(storage: ObjectStorage, path: str) -> tuple[dict[str, Any], bool]:
    """Return what is told of who has a lease, {} where it is free, and whether that one may be at work still."""
    try:
        said = _said(storage.read(path))
    except FileNotFoundError:
        return {}, False
    return ({}, False) if "free" in said else (said, not _may_be_taken(said))


def take_back(storage: ObjectStorage, path: str) -> None:
    """Free a lease whose holder is gone; one that somebody holds is left alone."""
    with suppress(FileNotFoundError):
        content, version = storage.read_versioned(path)
        if _may_be_taken(_said(content)):
            storage.put_if(path, _free(), version)


@contextmanager
def _in_this_process(address: str, wait: bool) -> Iterator[None]:
    """Keep threads of this process apart without asking the store."""
    with _guard:
        lock = _threads.setdefault(address, threading.Lock())
    if not lock.acquire(blocking=wait):
        raise LockedError(f"{address}: this process holds it already")
    try:
        yield
    finally:
        lock.release()


def _taken(
    storage: ObjectStorage, path: str, told: Mapping[str, Any], wait: bool
) -> tuple[Lease, Mapping[str, Any] | None]:
    pause = 0.02
    while True:
        left, version = _free_version(storage, path)
        if version is not None or left is None:
            token, seconds = uuid.uuid4().hex, stores.current().lease_seconds
            content, wall, monotonic = _content(told, token, seconds)
            taken = storage.put_if(path, content, version)
            if taken is not None:
                return Lease(storage, path, told, taken, seconds, wall, monotonic, token), left or None
        elif not wait:
            raise LockedError(f"{storage.at(path)}: held by {left.get('host', '?')}, process {left.get('pid', '?')}")
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 1.5, 0.5)


def _free_version(storage: ObjectStorage, path: str) -> tuple[Mapping[str, Any] | None, str | None]:
    """Return who had a lease, None where nobody ever had, and its version where it can be taken."""
    try:
        content, version = storage.read_versioned(path)
    except FileNotFoundError:
        return None, None
    said = _said(content)
    if "free" in said:
        return {}, version
    return said, version if _may_be_taken(said) else None


def _may_be_taken(said: Mapping[str, Any]) -> bool:
    """Tell whether a lease has expired, or its holder is a process of this machine that is no more."""
    if "free" in said:
        return True
    try:
        expires = datetime.fromisoformat(said["expires"])
    except (KeyError, TypeError, ValueError):
        return True  # cut by hand: nobody can renew it
    if now_utc() > expires + timedelta(seconds=stores.current().skew_seconds):
        return True
    return bool(_machine()) and said.get("machine") == _machine() and not Path(f"/proc/{said.get('pid')}").exists()


@cache
def _machine() -> str:
    """Return what names this start of this machine, and the processes one sees on it; "" where that can't be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _content(told: Mapping[str, Any], token: str, seconds: float) -> tuple[bytes, float, float]:
    """Return a lease as it is written, and when it expires by the two clocks."""
    wall, monotonic = time.time() + seconds, time.monotonic() + seconds
    who = {"pid": os.getpid(), "host": socket.gethostname(), "machine": _machine()}
    until = datetime.fromtimestamp(wall, UTC).isoformat()
    return json.dumps({**who, **told, "token": token, "expires": until}).encode(), wall, monotonic


def _free() -> bytes:
    return json.dumps({"free": uuid.uuid4().hex}).encode()


def _said(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _start_renewing() -> None:
    """Have a thread renew what is held, for as long as anything is; the caller holds `_guard`."""
    _wake.set()
    if not _renewer:
        _renewer.append(threading.Thread(target=_renew_all, name="leases", daemon=True))
        _renewer[0].start()


def _renew_all() -> None:
    """Renew what is held when a third of its time has passed; a store that is away is asked again until it is lost."""
    while True:
        with _guard:
            if not _held:
                _renewer.clear()
                return
            leases = list(_held)
        for lease in leases:
            if lease.expires - time.time() < lease.seconds * 2 / 3:
                with suppress(StoreError):
                    lease.renew()
        _wake.wait(min(lease.seconds for lease in leases) / 12)
        _wake.clear()
