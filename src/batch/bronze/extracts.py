"""What a query said, kept in the landing zone: bronze is made from it as from a file, and can be made again.

<date>/<source>.extract-<n>.json says what came; its rows lie beside it, in <source>.rows-<token>/part-00001.parquet and on,
every cell a text. The JSON comes last, so an extract is there as a whole or not at all. It is known by its rows, whatever
order they come in, as no database promises one. Never is more than a part of it in memory.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...common.contracts.table import Table
from ...common.faults import crash_point
from ...common.lake.storage import Storage
from .exports import rows_of
from .naming import stored_names
from .scanning import FileRefusedError

_NAME = re.compile(r"(?P<source>[a-z0-9_]+)[.]extract-(?P<number>\d{1,6})[.]json")
_ROWS = re.compile(r"[a-z0-9_]+[.]rows-[0-9a-f]{8}")
PART_BYTES = 32 << 20
"""Rows of so many bytes are one file, and together in memory."""
_CHUNK = 10_000
"""Rows that are lists of Python at a time."""
_LOST = "\ufffd"
"""The mark that a program leaves where it has lost a letter."""


def is_extract(name: str) -> bool:
    """Tell whether a path or a file's name is an extract's."""
    return _NAME.fullmatch(name.rpartition("/")[2]) is not None


def extracts_in(zone: Storage, folder: str, source: str) -> list[str]:
    """Return the paths of a source's extracts in a folder, oldest first."""
    paths = [entry.path for entry in zone.entries(folder) if entry.kind == "file" and is_extract(entry.name)]
    return sorted((path for path in paths if path.rpartition("/")[2].partition(".")[0] == source), key=_number)


def folders_of_rows(zone: Storage, extracts: Sequence[str]) -> set[str]:
    """Return the folders in which the rows of some extracts lie."""
    said = [(path, _said(zone.read(path))) for path in extracts]
    return {_beside(path, one.folder) for path, one in said if one is not None}


def is_of_rows(name: str) -> bool:
    """Tell whether a folder's name is one of an extract's rows."""
    return _ROWS.fullmatch(name) is not None


def _beside(path: str, name: str) -> str:
    return f"{path.rpartition('/')[0]}/{name}"


def hash_of(content: bytes) -> str:
    """Return what an extract is known by: the hash of its rows; of one that can't be read, the hash of its bytes."""
    said = _said(content)
    return said.content if said else hashlib.sha256(content).hexdigest()


class Fingerprint:
    """The hash of a query's columns and rows: equal for the same rows in any order."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns, self.rows, self._sum = list(columns), 0, 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the rows of a batch in."""
        for start in range(0, batch.num_rows, _CHUNK):
            cells = [column.to_pylist() for column in batch.slice(start, _CHUNK).columns]
            for row in zip(*cells, strict=True):
                self._sum += int.from_bytes(hashlib.sha256(json.dumps(row).encode()).digest(), "big")
        self.rows += batch.num_rows

    @property
    def value(self) -> str:
        """SHA-256 of the names, the number of rows, and the sum of the rows' own hashes."""
        told = json.dumps([self.columns, self.rows, self._sum % 2**256])
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True)
class Said:
    """What the JSON of an extract says."""

    source: str
    database: str
    business_date: str
    columns: tuple[str, ...]
    """As the query names them."""
    rows: int
    folder: str
    """Where its rows lie, beside it."""
    parts: tuple[str, ...]
    """The hash of each file of rows, in their order."""
    content: str
    """What its columns and rows are known by."""


def _said(content: bytes) -> Said | None:
    try:
        said = json.loads(content)
        found = Said(**said | {"columns": tuple(said["columns"]), "parts": tuple(said["parts"])})
    except (ValueError, TypeError, KeyError):
        return None
    return found if _ROWS.fullmatch(found.folder) else None


