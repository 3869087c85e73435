"""Files of corrected rows as people and their programs write them: JSON, or CSV out of Excel."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from ..common.errors import ConfigurationError


def read_corrected(path: Path) -> dict[str, Any]:
    """Return quarantine_id → what stands in its place, from a corrected file.

    JSON lines (or one array, as `quarantine list --json` prints it) or CSV with `,`, `;` or tabs, each with
    `quarantine_id` and either `payload` (the line, or the row as an object) or the row's columns themselves.

    Raises:
        ConfigurationError: the file can't be read, or a row does not say which one it corrects.
    """
    try:
        text = _text_of(path.read_bytes())
        kind = path.suffix.lower()
        is_json = kind in (".json", ".jsonl", ".ndjson") or (kind != ".csv" and text.lstrip()[:1] in ("{", "["))
        if not is_json:
            found = _rows_of_csv(text)
        elif text.lstrip().startswith("["):
            found = json.loads(text)
        else:
            found = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigurationError(f"--file {path}: can't be read: {error}") from None
    if not found:
        raise ConfigurationError(f"--file {path}: it holds no row")
    mended: dict[str, Any] = {}
    for number, row in enumerate(found, start=1):
        cells = {_plain(k): v for k, v in row.items()} if isinstance(row, dict) else {}
        one = str(cells.pop("quarantine_id", None) or "").strip()
        if not one or one in mended:
            raise ConfigurationError(f"--file {path}: row {number} {'repeats its' if one else 'has no'} quarantine_id")
        mended[one] = cells.get("payload", cells)
    return mended


def _text_of(content: bytes) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} (byte {error.start}) is not {encoding.removesuffix('-sig')}; save it as CSV UTF-8"
        ) from None


def _plain(name: str) -> str:
    """The names that every correction has, whatever their case; others are compared with the row's columns later."""
    return name.strip().lower() if name.strip().lower() in ("quarantine_id", "payload") else name


def _rows_of_csv(text: str) -> list[dict[str, str]]:
    """Read CSV whose delimiter is the one by which the header has a `quarantine_id`, or what Excel's `sep=` line says.

    Raises:
        ValueError: no delimiter fits, or a row has another number of cells than the header.
    """
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.rstrip("\r")) == len("sep=,"):
        text, delimiters = rest, first[len("sep=")]
    else:
        delimiters = ",;\t"
    for delimiter in delimiters:
        rows = [r for r in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if any(r)]
        if rows and "quarantine_id" in [_plain(name) for name in rows[0]]:
            break
    else:
        raise ValueError(
            f"no column of its header is called quarantine_id, with comma, semicolon or tab as delimiter: {first.strip()[:100]}"
        )
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(rows[0]):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(rows[0])}")
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
