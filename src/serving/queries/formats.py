"""Answers as text and bytes: a table to read, CSV, JSON, Markdown, Parquet. The one place that says how a value is written.

Numbers keep every digit in CSV, JSON and Parquet (a DECIMAL is a JSON number with all its digits; what reads it as a
double may lose the last ones). Dates and times are ISO 8601, times in UTC. The table for people rounds doubles to 4
places and sets thousands apart.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from .answering import Answer

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SPECIAL = re.compile(r'[",\r\n]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LARGEST_PLAIN_SCALE = 6
"""Of a decimal with more places, Arrow writes a small value with an exponent."""
_LONGEST_WIDE_ROW = 10
"""One row of more columns is shown as a list of its columns."""


def _columns(rows: pa.Table) -> list[list[Any]]:
    return [column.to_pylist(maps_as_pydicts="strict") for column in rows.columns]


def _columns_as_text(
    rows: pa.Table, is_plain: Callable[[pa.DataType], bool], text: Callable[[Any], str]
) -> list[list[str | None]]:
    """Return each column as texts: of plain types by Arrow, which is quick and leaves NULL as None, of others by `text`."""
    plain = [is_plain(field.type) for field in rows.schema]
    fields = [field.with_type(pa.string()) if one else field for field, one in zip(rows.schema, plain, strict=True)]
    columns = _columns(rows.to_reader().cast(pa.schema(fields)).read_all())
    return [column if one else [text(value) for value in column] for column, one in zip(columns, plain, strict=True)]


def _is_plain_number(kind: pa.DataType) -> bool:
    """Tell whether Arrow writes a type's values with all their digits and no exponent."""
    is_short = pa.types.is_decimal(kind) and 0 <= kind.scale <= _LARGEST_PLAIN_SCALE
    return bool(pa.types.is_integer(kind) or is_short)


def _is_plain_cell(kind: pa.DataType) -> bool:
    return _is_plain_number(kind) or bool(pa.types.is_date(kind))


def to_csv(rows: pa.Table) -> bytes:
    """Return rows as CSV with a header; a text that a spreadsheet would take for a formula gets an apostrophe."""
    columns = _columns_as_text(rows, _is_plain_cell, lambda value: _quoted(_csv_cell(value)))
    cells = [[cell or "" for cell in column] for column in columns]
    head = [_quoted(_harmless(name)) for name in rows.column_names]
    return "".join(f"{','.join(line)}\n" for line in [head, *zip(*cells, strict=True)]).encode()


def _quoted(text: str) -> str:
    """Return a cell, quoted where it must be; Python's own writer leaves a lone CR bare where lines end with LF."""
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _harmless(value)
    return to_json_text(value) if isinstance(value, bool | dict | list) else _plain(value)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(value: Any) -> str:
    """Return a value as text, with all its digits."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def to_json_text(value: Any) -> str:
    """Return a value as JSON; what JSON has no number for (infinity, not a number) is null."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "null"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else "null"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(str(key), ensure_ascii=False)}: {to_json_text(one)}" for key, one in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(to_json_text, value))}]"
    return json.dumps(_plain(value), ensure_ascii=False)


def to_json(rows: pa.Table) -> bytes:
    """Return rows as a JSON array with an object for each, a line each."""
    names = [json.dumps(name, ensure_ascii=False) for name in rows.column_names]
    cells = [[cell or "null" for cell in column] for column in _columns_as_text(rows, _is_plain_number, to_json_text)]
    lines = (
        "{" + ", ".join(f"{name}: {cell}" for name, cell in zip(names, row, strict=True)) + "}"
        for row in zip(*cells, strict=True)
    )
    body = ",\n ".join(lines)
    return f"[{body}]\n".encode()


