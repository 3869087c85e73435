"""What something was made from: the versions of its inputs, and a fingerprint of how. The same again: nothing to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .log import Logs


@dataclass(frozen=True)
class Pins:
    """The versions of tables that one answer is computed from; -1 where there is no such table yet."""

    versions: Mapping[str, int]

    @classmethod
    def of(cls, lake: Logs, tables: Iterable[str]) -> Pins:
        """Return the tables as they are now."""
        return cls({name: lake.version(name) for name in tables})

    def __getitem__(self, table: str) -> int:
        return self.versions[table]

    def __str__(self) -> str:
        return " ".join(f"{name}@{version}" for name, version in sorted(self.versions.items()))


@dataclass(frozen=True)
class MadeFrom:
    """What decides how a table's rows come out: the versions of its inputs, and beside them a fingerprint or settings."""

    inputs: Mapping[str, int]
    beside: Mapping[str, Any]

    @property
    def note(self) -> dict[str, Any]:
        """What the table's commit says of it."""
        return {"inputs": dict(self.inputs), **self.beside}

    def holds(self, note: Mapping[str, Any]) -> bool:
        """Tell whether a table with this note was made from just that."""
        return all(note.get(key) == value for key, value in self.note.items())


def fingerprint(*texts: str) -> str:
    """Return a short hash of texts: another one means that one of them has changed."""
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:16]
