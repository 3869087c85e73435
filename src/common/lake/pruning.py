"""What a table's folder holds and nobody needs any more: found, so that it can be let go. And what is in small pieces.

A reader holds a version; a stream reads commit by commit. What they may still need is said by a `Keep`; all else that
the log does not name in these versions goes, whether it was once a part of the table or was left by a crash.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import PostCommitHookProperties
from deltalake.exceptions import DeltaError

from ..errors import CloudlakeError
from .entries import ENTRY, has_entry, read_entry
from .log import data_files, is_hidden
from .objects import ObjectStorage, storage_at
from .opening import open_table
from .small import table_lock
from .storage import Entry, Storage
from .stores import is_remote, root_path

_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet")
_OF_A_VERSION = re.compile(
    r"\.?(\d{20})\.(?:json|crc|checkpoint(?:\.\d{10}\.\d{10})?\.parquet|(\d{20})\.compacted\.json)(?:\.crc)?"
)
"""What a log has of a version; Hadoop keeps a checksum beside each file that it writes, hidden."""
WORTH_A_COMMIT = 3
"""So many files less must come out of a compaction."""


@dataclass(frozen=True)
class Keep:
    """What readers of a table may still need, beside its newest version."""

    since: datetime
    """Every version that was the newest at some time since then."""
    versions: frozenset[int] = frozenset()
    """Versions that somebody names: publications, what a mart was made from."""
    commits_from: int | None = None
    """The first commit that a stream has not read."""


@dataclass(frozen=True)
class Pruned:
    """Files that go: data files and log entries, with their bytes."""

    files: tuple[Path, ...] = ()
    entries: tuple[Path, ...] = ()
    bytes: int = 0


def entries_of(path: str) -> dict[int, float]:
    """Return the versions whose log entries are there, in order, with the time of each (seconds, never falling)."""
    found = {}
    for file in _log(path).entries():
        match = ENTRY.fullmatch(file.name)
        if match:
            found[int(match[1])] = file.modified_seconds
    times, newest = {}, -math.inf
    for version in sorted(found):
        newest = max(newest, found[version])
        times[version] = newest
    return times


def _log(path: str) -> Storage:
    return storage_at(f"{path}/_delta_log")


def version_at(times: dict[int, float], at: datetime) -> int:
    """Return the version that was the newest at a time; the oldest that is known where all are younger."""
    before = [version for version, time in times.items() if time <= at.timestamp()]
    return max(before) if before else min(times, default=0)


def checkpoints_of(path: str) -> list[int]:
    """Return the versions at which the log has a whole checkpoint."""
    parts: dict[int, set[str]] = defaultdict(set)
    wanted: dict[int, int] = {}
    for file in _log(path).entries():
        match = _CHECKPOINT.fullmatch(file.name)
        if match:
            version, of = int(match[1]), int(match[3] or 1)
            parts[version].add(match[2] or "")
            wanted[version] = of
    return sorted(version for version, names in parts.items() if len(names) == wanted[version])


def find_unneeded(path: str, keep: Keep) -> Pruned:
    """Return what a table's folder holds beyond the versions that are kept.

    Raises:
        CloudlakeError: the files that the log names are not found under their names; nothing may be deleted then.
    """
    times = entries_of(path)
    newest = open_table(path, without_files=True).version()
    first = version_at(times, keep.since)
    unread = newest if keep.commits_from is None else min(keep.commits_from, newest)
    oldest = min(first, unread, *(version for version in keep.versions if version <= newest))
    oldest = min(oldest, *(_noted_before(path, version) for version in {newest, *keep.versions} if version <= newest))
    needed = _files_needed(path, times, {first, newest, *keep.versions}, min(first, unread))
    data = [*_data_below(path)]
    missing = {str(file) for file in _files_of(path, newest)} - {str(file) for file, _ in data}
    if missing:
        raise CloudlakeError(
            f"{path}: {len(missing)} data file(s) of its newest version are not found, such as {min(missing)}; nothing was "
            "let go. cloudlake doctor says what mends it"
        )
    young = keep.since.timestamp()
    files = [(file, entry.size) for file, entry in data if file not in needed and entry.modified_seconds < young]
    entries = list(_entries_before(path, oldest))
    size = sum(size for _, size in (*files, *entries))
    return Pruned(tuple(file for file, _ in files), tuple(entry for entry, _ in entries), size)


def find_all_but_newest(path: str) -> Pruned:
    """Return everything that the newest version of a table is not made of; who reads an earlier one loses it."""
    return find_unneeded(path, Keep(datetime.max.replace(tzinfo=UTC)))


def _files_needed(path: str, times: dict[int, float], states: Iterable[int], commits_from: int) -> set[Path]:
    """Return the files of some versions, and those that any commit from one on added."""
    needed: set[Path] = set()
    for version in sorted(states):
        try:
            needed |= _files_of(path, version)
        except DeltaError:  # a version of a table that was made anew since, or one that was let go before
            continue
    for version in times:
        if version >= commits_from:
            needed |= set(_added(path, version))
    return needed


def _files_of(path: str, version: int) -> set[Path]:
    return {root_path(file) for file in data_files(open_table(path, version=version), path)}


def _added(path: str, version: int) -> Iterator[Path]:
    for line in read_entry(path, version).splitlines():
        if line.startswith(b'{"add"'):
            yield root_path(path) / unquote(json.loads(line)["add"]["path"])


def _data_below(path: str) -> Iterator[tuple[Path, Entry]]:
    """Yield the data files in a table's folder as a look at them shows them."""
    storage = storage_at(path)
    if isinstance(storage, ObjectStorage):
        for entry in storage.walk():
            *folders, name = entry.path.split("/")
            if name.endswith(".parquet") and name[:1] not in "_." and not any(map(is_hidden, folders)):
                yield root_path(storage.at(entry.path)), entry
        return
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in names:
            if name.endswith(".parquet") and name[:1] not in "_.":
                file = Path(folder) / name
                found = storage.look(os.path.relpath(file, path))
                if found is not None:
                    yield file, found


