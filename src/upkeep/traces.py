"""Where a text still stands: in the bytes of files, in the values of Parquet files, in archives. And how it is taken out."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_CHUNK = 1 << 24
MASK = b"*"
_CUT = 32


def pattern_of(texts: Iterable[str]) -> re.Pattern[bytes]:
    """Return what finds some texts in bytes, in any case: as JSON and addresses of the web write them too, and cut.

    Delta cuts a text in the statistics of its log after 32 letters.
    """
    forms = set()
    for text in (form for whole in texts for form in (whole, whole[:_CUT])):
        forms |= {text, text.replace("@", "%40"), text.replace("@", "\\u0040")}
    return re.compile(b"|".join(re.escape(form.encode()) for form in sorted(forms, key=len, reverse=True)), re.I)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, hidden ones too."""
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in sorted(names))


def holds(file: Path, wanted: re.Pattern[bytes]) -> bool:
    """Tell whether a file's bytes, or the values that it packs, hold a text."""
    try:
        with file.open("rb") as handle:
            if _in_stream(handle, wanted):
                return True
        if file.suffix == ".parquet":
            return _in_values(file, wanted)
        if file.suffix == ".gz":
            with gzip.open(file) as handle:
                return _in_stream(handle, wanted)
    except (OSError, EOFError, zlib.error, pa.ArrowInvalid):  # gone meanwhile, or no such file as its name says
        return False
    return False


def _in_stream(handle: object, wanted: re.Pattern[bytes]) -> bool:
    rest = b""
    while chunk := handle.read(_CHUNK):  # type: ignore[attr-defined]
        if wanted.search(rest + chunk):
            return True
        rest = chunk[-1024:]
    return False


def _in_values(file: Path, wanted: re.Pattern[bytes]) -> bool:
    source = pq.ParquetFile(file)
    for batch in source.iter_batches(65_536):
        for column in batch.columns:
            if any(wanted.search(text.encode()) for text in _texts(column)):
                return True
    return False


def _texts(column: pa.Array) -> Iterator[str]:
    """Yield the different texts of a column, of whatever it is nested in."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from _texts(column.dictionary)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        yield from (text for text in pc.unique(column).to_pylist() if text is not None)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _texts(column.flatten())
    elif pa.types.is_map(kind):
        yield from _texts(column.keys)
        yield from _texts(column.items)
    elif pa.types.is_struct(kind):
        for child in column.flatten():
            yield from _texts(child)


def mask(file: Path, wanted: re.Pattern[bytes]) -> None:
    """Write over a text where it stands in a file of text; the file keeps its length, so who writes at its end goes on."""
    with file.open("r+b") as handle:
        content = handle.read()
        for found in wanted.finditer(content):
            handle.seek(found.start())
            handle.write(MASK * len(found[0]))
        handle.flush()
        os.fsync(handle.fileno())
