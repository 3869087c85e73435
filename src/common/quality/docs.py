"""The Data Docs: a page for each table with its newest validation, and an index. Each is one file that needs no network.

Grain of a page: one line for each expectation of the table. No row of a table stands in it, so nothing personal can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from .expectations import Finding

INDEX = "index.html"


@dataclass(frozen=True)
class Validated:
    """A table as a run validated it."""

    table: str
    description: str
    run_id: str
    checked_at: datetime
    version: int
    rows: int
    engine: str
    """pandas or spark: where Great Expectations ran the suite."""


@dataclass(frozen=True)
class Line:
    """A table in the index: how many of its expectations held, and by which run that was found."""

    table: str
    held: int
    of: int
    run_id: str
    checked_at: datetime


def page_of(name: str) -> str:
    """Return where, below the lake's root, a page lies."""
    return f"quality/{name}"


def table_page(about: Validated, findings: Sequence[Finding]) -> str:
    """Return a table's page: what is wrong first."""
    lines = sorted(findings, key=lambda finding: (finding.holds, finding.check.level, finding.check.rule))
    title = f"{about.table}: data quality"
    return _PAGES.get_template("table.html").render(
        title=title, about=about, findings=lines, held=sum(f.holds for f in findings)
    )


def index_page(lines: Sequence[Line]) -> str:
    """Return the first page: every table, what is wrong first."""
    ordered = sorted(lines, key=lambda line: (line.held == line.of, line.table))
    return _PAGES.get_template("index.html").render(title="Data quality", lines=ordered)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:,.6g}"


def _template(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


_PAGES = jinja2.Environment(loader=jinja2.FunctionLoader(_template), autoescape=True, undefined=jinja2.StrictUndefined)
_PAGES.filters["number"] = _number
