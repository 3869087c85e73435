"""What a source needs beyond its contract, one subject a module; most need nothing.

A new source is a declaration in conf/ (bronze.yaml, silver.yaml) and at most one function here, named in `SUBJECTS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame

from . import billing, masters, records


@dataclass(frozen=True)
class Subject:
    """What one silver table does between conforming and its rules, and before its rows are written.

    Both functions take by keyword the definitions of conf/lake.yaml that their signatures name.
    """

    derive: Callable[..., DataFrame] | None = None
    """Conformed rows → the same rows with the columns that the contract calls derived."""
    restate: Callable[..., DataFrame] | None = None
    """(new rows, the table or None, its key) → the new rows and those known ones that they change."""
    follows: tuple[str, ...] = ()
    """Columns, and flags of the same names, that follow from other rows of the table: they make no row another one."""


def given(function: Callable[..., Any], *values: Any, definitions: Mapping[str, Any]) -> Any:
    """Call a subject's function with its rows and the definitions that its signature names."""
    return function(*values, **{name: definitions[name] for name in keywords(function)})


def keywords(function: Callable[..., Any]) -> Sequence[str]:
    """Return the keyword-only arguments of a function."""
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]


SUBJECTS: dict[str, Subject] = {
    "silver.users": Subject(masters.users),
    "silver.resources": Subject(masters.resources),
    "silver.billing_monthly": Subject(billing.billing_monthly, billing.restate_months, follows=("fx_suspect",)),
    "silver.support_tickets": Subject(records.support_tickets),
    "silver.nps_surveys": Subject(records.nps_surveys),
}
