"""The log of a Delta table, looked through as files: entries that are empty or cut, gaps, checkpoints with a part missing.

An engine does not always say so: over an empty last entry the rows of its commit are missing without an error.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .entries import ENTRY
from .objects import storage_at
from .small import table_lock
from .storage import Entry, Storage
from .tables import Lake

_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10})|\.[0-9a-f-]{36})?\.(?:parquet|json)")
_POINTER = "_last_checkpoint"
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class Damage:
    """What is wrong with a table's log."""

    table: str
    kind: Literal["last_entry", "entry", "gap", "checkpoint"]
    what: str
    files: tuple[str, ...] = ()
    """The damaged files of the log, by name."""

    @property
    def is_mendable(self) -> bool:
        """Whether the table is whole without the damaged files: what they held is lost already, or held elsewhere."""
        return self.kind in ("last_entry", "checkpoint")


@dataclass(frozen=True)
class _Listed:
    """The files of a log: entries by version with their sizes, sound checkpoints, and the files of those that are not."""

    entries: dict[int, int]
    checkpoints: frozenset[int]
    broken: tuple[str, ...]
    pointer: int | None
    """The version that _last_checkpoint names; -1 where it can't be read."""


def log_damage(lake: Lake, table: str, *, thorough: bool = False) -> Damage | None:
    """Return what is wrong with a table's log, None where nothing is, or where there is no table.

    Every file's name and size is looked at, and the content of the newest entry, or of all that are needed if `thorough`.
    """
    log = storage_at(f"{lake.path(table)}/_delta_log")
    if not log.is_folder():
        return None
    listed = _listed(log)
    if not listed.entries and not listed.checkpoints:
        return None
    newest, base = max([*listed.entries, *listed.checkpoints]), max(listed.checkpoints, default=-1)
    gone = [version for version in range(base + 1, newest + 1) if version not in listed.entries]
    if gone:
        what = f"version {gone[0]} of its log is missing" + (f", and {len(gone) - 1} more" if len(gone) > 1 else "")
        lost = f"; checkpoint file(s) {', '.join(listed.broken)} can't be read" if listed.broken else ""
        return Damage(table, "gap", what + lost)
    looked_into = range(base + 1, newest + 1) if thorough else [newest]
    bad = [
        v for v in range(base + 1, newest + 1) if not listed.entries[v] or (v in looked_into and not _is_whole(log, v))
    ]
    if bad:
        names = tuple(f"{version:020d}.json" for version in bad)
        is_empty = not listed.entries[bad[0]]
        what = f"log entry {names[0]} is {'empty' if is_empty else 'cut'}" + (
            f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        )
        at_the_end = bad == list(range(bad[0], newest + 1))
        return Damage(table, "last_entry" if at_the_end else "entry", what, names)
    if listed.broken:
        return Damage(
            table,
            "checkpoint",
            f"checkpoint file(s) {', '.join(listed.broken)}: cut, or a part is missing",
            listed.broken,
        )
    if listed.pointer is not None and listed.pointer not in listed.checkpoints:
        return Damage(table, "checkpoint", f"{_POINTER} names a checkpoint that is not there", (_POINTER,))
    return None


def set_files_aside(lake: Lake, damage: Damage, name: str) -> str:
    """Move the damaged files of a log to `<lake>/aside/<table>-log-<name>`, with the sums that Spark keeps of them."""
    storage, aside = lake.storage, f"aside/{damage.table}-log-{name}"
    log = f"{storage.below(lake.path(damage.table))}/_delta_log"
    with table_lock(lake.path(damage.table)):
        for file in _with_sums(storage, log, damage):
            storage.rename(f"{log}/{file}", f"{aside}/{file}")
    return storage.at(aside)


def _with_sums(storage: Storage, log: str, damage: Damage) -> Iterable[str]:
    pointer = [_POINTER] if damage.kind == "checkpoint" else []
    names = [*damage.files, *pointer]
    names += [f"{name.removesuffix('.json')}.crc" for name in damage.files if ENTRY.fullmatch(name)]
    names += [f".{name}.crc" for name in names]
    return [name for name in dict.fromkeys(names) if storage.is_file(f"{log}/{name}")]


def _listed(log: Storage) -> _Listed:
    entries: dict[int, int] = {}
    parts: dict[int, list[tuple[Entry, int]]] = defaultdict(list)
    pointer = None
    for file in log.entries():
        if found := ENTRY.fullmatch(file.name):
            entries[int(found[1])] = file.size
        elif found := _CHECKPOINT.fullmatch(file.name):
            parts[int(found[1])].append((file, int(found[3] or 1)))
        elif file.name == _POINTER:
            pointer = _pointed(log)
    sound = frozenset(v for v, files_ in parts.items() if _is_sound(log, files_))
    broken = sorted(file.name for version, files_ in parts.items() if version not in sound for file, _ in files_)
    return _Listed(entries, sound, tuple(broken), pointer)


def _is_sound(log: Storage, parts: list[tuple[Entry, int]]) -> bool:
    return any(n > 1 for _, n in parts) <= (len(parts) == parts[0][1]) and all(
        _is_parquet(log, file) for file, _ in parts
    )


def _is_parquet(log: Storage, file: Entry) -> bool:
    if not file.name.endswith(".parquet"):
        return file.size > 0
    if file.size < 2 * len(_PARQUET):
        return False
    with log.open(file.name) as content:
        head = content.read(len(_PARQUET))
        content.seek(-len(_PARQUET), os.SEEK_END)
        return head == content.read() == _PARQUET


def _pointed(log: Storage) -> int:
    try:
        return int(json.loads(log.read(_POINTER))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def _is_whole(log: Storage, version: int) -> bool:
    try:
        lines = log.read(f"{version:020d}.json").decode().splitlines()
        return bool(lines) and all(isinstance(json.loads(line), dict) for line in lines)
    except (OSError, ValueError):
        return False
