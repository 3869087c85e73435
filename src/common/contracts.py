"""The declarations of conf/: what each table is, once. Schemas, rules, order, lineage and the dictionary derive from them.

A contract that contradicts itself never loads: all faults of all files are reported at once, each with file, table,
field, what was found and what would do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import ConfigurationError, did_you_mean
from .schemas import parse_type

LAYERS = ("bronze", "silver", "gold", "speed", "serving", "quarantine", "ops")
_NAME = re.compile(r"_?[a-z][a-z0-9_]*")


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
    derived: bool = False
    """Computed by the table's transform, not read from a source column."""


class Rule(_Declared):
    """A row breaks the rule where `when`, a SQL expression over the conformed row, is true."""

    when: str
    level: Literal["quarantine", "warn", "fail"]
    description: str = Field(min_length=1)
    set_null: str | None = None
    """A column that loses its value on rows that break the rule; the flag keeps the trace."""


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


class Table(_Declared):
    """One table: `<layer>.<name>`, with everything that is derived from it."""

    name: str
    description: str = Field(min_length=1)
    grain: str = Field(min_length=1)
    key: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    file: str | None = None
    """The export's file name, for the tables that are read from one."""
    writer: Literal["batch", "stream", "serving"] = "batch"
    history: History
    layout: Layout = Layout()
    columns: dict[str, Column]
    rules: dict[str, Rule] = {}
    reference: dict[str, str] = {}
    """Column → table.column that must know its value in any version."""
    freshness: Freshness | None = None
    no_statistics: tuple[str, ...] = ()
    """Columns left out of the file statistics, beside those marked pii."""

    @property
    def layer(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    @property
    def short_name(self) -> str:
        """The part of the name after the dot."""
        return self.name.partition(".")[2]

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
            "delta.deletedFileRetentionDuration": "interval 30 days",
            "delta.logRetentionDuration": "interval 90 days",
        }
        if left_out:
            atoms = [n for n, c in self.columns.items() if n not in left_out and "<" not in c.type]
            properties["delta.dataSkippingStatsColumns"] = ",".join(n for n in atoms if n not in self.layout.partition)
        return properties

    @field_validator("columns")
    @classmethod
    def _names_are_plain(cls, columns: dict[str, Column]) -> dict[str, Column]:
        for name in columns:
            if not _NAME.fullmatch(name):
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


@dataclass(frozen=True)
class Registry:
    """All tables and domains of conf/, by name."""

    tables: Mapping[str, Table]
    domains: Mapping[str, Domain]

    def __getitem__(self, name: str) -> Table:
        if name not in self.tables:
            raise ConfigurationError(f"'{name}' is not a table{did_you_mean(name, self.tables)}")
        return self.tables[name]

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


# --- loading ----------------------------------------------------------------------------------------------------

FILES = ("bronze", "silver", "gold", "streaming", "serving", "ops")


def load_registry(conf: Path) -> Registry:
    """Load and check every contract in a folder.

    Raises:
        ConfigurationError: with all faults of all files, one a line.
    """
    faults: list[str] = []
    domains = dict(_domains(conf, faults))
    tables: dict[str, Table] = {}
    for stem in FILES:
        for table in _tables(conf / f"{stem}.yaml", faults):
            tables[table.name] = table
    for table in list(tables.values()):
        if table.layer == "silver":
            tables[f"quarantine.{table.short_name}"] = quarantine_of(table)
    for table in tables.values():
        stem = {"speed": "streaming", "quarantine": "silver"}.get(table.layer, table.layer)
        faults.extend(
            f"conf/{stem}.yaml: {table.short_name}.{fault}" for fault in _contradictions(table, tables, domains)
        )
    faults.extend(_circles(tables))
    if faults:
        raise ConfigurationError(faults)
    return Registry(tables, domains)


class _Loader(yaml.SafeLoader):
    """SafeLoader in which a key stands once, and merged keys (`<<`) come after the mapping's own."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        own = [(key, value) for key, value in node.value if key.tag != "tag:yaml.org,2002:merge"]
        names = {key.value for key, _ in own}
        for position, (key, _) in enumerate(own):
            if key.value in [earlier.value for earlier, _ in own[:position]]:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' stands twice", key.start_mark)
        super().flatten_mapping(node)
        merged = {key.value: (key, value) for key, value in node.value if key.value not in names}
        node.value = own + list(merged.values())


def read_yaml(path: Path) -> Any:
    """Read a YAML file safely.

    Raises:
        ConfigurationError: the file is missing or broken, with line and column.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file; --conf names the folder that holds it") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigurationError(f"{path}:{where}: this is not YAML: {problem}") from None


def _domains(conf: Path, faults: list[str]) -> Iterator[tuple[str, Domain]]:
    try:
        content = read_yaml(conf / "domains.yaml")
    except ConfigurationError as error:
        faults.extend(error.faults)
        return
    for name, body in (content or {}).items():
        try:
            domain = Domain.model_validate(body)
        except ValidationError as error:
            faults.extend(explain(error, f"conf/domains.yaml: {name}", Domain))
            continue
        faults.extend(
            f"conf/domains.yaml: {name}.aliases.{alias}: '{value}' is not one of its values{did_you_mean(value, domain.values)}"
            for alias, value in domain.aliases.items()
            if value not in domain.values
        )
        yield name, domain


def _tables(path: Path, faults: list[str]) -> Iterator[Table]:
    try:
        content = read_yaml(path)
    except ConfigurationError as error:
        faults.extend(error.faults)
        return
    declared = (content or {}).get("tables", {})
    layer = {"streaming": "speed"}.get(path.stem, path.stem)
    for name, body in declared.items():
        where = f"conf/{path.name}: {name}"
        if not isinstance(body, dict):
            faults.append(f"{where}: a table is a mapping with description, grain, key, columns, …; found {body!r}")
            continue
        if not _NAME.fullmatch(str(name)):
            faults.append(f"{where}: names are lower case letters, digits and _, beginning with a letter")
            continue
        try:
            yield Table.model_validate({**body, "name": name if "." in str(name) else f"{layer}.{name}"})
        except ValidationError as error:
            faults.extend(explain(error, where, Table))