def _noted_before(path: str, version: int) -> int:
    """Return the newest version up to one whose writer left a note: what decides by the newest note must find it."""
    found = version
    while found > 0 and has_entry(path, found) and not _has_note(path, found):
        found -= 1
    return found if has_entry(path, found) else version


def _has_note(path: str, version: int) -> bool:
    text = read_entry(path, version)
    return b'"userMetadata"' in text and b'"userMetadata":"{}"' not in text


def _entries_before(path: str, version: int) -> Iterator[tuple[Path, int]]:
    """Yield what the log has of versions that no version from this one on is made from, with the size."""
    first = max((found for found in checkpoints_of(path) if found <= version), default=0)
    log = _log(path)
    for file in log.entries():
        match = _OF_A_VERSION.fullmatch(file.name)
        if match and int(match[2] or match[1]) < first:
            yield root_path(log.at(file.name)), file.size


def let_go(path: str, pruned: Pruned) -> None:
    """Delete what was found: log entries from the oldest on, so that a crash leaves a log without a gap, then data."""
    with table_lock(path):
        for file in [*sorted(pruned.entries), *pruned.files]:
            folder = storage_at(str(file.parent))
            folder.delete(file.name)
            if not is_remote(path):  # Hadoop's sums
                folder.delete(f".{file.name}.crc")


def write_checkpoint(path: str, every: int = 10) -> bool:
    """Write a checkpoint of the newest version, where the newest is `every` commits or more behind."""
    newest = open_table(path, without_files=True).version()
    if newest - max(checkpoints_of(path), default=0) < every:
        return False
    with table_lock(path):
        open_table(path).create_checkpoint()
    return True


@dataclass(frozen=True)
class Crowded:
    """A partition (column → value; {} of a table without) with many small files, and how many a compaction saves."""

    partition: dict[str, Any]
    saves: int


def crowded(path: str, target: int) -> list[Crowded]:
    """Return the partitions that a compaction leaves with far fewer files.

    Args:
        path: the table.
        target: the bytes that a file should have.
    """
    sizes: dict[tuple[tuple[str, Any], ...], list[int]] = defaultdict(list)
    for action in pa.table(open_table(path).get_add_actions(flatten=False)).to_pylist():
        sizes[tuple(sorted((action.get("partition") or {}).items()))].append(action["size_bytes"])
    found = []
    for partition, files in sizes.items():
        small = [size for size in files if size < target]
        saves = len(small) - math.ceil(sum(small) / target)
        if saves >= WORTH_A_COMMIT and all(value is not None for _, value in partition):
            found.append(Crowded(dict(partition), saves))
    return sorted(found, key=str)


def compact(path: str, partition: dict[str, Any], target: int, order: Iterable[str] = ()) -> None:
    """Write the small files of a partition as few, in one commit that changes no row; by some columns where named.

    The commit carries no note: the newest note stays the one of who wrote the rows.
    """
    filters = [(name, "=", _as_text(value)) for name, value in partition.items()] or None
    hooks = PostCommitHookProperties(cleanup_expired_logs=False)
    with table_lock(path):
        optimize = open_table(path).optimize
        if order:
            optimize.z_order(
                list(order), filters, target_size=target, max_concurrent_tasks=1, post_commithook_properties=hooks
            )
        else:
            optimize.compact(filters, target_size=target, max_concurrent_tasks=1, post_commithook_properties=hooks)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
