"""Files bent at random, as the world bends them, and what an independent reader makes of what came out.

A bend is four numbers and a kind, so that a fuzz test can draw it; `bent` applies it to a file's bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MARK = b"\xef\xbb\xbf"
NUMBER = re.compile(rb'(?<=[,:"])-?\d+(?:\.\d+)?(?:e-?\d+)?(?=[,"}\r\n]|\Z)')
TIME = re.compile(rb"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\dZ)?")
NAME = re.compile(rb'(?<=")[a-z_]+(?="\s*:)|(?<=[,\n])[a-z_]+(?=,)')
NUMBERS = [
    b"-1", b"0", b"-0", b"1e400", b"1e-400", b"9223372036854775807", b"9223372036854775808", b"1e38", b"9" * 39, b"NaN", b"Infinity",
    b"-inf", b"1e-100000000", b"1e999999999", b"0x10", b"00012", b"+5", b".5", b"5.", b"", b"null", b" 7 ", b"1_000", b"5d", b"9" * 400,
    b"99999999999999999999999999.9999999999", b"true", b'"7"', "\u0665".encode(), b"1.7976931348623157e308", b"4.9e-324",
]  # fmt: skip
TIMES = [
    b"0001-01-01", b"0000-00-00", b"9999-12-31", b"10000-01-01", b"-0001-01-01", b"1969-12-31T23:59:59Z", b"1582-10-10", b"2025-02-30",
    b"2025-07-14T24:00:00Z", b"2025-07-14T23:59:60Z", b"2025-07-14T02:05:00.123456789123Z", b"2025-07-14T02:05:00+14:00", b"290000-01-01",
    b"9999-12-31T23:59:59-14:00", b"0001-01-01T00:00:00+14:00", b"2262-04-12T00:00:00Z", b"epoch", b"now", b"2025-07-14T02:05:00", b"1752458700",
]  # fmt: skip
SIGNS = [
    b'"', b'""', b",", b"\0", b"\r", b"\n", MARK, b"\xff", b"{", b"}", b"]", b"\\", b"\xed\xa0\x80", b"\xc0\x80", b"\t", b";", b"'", b"#",
    "\u2028".encode(), "\u0085".encode(), "\ufffd".encode(), b"\xf0\x9f", b'\\u0000', b'\\ud800', b"[" * 3000, b"x" * 70000,
]  # fmt: skip
ENCODINGS = ["utf-16", "utf-16-le", "utf-32", "cp037", "utf-7"]


@dataclass(frozen=True)
class Bend:
    """One bend: its kind, the line, the place within it, and a choice, each of which is taken modulo what there is."""

    kind: str
    line: int
    at: int
    choice: int


def bent(content: bytes, bend: Bend) -> bytes:
    """Return a file's bytes after one bend; as they are where it finds nothing to bend."""
    lines = content.splitlines(keepends=True) if b"\n" in content else [content]
    number = bend.line % len(lines)
    changed = BENDS[bend.kind](lines, number, bend)
    return b"".join(changed)


def _replaced(lines: list[bytes], number: int, *new: bytes) -> list[bytes]:
    return [*lines[:number], *new, *lines[number + 1 :]]


def _cut(line: bytes, at: int) -> tuple[bytes, bytes]:
    place = at % max(len(line), 1)
    return line[:place], line[place:]


