"""Which files of the landing zone are deliveries of a source, and which only look like one."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from ...common.contracts.table import Table
from ...common.errors import ConfigurationError

LIKE_A_DATE = re.compile(r"\d{4}[-_. ]?\d{1,2}[-_. ]?\d{1,2}")
"""A folder whose name begins so is meant as the date of a snapshot."""


def find_files(landing: Path, table: Table) -> list[Path]:
    """Return the deliveries of a source: those in folders that are dated, or meant to be, by name; then the flat file."""
    if not landing.is_dir():
        raise ConfigurationError(
            f"{landing}: there is no such landing folder; name it with --landing, or make one with "
            f"scripts/generate_landing_data.py --out {landing}"
        )
    return [place for folder in folders_in(landing) for name in _names(table) if (place := folder / name).is_file()]


def folders_in(landing: Path) -> list[Path]:
    """Return the folders in which deliveries lie: those that are dated, or meant to be, by name; then the landing zone itself."""
    return [*sorted(f for f in landing.iterdir() if f.is_dir() and LIKE_A_DATE.match(f.name)), landing]


def _names(table: Table) -> list[str]:
    return [str(table.file), f"{table.file}.gz"]


def passed_over(landing: Path, table: Table) -> list[str]:
    """Say which files a person may take for deliveries of a source, though none of them is read: `Users.csv`, `users (1).csv`."""
    stem = re.escape(str(table.file).removesuffix(".csv"))
    alike = re.compile(rf"{stem}(?:[^a-z0-9_].*)?[.](?:csv|gz|zip|tsv|txt|xlsx?)", re.IGNORECASE | re.DOTALL)
    found = []
    for folder in folders_in(landing):
        for name in sorted(os.listdir(folder)):
            if name in _names(table) and not (folder / name).is_file():
                found.append(f"{shown(folder / name, landing)} is no file, so it is not read")
            elif name not in _names(table) and alike.fullmatch(name):
                found.append(f"{shown(folder / name, landing)} is not read: the file of this source is called {table.file}")
    return found


def time_of(seconds: float) -> datetime:
    """Return a file's time; what no calendar holds becomes the last day that it does, which is likely for no file."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime(9999, 12, 31, tzinfo=UTC)


def shown(place: Path, landing: Path) -> str:
    """Return a path relative to the landing root as tables and messages have it: what is no UTF-8, or no sign, as \\xNN."""
    text = os.fsencode(place.relative_to(landing).as_posix()).decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)
