"""A sheet of an Excel workbook as the rows of text that a CSV export of it would have; nothing is guessed.

Typed cells are written plainly: dates and times in ISO form, numbers to the 15 digits that a spreadsheet keeps, booleans as True
and False. A cell that holds an error has no value: the library reads it as empty, so the sheet's own XML says where such cells are.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

from ...common.contracts.table import Table, fold
from .scanning import FileRefusedError

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_ABOVE = 20
"""So many rows may stand above the header: a title, a date, a logo's cells."""
Record = tuple[list[str] | None, str]
"""The cells of a row, None where one holds an error, and the row as a line of CSV."""


def is_workbook(name: str) -> bool:
    """Tell whether a file of this name is an Excel workbook."""
    return name.endswith(".xlsx")


def within(content: bytes, most_bytes: int) -> bytes:
    """Return a workbook as it is.

    Raises:
        FileRefusedError: it is none, or its parts unpack to more than `most_bytes`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            size = sum(part.file_size for part in parts.infolist())
    except zipfile.BadZipFile:
        raise FileRefusedError("it is no Excel workbook, or was cut; save it as .xlsx again") from None
    if size > most_bytes:
        raise FileRefusedError(
            f"it unpacks to {size:,} bytes, more than {most_bytes:,} (landing.most_unpacked_mb in conf/lake.yaml)"
        )
    return content


def sheet_records(content: bytes, table: Table) -> tuple[list[str], Iterator[Record]]:
    """Return the header of the declared sheet, or of the first, and its rows below; empty rows are none.

    Raises:
        FileRefusedError: the workbook, or the sheet, can't be read.
    """
    try:
        import python_calamine as calamine
    except ImportError:
        raise FileRefusedError("its reader is not installed; run .venv/bin/pip install -e '.[excel]'") from None
    try:
        workbook = calamine.load_workbook(io.BytesIO(content))
        names = workbook.sheet_names
        name = table.dialect.sheet or names[0]
        if name not in names:
            raise FileRefusedError(
                f"it has no sheet '{name}' (found: {', '.join(names)}); declare it: dialect: {{sheet: …}} of {table.short_name}"
            )
        rows = workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
        errors = _errors(content, names.index(name))
    except (calamine.CalamineError, calamine.PasswordError, ElementTree.ParseError, KeyError) as error:
        raise FileRefusedError(f"the workbook can't be read: {error}") from None
    texts = [[errors.get((y, x)) or _text(cell) for x, cell in enumerate(row)] for y, row in enumerate(rows)]
    place = _header_row(texts, table)
    header = texts[place] if texts else []
    filled = [x for x, cell in enumerate(header) if cell]
    span = range(filled[0], filled[-1] + 1) if filled else range(0)
    bad = {y - place - 1 for y, _ in errors}
    return [header[x] for x in span], _records(texts[place + 1 :], span, bad)


def _records(rows: Sequence[Sequence[str]], span: range, bad: set[int]) -> Iterator[Record]:
    for number, row in enumerate(rows):
        if any(row):
            cells = [row[x] for x in span]
            outside = [cell for x, cell in enumerate(row) if cell and x not in span]
            line = io.StringIO(newline="")
            csv.writer(line, lineterminator="\n").writerow([*cells, *outside])
            yield (None if number in bad or outside else cells), line.getvalue()


def _header_row(rows: Sequence[Sequence[str]], table: Table) -> int:
    """Return the place of the first row that names every key column, 0 where none does: then its error is told."""
    delivered = {fold(theirs): ours for theirs, ours in table.dialect.columns.items()}
    keys = {name for name, column in table.columns.items() if column.required}
    declared = {fold(name): name for name in table.columns} | delivered
    for place, row in enumerate(rows[:_ABOVE]):
        if keys <= {declared.get(fold(cell)) for cell in row if cell}:
            return place
    return 0


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        number = Decimal(format(cell, ".15g"))
        return format(number.quantize(1) if number == number.to_integral_value() else number, "f")
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time(0) else cell.isoformat(" ")
    if isinstance(cell, date | time):
        return cell.isoformat()
    return "" if cell is None else str(cell)


def _errors(content: bytes, position: int) -> Mapping[tuple[int, int], str]:
    """Return the cells of a sheet that hold an error: row and column from 0 → what the spreadsheet shows there."""
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        book = ElementTree.fromstring(parts.read("xl/workbook.xml"))
        relation = list(book.iter(f"{_MAIN}sheet"))[position].get(_RELATION)
        links = ElementTree.fromstring(parts.read("xl/_rels/workbook.xml.rels"))
        target = next(link.get("Target", "") for link in links if link.get("Id") == relation)
        found: dict[tuple[int, int], str] = {}
        with parts.open(target.lstrip("/") if target.startswith("/") else f"xl/{target}") as sheet:
            for _, cell in ElementTree.iterparse(sheet):
                if cell.tag == f"{_MAIN}c" and cell.get("t") == "e":
                    found[_place(cell.get("r", ""))] = cell.findtext(f"{_MAIN}v") or "#ERROR"
                if cell.tag == f"{_MAIN}row":
                    cell.clear()
    return found


def _place(reference: str) -> tuple[int, int]:
    """Return row and column from 0 of a reference such as B3."""
    letters, digits = re.fullmatch(r"([A-Z]+)(\d+)", reference).groups()  # type: ignore[union-attr]
    column = 0
    for letter in letters:
        column = 26 * column + ord(letter) - ord("A") + 1
    return int(digits) - 1, column - 1