def _flipped(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    head, tail = _cut(lines[number], bend.at)
    return _replaced(lines, number, head + bytes([bend.choice % 256]) + tail[1:])


def _line_cut(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    return _replaced(lines, number, _cut(lines[number], bend.at)[0] + b"\n" * (bend.choice % 2))


def _file_cut(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    return [*lines[:number], _cut(lines[number], bend.at)[0]]


def _doubled(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    return [*lines, lines[number]] if bend.choice % 2 else _replaced(lines, number, lines[number], lines[number])


def _doubled_otherwise(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    other = re.sub(rb"\d(?=\D*$)", str(bend.choice % 10).encode(), lines[number])
    return _replaced(lines, number, lines[number], other)


def _interleaved(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    head, tail = _cut(lines[number], bend.at)
    return _replaced(lines, number, head + lines[bend.choice % len(lines)] + tail)


def _swapped(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    other = 1 + bend.choice % max(len(lines) - 1, 1)
    if number == 0 or other >= len(lines) or not (lines[number].endswith(b"\n") and lines[other].endswith(b"\n")):
        return lines
    changed = list(lines)
    changed[number], changed[other] = changed[other], changed[number]
    return changed


def _lost(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    return _replaced(lines, number) if len(lines) > 1 else lines


def _inserted(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    head, tail = _cut(lines[number], bend.at)
    return _replaced(lines, number, head + SIGNS[bend.choice % len(SIGNS)] + tail)


def _encoded(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    text, encoding = lines[number].decode(errors="replace"), ENCODINGS[bend.choice % len(ENCODINGS)]
    return _replaced(lines, number, text.encode(encoding, errors="replace"))


def _all_encoded(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    text = b"".join(lines).decode(errors="replace")
    return [text.encode(["utf-16", "utf-8-sig", "utf-16-be"][bend.choice % 3], errors="replace")]


def _accented(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    head, tail = _cut(lines[number], bend.at)
    return _replaced(lines, number, head + "é€"[bend.choice % 2].encode("cp1252") + tail)


def _exchanged(pattern: re.Pattern[bytes], values: list[bytes]) -> Callable[[list[bytes], int, Bend], list[bytes]]:
    def exchange(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
        places = list(pattern.finditer(lines[number]))
        if not places:
            return lines
        start, end = places[bend.at % len(places)].span()
        line = lines[number]
        return _replaced(lines, number, line[:start] + values[bend.choice % len(values)] + line[end:])

    return exchange


def _cells_swapped(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    cells = lines[number].rstrip(b"\r\n").split(b",")
    one, other = bend.at % len(cells), bend.choice % len(cells)
    cells[one], cells[other] = cells[other], cells[one]
    return _replaced(lines, number, b",".join(cells) + b"\n")


def _crlf(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    return [line.rstrip(b"\r\n") + b"\r\n" for line in lines]


def _blank(lines: list[bytes], number: int, bend: Bend) -> list[bytes]:
    return _replaced(lines, number, lines[number], [b"\n", b"  \n", b"\r\n", b"\t\n"][bend.choice % 4])


BENDS: dict[str, Callable[[list[bytes], int, Bend], list[bytes]]] = {
    "flipped": _flipped,
    "line cut": _line_cut,
    "file cut": _file_cut,
    "doubled": _doubled,
    "doubled otherwise": _doubled_otherwise,
    "interleaved": _interleaved,
    "swapped": _swapped,
    "lost": _lost,
    "inserted": _inserted,
    "encoded": _encoded,
    "all encoded": _all_encoded,
    "accented": _accented,
    "number": _exchanged(NUMBER, NUMBERS),
    "time": _exchanged(TIME, TIMES),
    "renamed": _exchanged(NAME, [b"value", b"org_id", b"VALUE", b"a b", b"", b"__end", b"x" * 300]),
    "cells swapped": _cells_swapped,
    "crlf": _crlf,
    "blank": _blank,
}
OF_WHOLE_FILES = {"file cut", "all encoded", "crlf"}


# --- the independent reader -----------------------------------------------------------------------------------------


def lines_of(content: bytes) -> list[bytes]:
    """The lines of an event file that are not blank, without a \\r at their end and the file's mark."""
    lines = (line.removesuffix(b"\r") for line in content.removeprefix(MARK).split(b"\n"))
    return [line for line in lines if line.strip()]


def records_in(content: bytes) -> int:
    """The records of a CSV file, its header among them, told letter by letter."""
    count, holds, state = 0, False, "start"
    for sign in content.removeprefix(MARK).decode("latin-1"):
        if state == "quoted":
            state = "closed" if sign == '"' else "quoted"
        elif sign == "\n":
            count, holds, state = count + holds, False, "start"
        elif sign == '"' and state in ("start", "closed"):
            holds, state = True, "quoted"
        else:
            holds, state = holds or sign != "\r", "start" if sign == "," else "bare"
    return count + holds


def whole_records(content: bytes) -> list[bytes]:
    """The records of a clean CSV file, each with its line end; one of several lines is one of them."""
    records: list[bytes] = []
    for line in content.splitlines(keepends=True):
        if records and records[-1].count(b'"') % 2:
            records[-1] += line
        else:
            records.append(line)
    return records


def rows_kept(content: bytes, clean: Iterable[bytes]) -> tuple[set[bytes], list[bytes]]:
    """The lines of a CSV file that are records and stand as they stood, below the header that they had; and the others."""
    lines = [line.removesuffix(b"\r") for line in content.removeprefix(MARK).split(b"\n")]
    header, *known = (record.rstrip(b"\r\n") for record in whole_records(b"\n".join(clean)))
    if lines[0] != header:
        return set(), lines
    kept = set(lines[1:]) & set(known)
    return kept, [line for line in lines[1:] if line not in kept]
