"""Snapshots: one consistent state of the lake, opened once for all readers, with the answers and pages made from it.

A page is made from one snapshot, so it is of one publication. A newer one takes its place as a whole, for the next request.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from .asking import Answer

LOOK_AGAIN_SECONDS = 1.0
"""So long the state of the lake is taken as known: a page is at most this much older than the tables."""
KEPT = 512
"""Answers, and pages, that a snapshot keeps; the ones not asked for longest go first."""

T = TypeVar("T")
Lake = TypeVar("Lake", bound="Opened")


class Opened(Protocol):
    """An opened state of the lake, as the snapshots need it."""

    run_id: str
    published_at: str
    as_of: str

    def answer(self, name: str, filters: Mapping[str, str]) -> Answer:
        """Answer a named query."""

    def close(self) -> None:
        """Let go of it."""


class Kept(Generic[T]):
    """What was made for a key, made once however many ask at the same time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[Any, T] = OrderedDict()
        self._making: dict[Any, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], T]) -> T:
        """Return what is kept for a key; make it where there is nothing."""
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
            turn = self._making.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._made:
                    return self._made[key]
            made = make()
            with self._lock:
                self._made[key] = made
                self._making.pop(key, None)
                while len(self._made) > self._most:
                    self._made.popitem(last=False)
        return made


@dataclass(frozen=True)
class Made:
    """A page as it is sent."""

    body: bytes
    status: int


class Snapshot(Generic[Lake]):
    """One state of the lake."""

    def __init__(self, opened: Lake, state: str) -> None:
        self.opened = opened
        self.etag = f'"{hashlib.sha256(state.encode()).hexdigest()[:24]}"'
        self.pages: Kept[Made] = Kept(KEPT)
        self._answers: Kept[Answer] = Kept(KEPT)
        self._users = 0
        self._is_left = False
        self._lock = threading.Lock()

    def ask(self, name: str, filters: Mapping[str, str] | None = None) -> Answer:
        """Return the answer of a named query; filters without a value are left out."""
        given = {key: value for key, value in (filters or {}).items() if value}
        return self._answers.get((name, *sorted(given.items())), lambda: self.opened.answer(name, given))

    def enter(self) -> None:
        """Note one more reader."""
        with self._lock:
            self._users += 1

    def leave(self, for_good: bool = False) -> None:
        """Note that a reader has gone, or that the snapshot is no longer the newest; the last one closes it."""
        with self._lock:
            self._users -= not for_good
            self._is_left |= for_good
            is_over = self._is_left and self._users == 0
        if is_over:
            self.opened.close()


class Snapshots(Generic[Lake]):
    """The newest snapshot, renewed when the lake has moved on.

    One request at a time looks whether it has; while a new snapshot is opened, the others are answered from the old one.
    """

    def __init__(self, state: Callable[[], str], open_: Callable[[], Lake]) -> None:
        self._state = state
        self._open = open_
        self._newest: Snapshot[Lake] | None = None
        self._seen = ""
        self._looked = 0.0
        self._looking = threading.Lock()
        self._swapping = threading.Lock()

    @contextmanager
    def current(self) -> Iterator[Snapshot[Lake]]:
        """Give the newest snapshot for as long as a request takes.

        Raises:
            CloudlakeError: nothing has been published yet, or the publications cannot be read.
        """
        with self._swapping:
            has_one = self._newest is not None
        if has_one:
            if self._is_time() and self._looking.acquire(blocking=False):
                try:
                    self._renew()
                finally:
                    self._looking.release()
        else:
            with self._looking:
                self._renew()
        with self._swapping:
            snapshot = self._newest
            assert snapshot is not None
            snapshot.enter()
        try:
            yield snapshot
        finally:
            snapshot.leave()

    def forget(self) -> None:
        """Look again at the next request: something was just written."""
        self._looked = 0.0

    def _is_time(self) -> bool:
        return time.monotonic() - self._looked >= LOOK_AGAIN_SECONDS

    def _renew(self) -> None:
        if self._newest is not None and not self._is_time():
            return
        state = self._state()
        self._looked = time.monotonic()
        if self._newest is not None and state == self._seen:
            return
        opened = Snapshot(self._open(), state)
        with self._swapping:
            before, self._newest, self._seen = self._newest, opened, state
        if before is not None:
            before.leave(for_good=True)
