"""Checkpoints and generations: what makes a lost or foreign checkpoint harmless.

Each query has a checkpoint folder with a marker, `generation.json`: the generation it was begun as, and where. A
folder without one, or with half of its files, is no checkpoint: a new generation starts. The generation is part of
the app id of every write, because Delta skips a write whose app and version it has seen, and part of the load_id,
so that load_ids grow with the commits whatever is lost.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..common.lake.log import Transaction
from ..common.lake.tables import Lake

LOADS_PER_GENERATION = 1_000_000_000
_MARKER = "generation.json"


@dataclass(frozen=True)
class Checkpoint:
    """A query's checkpoint folder, the generation it was begun as, and what it was told then."""

    folder: Path
    job: str
    generation: int
    begun: dict[str, Any] = field(default_factory=dict)

    def transaction(self, batch_id: int) -> Transaction:
        """Return the name under which a micro-batch of this query writes a table, once."""
        return Transaction(f"{self.job}:{self.generation}", batch_id)

    def load_id(self, batch_id: int) -> int:
        """Return the load_id of a micro-batch: generation × 10⁹ + batch."""
        return self.generation * LOADS_PER_GENERATION + batch_id

    def offset(self, batch_id: int) -> dict[str, Any] | None:
        """Return the source's offset after a micro-batch, as the query logged it before running the batch."""
        path = self.folder / "offsets" / str(batch_id)
        if not path.exists():
            return None
        return dict(json.loads(path.read_text(encoding="utf-8").splitlines()[-1]))

    def newest_offset(self) -> dict[str, Any] | None:
        """Return the source's offset after the newest micro-batch, None before the first."""
        return self.offset(_newest(self.folder / "offsets"))

    def has_unfinished_batch(self) -> bool:
        """Tell whether a micro-batch was begun and not committed: the query has to run it again."""
        return _newest(self.folder / "offsets") != _newest(self.folder / "commits")

    def files(self, batch_id: int) -> list[Path]:
        """Return the files that a micro-batch of a file source reads."""
        end, start = self.offset(batch_id), self.offset(batch_id - 1)
        if end is None:
            return []
        first = start["logOffset"] + 1 if start else 0
        log = self.folder / "sources" / "0"
        found = []
        for number in range(first, end["logOffset"] + 1):
            path = next((p for p in (log / str(number), log / f"{number}.compact") if p.exists()), None)
            for line in path.read_text(encoding="utf-8").splitlines()[1:] if path else ():
                entry = json.loads(line)
                if entry["batchId"] == number:
                    found.append(Path(unquote(urlsplit(entry["path"]).path)))
        return found


@dataclass(frozen=True)
class Load:
    """A micro-batch of the query from bronze to silver: its id, the bronze versions it holds, and where the next one begins."""

    load_id: int
    batch_id: int
    from_version: int
    to_version: int
    next_version: int
    next_index: int


def _newest(folder: Path) -> int:
    return max((int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()), default=-1)


def checkpoint_folder(lake: Lake, job: str) -> Path:
    """Return where a query keeps its checkpoint."""
    return lake.root / "checkpoints" / job


def resume(lake: Lake, job: str) -> Checkpoint | None:
    """Return the query's checkpoint, or None where there is none that can be continued."""
    folder = checkpoint_folder(lake, job)
    try:
        marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        generation = int(marker["generation"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    has_run = (folder / "metadata").exists() and (folder / "offsets").is_dir()
    return Checkpoint(folder, job, generation, marker) if has_run else None


def raise_generation(lake: Lake, job: str, at_least: int = 0) -> int:
    """Return a generation of a query that is greater than all before it, and remember it."""
    record = lake.root / "ops" / _MARKER
    generations = _read(record)
    generation = 1 + max(int(generations.get(job, 0)), at_least)
    _write(record, {**generations, job: generation})
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
    folder = checkpoint_folder(lake, job)
    shutil.rmtree(folder, ignore_errors=True)
    _write(folder / _MARKER, {"generation": generation, **begun})
    return Checkpoint(folder, job, generation, begun)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace a small file at once: a reader sees the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    with draft.open("w", encoding="utf-8") as handle:
        json.dump(content, handle, sort_keys=True)
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(path)


def first_unread(lake: Lake, job: str) -> int | None:
    """Return the first version of its source that a query may still read, should its newest micro-batch run again.

    None where it has no checkpoint that says so.
    """
    found = resume(lake, job)
    if found is None:
        return None
    newest = _newest(found.folder / "offsets")
    offsets = [offset for number in (newest, newest - 1) if (offset := found.offset(number)) is not None]
    begun = int(found.begun.get("from_version", 0))
    return min((int(offset["reservoirVersion"]) for offset in offsets), default=begun) if newest > 0 else begun
