"""Gold: pure functions, silver in, marts out. Which function makes a mart, and of what, its contract says (conf/gold.yaml).

A mart's function takes the inputs by the names that its contract gives them, and by keyword what its signature names:
`as_of` (the business date), `users_since` (the date of the first snapshot of users), a definition of conf/lake.yaml
(`survey_scale`), and the parameters of its contract in conf/gold.yaml. It returns rows with the contract's columns; the
runner brings them to the declared types.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Literal

from pyspark.sql import DataFrame

from ...common.contracts.table import MartPlan, Registry, Table, Touch
from ...common.errors import ConfigurationError, did_you_mean

GIVEN = frozenset({"usd_rate", "survey_scale", "fx_suspect_share", "users_since", "renamed_fields"})
"""What a run gives every function that asks for it, beside the business date: the definitions of conf/lake.yaml, the
date of the first snapshot of users, and what event versions call otherwise (conf/streaming.yaml)."""


@dataclass(frozen=True)
class Mart:
    """How a mart is computed, and which part of it a change of its inputs concerns.

    A mart with `part`, a date column of its own, is a union of days or months: rows of one part are made from the rows
    of `touches`' inputs that touch it, and from all rows of its other inputs. Without `part` it is always rebuilt whole.
    """

    compute: Callable[..., DataFrame]
    part: str = ""
    unit: Literal["day", "month"] = "day"
    touches: Mapping[str, Touch] = field(default_factory=dict)
    is_large: bool = False
    """Written by Spark. Other marts fit in memory, where a commit costs milliseconds."""

    @cached_property
    def keywords(self) -> frozenset[str]:
        """The keyword arguments that the function takes, beside its inputs."""
        parameters = inspect.signature(self.compute).parameters.values()
        return frozenset(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)

    @property
    def takes_as_of(self) -> bool:
        """Whether the mart depends on the business date."""
        return "as_of" in self.keywords

    @property
    def takes_renamed_fields(self) -> bool:
        """Whether the mart reads event lines, whose versions may call fields otherwise."""
        return "renamed_fields" in self.keywords

    @property
    def takes_users_since(self) -> bool:
        """Whether the mart depends on when users were first told of."""
        return "users_since" in self.keywords

    def arguments(self, **known: Any) -> dict[str, Any]:
        """Return those of the known arguments that the function takes."""
        return {name: value for name, value in known.items() if name in self.keywords}

    def parts(self, name: str, days: AbstractSet[date], parameters: Mapping[str, Any]) -> set[date]:
        """Return the parts that changed rows of an input, of these days, go into."""
        return _moved(days, self.unit, 0, self.touches[name].reach(parameters))

    def needs(self, name: str, parts: AbstractSet[date], parameters: Mapping[str, Any]) -> set[date]:
        """Return the days, or months, of an input that some parts are made from."""
        return _moved(parts, self.unit, -self.touches[name].reach(parameters), 0)


def months_later(day: date, months: int) -> date:
    """Return the first day of the month that lies some months after that of `day`."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def _moved(days: AbstractSet[date], unit: str, first: int, last: int) -> set[date]:
    if unit == "day":
        return {day + timedelta(days=step) for day in days for step in range(first, last + 1)}
    return {months_later(day, step) for day in days for step in range(first, last + 1)}


def mart_of(table: Table) -> Mart:
    """Return how a mart's contract says it is computed.

    Raises:
        ConfigurationError: with every fault: there is no such function, or it does not take what the contract gives.
    """
    plan = table.mart or MartPlan(function="")
    compute, *faults = _function(plan.function)
    known = {"as_of", *GIVEN, *table.parameters}
    if compute is not None:
        faults += _faults_of_arguments(compute, table, known)
    if compute is None or faults:
        raise ConfigurationError([f"{table.name}: {fault}" for fault in faults])
    touches = {table.arguments[name]: touch for name, touch in plan.touches.items()}
    return Mart(compute, plan.part, plan.unit, touches, plan.is_large)


def marts_of(registry: Registry) -> dict[str, Mart]:
    """Return every mart by its name.

    Raises:
        ConfigurationError: with every fault of every mart.
    """
    found, faults = {}, []
    for table in registry.layer("gold"):
        try:
            found[table.name] = mart_of(table)
        except ConfigurationError as error:
            faults += error.faults
    if faults:
        raise ConfigurationError(faults)
    return found


def _function(name: str) -> tuple[Any, ...]:
    """Return the function of a name and no fault, or None and what is wrong."""
    package, colon, attribute = name.partition(":")
    if not colon:
        package, _, attribute = name.rpartition(".")
        package = f"{__name__}.{package}"
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        return (
            None,
            f"mart.function: '{name}': {error}; write module.function of batch/gold, or package.module:function",
        )
    known = [
        one for one, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    if attribute not in known:
        return None, f"mart.function: '{name}': there is no such function{did_you_mean(attribute, known)}"
    return (getattr(module, attribute),)


def _faults_of_arguments(compute: Callable[..., DataFrame], table: Table, known: AbstractSet[str]) -> Iterator[str]:
    """Yield where a function's arguments and what the contract gives them differ."""
    parameters = inspect.signature(compute).parameters.values()
    frames = [one.name for one in parameters if one.kind is not inspect.Parameter.KEYWORD_ONLY]
    for name in frames:
        if name not in table.arguments:
            yield f"inputs: {compute.__name__} takes '{name}', which is not given"
    for name in table.arguments:
        if name not in frames:
            yield f"inputs.{name}: {compute.__name__} takes no such input{did_you_mean(name, frames)}"
    if table.inputs and not table.arguments:
        yield "inputs: name each by the argument it is, as {events: silver.usage_events}"
    for one in parameters:
        if one.kind is inspect.Parameter.KEYWORD_ONLY and one.default is one.empty and one.name not in known:
            yield f"parameters: {compute.__name__} takes '{one.name}', which is not given"
    taken = {one.name for one in parameters}
    yield from (
        f"parameters.{name}: {compute.__name__} takes no such parameter"
        for name in table.parameters
        if name not in taken
    )
