"""What a page is made of, as plain data: a page is a value that can be tested without a browser, then rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Source:
    """Where a number comes from: the query, the filters it was asked with, the tables it reads, and as of when."""

    query: str
    filters: Mapping[str, str]
    tables: Sequence[str] = ()
    as_of: str = ""


@dataclass(frozen=True)
class Figure:
    """One number that is read at a glance."""

    label: str
    value: str
    source: Source
    note: str = ""
    tone: str = ""
    """"", good, watch or bad; always said in words as well."""
    link: str = ""
    scope: str = ""
    """What it covers beyond the page's filters; so in every block."""


@dataclass(frozen=True)
class Figures:
    """Numbers side by side."""

    items: Sequence[Figure]
    kind: str = "figures"
    title: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart: ECharts' option without functions; `unit` formats the values, `empty` stands where there are none."""

    id: str
    title: str
    source: Source
    option: Mapping[str, Any] = field(default_factory=dict)
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    """The same numbers as a table, for those who do not see the picture."""
    empty: str = ""
    failure: str = ""
    lead: str = ""
    wide: bool = False
    height: int = 260
    scope: str = ""
    kind: str = "chart"


@dataclass(frozen=True)
class Cell:
    """A value in a table."""

    text: str
    numeric: bool = False
    link: str = ""
    tone: str = ""
    is_time: bool = False
    code: bool = False
    look: str = ""
    """date: never broken over lines; long: broken anywhere."""


@dataclass(frozen=True)
class Action:
    """Something that a form in a row does: where it posts, what its button says, and what it sends."""

    path: str
    label: str
    about: str
    fields: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """The head of a column; `sort` is the address that sorts by it, `order` how it is sorted now."""

    label: str
    description: str = ""
    numeric: bool = False
    sort: str = ""
    order: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of rows."""

    title: str
    source: Source
    columns: Sequence[Column] = ()
    rows: Sequence[Sequence[Cell]] = ()
    actions: Sequence[Sequence[Action]] = ()
    empty: str = ""
    failure: str = ""
    lead: str = ""
    more: str = ""
    wide: bool = True
    scope: str = ""
    kind: str = "grid"


@dataclass(frozen=True)
class Facts:
    """What is known of one thing, name by name."""

    title: str
    source: Source
    items: Sequence[tuple[str, Cell]] = ()
    empty: str = ""
    failure: str = ""
    wide: bool = False
    scope: str = ""
    kind: str = "facts"


@dataclass(frozen=True)
class Link:
    """A way on from a page."""

    label: str
    href: str
    note: str = ""


@dataclass(frozen=True)
class Links:
    """Ways on from a page."""

    title: str
    items: Sequence[Link]
    wide: bool = False
    kind: str = "links"


Block = Figures | Chart | Grid | Facts | Links


@dataclass(frozen=True)
class Section:
    """A part of a page under its own heading."""

    title: str
    blocks: Sequence[Block]
    id: str = ""


@dataclass(frozen=True)
class Field:
    """A filter of the page's form."""

    name: str
    label: str
    value: str = ""
    kind: str = "text"
    """text, date, search, choice or hidden."""
    choices: Sequence[tuple[str, str]] = ()
    hint: str = ""
    suggestions: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """A page: its filters and its parts."""

    name: str
    title: str
    lead: str
    sections: Sequence[Section]
    fields: Sequence[Field] = ()
    faults: Sequence[str] = ()
    """What is wrong with the filters, each in a sentence."""
    notices: Sequence[str] = ()
    """What to know before reading: that the data is old."""
    is_unknown: bool = False
    """Whether what the page would be of is not there."""
