"""What the columns of an analysed Spark plan are made from. The plan comes as the JSON that Spark writes of it.

A plan is a list of nodes, each before its children; an expression within a node is such a list too. Every column that a
node gives has an id; the columns of an input are known by the alias `table:<name>` under which it was read. Fields of a
struct are told apart, elements of an array are not: what hangs on a flag within an array is made from all of the array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

TAG = "table:"
Sources = frozenset[tuple[str, str]]
"""Table and column, of everything that a column is made from."""
_NONE: Sources = frozenset()


@dataclass(frozen=True)
class _Given:
    """What a node gives: the ids of its columns in their order, their names, and what each known id is made from."""

    output: tuple[int, ...]
    names: Mapping[int, str]
    made_from: Mapping[int, Sources]
    fields: Mapping[int, tuple[Sources, ...]] = field(default_factory=dict)
    """Of a column that is a struct put together here: what each of its fields is made from."""


def sources_of(plan: list[dict[str, Any]]) -> dict[str, Sources]:
    """Return each output column of a plan with the columns of tagged inputs whose values it is made from.

    Conditions of joins and filters, and what rows are grouped or sorted by, choose rows and are no source of a value.

    Raises:
        ValueError: a node of a kind that is not known gives columns that no child gives.
    """
    given = _read(iter(plan), "")
    return {given.names[column]: given.made_from.get(column, _NONE) for column in given.output}


def _read(nodes: Iterator[dict[str, Any]], table: str) -> _Given:
    """Read a node with its children; `table` is the tagged alias that it stands under."""
    node = next(nodes)
    kind = node["class"].rpartition(".")[2]
    if kind == "SubqueryAlias" and _alias(node).startswith(TAG):
        table = _alias(node).removeprefix(TAG)
    children = [_read(nodes, table) for _ in range(node["num-children"])]
    if not children:
        return _leaf(node, table)
    known: dict[int, Sources] = {}
    names: dict[int, str] = {}
    fields: dict[int, tuple[Sources, ...]] = {}
    for child in children:
        fields |= child.fields
        for column, sources in child.made_from.items():
            known[column] = known.get(column, _NONE) | sources
        names |= child.names
    output = tuple(column for child in children for column in child.output)
    return _GIVES.get(kind, _passes_on)(node, children, _Given(output, names, known, fields))


def _alias(node: Mapping[str, Any]) -> str:
    identifier = node.get("identifier") or {}
    return str(identifier.get("name", "")) if isinstance(identifier, dict) else str(identifier)


def _leaf(node: Mapping[str, Any], table: str) -> _Given:
    columns = [expression[0] for expression in node.get("output") or ()]
    names = {_id(column): str(column["name"]) for column in columns}
    made_from = {column: frozenset({(table, name)}) if table else _NONE for column, name in names.items()}
    return _Given(tuple(names), names, made_from)


# --- what each kind of node gives ---------------------------------------------------------------------------------------


def _passes_on(node: Mapping[str, Any], children: list[_Given], all_of_them: _Given) -> _Given:
    """Give what the only child gives: filters, sorts, limits, distinct rows, aliases."""
    if len(children) != 1:
        raise ValueError(f"{node['class']}: a plan's node of a kind that is not known, with {len(children)} children")
    return all_of_them


def _computes(*fields: str) -> Any:
    """Give the expressions of some fields, and nothing else (projections, aggregates)."""

    def gives(node: Mapping[str, Any], children: list[_Given], under: _Given) -> _Given:
        expressions = [expression for field in fields for expression in node.get(field) or ()]
        return _with(under, (), expressions)

    return gives


def _adds(*fields: str) -> Any:
    """Give the child's columns, and the expressions of some fields beside them (windows)."""

    def gives(node: Mapping[str, Any], children: list[_Given], under: _Given) -> _Given:
        expressions = [expression for field in fields for expression in node.get(field) or ()]
        return _with(under, under.output, expressions)

    return gives


