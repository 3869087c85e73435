"""Answers of the named queries as pages take them: with what they are made from, or with why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .model import Source


@dataclass(frozen=True)
class Shape:
    """What the declaration says of a column."""

    type: str = ""
    unit: str = ""
    description: str = ""
    table: str = ""

    @property
    def is_numeric(self) -> bool:
        """Tell whether values of the column are numbers, to be set right-aligned."""
        return self.type.startswith(("decimal", "bigint", "int", "double", "float"))


@dataclass(frozen=True)
class Answer:
    """The rows of a named query, or the failure that stands in their place; either way the page goes on."""

    query: str
    rows: Sequence[Mapping[str, Any]] = ()
    columns: Mapping[str, Shape] = field(default_factory=dict)
    filters: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    run_id: str = ""
    as_of: str = ""
    hint: str = ""
    failure: str = ""
    made_at: datetime | None = None
    """When it was made, to tell how old is what it holds."""
    max_age_hours: float | None = None
    """How old the newest usage may be; None where nothing says so."""
    is_refused: bool = False
    """Whether the failure is the reader's: a filter that names nothing there is."""

    @property
    def source(self) -> Source:
        """Where these numbers come from."""
        tables = sorted({shape.table for shape in self.columns.values() if shape.table})
        return Source(self.query, self.filters, tables, self.as_of)

    @property
    def first(self) -> Mapping[str, Any]:
        """The first row, an empty one where there is none."""
        return self.rows[0] if self.rows else {}

    def unit(self, column: str) -> str:
        """Return the unit of a column, "" where it has none."""
        return self.columns[column].unit if column in self.columns else ""


Ask = Callable[..., Answer]
"""ask(query, filters=None, **more_filters): filters that are None or "" are left out."""
