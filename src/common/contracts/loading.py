"""Loading conf/: every file is read and checked whole, and all faults of all files are reported at once.

A contract that contradicts itself never loads; each fault names file, table, field, what was found and what would do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import ConfigurationError, did_you_mean
from .derived import quarantine_of
from .dialect import Dialect
from .query import faults_of_query
from .table import (
    LAYERS,
    NAME,
    Column,
    Domain,
    Expectation,
    Freshness,
    History,
    Layout,
    MartPlan,
    Registry,
    Rule,
    Table,
)

FILES = ("bronze", "silver", "gold", "focus", "streaming", "serving", "ops")


def load_registry(conf: Path) -> Registry:
    """Load and check every contract in a folder.

    Raises:
        ConfigurationError: with all faults of all files, one a line.
    """
    faults: list[str] = []
    domains = dict(_domains(conf, faults))
    measures = _measures(conf, faults)
    tables: dict[str, Table] = {}
    files: dict[str, str] = {}
    for stem in FILES:
        for table in _tables(conf / f"{stem}.yaml", measures, faults):
            tables[table.name], files[table.name] = table, stem
    tables = {name: _extended(table, tables) for name, table in tables.items()}
    for table in list(tables.values()):
        if table.layer == "silver":
            tables[f"quarantine.{table.short_name}"] = quarantine_of(table)
    for table in tables.values():
        stem = files.get(table.name, "silver")
        faults.extend(
            f"conf/{stem}.yaml: {table.short_name}.{fault}" for fault in _contradictions(table, tables, domains)
        )
    faults.extend(_circles(tables))
    if faults:
        raise ConfigurationError(faults)
    return Registry(tables, domains)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml, where PyYAML has it
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


def _measures(conf: Path, faults: list[str]) -> dict[str, Any]:
    """Return the columns of a table that says `measures: true`."""
    try:
        return dict(read_yaml(conf / "measures.yaml") or {})
    except ConfigurationError as error:
        faults.extend(error.faults)
        return {}


def _with_measures(body: Mapping[str, Any], measures: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table's declaration with the measures after its own columns, where it says that it has them."""
    rest = {key: value for key, value in body.items() if key != "measures"}
    if body.get("measures") is not True or not isinstance(body.get("columns"), dict):
        return dict(body) if body.get("measures") else rest
    own = body["columns"]
    return {**rest, "columns": {**own, **{name: column for name, column in measures.items() if name not in own}}}


def _tables(path: Path, measures: Mapping[str, Any], faults: list[str]) -> Iterator[Table]:
    try:
        content = read_yaml(path)
    except ConfigurationError as error:
        faults.extend(error.faults)
        return
    declared = (content or {}).get("tables", {})
    layer = {"streaming": "speed", "focus": "gold"}.get(path.stem, path.stem)
    for name, body in declared.items():
        where = f"conf/{path.name}: {name}"
        if not isinstance(body, dict):
            faults.append(f"{where}: a table is a mapping with description, grain, key, columns, …; found {body!r}")
            continue
        if not NAME.fullmatch(str(name)):
            faults.append(f"{where}: names are lower case letters, digits and _, beginning with a letter")
            continue
        try:
            declared_as = _with_measures(body, measures)
            yield Table.model_validate({**declared_as, "name": name if "." in str(name) else f"{layer}.{name}"})
        except ValidationError as error:
            faults.extend(explain(error, where, Table))


def _extended(table: Table, tables: Mapping[str, Table]) -> Table:
    """Return the table with the columns of the one it extends before its own."""
    if table.extends is None or table.extends not in tables:
        return table
    return table.model_copy(update={"columns": {**tables[table.extends].columns, **table.columns}})


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
        "expectations": Expectation,
        "history": History,
        "layout": Layout,
        "freshness": Freshness,
        "dialect": Dialect,
        "mart": MartPlan,
    }
    for part in loc:
        if part in nested:
            model = nested[part]
    return [field.alias or name for name, field in model.model_fields.items()]


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
        "dated_by": (table.dated_by,) if table.dated_by else (),
    }
    for field, names in mentioned.items():
        for name in names:
            if name not in columns:
                yield f"{field}: '{name}' is not a column{did_you_mean(name, columns)}"
    for rule, body in table.rules.items():
        if not NAME.fullmatch(rule):
            yield f"rules.{rule}: names are lower case letters, digits and _, beginning with a letter"
        if body.column is not None and body.column not in columns:
            yield f"rules.{rule}.column: '{body.column}' is not a column{did_you_mean(body.column, columns)}"
        if body.set_null is not None and body.set_null not in columns:
            yield f"rules.{rule}.set_null: '{body.set_null}' is not a column{did_you_mean(body.set_null, columns)}"
        if body.set_null in table.key:
            yield f"rules.{rule}.set_null: '{body.set_null}' is a key; a key is refused, never emptied"
    for name, expectation in table.expectations.items():
        yield from (f"expectations.{name}{fault}" for fault in _faults_of(name, expectation, tables))
    for name, column in columns.items():
        if column.domain is not None and column.domain not in domains:
            yield f"columns.{name}.domain: '{column.domain}' is not in conf/domains.yaml{did_you_mean(column.domain, domains)}"
        if column.derived and column.source:
            yield f"columns.{name}: it is derived or it has a source column, not both"
    yield from _faults_of_source(table, tables)
    if table.extends is not None and table.extends not in table.inputs:
        yield f"extends: '{table.extends}' must be one of the inputs{did_you_mean(table.extends, table.inputs)}"
    for name in table.inputs:
        if name not in tables:
            yield f"inputs: '{name}' is not a table{did_you_mean(name, tables)}"
    for name, target in table.reference.items():
        owner, _, key = target.rpartition(".")
        if owner not in tables or key not in tables[owner].columns:
            yield f"reference.{name}: '{target}' is not a column of a table; write layer.table.column"
        elif owner not in table.inputs:
            yield f"reference.{name}: '{owner}' must be one of the inputs, so that it is built first"
    yield from _faults_of_brings(table, tables)
    yield from _faults_of_mart(table, tables)
    if table.history.kind == "scd2" and not table.history.surrogate_key:
        yield "history.surrogate_key: is missing; an scd2 table names its surrogate key"
    if not table.key and table.history.kind in ("upsert", "scd2"):
        yield f"key: is empty; history '{table.history.kind}' needs one"


