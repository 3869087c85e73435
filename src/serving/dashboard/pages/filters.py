"""The filters of the pages: fields of a form, with what may be chosen, and what was wrong with what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..asking import Answer, Ask
from ..model import Field


def organisation(ask: Ask, filters: Mapping[str, str]) -> Field:
    """Return the field for one organisation, which suggests those there are."""
    known = [row["org_id"] for row in ask("customers").rows]
    return Field("org", "Organisation", filters.get("org", ""), "text", hint="all", suggestions=known)


def dates(filters: Mapping[str, str]) -> list[Field]:
    """Return the fields for a span of dates."""
    return [
        Field("from", "From", filters.get("from", ""), "date"),
        Field("to", "To", filters.get("to", ""), "date"),
    ]


def choice(name: str, said: str, filters: Mapping[str, str], values: Sequence[str], any_: str = "all") -> Field:
    """Return a field with a few values to choose from; one that is asked for stays even where it is unknown."""
    given = filters.get(name, "")
    known = list(dict.fromkeys([*values, *([given] if given else [])]))
    return Field(name, said, given, "choice", [("", any_), *((value, value.replace("_", " ")) for value in known)])


def picked(filters: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return those filters that were given."""
    return {name: filters[name] for name in names if filters.get(name)}


def faults(*answers: Answer) -> list[str]:
    """Return what is wrong with the filters, once each."""
    return list(dict.fromkeys(fault for answer in answers if answer.is_refused for fault in answer.failure.splitlines()))
