"""The master data as it first stood: organisations, users, resources."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import date, timedelta

from .draws import day_between, exactly, identifier, owners, shared, stream
from .options import Options
from .sources import REGIONS, SERVICES, Row, bystanders, distinct_rows

INDUSTRIES = (
    "Education",
    "Media",
    "Manufacturing",
    "E-commerce",
    "Retail",
    "Healthcare",
    "Energy",
    "Fintech",
    "Gaming",
    "Government",
)
PLANS = {"free": 0.30, "standard": 0.30, "pro": 0.275, "enterprise": 0.125}
STAGES = ("lead", "prospect", "active", "at_risk", "churned")
CHANNELS = ("ads", "event", "organic", "partner", "referral")
REPS = ("rep_a", "rep_b", "rep_c", "rep_d", "rep_e")
ROLES = ("admin", "analyst", "data_engineer", "developer", "devops", "ml_engineer")
STATES = {"running": 0.60, "stopped": 0.30, "terminated": 0.10}
DAYS_BEFORE = 60  # organisations signed up in the 60 days before the first event
VOLATILE_SHARE = 0.1
TAGS = {
    "env": ("prod", "dev"),
    "team": ("core", "ml"),
    "costcenter": ("alpha", "beta"),
    "pii": ("true",),
    "backup": ("daily",),
    "docs": ("https://wiki.example.com/runbook",),
}


@dataclass(frozen=True)
class Population:
    """The three masters, and which of their keys play a part of their own.

    `bystander` keys are referred to by nothing. `volatile` organisations may be deleted in a later snapshot.
    """

    orgs: list[Row]
    users: list[Row]
    resources: list[Row]
    bystander_orgs: frozenset[str]
    bystander_resources: frozenset[str]
    volatile_orgs: frozenset[str]

    @property
    def known_orgs(self) -> list[str]:
        """The organisations that other tables refer to."""
        return [row["org_id"] for row in self.orgs if row["org_id"] not in self.bystander_orgs]

    @property
    def known_resources(self) -> list[Row]:
        """The resources that events refer to."""
        return [row for row in self.resources if row["resource_id"] not in self.bystander_resources]

    @property
    def signup_dates(self) -> dict[str, str]:
        """When each organisation signed up; it never changes."""
        return {row["org_id"]: row["signup_date"] for row in self.orgs}


def populate(options: Options) -> Population:
    """The masters of a seed, all shares as measured."""
    orgs = _customers_orgs(options)
    keys = [row["org_id"] for row in orgs]
    aside = bystanders("customers_orgs", options)
    known = keys[aside:]
    volatile = known[: int(VOLATILE_SHARE * len(known))]
    resources = _resources(options, known)
    return Population(
        orgs=orgs,
        users=_users(
            options, known, frozenset(volatile), {row["org_id"]: row["signup_date"] for row in orgs}
        ),
        resources=resources,
        bystander_orgs=frozenset(keys[:aside]),
        bystander_resources=frozenset(
            row["resource_id"] for row in resources[: bystanders("resources", options)]
        ),
        volatile_orgs=frozenset(volatile),
    )


def new_org(
    rng: random.Random, options: Options, number: int, *, signup: date, plan: str, is_enterprise: bool
) -> Row:
    """One organisation."""
    first = ("Nimbus", "Vertex", "Quasar", "Aurora", "Cobalt", "Juniper", "Zephyr", "Meridian")
    second = ("Labs", "Systems", "Works", "Analytics", "Cloud", "Partners")
    return {
        "org_id": identifier("org", options.seed, number),
        "org_name": f"{rng.choice(first)} {rng.choice(second)} {number}",
        "industry": rng.choice(INDUSTRIES),
        "hq_region": rng.choice(REGIONS),
        "plan_tier": plan,
        "is_enterprise": str(is_enterprise),
        "signup_date": signup.isoformat(),
        "sales_rep": rng.choice(REPS),
        "lifecycle_stage": rng.choice(STAGES),
        "marketing_source": rng.choice(CHANNELS),
        "nps_score": f"{rng.randint(-100, 100)}.0",
    }


def _customers_orgs(options: Options) -> list[Row]:
    """All organisations; `is_enterprise` and the enterprise plan disagree in about a third."""
    rng, rows = stream(options.seed, "customers_orgs"), distinct_rows("customers_orgs", options)
    before = options.first_day - timedelta(days=1)
    plans = shared(rng, rows, PLANS)
    unscored = exactly(rng, rows, 0.14)
    # Nine in ten enterprise plans are not marked as enterprise, two in seven of the other plans are.
    marked_plans = iter(exactly(rng, plans.count("enterprise"), 0.1))
    marked_others = iter(exactly(rng, rows - plans.count("enterprise"), 16 / 70))
    orgs = []
    for number, plan in enumerate(plans):
        marked = next(marked_plans if plan == "enterprise" else marked_others)
        signup = day_between(rng, before - timedelta(days=DAYS_BEFORE - 1), before)
        org = new_org(rng, options, number, signup=signup, plan=plan, is_enterprise=marked)
        orgs.append(org | {"nps_score": ""} if unscored[number] else org)
    scored = [number for number in range(rows) if not unscored[number]]
    for number in rng.sample(scored, min(len(scored), max(1, rows // 80))):
        orgs[number]["nps_score"] = "101.0"
    for number in rng.sample(range(rows), options.count("missing_values", rows)):
        orgs[number]["signup_date"] = ""
    return orgs


def new_user(rng: random.Random, options: Options, number: int, org_id: str, created: date) -> Row:
    """One user, active, who has not logged in yet."""
    user_id = identifier("user", options.seed, number)
    return {
        "user_id": user_id,
        "org_id": org_id,
        "email": f"{user_id}@{org_id.replace('_', '-')}.example.com",
        "role": rng.choice(ROLES),
        "active": "True",
        "created_at": created.isoformat(),
        "last_login": "",
    }


def _users(options: Options, orgs: list[str], volatile: frozenset[str], signups: dict[str, str]) -> list[Row]:
    """All users.

    Nobody was created before a volatile organisation signed up: whether such a user is flagged after the
    organisation's deletion would depend on whether closed versions are looked at.
    """
    rng, rows = stream(options.seed, "users"), distinct_rows("users", options)
    dealt = owners(rng, rows, orgs)
    may_be_early = [number for number, org in enumerate(dealt) if org not in volatile and signups[org]]
    early = set(rng.sample(may_be_early, min(len(may_be_early), int(0.31 * rows + 0.5))))
    logins = shared(rng, rows, {"never": 0.17, "before creation": 0.29, "after": 0.54})
    active = exactly(rng, rows, 0.91)
    users = []
    for number, org in enumerate(dealt):
        signup = date.fromisoformat(signups[org] or options.first_day.isoformat())
        created = day_between(rng, signup, options.last_day - timedelta(days=20))
        if number in early:
            created = signup - timedelta(days=rng.randint(1, 50))
        user = new_user(rng, options, number, org, created)
        user["active"] = str(active[number])
        if logins[number] == "before creation":
            user["last_login"] = (created - timedelta(days=rng.randint(1, 60))).isoformat()
        elif logins[number] == "after":
            user["last_login"] = day_between(rng, created, options.last_day).isoformat()
        users.append(user)
    return users


def new_resource(
    rng: random.Random, options: Options, number: int, *, org_id: str, created: date, state: str
) -> Row:
    """One resource."""
    return {
        "resource_id": identifier("res", options.seed, number),
        "org_id": org_id,
        "service": rng.choice(SERVICES),
        "region": rng.choice(REGIONS),
        "created_at": created.isoformat(),
        "state": state,
        "tags_json": tags_json(rng),
    }


def tags_json(rng: random.Random) -> str:
    """A JSON array of one to four `key:value` strings; now and then a key has two values."""
    keys = rng.sample(sorted(TAGS), rng.randint(1, 4))
    tags = [f"{key}:{rng.choice(TAGS[key])}" for key in keys]
    if "env" in keys and rng.random() < 0.2:
        tags = [tag for tag in tags if not tag.startswith("env:")] + ["env:prod", "env:dev"]
    return json.dumps(tags)


def _resources(options: Options, orgs: list[str]) -> list[Row]:
    """All resources; 41 % were created over the first five sixths of the days: 17 % of events are older."""
    rng, rows = stream(options.seed, "resources"), distinct_rows("resources", options)
    dealt, states = owners(rng, rows, orgs), shared(rng, rows, STATES)
    untagged = exactly(rng, rows, 0.21)
    ranks = list(range(rows))
    rng.shuffle(ranks)
    resources = []
    for number, rank in enumerate(ranks):
        # Ranks instead of free draws: the share of too early events stays near 17 % for any seed.
        position = (rank + 0.5) / rows
        if position < 0.408:
            created = options.first_day + timedelta(days=int(position / 0.408 * options.days * 5 / 6))
        else:
            created = options.first_day - timedelta(days=rng.randint(1, DAYS_BEFORE))
        resource = new_resource(
            rng, options, number, org_id=dealt[number], created=created, state=states[number]
        )
        resources.append(resource | {"tags_json": ""} if untagged[number] else resource)
    return resources
