"""How the masters change from one daily export to the next: inserts, updates, deletes, re-inserts."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date

from .draws import stream
from .masters import REPS, ROLES, STAGES, STATES, Population, new_org, new_resource, new_user, tags_json
from .options import Options
from .sources import Row

UPDATED_SHARE = 0.05
DELETED_SHARE = 0.03
MOST_DELETED = 0.15  # a snapshot that lacks over 20 % of the keys is refused; keep well below
FIRST_NEW_NUMBER = 1_000_000_000  # numbers of inserted keys, apart from those of the first state


@dataclass(frozen=True)
class Changes:
    """What a master's rows do: which may go, how one changes, how the n-th new one looks."""

    may_go: Callable[[Row], bool]
    changed: Callable[[random.Random, Row], Row]
    created: Callable[[random.Random, int], Row]


@dataclass
class Extent:
    """The rows of a master on one day, and those that have been deleted so far."""

    present: list[Row]
    gone: list[Row]
    inserted: int = 0


def states(options: Options, population: Population) -> Iterator[dict[str, list[Row]]]:
    """The masters' rows of each dated export, oldest first, and last those of the flat files."""
    extents = {
        "customers_orgs": Extent(population.orgs, []),
        "users": Extent(population.users, []),
        "resources": Extent(population.resources, []),
    }
    yield {name: extent.present for name, extent in extents.items()}
    for step, day in enumerate([*options.snapshot_days, options.flat_snapshot_at.date()][1:], start=1):
        rules = _rules(options, population, day)
        extents = {
            name: next_day(stream(options.seed, f"{name}:{step}"), extent, rules[name], step)
            for name, extent in extents.items()
        }
        yield {name: extent.present for name, extent in extents.items()}


def next_day(rng: random.Random, extent: Extent, rules: Changes, step: int) -> Extent:
    """The rows a day later: as many come, new or back, as go."""
    rows = extent.present
    candidates = [index for index, row in enumerate(rows) if rules.may_go(row)]
    going = min(max(1, int(DELETED_SHARE * len(rows))), int(MOST_DELETED * len(rows)), len(candidates))
    # Of an odd number the one in the middle comes back on even days and is new on odd ones.
    returning = min((going + (step % 2 == 0)) // 2, len(extent.gone))
    leaving = set(rng.sample(candidates, going))
    staying = [row for index, row in enumerate(rows) if index not in leaving]
    for index in rng.sample(range(len(staying)), min(len(staying), max(1, int(UPDATED_SHARE * len(rows))))):
        staying[index] = rules.changed(rng, staying[index])
    back = set(rng.sample(range(len(extent.gone)), returning))
    # Every other returning key comes back with other values.
    returned = [
        rules.changed(rng, extent.gone[index]) if nth % 2 else extent.gone[index]
        for nth, index in enumerate(sorted(back))
    ]
    fresh = [rules.created(rng, FIRST_NEW_NUMBER + extent.inserted + nth) for nth in range(going - returning)]
    return Extent(
        present=staying + returned + fresh,
        gone=[row for index, row in enumerate(extent.gone) if index not in back]
        + [rows[i] for i in sorted(leaving)],
        inserted=extent.inserted + len(fresh),
    )


def _rules(options: Options, population: Population, day: date) -> dict[str, Changes]:
    """What may happen to each master on this day."""
    base_orgs = {row["org_id"] for row in population.orgs}
    settled = population.known_orgs
    return {
        "customers_orgs": Changes(
            may_go=lambda row: row["org_id"] in population.volatile_orgs or row["org_id"] not in base_orgs,
            changed=_changed_org,
            created=lambda rng, number: new_org(
                rng, options, number, signup=day, plan=rng.choice(("free", "pro")), is_enterprise=False
            ),
        ),
        "users": Changes(
            may_go=lambda row: True,
            changed=_changed_user,
            created=lambda rng, number: new_user(rng, options, number, rng.choice(settled), day),
        ),
        "resources": Changes(
            may_go=lambda row: row["resource_id"] not in population.bystander_resources,
            changed=_changed_resource,
            created=lambda rng, number: new_resource(
                rng,
                options,
                number,
                org_id=rng.choice(settled),
                created=day,
                state=rng.choices(list(STATES), list(STATES.values()))[0],
            ),
        ),
    }


def _another(rng: random.Random, row: Row, column: str, values: Collection[str]) -> Row:
    """The row with another value in this column."""
    return row | {column: rng.choice([value for value in values if value != row[column]])}


def _changed_org(rng: random.Random, row: Row) -> Row:
    """An organisation moves on; it neither enters nor leaves the enterprise plan."""
    column = rng.choice(("plan_tier", "lifecycle_stage", "sales_rep"))
    if column == "plan_tier" and row["plan_tier"] != "enterprise":
        return _another(rng, row, "plan_tier", ("free", "standard", "pro"))
    if column == "lifecycle_stage":
        return _another(rng, row, "lifecycle_stage", STAGES)
    return _another(rng, row, "sales_rep", REPS)


def _changed_user(rng: random.Random, row: Row) -> Row:
    """A user gets another role, or becomes active or inactive."""
    if rng.random() < 0.8:
        return _another(rng, row, "role", ROLES)
    return _another(rng, row, "active", ("True", "False"))


def _changed_resource(rng: random.Random, row: Row) -> Row:
    """A resource gets another state or, to NULL and back, other tags."""
    if rng.random() < 0.6:
        others = {state: share for state, share in STATES.items() if state != row["state"]}
        return row | {"state": rng.choices(list(others), list(others.values()))[0]}
    if row["tags_json"] and rng.random() < 0.3:
        return row | {"tags_json": ""}
    return row | {"tags_json": tags_json(rng)}
