"""The declarations of conf/queries.yaml: what each named query asks, which filters it takes, what its columns mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...common.contracts.loading import explain, read_yaml
from ...common.contracts.table import Registry
from ...common.contracts.types import parse_type
from ...common.errors import ConfigurationError, did_you_mean

FILE = "queries.yaml"
FORMS = ("date", "month", "whole", "text")
"""What a filter's value may look like, beside the `values` that conf/queries.yaml lists."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MOMENT = ("as_of", "load_id")
"""What SQL may name beside its filters: the business date, and the newest load_id that gold has seen."""
_UNITS = {"_usd": "USD", "_pct": "%", "_kg": "kg CO2e", "_hours": "h", "_kg_per_usd": "kg CO2e/USD"}

_Model = TypeVar("_Model", bound=BaseModel)


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Values(_Declared):
    """Values that a filter knows: SQL that gives them in one column, and how to list them."""

    sql: str
    description: str
    list: str


class Filter(_Declared):
    """A filter of a query: its form or the values it takes, and what it is where it is not given."""

    name: str
    type: str
    description: str = Field(min_length=1)
    needed: bool = False
    positional: bool = False
    default: int | str | date | None = None
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()


class Column(_Declared):
    """A column of an answer: type as DDL, unit, meaning, and the layer.table.column that it comes from."""

    name: str
    type: str
    unit: str | None
    description: str
    source: str

    @property
    def source_table(self) -> str:
        """The table it comes from."""
        return self.source.rpartition(".")[0]


class Covers(_Declared):
    """Where the range of a query's data stands: a column, of certain rows, of those that some filters leave."""

    column: str
    where: str = "true"
    by: dict[str, str] = {}
    """Filter → the column it compares."""


class Query(_Declared):
    """A named query."""

    name: str
    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    key: tuple[str, ...]
    """The columns that tell one row from another, none where there is one row: the grain."""
    filters: dict[str, Filter] = {}
    columns: dict[str, Column]
    sql: str
    covers: Covers | None = None

    @property
    def parameters(self) -> set[str]:
        """The names that its SQL takes values for."""
        return set(re.findall(r"\$([a-z_]+)", self.sql))

    @property
    def tables(self) -> set[str]:
        """The tables that its SQL reads."""
        return tables_of(self.sql)


class Limits(_Declared):
    """How much a statement of `cloudlake sql` may take."""

    seconds: float = Field(gt=0)
    memory: str = Field(pattern=r"^[1-9][0-9]*(MB|GB)$")

    @property
    def bytes(self) -> int:
        """The memory in bytes."""
        return int(self.memory[:-2]) * (1_000_000 if self.memory.endswith("MB") else 1_000_000_000)


@dataclass(frozen=True)
class Declarations:
    """conf/queries.yaml: the queries by name, the values that filters know, and the limits of SQL."""

    queries: Mapping[str, Query]
    values: Mapping[str, Values]
    limits: Limits

    def __getitem__(self, name: str) -> Query:
        if name not in self.queries:
            raise ConfigurationError(f"'{name}' is not a query{did_you_mean(name, self.queries)}")
        return self.queries[name]


def tables_of(sql: str) -> set[str]:
    """Return the tables that a declared SQL names in full."""
    return set(re.findall(r"\b(?:gold|serving|silver|speed|quarantine|ops)\.[a-z_][a-z0-9_]*", sql))


def _changed(path: Path) -> int:
    """Return when a file was last changed, so that what was read of it is kept until then."""
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=8)
def _content(path: Path, changed: int) -> Any:
    return read_yaml(path)


def load_queries(conf: Path, registry: Registry) -> Declarations:
    """Load and check conf/queries.yaml against the tables' contracts.

    Raises:
        ConfigurationError: with every fault of the file, one a line.
    """
    return _checked(conf / FILE, _changed(conf / FILE), registry)


@lru_cache(maxsize=8)
def _checked(path: Path, changed: int, registry: Registry) -> Declarations:
    content = _content(path, changed) or {}
    faults: list[str] = []
    values = dict(_read(content.get("values"), Values, "values.", faults))
    limits = dict(_read({"limits": content.get("limits")}, Limits, "", faults))
    queries: dict[str, Query] = {}
    for name, body in (content.get("queries") or {}).items():
        where = f"conf/{FILE}: queries.{name}"
        try:
            query = Query.model_validate(_completed(name, body, registry))
        except ValidationError as error:
            faults.extend(explain(error, where, Query))
        except ConfigurationError as error:
            faults.extend(f"{where}.{fault}" for fault in error.faults)
        else:
            queries[name] = query
            faults.extend(f"{where}: {fault}" for fault in _contradictions(query, values, registry))
    if faults:
        raise ConfigurationError(faults)
    return Declarations(queries, values, limits["limits"])


