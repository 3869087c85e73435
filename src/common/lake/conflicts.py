"""Commits that lose against another program's: done again with a fresh read, so often and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from deltalake.exceptions import CommitFailedError

from .leases import require_held

T = TypeVar("T")


@dataclass(frozen=True)
class Conflicts:
    """How often a write that conflicts is tried, and how long the pauses between may grow (seconds)."""

    attempts: int = 4
    first_seconds: float = 0.2
    max_seconds: float = 5.0

    def retried(self, write: Callable[[], T]) -> T:
        """Read, decide and commit: all of it again where another commit came between; its last error where that lasts."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        again = Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=wait_random_exponential(self.first_seconds, self.max_seconds),
            retry=retry_if_exception(is_conflict),
            reraise=True,
        )
        return again(_held(write))


def _held(write: Callable[[], T]) -> Callable[[], T]:
    """Return a write that is not tried, the first time or again, where this process has lost a lease."""

    def held() -> T:
        require_held()
        return write()

    return held


_OF_SPARK = (
    "DELTA_CONCURRENT",
    "DELTA_METADATA_CHANGED",
    "DELTA_PROTOCOL_CHANGED",
    "DELTA_MAX_COMMIT_RETRIES_EXCEEDED",
)
"""How Spark's errors begin where another commit came between: it added or took rows, changed the table's properties, or came
where none may."""


def is_conflict(error: BaseException) -> bool:
    """Tell whether a write failed because another commit came between its read and its own commit."""
    return isinstance(error, CommitFailedError) or any(sign in str(error) for sign in _OF_SPARK)
