"""A CSV file's records counted from its bytes, by nothing that parses it: what the parser returns must agree.

A quoted cell begins where a cell begins and ends at the next quote that is not doubled; a record ends at a line end
outside such a cell; a quote anywhere else is a character like others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_SAMPLE = 1000
"""So many lines tell what keys look like."""


class FileRefusedError(Exception):
    """A file that can't be taken as a whole; the message says why, and where in it."""


@lru_cache(maxsize=8)
def _quoted(delimiter: bytes) -> re.Pattern[bytes]:
    return re.compile(rb'(?:(?<=[%s\n])|\A)"([^"]*+(?:""[^"]*+)*+)("?)' % re.escape(delimiter))


def count_records(data: bytes, keys: Sequence[int] = (), delimiter: bytes = b",") -> int:
    """Return the number of records, the header among them; lines without any character are none.

    Args:
        data: the file, in an encoding in which the delimiter, `"` and line ends are what they are in ASCII.
        keys: the positions of the key columns, by which swallowed rows are known.
        delimiter: what stands between cells.

    Raises:
        FileRefusedError: a quote is never closed, or closed where rows can't be told apart; the last line was cut.
    """
    bare = data
    if b'"' in data:
        suspects = [found for found in _quoted(delimiter).finditer(data) if not found[2] or b"\n" in found[1]]
        for found in suspects:
            _refuse_where_rows_are_lost(data, found, delimiter)
        bare = _quoted(delimiter).sub(b"Q", data)
        _refuse_swallowed_rows(data, bare, [found for found in suspects if b"\n" in found[1]], keys, delimiter)
    lines = bare.split(b"\n")
    _refuse_a_cut_line(lines, delimiter)
    return sum(1 for line in lines if line.strip(b"\r"))


def _line_of(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _refuse_where_rows_are_lost(data: bytes, found: re.Match[bytes], delimiter: bytes) -> None:
    opened = _line_of(data, found.start())
    if not found[2]:
        raise FileRefusedError(
            f"the quote that opens in line {opened} (byte {found.start()}) is never closed, so nobody can tell which rows follow"
        )
    if data[found.end() : found.end() + 1] not in (delimiter, b"\r", b"\n", b""):
        raise FileRefusedError(
            f"the quote that opens in line {opened} closes within line {_line_of(data, found.end())}, amid a cell, "
            "so nobody can tell which rows lie between"
        )


def _refuse_swallowed_rows(
    data: bytes, bare: bytes, running: Sequence[re.Match[bytes]], keys: Sequence[int], delimiter: bytes
) -> None:
    """Two quotes that are never closed make a pair: a cell, one of whose lines begins as rows of this file do.

    Where hardly a row is left beside the cell, its lines are compared with each other: two that are as wide as the header,
    and begin alike, are rows.
    """
    if not running or not keys:
        return
    width = bare.lstrip(b"\r\n").split(b"\n", 1)[0].count(delimiter)
    known = {_shape(line, keys, delimiter) for line in bare.split(b"\n", _SAMPLE + 1)[1 : _SAMPLE + 1]} - {None}
    for found in running:
        inner = found[1].split(b"\n")[1:]
        counts = Counter(_shape(line, keys, delimiter) for line in inner[:_SAMPLE] if line.count(delimiter) == width)
        alike = {shape for shape, count in counts.items() if count > 1 and shape is not None}
        for number, line in enumerate(inner, start=1):
            if _shape(line, keys, delimiter) in known | alike:
                opened = _line_of(data, found.start())
                raise FileRefusedError(
                    f"the cell that a quote opens in line {opened} holds line {opened + number}, which looks like a row of "
                    "its own: a quote was left open, or such a cell belongs into one line"
                )


def _shape(line: bytes, keys: Sequence[int], delimiter: bytes) -> tuple[bytes, ...] | None:
    """Return how the keys of a line look, letters and digits in runs; None where it has none, or no digit in them."""
    cells = line.split(delimiter)
    if len(cells) <= max(keys) + 1:
        return None
    shapes = tuple(re.sub(rb"\d+", b"9", re.sub(rb"[A-Za-z]+", b"a", cells[key].strip(b' \r"'))) for key in keys)
    return shapes if any(b"9" in shape for shape in shapes) else None


def _refuse_a_cut_line(lines: Sequence[bytes], delimiter: bytes) -> None:
    """A last line that has fewer cells than the header and no line end was cut, and what followed it never arrived."""
    last = lines[-1]
    header = next((line for line in lines if line.strip(b"\r")), b"").rstrip(delimiter + b"\r").count(delimiter)
    if len(lines) > 1 and last.strip(b"\r\0") and last.count(delimiter) < header:
        raise FileRefusedError(
            f"its last line has {last.count(delimiter) + 1} of {header + 1} cells and no line end: the file was cut, and nobody "
            "can tell what followed"
        )
