"""Checkpoints and generations: what makes a lost or foreign checkpoint harmless.

Each query has a checkpoint folder with a marker, `generation.json`: the generation it was begun as, and where. A
folder without one, or with half of its files, is no checkpoint: a new generation starts. The generation is part of
the app id of every write, because Delta skips a write whose app and version it has seen, and part of the load_id,
so that load_ids grow with the commits whatever is lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from ..common.errors import CloudlakeError, LockedError
from ..common.lake.log import Transaction
from ..common.lake.storage import Storage
from ..common.lake.tables import Lake

LOADS_PER_GENERATION = 1_000_000_000
_MARKER = "generation.json"


@dataclass(frozen=True)
class Checkpoint:
    """A query's checkpoint folder, the generation it was begun as, and what it was told then."""

    storage: Storage
    folder: str
    """Where, below the lake's root, it lies."""
    job: str
    generation: int
    begun: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Its full path."""
        return self.storage.at(self.folder)

    def transaction(self, batch_id: int) -> Transaction:
        """Return the name under which a micro-batch of this query writes a table, once."""
        return transaction_of(self.job, self.generation, batch_id)

    def load_id(self, batch_id: int) -> int:
        """Return the load_id of a micro-batch: generation × 10⁹ + batch."""
        return self.generation * LOADS_PER_GENERATION + batch_id

    def offset(self, batch_id: int) -> dict[str, Any] | None:
        """Return the source's offset after a micro-batch, as the query logged it before running the batch."""
        path = f"{self.folder}/offsets/{batch_id}"
        if not self.storage.is_file(path):
            return None
        return dict(json.loads(self._entries(path)[-1]))

    def _entries(self, path: str) -> list[bytes]:
        """Return the lines of one of Spark's own logs, which it writes for itself in a form that it may change.

        Raises:
            CloudlakeError: the log has another form than the one that is read here.
        """
        version, *entries = self.storage.read(path).splitlines()
        if version != b"v1":
            raise CloudlakeError(
                f"{self.storage.at(path)}: Spark has written it in form {version.decode(errors='replace')!r}, and only v1 can be "
                "read here: run the version of Spark that setup.py names"
            )
        return entries

    @property
    def newest(self) -> int:
        """The newest micro-batch that was begun, -1 before the first."""
        return self._newest("offsets")

    def newest_offset(self) -> dict[str, Any] | None:
        """Return the source's offset after the newest micro-batch, None before the first."""
        return self.offset(self.newest)

    def has_unfinished_batch(self) -> bool:
        """Tell whether a micro-batch was begun and not committed: the query has to run it again."""
        return self._newest("offsets") != self._newest("commits")

    def _newest(self, part: str) -> int:
        names = (entry.name for entry in self.storage.entries(f"{self.folder}/{part}"))
        return max((int(name) for name in names if name.isdigit()), default=-1)

    def files(self, batch_id: int) -> list[str]:
        """Return the full paths of the files that a micro-batch of a file source reads."""
        end, start = self.offset(batch_id), self.offset(batch_id - 1)
        if end is None:
            return []
        first = start["logOffset"] + 1 if start else 0
        log = f"{self.folder}/sources/0"
        found = []
        for number in range(first, end["logOffset"] + 1):
            path = next(filter(self.storage.is_file, (f"{log}/{number}", f"{log}/{number}.compact")), None)
            for line in self._entries(path) if path else ():
                entry = json.loads(line)
                if entry["batchId"] == number:
                    found.append(_place(entry["path"]))
        return found


def _place(uri: str) -> str:
    """Return the full path of a file that Spark names by its address; of a disk's file that is a path alone."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    return f"{parts.scheme}://{parts.netloc}{path}" if parts.netloc else path


@dataclass(frozen=True)
class Load:
    """A micro-batch of the query from bronze to silver: its id, the bronze versions it holds, and where the next one begins."""

    load_id: int
    batch_id: int
    from_version: int
    to_version: int
    next_version: int
    next_index: int


def transaction_of(job: str, generation: int, batch_id: int) -> Transaction:
    """Return the name under which a micro-batch of a generation of a query writes a table, once."""
    return Transaction(f"{job}:{generation}", batch_id)


def checkpoint_folder(job: str) -> str:
    """Return where, below the lake's root, a query keeps its checkpoint."""
    return f"checkpoints/{job}"


def resume(lake: Lake, job: str) -> Checkpoint | None:
    """Return the query's checkpoint, or None where there is none that can be continued."""
    storage, folder = lake.storage, checkpoint_folder(job)
    marker = storage.read_state(f"{folder}/{_MARKER}")
    try:
        generation = int(marker["generation"])
    except (ValueError, KeyError, TypeError):
        return None
    has_run = storage.is_file(f"{folder}/metadata") and storage.is_folder(f"{folder}/offsets")
    return Checkpoint(storage, folder, job, generation, marker) if has_run else None


def raise_generation(lake: Lake, job: str, at_least: int = 0) -> int:
    """Return a generation of a query that is greater than all before it, and remember it.

    Raises:
        LockedError: in a store, another process has raised one since: the stream's lock was lost.
    """
    record = f"ops/{_MARKER}"
    entry = lake.storage.look(record)
    generations = lake.storage.read_state(record)
    generation = 1 + max(int(generations.get(job, 0)), at_least)
    content = json.dumps({**generations, job: generation}, indent=1, sort_keys=True).encode()
    if not lake.storage.replace_seen(record, content, entry.version if entry else ""):
        raise LockedError(f"{lake.storage.at(record)}: another process has changed it meanwhile; this one began nothing. Run again")
    return generation


def begin(lake: Lake, job: str, at_least: int = 0, **begun: Any) -> Checkpoint:
    """Start a new generation of a query with an empty checkpoint folder.

    Args:
        lake: the lake.
        job: the query.
        at_least: the largest generation that the lake's data speaks of, should the record of generations be lost.
        begun: what the generation has to remember.
    """
    generation = raise_generation(lake, job, at_least)
    folder = checkpoint_folder(job)
    lake.storage.delete_folder(folder)
    lake.storage.keep_state(f"{folder}/{_MARKER}", {"generation": generation, **begun})
    return Checkpoint(lake.storage, folder, job, generation, begun)


def first_unread(lake: Lake, job: str) -> int | None:
    """Return the first version of its source that a query may still read, should its newest micro-batch run again.

    None where it has no checkpoint that says so.
    """
    found = resume(lake, job)
    if found is None:
        return None
    newest = found.newest
    offsets = [offset for number in (newest, newest - 1) if (offset := found.offset(number)) is not None]
    begun = int(found.begun.get("from_version", 0))
    return min((int(offset["reservoirVersion"]) for offset in offsets), default=begun) if newest > 0 else begun