def explain(error: ValidationError, where: str, model: type[BaseModel]) -> list[str]:
    """Turn pydantic's errors into lines of "where.field: what was found, what would do"."""
    lines = []
    for fault in error.errors():
        field = ".".join(str(part) for part in fault["loc"] if part != "name")
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            known = _fields_at(model, fault["loc"][:-1])
            message = f"'{fault['loc'][-1]}' is not a field{did_you_mean(str(fault['loc'][-1]), known)}"
        elif fault["type"] == "missing":
            message = "is missing"
        elif fault["type"] != "value_error":
            message = f"{message}; found {fault['input']!r}"
        joint = ": " if where.endswith(".yaml") else "."
        lines.append(f"{where}{joint}{field}: {message}" if field else f"{where}: {message}")
    return lines


def _fields_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    nested: dict[Any, type[BaseModel]] = {
        "columns": Column,
        "rules": Rule,
        "history": History,
        "layout": Layout,
        "freshness": Freshness,
    }
    for part in loc:
        if part in nested:
            model = nested[part]
    return list(model.model_fields)


def _contradictions(table: Table, tables: Mapping[str, Table], domains: Mapping[str, Domain]) -> Iterator[str]:
    """Yield what a table says that its columns, the other tables or the domains do not bear out."""
    columns = table.columns
    mentioned = {
        "key": table.key,
        "layout.partition": table.layout.partition,
        "layout.cluster": table.layout.cluster,
        "history.untracked": table.history.untracked,
        "no_statistics": table.no_statistics,
        "freshness.column": (table.freshness.column,) if table.freshness else (),
        "reference": tuple(table.reference),
    }
    for field, names in mentioned.items():
        for name in names:
            if name not in columns:
                yield f"{field}: '{name}' is not a column{did_you_mean(name, columns)}"
    for rule, body in table.rules.items():
        if not _NAME.fullmatch(rule):
            yield f"rules.{rule}: names are lower case letters, digits and _, beginning with a letter"
        if body.set_null is not None and body.set_null not in columns:
            yield f"rules.{rule}.set_null: '{body.set_null}' is not a column{did_you_mean(body.set_null, columns)}"
        if body.set_null in table.key:
            yield f"rules.{rule}.set_null: '{body.set_null}' is a key; a key is refused, never emptied"
    for name, column in columns.items():
        if column.domain is not None and column.domain not in domains:
            yield f"columns.{name}.domain: '{column.domain}' is not in conf/domains.yaml{did_you_mean(column.domain, domains)}"
        if column.derived and column.source:
            yield f"columns.{name}: it is derived or it has a source column, not both"
    for name in table.inputs:
        if name not in tables:
            yield f"inputs: '{name}' is not a table{did_you_mean(name, tables)}"
    for name, target in table.reference.items():
        owner, _, key = target.rpartition(".")
        if owner not in tables or key not in tables[owner].columns:
            yield f"reference.{name}: '{target}' is not a column of a table; write layer.table.column"
        elif owner not in table.inputs:
            yield f"reference.{name}: '{owner}' must be one of the inputs, so that it is built first"
    if table.history.kind == "scd2" and not table.history.surrogate_key:
        yield "history.surrogate_key: is missing; an scd2 table names its surrogate key"
    if not table.key and table.history.kind in ("upsert", "scd2"):
        yield f"key: is empty; history '{table.history.kind}' needs one"


def _circles(tables: Mapping[str, Table]) -> list[str]:
    known = {name: [i for i in table.inputs if i in tables] for name, table in tables.items()}
    try:
        TopologicalSorter(known).prepare()
    except CycleError as error:
        return [f"conf: inputs run in a circle: {' → '.join(error.args[1])}"]
    return []


def quarantine_of(table: Table) -> Table:
    """Return the contract of the table that keeps what `table` refuses: one row for each distinct refused payload."""
    text: dict[str, tuple[str, str]] = {
        "quarantine_id": (
            "string",
            "sha256 of table and payload: a refused row is stored once, however often it arrives",
        ),
        "payload": ("string", "The refused row as it arrived: the bronze row as JSON, or the raw line"),
        "reasons": ("array<string>", "Every rule of level quarantine that the row breaks, sorted"),
        "_source_file": ("string", "Where it first arrived, relative to the landing root"),
        "_source_sha256": ("string", "Hash of that file (NULL for event lines)"),
        "_snapshot_at": ("timestamp", "Snapshot time of that delivery (NULL for event lines)"),
        "load_id": ("bigint", "The micro-batch that refused it (NULL for CSV rows)"),
        "quarantined_at": ("timestamp", "When it was first refused"),
        "run_id": ("string", "The run that first refused it"),
        "status": ("string", "open, replayed or discarded"),
        "resolved_at": ("timestamp", "When it was replayed or discarded"),
    }
    pii = bool(table.personal)
    return Table(
        name=f"quarantine.{table.short_name}",
        description=f"Rows that {table.name} refused, with every reason, kept until replayed or discarded.",
        grain="One row for each distinct refused payload",
        key=("quarantine_id",),
        inputs=tuple(name for name in table.inputs if name.startswith("bronze.")),
        writer=table.writer,
        history=History(kind="insert_only"),
        columns={
            name: Column(type=kind, description=text, pii=pii and name == "payload")
            for name, (kind, text) in text.items()
        },
        no_statistics=("payload",),
    )
