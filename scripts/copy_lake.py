#!/usr/bin/env python3
"""Copy a lake to another folder while it is written: a backup that a stream need not stop for.

usage: scripts/copy_lake.py LAKE COPY    (COPY must not exist; docs/upkeep.md says how it is put back)

What a step reads is copied after what it writes, and each table's log before its files. So no part of the copy speaks of
something that the copy lacks: it is a lake that was cut off, and goes on like one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

ORDER = ("checkpoints", "published.json", "ops", "serving", "gold", "speed", "silver", "quarantine", "bronze")
"""Of a micro-batch: its checkpoint, its counts, increments, events, refusals, and the lines; each is written after the next."""
NOT_COPIED = {".locks", "run", "landing"}
"""What belongs to a process, and the landing zone where it lies within the lake."""
_ENTRY = re.compile(r"(\d{20})\.(json|checkpoint.*\.parquet)")


def copy_lake(lake: Path, copy: Path) -> int:
    """Copy a lake and return the number of its tables.

    Raises:
        SystemExit: there is no lake, or the copy exists.
    """
    if not lake.is_dir():
        sys.exit(f"error: {lake}: there is no such folder")
    if copy.exists():
        sys.exit(f"error: {copy}: it is there already; name a new folder")
    names = sorted((entry.name for entry in lake.iterdir() if entry.name not in NOT_COPIED), key=_place)
    logs: list[Path] = []
    for name in names:
        if (lake / name).is_file():
            _copy_file(lake / name, copy / name)
            continue
        tables = {log.parent for log in (lake / name).rglob("_delta_log") if log.is_dir()}
        for table in sorted(tables):
            _copy_log(table / "_delta_log", copy / table.relative_to(lake) / "_delta_log")
        logs += tables
        for file in _files(lake / name, tables):
            _copy_file(file, copy / file.relative_to(lake))
    for table in logs:
        for file in _files(table, {table / "_delta_log"}):
            _copy_file(file, copy / file.relative_to(lake))
    return len(logs)


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else 2, name)


def _files(folder: Path, without: set[Path]) -> list[Path]:
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(root, name) not in without and name != ".locks"]
        found += [Path(root, name) for name in names]
    return found


def _copy_log(log: Path, copy: Path) -> None:
    """Copy the log up to its newest entry before which none is missing, with the checkpoints that are whole."""
    copy.mkdir(parents=True)
    last = log / "_last_checkpoint"
    known = json.loads(last.read_text(encoding="utf-8")) if last.exists() else {"version": -1}
    named = [(int(match[1]), match[2], name) for name in os.listdir(log) if (match := _ENTRY.fullmatch(name))]
    entries = sorted(version for version, kind, _ in named if kind == "json")
    newest = next((v for v, following in pairwise(entries) if following != v + 1), entries[-1])
    for version, kind, name in sorted(named):
        if version <= (newest if kind == "json" else min(newest, known["version"])):
            _copy_file(log / name, copy / name)
    if 0 <= known["version"] <= newest:
        (copy / "_last_checkpoint").write_text(json.dumps(known), encoding="utf-8")


def _copy_file(file: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(file, copy)
    except FileNotFoundError:  # it was replaced or let go meanwhile; what the logs name stays for hours
        return


def main() -> None:
    """Copy a lake."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lake", type=Path)
    parser.add_argument("copy", type=Path)
    arguments = parser.parse_args()
    tables = copy_lake(arguments.lake.resolve(), arguments.copy.resolve())
    print(f"copied {tables} tables to {arguments.copy}")


if __name__ == "__main__":
    main()
