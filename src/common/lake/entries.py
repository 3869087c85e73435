"""The entries of a Delta table's log, as files: where each lies, and what its commit did."""

from __future__ import annotations

import json
import re
from os import PathLike
from pathlib import Path
from typing import Any

from . import stores
from .objects import storage_at

ENTRY = re.compile(r"(\d{20})\.json")
"""The name of an entry; the number is its version."""


def log_of(path: str | PathLike[str]) -> Path:
    """Return the folder of a table's log on a disk."""
    return stores.root_path(str(path)) / "_delta_log"


def _place(version: int) -> str:
    return f"_delta_log/{version:020d}.json"


def read_entry(path: str | PathLike[str], version: int) -> bytes:
    """Return the entry of a version in a table's log.

    Raises:
        FileNotFoundError: it is no longer there.
    """
    return storage_at(path).read(_place(version))


def has_entry(path: str | PathLike[str], version: int) -> bool:
    """Tell whether a table's log has the entry of a version."""
    return storage_at(path).is_file(_place(version))


def actions_of(path: str | PathLike[str], version: int) -> list[dict[str, Any]]:
    """Return what a commit did, line by line.

    Raises:
        FileNotFoundError: its entry is no longer there.
    """
    return [json.loads(line) for line in read_entry(path, version).decode().splitlines()]


def info_in(actions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a commit says of itself; {} where it says nothing."""
    return next((action["commitInfo"] for action in actions if "commitInfo" in action), {})


def changes_rows(path: str, version: int) -> bool:
    """Tell whether a commit changes rows: a compaction writes files anew that hold the same ones."""
    moves = (move for action in actions_of(path, version) for kind, move in action.items() if kind in ("add", "remove"))
    return any(move["dataChange"] for move in moves)


def is_compaction(path: str, version: int) -> bool:
    """Tell whether a commit only wrote files anew; False where its entry is no longer there."""
    try:
        return bool(info_in(actions_of(path, version)).get("operation") == "OPTIMIZE")
    except FileNotFoundError:
        return False
