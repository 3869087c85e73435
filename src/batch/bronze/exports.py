"""A CSV export's bytes → rows of text: decoded strictly, parsed, and counted against its bytes; nothing is guessed."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from ...common.contracts.table import Table, fold
from .dialects import Cell, cells_of
from .naming import stored_names
from .scanning import FileRefusedError, count_records
from .sheets import is_workbook, sheet_records

_NO_TEXT = re.compile("[\x00\ud800-\udfff\ufffd]")
"""What no cell may hold: NUL, bytes that are no UTF-8, and the mark that a program leaves where it has lost some."""
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = b"\xef\xbb\xbf"
_CHUNK = 50_000
"""Rows that are lists of Python at a time."""
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class Export:
    """What a file holds: one row for each record, every cell STRING, empty ones NULL.

    `rows` has the file's columns and `_corrupt_record`, the record where it does not fit its header or is no text.
    """

    rows: pa.Table
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Names of the header that are kept under another name."""
    not_text: int = 0
    """Rows that are refused because a cell is no text."""
    where: str = ""
    """Where the first of them is."""
    is_open_ended: bool = False
    """The last row has no line end, as some programs write it, and as a file looks that was cut within its last cell."""

    @property
    def columns(self) -> list[str]:
        """The file's columns, as they are kept."""
        return [name for name in self.rows.column_names if name != "_corrupt_record"]

    @property
    def row_count(self) -> int:
        """How many rows it holds."""
        return int(self.rows.num_rows)

    @property
    def unfit(self) -> int:
        """How many of them do not fit the header, or are no text."""
        return int(self.rows.num_rows - self.rows["_corrupt_record"].null_count)

    def tables(self) -> Iterator[pa.Table]:
        """Yield its rows."""
        yield self.rows


def read_export(
    content: bytes, table: Table, held: Collection[str] = (), kinds: Mapping[str, str] | None = None
) -> Export:
    """Read a whole CSV file, or a sheet of an Excel workbook, by what the source's file is called.

    Args:
        content: its bytes, unpacked.
        table: the source; its dialect says how text is encoded, cells are separated, numbers and dates are written.
        held: the columns that the source's bronze table has.
        kinds: the columns that are numbers or times, which a dialect may write in its own way.

    Raises:
        FileRefusedError: rows can't be told apart, the header can't be taken, or the text is in another encoding.
    """
    if not content.strip():
        raise FileRefusedError("the file is empty; an export has at least a header")
    if is_workbook(str(table.file)):
        return _read_sheet(content, table, held)
    data, text, where = _decoded(content, table)
    lines = io.StringIO(text, newline="\n").readlines()
    dialect = table.dialect
    reader = csv.reader(lines, strict=True, delimiter=dialect.delimiter)
    names, renamed, trailing = _header(reader, table, held)
    keys = tuple(names.index(name) for name, column in table.columns.items() if column.required)
    expected = count_records(data, keys, dialect.delimiter.encode())
    shape = _Shape(tuple(names), keys, trailing, bool(where), dialect.delimiter, cells_of(dialect, names, kinds or {}))
    parts, not_text, found = [], 0, 1
    for records in _chunks(_records(reader, lines)):
        judged = [_row(cells, raw, shape) for cells, raw in records]
        parts.append(_as_table([row for row, _ in judged], names))
        not_text += sum(bad for _, bad in judged)
        found += len(records)
    if found != expected:
        raise FileRefusedError(
            f"{expected} records stand in it, but {found} can be read: a quote stands where none may, so nobody can tell "
            "its rows apart"
        )
    rows = pa.concat_tables(parts) if parts else _as_table([], names)
    is_open_ended = rows.num_rows > 0 and not data.rstrip(b"\0").endswith((b"\n", b"\r"))
    return Export(rows, renamed, not_text, where if not_text else "", is_open_ended)


def _read_sheet(content: bytes, table: Table, held: Collection[str]) -> Export:
    header, records = sheet_records(content, table)
    names, renamed, _ = _header(iter([header]), table, held)
    parts, not_text = [], 0
    for some in _chunks(records):
        rows, bad = rows_of(some, names, table)
        parts.append(rows)
        not_text += bad
    rows = pa.concat_tables(parts) if parts else _as_table([], names)
    return Export(rows, renamed, not_text, "the sheet" if not_text else "")


def rows_of(
    records: Iterable[tuple[list[str] | None, str]], names: Sequence[str], table: Table
) -> tuple[pa.Table, int]:
    """Return rows whose cells are known, each with the line that a CSV has of it, and how many of them are no text."""
    keys = tuple(names.index(name) for name, column in table.columns.items() if column.required)
    shape = _Shape(tuple(names), keys, 0, True)
    judged = [_row(cells, raw, shape) for cells, raw in records]
    return _as_table([row for row, _ in judged], names), sum(bad for _, bad in judged)


@dataclass(frozen=True)
class _Shape:
    """What a row must be like: the columns' names, where the keys stand, the delimiters at a line's end."""

    names: tuple[str, ...]
    keys: tuple[int, ...]
    trailing: int
    suspicious: bool
    """Something in the file is no text."""
    delimiter: str = ","
    cells: Mapping[int, Cell] = field(default_factory=dict)
    """What makes the cells of some columns plain."""


def _remedy(table: Table) -> str:
    return (
        f"where it has another encoding than {table.dialect.encoding}, declare it: dialect: {{encoding: …}} of "
        f"{table.short_name} in conf/bronze.yaml"
    )


