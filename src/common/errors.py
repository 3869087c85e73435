"""The errors of cloudlake: one root, and one class for each exit code that people and cron rely on.

A message says what was found, where, and what to do. Only the command line turns an error into an exit code.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence


class CloudlakeError(Exception):
    """A step failed in a way that the message explains (exit code 1)."""

    exit_code = 1


class ConfigurationError(CloudlakeError):
    """Bad usage or configuration; carries every fault that was found, not just the first (exit code 2)."""

    exit_code = 2

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class QualityGateError(CloudlakeError):
    """A rule of level `fail` or an audit stopped the run before anything was published (exit code 3)."""

    exit_code = 3


class LockedError(CloudlakeError):
    """Another run holds the lock; the message names the holder (exit code 4)."""

    exit_code = 4


class StoreError(CloudlakeError):
    """An object store did not answer, or refused: what lies there is not known, and nothing may be concluded from it."""


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known name, or the known names where none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


_OF_THE_MACHINE = {
    "No space left on device": "the disk is full; free space and run again",
    "File too large": "a file grew over the process's limit (ulimit -f); raise it and run again",
    "Permission denied": "the lake can't be written; check the owner and rights of its folders and run again",
    "Read-only file system": "the lake can't be written; it lies on a read-only file system",
    "No module named 'pyspark'": "Spark is not installed in this environment; run scripts/setup_environment.sh",
    "OutOfMemoryError": "Spark ran out of memory; raise spark.driver.memory in conf/spark-defaults.conf",
}


def is_of_the_machine(error: BaseException) -> bool:
    """Tell whether a failure lies in the disk, the rights or the memory, and not in what was worked on."""
    return isinstance(error, OSError | MemoryError) or any(sign in str(error) for sign in _OF_THE_MACHINE)


_REQUEST = re.compile(r"Error performing (\w+) (https?://[^\s?]+)")
_OF_S3A = re.compile(r"(?:on|for|of) (s3a://[^\s:]+)")
_STATUS = re.compile(r"status code:? (\d{3})", re.IGNORECASE)
_TREE = re.compile(r"\x1b\[\d+m|↳|\s+")
"""What delta-rs draws a chain of causes with, breaking its lines anywhere."""


def _of_a_store(text: str) -> str:
    """Say which request an object store did not answer, and how; "" where the failure is none of a store's."""
    text = " ".join(_TREE.sub(" ", text).split())
    request, of_spark = _REQUEST.search(text), "hadoop.fs.s3a" in text or "software.amazon" in text
    if request is None and not of_spark:
        return ""
    place = _OF_S3A.search(text) if request is None else None
    where = request[2] if request else place[1] if place else "the object store"
    status = _STATUS.search(text)
    found = f"the store answers {status[1]}" if status else "the store can't be reached or breaks off"
    return f"{where}: {found}, after the tries that storage: in conf/lake.yaml allows"


def explain_failure(error: BaseException) -> str:
    """Say what a failure means and what to do, where its cause is one that operators meet."""
    if isinstance(error, CloudlakeError):
        return str(error)
    text = str(error)
    if of_the_store := _of_a_store(text):
        return f"{of_the_store}. Nothing half done is visible; the old version stays in force, run again when the store answers"
    for sign, advice in _OF_THE_MACHINE.items():
        if sign in text:
            return f"{sign}: {advice}. Nothing half done is visible; the old version stays in force."
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return f"{type(error).__name__}: {first[:500]}; --verbose shows the whole trace"
