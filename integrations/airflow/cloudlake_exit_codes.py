"""What an exit code of cloudlake's scripts means to a scheduler that can try again."""

from __future__ import annotations

from typing import Literal

MEANINGS = {
    1: "a step failed; what can be tried again was, within the run",
    2: "bad usage or configuration",
    3: "a quality gate failed; a person decides",
    4: "another run holds the lake",
}
_AGAIN = 4


def what_follows(code: int) -> Literal["done", "again", "failed"]:
    """Say whether a task is done, is worth another try later, or has failed for good.

    Only a lock that is held goes away by waiting: the run itself has tried again what passes, and a gate that has stopped a
    publication would stop it again.
    """
    if code == 0:
        return "done"
    return "again" if code == _AGAIN else "failed"


def meaning(code: int) -> str:
    """Say what a code means; a process that was killed by a signal ends with 128 and its number, or below 0."""
    return MEANINGS.get(code, f"ended with {code}: it was killed, or could not be started")