def declared_filters(conf: Path) -> dict[str, tuple[str, list[str], bool]]:
    """Return every filter: what it means, the queries that take it, and whether it stands by its place in one.

    Looks at conf/queries.yaml alone and believes it: for help and completion, before the tables' contracts are loaded.
    """
    found: dict[str, tuple[str, list[str], bool]] = {}
    for query, body in ((_content(conf / FILE, _changed(conf / FILE)) or {}).get("queries") or {}).items():
        for name, part in (body.get("filters") or {}).items():
            meaning, takers, is_positional = found.get(name, (part.get("description", ""), [], False))
            found[name] = (meaning, [*takers, query], is_positional or bool(part.get("positional")))
    return found


def _read(declared: Any, model: type[_Model], part: str, faults: list[str]) -> Iterator[tuple[str, _Model]]:
    for name, body in (declared or {}).items():
        try:
            yield name, model.model_validate(body)
        except ValidationError as error:
            faults.extend(explain(error, f"conf/{FILE}: {part}{name}", model))


def _completed(name: str, body: Any, registry: Registry) -> dict[str, Any]:
    """Return a query's declaration with the names of its parts, and its columns with what their contracts say."""
    if not isinstance(body, dict):
        raise ConfigurationError(f" a query is a mapping with title, sql, columns, …; found {body!r}")
    filters = {key: {**part, "name": key} for key, part in (body.get("filters") or {}).items()}
    columns = {key: _column(key, part, registry) for key, part in (body.get("columns") or {}).items()}
    return {**body, "name": name, "filters": filters, "columns": columns}


def _column(name: str, body: Any, registry: Registry) -> dict[str, Any]:
    said = {"source": body} if isinstance(body, str) else dict(body)
    source = str(said.get("source", ""))
    table, _, column = source.rpartition(".") if source.count(".") == 2 else (source, "", name)
    if table not in registry.tables:
        raise ConfigurationError(f"columns.{name}: '{table}' is not a table{did_you_mean(table, registry.tables)}")
    known = registry[table].columns
    if column not in known:
        raise ConfigurationError(f"columns.{name}: '{column}' is not a column of {table}{did_you_mean(column, known)}")
    unit = next((unit for ending, unit in reversed(_UNITS.items()) if name.endswith(ending)), None)
    derived = {"type": known[column].type, "description": known[column].description, "unit": unit}
    return {**derived, **said, "name": name, "source": f"{table}.{column}"}


def _contradictions(query: Query, values: Mapping[str, Values], registry: Registry) -> Iterator[str]:
    """Yield what a query says that its filters, the values or the tables do not bear out."""
    if not _NAME.fullmatch(query.name):
        yield "names are lower case words with - between"
    for name in sorted(query.parameters - set(query.filters) - set(MOMENT)):
        yield f"sql: ${name} is not a filter{did_you_mean(name, query.filters)}"
    for name in sorted(query.tables - set(registry.tables)):
        yield f"sql: '{name}' is not a table{did_you_mean(name, registry.tables)}"
    for filter_ in query.filters.values():
        if filter_.type not in (*FORMS, *values):
            yield f"filters.{filter_.name}.type: '{filter_.type}' is none{did_you_mean(filter_.type, (*FORMS, *values))}"
        if filter_.name not in query.parameters:
            yield f"filters.{filter_.name}: the SQL does not use it"
    for column in query.columns.values():
        try:
            parse_type(column.type)
        except ValueError as error:
            yield f"columns.{column.name}.type: {error}"
    for name in query.key:
        if name not in query.columns:
            yield f"key: '{name}' is not a column{did_you_mean(name, query.columns)}"
    if query.covers is not None:
        table, _, name = query.covers.column.rpartition(".")
        if table not in registry.tables or name not in registry[table].columns:
            yield f"covers.column: '{query.covers.column}' is not a column of a table; write layer.table.column"
        for name in query.covers.by:
            if name not in query.filters:
                yield f"covers.by: '{name}' is not a filter{did_you_mean(name, query.filters)}"
