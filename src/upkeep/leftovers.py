"""Files beside the tables that have had their time: reports, logs, pages of tables that are gone, halves of writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from ..common.config import Config
from ..common.lake.storage import Storage
from ..common.lake.stores import is_remote, root_path
from ..common.quality.docs import INDEX

LOG_BYTES = 10 << 20
"""A stream's log that is longer is put aside and begun anew."""
_HALF_WRITTEN = timedelta(days=1)


def find_leftovers(config: Config, now: datetime) -> list[Path]:
    """Return the files that can go."""
    root, kept, lake = config.lake.root, config.settings.retention, config.lake.storage
    found = [
        *_older(lake, "reports", "*.json", now, kept.reports),
        *_older(lake, "lineage", "*.jsonl", now, kept.reports),
        *_older(lake, "logs", "*.log", now, kept.logs),
        *_older(config.run_folder, "", "stream.log.*", now, kept.logs),
    ]
    known = {f"{name}.html" for name in config.registry.tables} | {INDEX}
    found += [page for page in _older(lake, "quality", "*.html", now, kept.reports) if page.name not in known]
    if is_remote(root):  # an object is there whole or not at all
        return sorted(set(found))
    for folder in (root / "checkpoints", root / "ops", root / "run"):
        for pattern in ("**/*.tmp", "**/*.draft", "**/.*.tmp.crc"):
            found += [file for file in folder.glob(pattern) if _is_older(file, now - _HALF_WRITTEN)]
    return sorted(set(found))


def _older(storage: Storage, folder: str, pattern: str, now: datetime, days: int) -> Iterator[Path]:
    if days:
        than = (now - timedelta(days=days)).timestamp()
        named = (file for file in storage.entries(folder) if file.kind == "file" and fnmatchcase(file.name, pattern))
        yield from (root_path(storage.at(file.path)) for file in named if file.modified_seconds < than)


def _is_older(file: Path, than: datetime) -> bool:
    return file.is_file() and file.stat().st_mtime < than.timestamp()


def rotate_log(config: Config, now: datetime, *, dry_run: bool) -> Path | None:
    """Put a long log of the stream aside; the process that writes it goes on at its new beginning."""
    log = Path(config.run_folder.at("stream.log"))
    if not log.exists() or log.stat().st_size <= LOG_BYTES:
        return None
    aside = log.with_name(f"stream.log.{now:%Y%m%dT%H%M%SZ}")
    if not dry_run:
        shutil.copyfile(log, aside)
        with log.open("r+b") as handle:  # it is written by append, so what comes next stands at the new end
            handle.truncate(0)
    return aside
