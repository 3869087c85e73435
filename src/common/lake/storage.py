"""Where a lake may lie, and the path of its files as each engine wants it."""

from __future__ import annotations

import hashlib
import re
from itertools import count
from pathlib import Path

from ..errors import ConfigurationError
from .duck import literal_path

_NOT_FOR_RUST = re.compile(r"[\[\]|^\\#?\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
"""What delta-rs does not find again in a local path: it makes the path a host's name and an address's path, and decodes it.
Behind # or ? it reads tables, but of their history nothing, without a word: the notes of our commits would be lost."""

_LONGEST_NAME, _LONGEST_PATH = 255, 4095
_BELOW_THE_ROOT = 320
"""Room for what lies below a lake's root: table, partition, data file, and the scratch names of their writers."""


def require_lake_root(root: Path) -> None:
    """Check that every engine can read and write tables under a folder of that name.

    Raises:
        ConfigurationError: one of them would take the name for another; nothing has been written yet.
    """
    remedy = "give the lake another folder with --lake or CLOUDLAKE_LAKE"
    try:
        str(root).encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{str(root)!r}: the name is no UTF-8, which Java and delta-rs need; {remedy}"
        ) from None
    found = sorted({match[0] for match in _NOT_FOR_RUST.finditer(str(root))})
    if found:
        signs = ", ".join(sign if sign.isprintable() else repr(sign) for sign in found)
        raise ConfigurationError(
            f"{str(root)!r}: the lake can't lie there: delta-rs does not find tables again under a name with {signs} "
            f"(blanks, a single %, braces, quotes and letters beyond ASCII are fine); {remedy}"
        )
    if any(len(part.encode()) > _LONGEST_NAME for part in root.parts):
        raise ConfigurationError(f"{root}: a folder's name is longer than {_LONGEST_NAME} bytes; {remedy}")
    if len(str(root).encode()) > _LONGEST_PATH - _BELOW_THE_ROOT:
        raise ConfigurationError(
            f"{root}: with {len(str(root).encode())} bytes the path leaves no room for the tables' files; {remedy}"
        )


def placed(root: Path) -> Path:
    """Return where a lake that is to be made at `root` lies: there, or where its name would not do, behind a link.

    delta-rs follows links before it makes an address of a path. So such a lake gets a folder of a plain name, in the
    nearest folder above that has one, and `root` becomes a link to it: every engine, ours or another's, then finds the
    same tables by either name. A folder that holds something already is left alone, and so is the top of the file system.

    Args:
        root: an absolute path without links.
    """
    nearest = next((folder for folder in root.parents if not _NOT_FOR_RUST.search(str(folder))), root)
    if not _NOT_FOR_RUST.search(str(root)) or nearest == nearest.parent:
        return root
    try:
        present = next(folder for folder in root.parents if folder.exists())
        nearest = min(nearest, present, key=lambda folder: len(folder.parts))
        if nearest.stat().st_dev != present.stat().st_dev:  # another disk than the one that was named
            return root
        root.parent.mkdir(parents=True, exist_ok=True)
        if root.exists():
            root.rmdir()
        place = _made(nearest, f"cloudlake-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}")
        root.symlink_to(place)
    except OSError:
        return root
    return place


def _made(folder: Path, name: str) -> Path:
    """Make a new folder: what a lake left whose link was removed is not taken for the new one."""
    for number in count(1):
        place = folder / (name if number == 1 else f"{name}-{number}")
        try:
            place.mkdir()
        except FileExistsError:
            continue
        return place
    raise AssertionError


def local_file(table: str, uri: str) -> str:
    """Return the path of a table's data file, which delta-rs names with the table's own folder encoded as in an address."""
    depth = table.count("/") + 1
    return "/".join([table, *uri.split("/")[depth:]])


def for_duckdb(files: list[str]) -> list[str]:
    """Return paths so that DuckDB reads those files and takes none for a pattern."""
    return [literal_path(file) for file in files]


def for_sql(path: str) -> str:
    """Return a table's path as Spark SQL names it."""
    return f"delta.`{path.replace('`', '``')}`"