def _faults_of_source(table: Table, tables: Mapping[str, Table]) -> Iterator[str]:
    if table.dialect.model_fields_set and table.file is None:
        yield "dialect: only a table that is read from a file has one"
    if table.query is not None:
        yield from (f"query: {fault}" for fault in faults_of_query(table.query))
        if table.file is not None:
            yield "query: it has a file too; a source is one or the other"
        if table.layer != "bronze":
            yield "query: only a table of bronze is asked of a database"
        if table.database is None:
            yield "database: is missing; name one of `databases` in conf/lake.yaml"
    elif table.database is not None:
        yield "database: only a table with a query has one"
    if table.set_name is not None and not table.is_source:
        yield "set: only a table with a file or a query belongs to one"
    elif table.set_name is not None and not any(
        other.set_name == table.set_name for other in tables.values() if other is not table
    ):
        sets = {other.set_name for other in tables.values() if other.set_name and other is not table}
        yield f"set: no other source belongs to '{table.set_name}'{did_you_mean(table.set_name, sets)}"


def _faults_of_mart(table: Table, tables: Mapping[str, Table]) -> Iterator[str]:
    mart = table.mart
    if (mart is None) == (table.layer == "gold"):
        yield "mart: is missing; say which function makes it" if mart is None else "mart: only a table of gold is one"
    if mart is None:
        return
    if mart.part and mart.part not in table.columns:
        yield f"mart.part: '{mart.part}' is not a column{did_you_mean(mart.part, table.columns)}"
    if mart.touches and not mart.part:
        yield "mart.touches: without a part the mart is always rebuilt whole"
    for name, touch in mart.touches.items():
        where, owner = f"mart.touches.{name}", tables.get(table.arguments.get(name, ""))
        if owner is None:
            yield f"{where}: is not the name of an input{did_you_mean(name, table.arguments)}"
        elif touch.column not in owner.columns:
            yield f"{where}: '{touch.column}' is not a column of {owner.name}{did_you_mean(touch.column, owner.columns)}"
        if isinstance(touch.ahead, str) and touch.ahead not in table.parameters:
            yield f"{where}.ahead: '{touch.ahead}' is not a parameter{did_you_mean(touch.ahead, table.parameters)}"


def _faults_of_brings(table: Table, tables: Mapping[str, Table]) -> Iterator[str]:
    for name, source in table.brings.items():
        column, _, wanted = source.partition(".")
        owner = tables.get(table.reference.get(column, "").rpartition(".")[0])
        if owner is None:
            yield f"brings.{name}: '{column}' is not a column with a reference{did_you_mean(column, table.reference)}"
        elif wanted not in owner.columns:
            yield f"brings.{name}: '{wanted}' is not a column of {owner.name}{did_you_mean(wanted, owner.columns)}"
        elif owner.history.kind != "scd2" and owner.key != (table.reference[column].rpartition(".")[2],):
            yield f"brings.{name}: {owner.name} may hold several rows for one {column}; refer to its key, or to a table with history"
        if name in table.columns or name.startswith("_"):
            yield f"brings.{name}: is the name of a column of the table; give it another"


def _faults_of(name: str, expectation: Expectation, tables: Mapping[str, Table]) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield ": names are lower case letters, digits and _, beginning with a letter"
    if expectation.at_least is None and expectation.at_most is None:
        yield ": it has no bound; give at_least or at_most"
    named = set(re.findall(rf"\b(?:{'|'.join(LAYERS)})[.][a-z0-9_]+", expectation.measure))
    if not named:
        yield ".measure: names no table; write layer.table"
    yield from (f".measure: '{one}' is not a table{did_you_mean(one, tables)}" for one in sorted(named - set(tables)))


def _circles(tables: Mapping[str, Table]) -> list[str]:
    known = {name: [i for i in table.inputs if i in tables] for name, table in tables.items()}
    try:
        TopologicalSorter(known).prepare()
    except CycleError as error:
        return [f"conf: inputs run in a circle: {' → '.join(error.args[1])}"]
    return []