def answer_to_json(answer: Answer) -> bytes:
    """Return an answer as one JSON object: the query, what it was made from, its columns, and its rows as in `to_json`."""
    about = {
        "query": answer.query.name,
        "title": answer.query.title,
        "publication": {"run_id": answer.publication.run_id, "published_at": answer.publication.published_at},
        "as_of": answer.as_of,
        "filters": dict(answer.filters),
        "columns": [
            {name: getattr(column, name) for name in ("name", "type", "unit", "description", "source")}
            for column in answer.query.columns.values()
        ],
        "empty_hint": answer.empty_hint,
    }
    head = to_json_text(about)[:-1]
    return f'{head}, "rows": {to_json(answer.table).decode().rstrip()}}}\n'.encode()


def to_markdown(rows: pa.Table) -> bytes:
    """Return rows as a Markdown table."""
    right = [_is_number(field.type) for field in rows.schema]
    cells = [[_markdown_cell(value) for value in column] for column in _columns(rows)]
    lines = [
        [_markdown_cell(name) for name in rows.column_names],
        ["---:" if is_right else "---" for is_right in right],
        *zip(*cells, strict=True),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).encode()


def _markdown_cell(value: Any) -> str:
    text = "" if value is None else _readable(value)
    for sign, written in (("\\", "\\\\"), ("|", "\\|"), ("&", "&amp;"), ("<", "&lt;"), ("`", "\\`"), ("\n", " ")):
        text = text.replace(sign, written)
    return _CONTROL.sub(" ", text)


def to_parquet(rows: pa.Table) -> bytes:
    """Return rows as a Parquet file."""
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(rows, out)
    return out.getvalue()


def to_text(rows: pa.Table) -> bytes:
    """Return rows as a table to read; one long row as a list of its columns."""
    if rows.num_rows == 1 and rows.num_columns > _LONGEST_WIDE_ROW:
        return _listed(rows)
    right = [_is_number(field.type) for field in rows.schema]
    shown = [
        [_visible(name), *("" if value is None else _visible(_readable(value)) for value in column)]
        for name, column in zip(rows.column_names, _columns(rows), strict=True)
    ]
    widths = [max(map(len, column)) for column in shown]
    aligned = [
        [cell.rjust(width) if is_right else cell.ljust(width) for cell in column]
        for column, width, is_right in zip(shown, widths, right, strict=True)
    ]
    lines = [_line(line) for line in zip(*aligned, strict=True)]
    lines.insert(1, _line(["-" * width for width in widths]))
    return "\n".join([*lines, f"({rows.num_rows:,} row{'' if rows.num_rows == 1 else 's'})", ""]).encode()


def _line(cells: Iterable[str]) -> str:
    return "  ".join(cells).rstrip()


def _listed(rows: pa.Table) -> bytes:
    width = max(map(len, rows.column_names))
    lines = []
    for name, (value,) in zip(rows.column_names, _columns(rows), strict=True):
        entries = value if isinstance(value, list) and value else [value]
        texts = ["" if one is None or one == [] else _visible(_readable(one)) for one in entries]
        lines += [
            f"{label:{width}}  {text}".rstrip() for label, text in zip([name, *[""] * len(texts)], texts, strict=False)
        ]
    return "\n".join([*lines, ""]).encode()


def _readable(value: Any) -> str:
    """Return a value for people."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _trimmed(f"{value:,.4f}")
    if isinstance(value, Decimal):
        return _trimmed(f"{value:,f}")
    if isinstance(value, dict):
        return ", ".join(f"{key} {_readable(one)}" for key, one in value.items() if one is not None)
    if isinstance(value, list):
        return "; ".join("" if one is None else _readable(one) for one in value)
    return _plain(value)


def _trimmed(number: str) -> str:
    """Return a number without the zeros at its end, with 2 places at least."""
    whole, point, places = number.partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}" if point else number


def _visible(text: str) -> str:
    """Return a text whose control characters can't steer a terminal."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


FORMATS: dict[str, Callable[[pa.Table], bytes]] = {
    "table": to_text,
    "csv": to_csv,
    "json": to_json,
    "markdown": to_markdown,
    "parquet": to_parquet,
}


def serialised(rows: pa.Table, form: str) -> bytes:
    """Return rows in one of FORMATS."""
    return FORMATS[form](rows)


__all__: Sequence[str] = ["FORMATS", "answer_to_json", "serialised", "to_json_text"]