def _decoded(content: bytes, table: Table) -> tuple[bytes, str, str]:
    """Return the file as UTF-8, as text (bytes that are none escaped), and where the first is that is no text."""
    encoding = table.dialect.encoding
    if encoding != "utf-8":
        content = _as_utf8(content, encoding, table)
    elif content[:2] in _UTF16_MARKS:
        raise FileRefusedError(f"it is UTF-16, by its mark at byte 0 (line 1); {_remedy(table)}")
    data = content.removeprefix(_UTF8_MARK)
    places = [data.find(b"\0"), data.find("\ufffd".encode())]
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        places.append(error.start)
        text = data.decode(errors="surrogateescape")
    if b"\n" not in data and b"\r" in data.rstrip(b"\r"):
        raise FileRefusedError("its lines end in a lone CR, as on old Macs; lines end in LF or CR LF")
    first = min((place for place in places if place >= 0), default=None)
    if first is None:
        return data, text, ""
    line = data.count(b"\n", 0, first) + 1
    where = f"line {line} (byte {first + len(content) - len(data)})"
    if line == 1:
        kind = ", and looks like UTF-16" if data[1:2] == b"\0" or data[:1] == b"\0" else ""
        raise FileRefusedError(f"its header is no UTF-8 text at {where}{kind}; {_remedy(table)}")
    return data, text, f"{where}; {_remedy(table)}"


def _as_utf8(content: bytes, encoding: str, table: Table) -> bytes:
    try:
        return content.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeError as error:
        at = getattr(error, "start", 0)
        line = content.count(b"\n", 0, at) + 1
        raise FileRefusedError(f"it is no {encoding} text at line {line} (byte {at}); {_remedy(table)}") from None


def _header(
    reader: Iterator[list[str]], table: Table, held: Collection[str]
) -> tuple[list[str], Mapping[str, str], int]:
    """Return the columns' names as kept, those renamed, and how many delimiters end the header."""
    try:
        cells = next((cells for cells in reader if cells), [])
    except csv.Error as error:
        raise FileRefusedError(f"the header can't be read: {error}") from None
    named = [table.dialect.columns.get(cell.strip(), cell) for cell in cells]
    _refuse_another_delimiter(named, table)
    while named and not named[-1].strip():
        named.pop()
    if not named:
        raise FileRefusedError("the header names no column")
    names, renamed = stored_names(named, table, held)
    return names, renamed, len(cells) - len(named)


def _refuse_another_delimiter(named: Sequence[str], table: Table) -> None:
    """A header that is one cell, and is columns of ours once another sign separates cells, says its delimiter."""
    ours = {fold(name) for name in table.columns} | {fold(name) for name in table.dialect.columns}
    for sign in (",", ";", "\t", "|"):
        parts = [fold(part.strip().strip('"')) for part in named[0].split(sign)] if len(named) == 1 else []
        if len(parts) > 1 and sum(part in ours for part in parts) > 1:
            raise FileRefusedError(
                f"its cells are separated by {sign!r}; declare it: dialect: {{delimiter: {json.dumps(sign)}}} of "
                f"{table.short_name} in conf/bronze.yaml"
            )


def _records(reader: Any, lines: Sequence[str]) -> Iterator[tuple[list[str] | None, str]]:
    """Yield each record: its cells, None where they can't be told, and its lines as they stand."""
    while True:
        start = reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = None
        if cells != []:
            yield cells, "".join(lines[start : reader.line_num])


def _chunks(records: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(records, _CHUNK)):
        yield chunk


def _row(cells: list[str] | None, raw: str, shape: _Shape) -> tuple[list[str | None], bool]:
    """Return one row with its `_corrupt_record`, and whether a cell of it is no text."""
    width = len(shape.names)
    is_text = not shape.suspicious or _NO_TEXT.search(raw) is None
    fits = cells is not None and len(cells) == width + shape.trailing and not any(cells[width:])
    if cells is None:
        cells = _as_far_as_told(raw, width, shape.delimiter)
    if fits and is_text:
        plain = _plain(cells, shape.cells)
        if plain is not None:
            return [*(cell or None for cell in plain[:width]), None], False
    row = [_escaped(cell) or None for cell in cells[:width]] + [None] * (width - len(cells))
    for key in shape.keys:
        if key < len(cells) and _NO_TEXT.search(cells[key]):
            row[key] = None  # a key that is only known in part is not known
    return [*row, _escaped(raw.rstrip("\r\n"))], not is_text


def _plain(cells: list[str], readers: Mapping[int, Cell]) -> list[str] | None:
    """Return a row as a plain CSV has it; None where a number is written as that reads otherwise than the dialect."""
    if not readers:
        return cells
    made = [readers[place](cell) if place in readers else cell for place, cell in enumerate(cells)]
    told = [cell for cell in made if cell is not None]
    return told if len(told) == len(cells) else None


def _as_far_as_told(raw: str, width: int, delimiter: str) -> list[str]:
    """Return the cells of a record that can't be parsed, where there are as many as columns; else none."""
    try:
        cells = next(csv.reader([raw.replace("\r", " ")], delimiter=delimiter), [])
    except csv.Error:
        return []
    return cells if len(cells) == width else []


def _escaped(text: str) -> str:
    """Return text in which what is no text is written as \\x.. ."""
    if _NO_TEXT.search(text) is None:
        return text
    shown = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return shown.replace("\0", "\\x00").replace("\ufffd", "\\ufffd")


def _as_table(rows: Sequence[Sequence[str | None]], names: Sequence[str]) -> pa.Table:
    columns: list[Any] = list(zip(*rows, strict=True)) or [()] * (len(names) + 1)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=[*names, "_corrupt_record"])
