"""One named query: its filters, its rows, what its columns mean, and where else to have the answer."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from ...queries import Filter, Query
from ..asking import Ask
from ..blocks import grid
from ..model import Cell, Column, Field, Grid, Link, Links, Page, Section, Source
from . import filters as form

_KINDS = {"date": "date", "month": "text"}


def query_page(ask: Ask, query: Query, filters: Mapping[str, str]) -> Page:
    """Return the page of a query."""
    asked = {name: value for name, value in filters.items() if value}
    missing = [one.name for one in query.filters.values() if one.needed and not asked.get(one.name)]
    answer = ask(query.name, asked)
    said = f"Fill in {' and '.join(missing)} above." if missing else ""
    rows = grid(answer, "Rows", list(query.columns), limit=500, empty=said)
    if missing:
        rows = Grid("Rows", answer.source, empty=said)
    faults = form.faults(answer) if not missing else []
    parameters = "?" + urlencode(asked) + ("&" if asked else "")
    ways = [
        Link(f"as {file}", f"/api/v1/query/{query.name}{parameters}format={file}")
        for file in ("json", "csv", "parquet")
    ]
    options = "".join(f" --{name} {value}" for name, value in asked.items())
    return Page(
        "queries",
        query.title,
        query.description,
        [
            *([] if faults else [Section("The answer", [rows])]),
            Section("What it means", [_columns(query, answer.source), Links("The same elsewhere", [
                *ways, Link("all queries", "/queries", f"and on the command line: cloudlake query {query.name}{options}"),
            ])]),
        ],
        [_field(one, asked) for one in query.filters.values()],
        faults,
    )  # fmt: skip


def _field(one: Filter, asked: Mapping[str, str]) -> Field:
    value, said = asked.get(one.name, ""), f"{one.description}{' (needed)' if one.needed else ''}"
    if one.choices:
        return Field(one.name, said, value, "choice", [("", "all"), *((each, each) for each in one.choices)])
    hint = "YYYY-MM" if one.type == "month" else str(one.default) if one.default is not None else ""
    return Field(one.name, said, value, _KINDS.get(one.type, "text"), hint=hint)


def _columns(query: Query, source: Source) -> Grid:
    heads = [Column("column"), Column("type"), Column("unit"), Column("meaning"), Column("from")]
    rows = [
        [
            Cell(one.name, code=True),
            Cell(one.type),
            Cell(one.unit or ""),
            Cell(one.description),
            Cell(one.source, code=True),
        ]
        for one in query.columns.values()
    ]
    return Grid("Columns", source, heads, rows)