def _with(under: _Given, kept: tuple[int, ...], expressions: list[list[dict[str, Any]]]) -> _Given:
    names, made_from, fields, output = dict(under.names), dict(under.made_from), dict(under.fields), list(kept)
    for expression in expressions:
        column = _id(expression[0])
        if expression[0]["class"].endswith(".Alias"):
            made_from[column] = _sources(expression, under)
            if expression[1]["class"].endswith(".CreateNamedStruct"):
                values = list(_operands(expression[1:]))[1::2]  # names and values in turn
                fields[column] = tuple(_sources(value, under) for value in values)
        names[column] = str(expression[0]["name"])
        output.append(column)
    return _Given(tuple(output), names, made_from, fields)


def _joins(node: Mapping[str, Any], children: list[_Given], both: _Given) -> _Given:
    kind = str((node.get("joinType") or {}).get("object", ""))
    is_test = any(name in kind for name in ("LeftSemi", "LeftAnti"))
    if "Existence" in kind:
        raise ValueError(f"{kind}: a join of a kind that is not known")
    return replace(both, output=children[0].output) if is_test else both


def _unites(node: Mapping[str, Any], children: list[_Given], all_of_them: _Given) -> _Given:
    """Give the columns of the first child, each made from those at its place in every child."""
    first, made_from = children[0], dict(all_of_them.made_from)
    for place, column in enumerate(first.output):
        parts = [child.made_from.get(child.output[place], _NONE) for child in children]
        made_from[column] = frozenset().union(*parts)
    return replace(all_of_them, output=first.output, made_from=made_from)


def _generates(node: Mapping[str, Any], children: list[_Given], under: _Given) -> _Given:
    """Give the child's columns, those that only the generator needs apart, and what an explode makes."""
    names, made_from = dict(under.names), dict(under.made_from)
    dropped = set(node.get("unrequiredChildIndex") or ())
    output = [column for place, column in enumerate(under.output) if place not in dropped]
    sources = _sources(node["generator"], under)
    for expression in node["generatorOutput"]:
        column = _id(expression[0])
        names[column], made_from[column] = str(expression[0]["name"]), sources
        output.append(column)
    return _Given(tuple(output), names, made_from, under.fields)


def _expands(node: Mapping[str, Any], children: list[_Given], under: _Given) -> _Given:
    """Give each column, made from what stands at its place in every projection (grouping sets)."""
    names, made_from, output = dict(under.names), dict(under.made_from), []
    for place, expression in enumerate(node["output"]):
        column = _id(expression[0])
        parts = [_sources(projection[place], under) for projection in node["projections"]]
        names[column], made_from[column] = str(expression[0]["name"]), frozenset().union(*parts)
        output.append(column)
    return _Given(tuple(output), names, made_from)


_GIVES: dict[str, Callable[[Mapping[str, Any], list[_Given], _Given], _Given]] = {
    "Project": _computes("projectList"),
    "Aggregate": _computes("aggregateExpressions"),
    "Window": _adds("windowExpressions"),
    "Join": _joins,
    "LateralJoin": _joins,
    "AsOfJoin": _joins,
    "Union": _unites,
    "Generate": _generates,
    "Expand": _expands,
}


# --- expressions --------------------------------------------------------------------------------------------------------


def _id(expression: Mapping[str, Any]) -> int:
    return int(expression["exprId"]["id"])


def _operands(expression: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the operands of an expression's root, each with all that is under it."""
    start = 1
    for _ in range(expression[0]["num-children"]):
        end, open_places = start, 1
        while open_places:
            open_places += expression[end]["num-children"] - 1
            end += 1
        yield expression[start:end]
        start = end


def _sources(expression: list[dict[str, Any]], under: _Given) -> Sources:
    """Return what an expression is made from: the columns that it names, and the results of plans within it."""
    found: set[tuple[str, str]] = set()
    taken: dict[str, Any] | None = None  # the field that the node before takes out of a struct
    for part in expression:
        if part["class"].endswith(".AttributeReference"):
            column = _id(part)
            whole = under.made_from.get(column, _NONE)
            parts = under.fields.get(column)
            found |= parts[int(taken["ordinal"])] if parts and taken else whole
        elif isinstance(part.get("plan"), list) and part["plan"]:
            inner = _read(iter(part["plan"]), "")
            found.update(source for column in inner.output for source in inner.made_from.get(column, _NONE))
        taken = part if part["class"].endswith(".GetStructField") else None
    return frozenset(found)
