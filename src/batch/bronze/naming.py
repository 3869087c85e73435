"""Column names as files write them → names that a table can hold; a header is data, never an identifier."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from ...common.contracts.table import Table, fold
from .scanning import FileRefusedError

_PLAIN = re.compile(r"[^\W\d_]\w*")
_MOST = 1000
"""Columns of a file. Each new one stays in the table for good."""
_LONGEST = 100
"""Characters of a column's name."""


def stored_names(header: Sequence[str], table: Table, held: Collection[str]) -> tuple[list[str], Mapping[str, str]]:
    """Return the column that each name of a header is kept under, and those that are kept under another name.

    A name that differs from a declared column's in case, blanks, `-` and `_` alone is that column. Any other keeps its
    letters, digits and `_`; what is between them becomes `_`. A nameless column becomes `column_<position>`.

    Args:
        header: the names as delivered, those of a delimiter at the line's end left out.
        table: the source.
        held: the columns that its bronze table has.

    Raises:
        FileRefusedError: a key column is missing, or two names are one column.
    """
    if len(header) > _MOST:
        raise FileRefusedError(f"its header names {len(header):,} columns, more than {_MOST:,}: rows stand where columns should")
    declared = {fold(name): name for name in table.columns if not name.startswith("_")}
    seen = {name.casefold(): name for name in held if not name.startswith("_")} | declared
    exact = {name: name for name in declared.values()}
    given = [unicodedata.normalize("NFC", name).strip() for name in header]
    names = [exact.get(name) or declared.get(fold(name)) or _safe(name, number) for number, name in enumerate(given, 1)]
    names = [seen.get(name.casefold(), name) for name in names]
    counts = Counter(name.casefold() for name in names)
    doubled = [
        delivered or "(no name)" for delivered, name in zip(given, names, strict=True) if counts[name.casefold()] > 1
    ]
    if doubled:
        raise FileRefusedError(f"column named twice: {', '.join(sorted(doubled))}")
    missing = [key for key, column in table.columns.items() if column.required and key not in names]
    if missing:
        raise FileRefusedError(f"key column missing: {', '.join(missing)} (found: {', '.join(given)})")
    return names, {delivered: name for delivered, name in zip(given, names, strict=True) if delivered != name}


def _safe(name: str, number: int) -> str:
    """Return a name of letters, digits and `_` that begins with a letter: one beginning with `_` is provenance of ours."""
    plain = re.sub(r"\W+", "_", name).strip("_")
    if not plain:
        return f"column_{number}"
    if not _PLAIN.fullmatch(plain):
        plain = f"column_{plain}"
    if len(plain) > _LONGEST:
        plain = f"{plain[:_LONGEST]}_{zlib.crc32(name.encode()):08x}"
    return plain
