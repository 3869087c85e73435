"""The declarations of conf/: what each table is, once. Schemas, rules, order, lineage and the dictionary derive from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from ..errors import ConfigurationError, did_you_mean
from .dialect import Dialect
from .types import parse_type

LAYERS = ("bronze", "silver", "gold", "speed", "serving", "quarantine", "ops")
NAME = re.compile(r"_?[a-z][a-z0-9_]*")


def _known_type(text: str) -> str:
    parse_type(text)
    return text


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Column(_Declared):
    """A column: its type as DDL, what it means, and how it is filled from its source."""

    type: Annotated[str, AfterValidator(_known_type)] = "string"
    description: str = Field(min_length=1)
    required: bool = False
    pii: bool = False
    source: str | None = None
    """The source column, where it has another name."""
    parse: Annotated[str, AfterValidator(_known_type)] | None = None
    """The type the text must have to be read at all, where a rule decides later what becomes of it."""
    domain: str | None = None
    """The enumeration (conf/domains.yaml) that its values belong to."""
    beyond_limits: Literal["quarantine", "empty"] = "quarantine"
    """What a time beyond the limits of conf/lake.yaml means: the row is refused, or the value is dropped and flagged."""
    derived: bool = False
    """Computed by the table's transform, not read from a source column."""


class Rule(_Declared):
    """A row breaks the rule where `when`, a SQL expression over the conformed row, is true.

    Instead of `when`, a `column` may be given the `range` its values lie in, [least, greatest], null for no bound, or
    the regular expression (`pattern`) that they match. NULL breaks neither.
    """

    when: str
    column: str | None = None
    range: tuple[Decimal | None, Decimal | None] | None = None
    pattern: str | None = None
    level: Literal["quarantine", "warn", "fail"]
    description: str = Field(min_length=1)
    set_null: str | None = None
    """A column that loses its value on rows that break the rule; the flag keeps the trace."""

    @model_validator(mode="before")
    @classmethod
    def _as_expression(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        forms = [form for form in ("when", "range", "pattern") if body.get(form) is not None]
        if len(forms) > 1:
            raise ValueError(f"it has {' and '.join(forms)}; a rule has one of when, range, pattern")
        if forms and forms != ["when"]:
            if not isinstance(body.get("column"), str):
                raise ValueError(f"{forms[0]}: name the column it is about")
            return {**body, "when": _expression(body["column"], **{forms[0]: body[forms[0]]})}
        return body


def _expression(column: str, range: Any = None, pattern: str | None = None) -> str:
    """Return the SQL that is true where a value lies outside its range, or does not match its pattern."""
    if pattern is not None:
        escaped = str(pattern).replace("\\", "\\\\").replace("'", "\\'")
        return f"{column} NOT RLIKE '{escaped}'"
    if not isinstance(range, list) or len(range) != 2 or range == [None, None]:
        raise ValueError(f"range: write [least, greatest], null for no bound; found {range!r}")
    least, greatest = range
    outside = [f"{column} < {least}"] if least is not None else []
    return " OR ".join(outside + ([f"{column} > {greatest}"] if greatest is not None else []))


class Expectation(_Declared):
    """What the table as a whole must hold: a number that a query yields, within bounds. The batch run checks it."""

    measure: str
    """SQL that DuckDB and Spark share; tables by their full names; datediff(later, earlier) counts days."""
    at_least: float | None = None
    at_most: float | None = None
    kind: Literal["completeness", "uniqueness", "accuracy", "consistency", "timeliness", "volume", "distribution"]
    level: Literal["warn", "fail"]
    description: str = Field(min_length=1)


class History(_Declared):
    """How the table keeps what arrives: append, insert_only, upsert, scd2, or replace by a whole new state."""

    kind: Literal["append", "insert_only", "upsert", "scd2", "replace"]
    surrogate_key: str | None = None
    hard_deletes: Literal["ignore", "invalidate", "new_record"] = "invalidate"
    first_effective_from: str | None = None
    changed_at: str | None = None
    untracked: tuple[str, ...] = ()


class Layout(_Declared):
    """Where rows lie: the partition columns, and the columns files are ordered by."""

    partition: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()


class Freshness(_Declared):
    """How old the newest value of a time column may be, measured by the clock."""

    column: str
    max_age_hours: float = Field(gt=0)


class Touch(_Declared):
    """A row of an input goes into the mart's part of its own day or month, and into those up to `ahead` later."""

    column: str
    """The input's date."""
    ahead: int | str = 0
    """A number, or the parameter of the mart that holds it."""

    @model_validator(mode="before")
    @classmethod
    def _column_alone(cls, body: Any) -> Any:
        return {"column": body} if isinstance(body, str) else body

    def reach(self, parameters: Mapping[str, Any]) -> int:
        """Return how many days or months ahead a row is still seen."""
        return int(parameters[self.ahead]) if isinstance(self.ahead, str) else self.ahead


class MartPlan(_Declared):
    """How a mart is computed, and which part of it a change of its inputs concerns.

    A mart with `part`, a date column of its own, is a union of days or months: rows of one part are made from the rows
    of `touches`' inputs that touch it, and from all rows of its other inputs. Without `part` it is always rebuilt whole.
    """

    function: str
    """A function of batch/gold as module.function, or any other as package.module:function."""
    part: str = ""
    unit: Literal["day", "month"] = "day"
    touches: dict[str, Touch] = {}
    """By the name that `inputs` gives an input."""
    is_large: bool = False
    """Written by Spark. Other marts fit in memory, where a commit costs milliseconds."""


class Table(_Declared):
    """One table: `<layer>.<name>`, with everything that is derived from it."""

    name: str
    description: str = Field(min_length=1)
    grain: str = Field(min_length=1)
    key: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    """The tables it is made from; a mart's are declared as argument → table."""
    arguments: dict[str, str] = {}
    """Argument of the mart's function → input; follows from `inputs`."""
    mart: MartPlan | None = None
    extends: str | None = None
    """A table whose columns this one has too, before its own."""
    file: str | None = None
    """The export's file name, for the tables that are read from one."""
    dialect: Dialect = Dialect()
    query: str | None = None
    """What is asked of a database instead: one SELECT of PostgreSQL; `:business_date` in it is the date it is asked for."""
    database: str | None = None
    """The database of conf/lake.yaml that the query is asked of."""
    set_name: str | None = Field(default=None, alias="set")
    """The sources of one set count only together: for each date all of them are taken, or none."""
    writer: Literal["batch", "stream", "serving"] = "batch"
    history: History
    layout: Layout = Layout()
    columns: dict[str, Column]
    rules: dict[str, Rule] = {}
    expectations: dict[str, Expectation] = {}
    reference: dict[str, str] = {}
    """Column → table.column that must know its value in any version."""
    brings: dict[str, str] = {}
    """Name → <column of `reference`>.<column of the table it names>: what the rules may compare with, of its newest version."""
    dated_by: str | None = None
    """The column whose date a record belongs to: what a backfill of a span of dates makes anew."""
    freshness: Freshness | None = None
    no_statistics: tuple[str, ...] = ()
    """Columns left out of the file statistics, beside those marked pii."""
    history_days: int = Field(default=30, exclude=True)
    """Days that its earlier versions can be read; conf/lake.yaml says how many."""
    parameters: dict[str, Any] = {}
    """Thresholds, weights and windows of its transform, which takes each as a keyword argument."""

    @model_validator(mode="before")
    @classmethod
    def _inputs_by_name(cls, body: Any) -> Any:
        if isinstance(body, dict) and isinstance(body.get("inputs"), dict):
            return {**body, "inputs": tuple(body["inputs"].values()), "arguments": body["inputs"]}
        return body

    @property
    def layer(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    @property
    def short_name(self) -> str:
        """The part of the name after the dot."""
        return self.name.partition(".")[2]

    @property
    def is_source(self) -> bool:
        """Whether its rows come from outside the lake."""
        return self.file is not None or self.query is not None

    @property
    def origin(self) -> str:
        """What its rows come from, where that lies outside the lake, as lineage names it; "" where it does not."""
        return f"postgresql/{self.database}/{self.short_name}" if self.query else f"landing/{self.file}" if self.file else ""

    @property
    def column_names(self) -> list[str]:
        """The columns in their declared order."""
        return list(self.columns)

    @property
    def personal(self) -> frozenset[str]:
        """The columns that hold personal data."""
        return frozenset(name for name, column in self.columns.items() if column.pii)

    @property
    def properties(self) -> Mapping[str, str]:
        """Delta's table properties: history kept as long as publications need it, no statistics of personal data."""
        left_out = self.personal | set(self.no_statistics)
        properties = {
            "delta.deletedFileRetentionDuration": f"interval {self.history_days} days",
            "delta.logRetentionDuration": f"interval {max(90, self.history_days)} days",
        }
        if left_out:
            # Delta refuses a column of which it keeps no bounds: truth values, and nested ones.
            atoms = [
                n for n, c in self.columns.items() if n not in left_out and "<" not in c.type and c.type != "boolean"
            ]
            properties["delta.dataSkippingStatsColumns"] = ",".join(n for n in atoms if n not in self.layout.partition)
        return properties

    @field_validator("columns")
    @classmethod
    def _names_are_plain(cls, columns: dict[str, Column]) -> dict[str, Column]:
        for name in columns:
            if not NAME.fullmatch(name):
                raise ValueError(f"'{name}': names are lower case letters, digits and _, beginning with a letter")
        return columns


class Domain(_Declared):
    """An enumeration: canonical values, other spellings, and what happens to a value it does not know."""

    description: str
    values: tuple[str, ...]
    aliases: dict[str, str] = {}
    unknown: Literal["quarantine", "keep"] = "quarantine"

    @cached_property
    def spellings(self) -> dict[str, str]:
        """Folded spelling (no case, blanks, `_`, `-`) → canonical value."""
        pairs = [(value, value) for value in self.values] + list(self.aliases.items())
        return {fold(spelling): value for spelling, value in pairs}


def fold(text: str) -> str:
    """Return the spelling that aliases are compared in: lower case, without blanks, `_` and `-`."""
    return re.sub(r"[\s_\-]+", "", text).lower()


@dataclass(frozen=True, eq=False)
class Registry:
    """All tables and domains of conf/, by name; as long as it lives, equal to itself only."""

    tables: Mapping[str, Table]
    domains: Mapping[str, Domain]

    def __getitem__(self, name: str) -> Table:
        if name not in self.tables:
            raise ConfigurationError(f"'{name}' is not a table{did_you_mean(name, self.tables)}")
        return self.tables[name]

    def kept(self, days: int) -> Registry:
        """Return the same tables, whose earlier versions can be read for so many days."""
        return Registry({n: t.model_copy(update={"history_days": days}) for n, t in self.tables.items()}, self.domains)

    def layer(self, *layers: str) -> list[Table]:
        """Return the tables of some layers in declared order."""
        return [table for table in self.tables.values() if table.layer in layers]

    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Return the graph: table → the tables it is made from."""
        return {name: table.inputs for name, table in self.tables.items()}

    def order(self) -> list[str]:
        """Return all tables so that each comes after its inputs."""
        return list(TopologicalSorter(self.inputs()).static_order())

    def upstream(self, names: Iterable[str]) -> set[str]:
        """Return everything the named tables are made from, themselves included."""
        return _reach(names, lambda name: self[name].inputs)

    def downstream(self, names: Iterable[str]) -> set[str]:
        """Return everything that is made from the named tables, themselves included."""
        return _reach(names, lambda name: [t.name for t in self.tables.values() if name in t.inputs])


def _reach(names: Iterable[str], step: Any) -> set[str]:
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(step(name))
    return found