class Draft:
    """An extract while its rows come in: `seal` makes it one, `drop` leaves nothing of it."""

    def __init__(self, zone: Storage | None, table: Table, day: date, columns: Sequence[str]) -> None:
        """Begin one; without a zone nothing is written, and it only tells what it would hold."""
        self.fingerprint = Fingerprint(columns)
        self._zone, self._table, self._day = zone, table, day
        self._folder = f"{table.short_name}.rows-{uuid.uuid4().hex[:8]}"
        self._waiting: list[pa.RecordBatch] = []
        self._parts: list[str] = []

    def take(self, batch: pa.RecordBatch) -> None:
        """Take rows, every cell a text; an empty one has no value, as in a CSV file.

        Raises:
            FileRefusedError: a text is no UTF-8.
        """
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid:
            raise FileRefusedError(
                "its answer holds text that is no UTF-8; convert it in the query: convert_from(…::bytea, ENCODING)"
            ) from None
        columns = [pc.if_else(pc.equal(c, ""), pa.scalar(None, pa.string()), c) for c in batch.columns]
        batch = pa.record_batch(columns, names=self.fingerprint.columns)
        self.fingerprint.add(batch)
        if self._zone is not None:
            self._waiting.append(batch)
            if sum(one.nbytes for one in self._waiting) >= PART_BYTES:
                self._write(self._zone)

    def seal(self) -> str:
        """Write what is still to be written, the JSON last; returns its path."""
        assert self._zone is not None
        if self._waiting:
            self._write(self._zone)
        crash_point("before_extract")
        told = self.fingerprint
        said = Said(
            self._table.short_name, str(self._table.database), str(self._day),
            tuple(told.columns), told.rows, self._folder, tuple(self._parts), told.value,
        )  # fmt: skip
        content = json.dumps(asdict(said), indent=1).encode()
        there = extracts_in(self._zone, str(self._day), self._table.short_name)
        for number in count(_number(there[-1]) + 1 if there else 1):
            path = f"{self._day}/{self._table.short_name}.extract-{number}.json"
            if self._zone.put_new(path, content):  # another lake may read the same landing zone
                return path
        raise AssertionError

    def drop(self) -> None:
        """Take away what was written."""
        self._waiting.clear()
        if self._zone is not None and self._parts:
            self._zone.delete_folder(f"{self._day}/{self._folder}")

    def _write(self, zone: Storage) -> None:
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_batches(self._waiting), sink, compression="zstd")
        self._waiting.clear()
        content = sink.getvalue()
        self._parts.append(hashlib.sha256(content).hexdigest())
        zone.replace(f"{self._day}/{_part(self._folder, len(self._parts))}", content)


def _part(folder: str, number: int) -> str:
    return f"{folder}/part-{number:05}.parquet"


def _number(path: str) -> int:
    found = _NAME.fullmatch(path.rpartition("/")[2])
    return int(found["number"]) if found else 0


@dataclass(frozen=True)
class Extract:
    """What an extract holds, as `Export` says it of a file; its rows are read each time they are asked for."""

    zone: Storage
    path: str
    table: Table
    said: Said
    columns: list[str]
    """Its columns, as they are kept."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    not_text: int = 0
    where: str = ""
    is_open_ended: bool = False

    @property
    def row_count(self) -> int:
        """How many rows it holds."""
        return self.said.rows

    @property
    def unfit(self) -> int:
        """How many of them are no text."""
        return self.not_text

    def tables(self) -> Iterator[pa.Table]:
        """Yield its rows, some at a time."""
        return (self.judged(batch)[0] for batch in self.batches())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield its rows under the names that the query gave them.

        Raises:
            ValueError: they are not those that were extracted.
        """
        for number, known in enumerate(self.said.parts, start=1):
            place = _part(self.said.folder, number)
            content = self.zone.read(_beside(self.path, place))
            if hashlib.sha256(content).hexdigest() != known:
                raise ValueError(f"{place} is not as it was written")
            yield from pq.ParquetFile(io.BytesIO(content)).iter_batches(_CHUNK)

    def judged(self, batch: pa.RecordBatch) -> tuple[pa.Table, int]:
        """Return rows under the names that they are kept under, and how many of them are no text."""
        if any(pc.any(pc.match_substring(column, _LOST)).as_py() for column in batch.columns):
            return rows_of(_lines(batch), self.columns, self.table)
        rows = pa.Table.from_batches([batch]).rename_columns(self.columns)
        return rows.append_column("_corrupt_record", pa.nulls(rows.num_rows, pa.string())), 0


def _lines(batch: pa.RecordBatch) -> Iterator[tuple[list[str], str]]:
    """Yield the cells of each row, and the line that a CSV has of them."""
    for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
        line = io.StringIO(newline="")
        csv.writer(line, lineterminator="\n").writerow(row)
        yield ["" if cell is None else cell for cell in row], line.getvalue()


def read_extract(zone: Storage, path: str, content: bytes, table: Table, held: Collection[str] = ()) -> Extract:
    """Return what an extract holds, after all of it was read once.

    Args:
        zone: the landing zone.
        path: its JSON.
        content: the bytes of that.
        table: the source.
        held: the columns that the source's bronze table has.

    Raises:
        FileRefusedError: it is not what was extracted, or its columns can't be taken.
    """
    said = _said(content)
    again = f"take {path} away, and ask for its date again with --business-date {path.partition('/')[0]}"
    if said is None:
        raise FileRefusedError(f"it is no extract of ours, or was changed; {again}")
    names, renamed = stored_names(said.columns, table, held)
    extract = Extract(zone, path, table, said, names, renamed)
    found = not_text = 0
    try:
        for batch in extract.batches():
            found += batch.num_rows
            not_text += extract.judged(batch)[1]
    except (OSError, pa.ArrowException, ValueError) as error:
        raise FileRefusedError(f"its rows can't be read: {error}; {again}") from None
    if found != said.rows:
        raise FileRefusedError(f"it says that it has {said.rows} rows, and {found} lie in {said.folder}; {again}")
    return replace(extract, not_text=not_text, where="the query's answer" if not_text else "")
