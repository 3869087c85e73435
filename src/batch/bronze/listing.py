"""Which files of the landing zone are deliveries of a source, and which only look like one."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ...common.contracts.table import Table
from ...common.lake.storage import Storage
from .extracts import extracts_in

LIKE_A_DATE = re.compile(r"\d{4}[-_. ]?\d{1,2}[-_. ]?\d{1,2}")
"""A folder whose name begins so is meant as the date of a snapshot."""


def find_files(zone: Storage, table: Table) -> list[str]:
    """Return the deliveries of a source: those in folders that are dated, or meant to be, by name; then the flat file.

    Of a source that is a query they are the extracts, in each folder oldest first.
    """
    if table.query is not None:
        return [path for folder in folders_in(zone) for path in extracts_in(zone, folder, table.short_name)]
    paths = (below(folder, name) for folder in folders_in(zone) for name in _names(table))
    return [path for path in paths if zone.is_file(path)]


def folders_in(zone: Storage) -> list[str]:
    """Return the folders in which deliveries lie: those that are dated, or meant to be, by name; then "", the landing zone itself."""
    return [*(e.path for e in zone.entries() if e.kind == "folder" and LIKE_A_DATE.match(e.name)), ""]


def below(folder: str, name: str) -> str:
    """Return the path of what lies in a folder under a name."""
    return f"{folder}/{name}" if folder else name


def _names(table: Table) -> list[str]:
    if table.file is None:
        return []
    return [table.file, f"{table.file}.gz"]


def passed_over(zone: Storage, table: Table) -> list[str]:
    """Say which files a person may take for deliveries of a source, though none of them is read: `Users.csv`, `users (1).csv`."""
    stem = re.escape((table.file or table.short_name).removesuffix(".csv"))
    asked = f"database {table.database} is asked for this source" if table.query else f"the file of this source is called {table.file}"
    alike = re.compile(rf"{stem}(?:[^a-z0-9_].*)?[.](?:csv|gz|zip|tsv|txt|xlsx?)", re.IGNORECASE | re.DOTALL)
    found = []
    for entry in (entry for folder in folders_in(zone) for entry in zone.entries(folder)):
        if entry.name in _names(table) and entry.kind != "file":
            found.append(f"{shown(entry.path)} is no file, so it is not read")
        elif entry.name not in _names(table) and alike.fullmatch(entry.name):
            found.append(f"{shown(entry.path)} is not read: {asked}")
    return found


def time_of(seconds: float) -> datetime:
    """Return a file's time; what no calendar holds becomes the last day that it does, which is likely for no file."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime(9999, 12, 31, tzinfo=UTC)


def shown(path: str) -> str:
    """Return a path below the landing root as tables and messages have it: what is no UTF-8, or no sign, as \\xNN."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)
