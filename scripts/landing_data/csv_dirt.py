"""Injects dirt into the rows of one CSV file, one kind a row at most, and says what becomes of each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from .draws import spellings
from .sources import Row, Source

DUPLICATE = "duplicate"
NOT_ADDRESSES = (
    "not-an-email",
    "jane@@example.com",
    "jane at example.com",
    "@example.com",
    "jane.example.com",
    "jane@",
)
NOT_JSON = ("[env:prod", '["env:prod"', "env=prod;team=core")


@dataclass(frozen=True)
class Landed:
    """One row as it is written.

    `meant` is the row as the pipeline should understand it; `fate` is None where it is accepted, DUPLICATE,
    or the reason for which it is quarantined; `kind` is the injected dirt, if any.
    """

    cells: list[str]
    meant: Row
    fate: str | None = None
    kind: str | None = None


def soiled(
    rng: random.Random,
    rows: list[Row],
    source: Source,
    plan: dict[str, int],
    may_refuse: Callable[[Row], bool],
) -> list[Landed]:
    """The rows with the planned dirt, in random order; only what `may_refuse` holds for is quarantined."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    landed: list[Landed] = []

    def take(kind: str, eligible: Callable[[Row], bool]) -> list[Row]:
        """Rows for this kind that have no other dirt yet."""
        chosen = [index for index in order if eligible(rows[index])][: plan.get(kind, 0)]
        taken = set(chosen)
        order[:] = [index for index in order if index not in taken]
        return [rows[index] for index in chosen]

    for row in take("conflicting_rows", may_refuse):
        landed += _contradicting(row, source)
    for row in take("short_rows", may_refuse):
        landed.append(_short(rng, row, source))
    for nth, row in enumerate(take("broken_rules", may_refuse)):
        landed.append(_broken(nth, row, source))
    for nth, row in enumerate(take("unknown_orgs", may_refuse)):
        changed = row | {"org_id": f"org_x{nth:07d}"}
        landed.append(Landed(_cells(changed, source), changed, "org_id_unknown", "unknown_orgs"))
    for row in take("duplicate_rows", _any):
        landed.append(Landed(_cells(row, source), row))
        landed.append(Landed(_cells(row, source), row, DUPLICATE, "duplicate_rows"))
    for kind, column, values in (
        ("bad_emails", "email", NOT_ADDRESSES),
        ("bad_tags", "tags_json", NOT_JSON),
        ("missing_values", "active", ("",)),
    ):
        for nth, row in enumerate(take(kind, _any)):
            changed = row | {column: values[nth % len(values)]}
            landed.append(Landed(_cells(changed, source), changed, None, kind))
    for row in take("row_spellings", _any):
        column = rng.choice(source.spelled)
        spelled = row | {column: rng.choice(spellings(row[column]))}
        landed.append(Landed(_cells(spelled, source), row, None, "row_spellings"))
    landed += [Landed(_cells(rows[index], source), rows[index]) for index in order]
    rng.shuffle(landed)
    return landed


def _any(row: Row) -> bool:
    """Every row will do."""
    return True


def _cells(row: Row, source: Source) -> list[str]:
    """The cells in the order of the header."""
    return [row[column] for column in source.columns]


def _contradicting(row: Row, source: Source) -> list[Landed]:
    """The row, and another one that says something else of the same key."""
    column, first, second = source.contested
    other = row | {column: second if row[column] == first else first}
    return [
        Landed(_cells(each, source), each, "conflicting_rows", "conflicting_rows") for each in (row, other)
    ]


def _short(rng: random.Random, row: Row, source: Source) -> Landed:
    """The row without its last cells; its key stays readable, for a snapshot without one is refused whole."""
    kept = rng.randint(max(2, len(source.key)), len(source.columns) - 1)
    return Landed(_cells(row, source)[:kept], row, "malformed_row", "short_rows")


def _broken(nth: int, row: Row, source: Source) -> Landed:
    """The row with a cell that has it refused."""
    column, cell, reason = source.broken[nth % len(source.broken)]
    changed = row | {column: cell}
    if column in source.key:
        # Without its key the row needs something of its own, lest two of them be equal by chance.
        changed["comment"] = f"Survey sheet {nth} came without a date"
    return Landed(_cells(changed, source), changed, reason, "broken_rules")
