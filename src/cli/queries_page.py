"""docs/queries.md: every named query with its grain, filters, columns, units and lines to type, from conf/queries.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..serving.queries import Declarations, Filter, Query

_HEAD = """# Named queries

Made from conf/queries.yaml by `cloudlake dictionary`; change it there.

Every answer is of one publication, up to this minute where it says so. The same query is

- a command: `cloudlake query NAME [filters] [--format table|csv|json|markdown|parquet] [--json] [--output FILE]`;
- a function of `cloudlake.serving.queries`: `answer(reader, NAME, {filter: value})`, with `open_reader(load_config()) as reader`;
- an address of the dashboard's server: `/api/v1/query/NAME?filter=value&format=json|csv|parquet`.

A date is `YYYY-MM-DD`, a month `YYYY-MM`; times are UTC. A value that nobody knows is answered with the nearest one, an empty
answer with the range there is. In CSV, a text that a spreadsheet would take for a formula begins with an apostrophe.
"""
_EXAMPLES = {
    "org": "org_1a2b3c4d",
    "service": "genai",
    "tag": "team",
    "date": "2025-08-20",
    "month": "2025-08",
    "text": "acme",
}
"""A value of each type of filter, for lines to type."""


def render(declared: Declarations) -> str:
    """Return the page as Markdown, the same for the same declarations."""
    index = [
        f"| [{name}](#{name}) | {_cell(query.title)} | {_grain(query)} |" for name, query in declared.queries.items()
    ]
    lines = [_HEAD, "| query | what | grain |", "| --- | --- | --- |", *index, ""]
    for query in declared.queries.values():
        lines += [*_section(query), ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(query: Query) -> Iterator[str]:
    yield f"## {query.name}"
    yield ""
    yield f"{query.title}. {query.description}"
    yield ""
    yield f"Grain: {_grain(query)}."
    yield ""
    yield "```bash"
    yield from examples(query)
    yield "```"
    if query.filters:
        yield ""
        yield "| filter | type | default | meaning |"
        yield "| --- | --- | --- | --- |"
        yield from map(_filter, query.filters.values())
    yield ""
    yield "| column | type | unit | meaning | from |"
    yield "| --- | --- | --- | --- | --- |"
    for column in query.columns.values():
        yield f"| {column.name} | {column.type} | {column.unit or ''} | {_cell(column.description)} | {column.source} |"


def _grain(query: Query) -> str:
    return ", ".join(query.key) or "one row"


def _filter(one: Filter) -> str:
    bounds = f", {one.least} to {one.most}" if one.least is not None and one.most is not None else ""
    form = " or ".join(one.choices) or f"{one.type}{bounds}"
    default = "needed" if one.needed else "" if one.default is None else one.default
    name = f"{one.name.upper()} or --{one.name}" if one.positional else f"--{one.name}"
    return f"| `{name}` | {form} | {default} | {_cell(one.description)} |"


def examples(query: Query) -> list[str]:
    """Return lines to type: with what is needed, and, where there is more, with every filter and in a format."""
    needed = [one for one in query.filters.values() if one.needed]
    lines = [_line(query, needed)]
    if len(query.filters) > len(needed):
        lines.append(f"{_line(query, list(query.filters.values()))} --format csv")
    return lines


def _line(query: Query, filters: list[Filter]) -> str:
    words = [_example(one) if one.positional else f"--{one.name} {_example(one)}" for one in filters]
    return " ".join(["cloudlake query", query.name, *words])


def _example(one: Filter) -> str:
    if one.choices:
        return one.choices[0]
    if one.default is not None:
        return str(one.default)
    return "2025-08-31" if (one.name, one.type) == ("to", "date") else _EXAMPLES[one.type]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
