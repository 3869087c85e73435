"""Answers to blocks: figures and tables, in the words and units of the queries' declarations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

from .asking import Answer
from .formats import NOTHING, compact, label, shown
from .model import Cell, Column, Facts, Figure, Grid

MOST_ROWS = 200
"""Rows of a table on a page; the page of the query, and its files, have them all."""
FEW_ROWS = 5
"""Of more rows a table may be higher than its box: it says how many there are."""
WHOLE = ("table", "source", "severity", "service", "age", "limit")
"""Columns of short names, which no line breaks."""
LONG = 60
"""Characters from which on a text may be broken anywhere."""
SHORT_ID = 12
"""So much of a record's id tells it from the others; `cloudlake quarantine show` takes no more."""
TONES = {
    "healthy": "good", "watch": "watch", "at_risk": "bad", "critical": "bad", "warning": "watch", "failed": "bad",
    "done": "good", "matched": "good", "interrupted": "bad", "refused": "bad", "open": "watch", "resolved": "good",
    "over_billed": "bad", "under_billed": "bad", "usage_only": "bad", "billing_only": "bad", "currency_suspect": "watch",
    "stale": "bad", "fresh": "good",
    "At Risk": "bad", "Lost": "bad", "Champions": "good",
}  # fmt: skip
Row = Mapping[str, Any]


def customer_address(org_id: str) -> str:
    """Return the address of the page of one customer."""
    return f"/customers/{quote(org_id, safe='')}"


def cell(answer: Answer, column: str, row: Row) -> Cell:
    """Return a value of an answer as a cell: formatted by its unit, an organisation linked to its page."""
    value = row.get(column)
    shape = answer.columns.get(column)
    if isinstance(value, datetime):
        return Cell(value.isoformat(), is_time=True, look="date")
    text = shown(value, answer.unit(column), column)
    if column == "quarantine_id":
        text = text[:SHORT_ID]
    link = customer_address(value) if column == "org_id" and isinstance(value, str) else ""
    tone = TONES.get(value, "") if isinstance(value, str) else ""
    look = "date" if isinstance(value, date) else "name" if column in WHOLE else "long" if len(text) > LONG else ""
    return Cell(text, bool(shape and shape.is_numeric), link, tone, look=look)


def grid(
    answer: Answer,
    title: str,
    columns: Sequence[str],
    *,
    empty: str = "",
    limit: int = MOST_ROWS,
    sort: Callable[[str], tuple[str, str]] | None = None,
    actions: Sequence[Any] = (),
    **look: Any,
) -> Grid:
    """Return the rows of an answer as a table of some of its columns; `sort` gives a column's address and order."""
    if answer.failure or not answer.rows:
        return Grid(title, answer.source, empty=empty or answer.hint, failure=answer.failure, **look)
    heads = []
    for name in columns:
        shape = answer.columns.get(name)
        address, order = sort(name) if sort else ("", "")
        heads.append(
            Column(label(name), shape.description if shape else "", bool(shape and shape.is_numeric), address, order)
        )
    rows = [[cell(answer, name, row) for name in columns] for row in answer.rows[:limit]]
    more = f"The first {limit:,} of {len(answer.rows):,}; the query has them all." if len(answer.rows) > limit else ""
    more = more or (f"{len(rows):,} rows." if len(rows) > FEW_ROWS else "")
    return Grid(title, answer.source, heads, rows, actions, more=more, **look)


def figure(answer: Answer, column: str, said: str, *, note: str = "", tone: str = "", row: Row | None = None) -> Figure:
    """Return one number of an answer's first row, or of the row given; where it failed, that it did."""
    if answer.failure:
        return Figure(said, "no answer", answer.source, answer.failure, "bad")
    value = (answer.first if row is None else row).get(column)
    if value is None:
        return Figure(said, NOTHING, answer.source, note, tone)
    is_number = not isinstance(value, bool) and hasattr(value, "__abs__")
    text = compact(value, answer.unit(column)) if is_number else shown(value, answer.unit(column), column)
    return Figure(said, text, answer.source, note, tone)


def facts(
    answer: Answer, title: str, columns: Mapping[str, str] | Sequence[str], *, empty: str = "", **look: Any
) -> Facts:
    """Return the first row of an answer, name by name."""
    if answer.failure or not answer.rows:
        return Facts(title, answer.source, empty=empty or answer.hint, failure=answer.failure, **look)
    names = columns if isinstance(columns, Mapping) else {name: label(name) for name in columns}
    items = [(said, cell(answer, name, answer.first)) for name, said in names.items()]
    return Facts(title, answer.source, items, **look)


def text(answer: Answer, column: str, row: Row | None = None) -> str:
    """Return a value of an answer as it stands in a sentence."""
    return shown((answer.first if row is None else row).get(column), answer.unit(column), column)
