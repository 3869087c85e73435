"""`cloudlake dictionary`: every table and column, the graph of what feeds what, and the named queries, from conf/."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config
    from ..common.contracts.table import Registry, Table


EXAMPLES = """examples:
  cloudlake dictionary
  cloudlake dictionary --check
  cloudlake dictionary --out dictionary.md
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    dictionary = add_command(
        commands,
        "dictionary",
        "Write docs/data_dictionary.md with its graph, docs/queries.md and docs/commands.md, from conf/ and the parser.",
        EXAMPLES,
    )
    dictionary.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is stale")
    dictionary.add_argument("--out", metavar="FILE", help="write the data dictionary there, and nothing else")
    dictionary.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Write the data dictionary and the page of the queries, or tell whether a written one is stale."""
    if not arguments.check:
        for path, page in _pages(config, arguments):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page, encoding="utf-8")
            print(f"wrote {path}")
        return 0
    stale = [
        path
        for path, page in _pages(config, arguments)
        if not path.exists() or path.read_text(encoding="utf-8") != page
    ]
    for path in stale:
        print(f"error: {path} is stale; run cloudlake dictionary", file=sys.stderr)
    return 1 if stale else 0


def _pages(config: Config, arguments: Namespace) -> Iterator[tuple[Path, str]]:
    """Yield where each page lies, and what it is to hold."""
    from ..common.project import root
    from ..serving.queries import load_queries
    from . import commands_page, queries_page

    docs, out = root() / "docs", arguments.out
    yield Path(out) if out else docs / "data_dictionary.md", render(config.registry)
    if not out:
        yield docs / "queries.md", queries_page.render(load_queries(config.conf, config.registry))
        yield docs / "commands.md", commands_page.render(arguments.parser)


def render(registry: Registry) -> str:
    """Return the dictionary as Markdown, the same for the same contracts."""
    from ..common.contracts.table import LAYERS

    lines = [
        "# Data dictionary",
        "",
        "Made from conf/ by `cloudlake dictionary`; change it there.",
        "",
        "## What feeds what",
        "",
        "```mermaid",
        "flowchart LR",
        *_graph(registry),
        "```",
        "",
    ]
    for layer in LAYERS:
        tables = registry.layer(layer)
        if tables:
            lines += [f"## {layer}", ""]
        for table in tables:
            lines += [*_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def _graph(registry: Registry) -> Iterator[str]:
    for table in registry.tables.values():
        if table.layer in ("ops", "quarantine"):
            continue
        for name in table.inputs:
            yield f"  {name.replace('.', '_')}[{name}] --> {table.name.replace('.', '_')}[{table.name}]"


def _table(table: Table) -> Iterator[str]:
    yield f"### {table.name}"
    yield ""
    yield table.description
    yield ""
    facts = {
        "Grain": table.grain,
        "Key": ", ".join(table.key),
        "Made from": ", ".join(table.inputs) or (table.file or table.origin),
        "History": table.history.kind,
        "Partition": ", ".join(table.layout.partition),
        "Fresh within": f"{table.freshness.max_age_hours:g} h of {table.freshness.column}" if table.freshness else "",
    }
    yield from (f"- {name}: {fact}" for name, fact in facts.items() if fact)
    yield ""
    yield "| column | type | description |"
    yield "| --- | --- | --- |"
    for name, column in table.columns.items():
        marks = [mark for mark, on in (("required", column.required), ("personal data", column.pii)) if on]
        suffix = f" ({', '.join(marks)})" if marks else ""
        yield f"| {name} | {column.type} | {_cell(column.description)}{suffix} |"
    if table.rules or table.reference:
        yield ""
        yield "| rule | level | a row breaks it where |"
        yield "| --- | --- | --- |"
        for name, rule in table.rules.items():
            yield f"| {name} | {rule.level} | {_cell(rule.description)}: `{_cell(rule.when)}` |"
        for name, target in table.reference.items():
            yield f"| {name}_unknown | quarantine | No version of {target} knows the value |"
    if table.expectations:
        yield ""
        yield "| expectation of the whole table | kind | level | must be | number |"
        yield "| --- | --- | --- | --- | --- |"
        for name, expectation in table.expectations.items():
            bounds = [("≥", expectation.at_least), ("≤", expectation.at_most)]
            must = ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
            number = _cell(expectation.description)
            yield f"| {name} | {expectation.kind} | {expectation.level} | {must} | {number} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
