"""What a table as a whole must hold, from its contract: the checks that no rule over single rows can make.

A check is about the rows themselves (a key stands once, a required column has no NULL) or about a fact, one number
that a query yields: declared as `expectations` of the table, or derived here. The queries are written in the SQL that
DuckDB and Spark share, with tables by their full names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from ..contracts.table import LAYERS, Expectation, Table

_TABLE_NAME = re.compile(rf"'[^']*'|\b({'|'.join(LAYERS)})\.([a-z][a-z0-9_]*)\b")
"""A table's name, or a text, which may look like one."""
_MEASURED = re.compile(r"decimal|double|int|bigint")


@dataclass(frozen=True)
class Check:
    """One expectation of a suite.

    `what` says how it is checked: `unique` and `not_null` over the columns, `fact` over the number of that name.
    """

    rule: str
    what: Literal["unique", "not_null", "fact"]
    kind: str
    level: Literal["warn", "fail"]
    description: str
    columns: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def expected(self) -> str:
        """The bounds, readable."""
        if self.what != "fact":
            return "none"
        parts = [f"≥ {self.low:g}"] if self.low is not None else []
        return ", ".join(parts + ([f"≤ {self.high:g}"] if self.high is not None else []))


@dataclass(frozen=True)
class Profile:
    """What a table looks like: its rows, the NULLs of each column, and the mean of each measure."""

    rows: int
    nulls: Mapping[str, int] = field(default_factory=dict)
    means: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """How far a table has moved from its last runs, as fractions, and what moved most."""

    facts: Mapping[str, float]
    where: Mapping[str, str]


def tables_in(query: str) -> set[str]:
    """Return the tables that a query names."""
    return {match[0] for match in _TABLE_NAME.finditer(query) if match[1]}


def with_views(query: str) -> str:
    """Return the query over views named `layer_table`."""
    return _TABLE_NAME.sub(lambda match: f"{match[1]}_{match[2]}" if match[1] else match[0], query)


def key_of(table: Table) -> tuple[str, ...]:
    """Return what a row of the table is known by; a version of a key by its start as well."""
    return (*table.key, "effective_from") if table.history.kind == "scd2" else table.key


def facts_of(table: Table) -> dict[str, Expectation]:
    """Return the facts that a table is checked by: declared ones and those that follow from its contract."""
    return (
        _history_facts(table) | _source_facts(table) | _reference_facts(table) | row_rules(table) | table.expectations
    )


def row_rules(table: Table) -> dict[str, Expectation]:
    """Return the rules over single rows of a mart, each as the number of rows that break it.

    Rows of silver are judged one by one where they are written; a mart's are counted here, before it is published.
    """
    if table.layer != "gold":
        return {}
    return {
        name: Expectation(
            kind="consistency", level="fail" if rule.level == "fail" else "warn", at_most=0, description=rule.description,
            measure=f"SELECT count(*) FROM {table.name} WHERE {rule.when}",
        )
        for name, rule in table.rules.items()
    }  # fmt: skip


def row_rules_query(table: Table) -> str:
    """Return the query that counts the rows that break each row rule of a mart, in one pass."""
    counts = (f"count(CASE WHEN {table.rules[name].when} THEN 1 END) AS {name}" for name in row_rules(table))
    return f"SELECT {', '.join(counts)} FROM {table.name}"


def _history_facts(table: Table) -> dict[str, Expectation]:
    if table.history.kind != "scd2":
        return {}
    keys = ", ".join(table.key)
    in_order = f"OVER (PARTITION BY {keys} ORDER BY effective_from)"
    return {
        "current_versions": Expectation(
            kind="uniqueness", level="fail", at_most=0, description="Keys with more than one current version",
            measure=f"SELECT count(*) FROM (SELECT {keys} FROM {table.name} WHERE is_current GROUP BY {keys} HAVING count(*) > 1) x",
        ),
        "overlapping_versions": Expectation(
            kind="consistency", level="fail", at_most=0, description="Versions that begin before the one before them has ended",
            measure=f"SELECT count(*) FROM (SELECT effective_from, lag(effective_to) {in_order} AS ended, "
            f"row_number() {in_order} AS n FROM {table.name}) x WHERE n > 1 AND (ended IS NULL OR ended > effective_from)",
        ),
    }  # fmt: skip


def _source_facts(table: Table) -> dict[str, Expectation]:
    """A record names the file that it came from; bronze must hold it in that file."""
    if table.history.kind != "upsert" or table.layer != "silver":
        return {}
    names = {key: table.columns[key].source or key for key in table.key}
    source = ", ".join(f"trim({source}) AS {key}" for key, source in names.items())
    same = " AND ".join(f"CAST(s.{key} AS STRING) = b.{key}" for key in table.key)
    query = (
        f"SELECT count(*) FROM {table.name} s LEFT JOIN (SELECT DISTINCT {source}, _source_sha256 FROM bronze.{table.short_name}) b "
        f"ON {same} AND s._source_sha256 = b._source_sha256 WHERE b._source_sha256 IS NULL"
    )
    return {
        "source_missing": Expectation(
            kind="accuracy", level="fail", at_most=0, measure=query, description="Rows that stand in no delivery"
        )
    }


def _reference_facts(table: Table) -> dict[str, Expectation]:
    found = {}
    for column, target in table.reference.items():
        owner, _, key = target.rpartition(".")
        query = (
            f"SELECT count(*) FROM {table.name} t LEFT JOIN (SELECT DISTINCT {key} AS known FROM {owner}) o "
            f"ON t.{column} = o.known WHERE t.{column} IS NOT NULL AND o.known IS NULL"
        )
        found[f"{column}_orphans"] = Expectation(
            kind="consistency", level="warn", at_most=0, measure=query,
            description=f"Rows whose {column} no version of {owner} knows",
        )  # fmt: skip
    return found


def checks_of(table: Table, facts: Iterable[str], limits: Mapping[str, float]) -> list[Check]:
    """Return a table's suite.

    Args:
        table: the contract.
        facts: the names of the facts that were measured.
        limits: how far row_count, null_share and mean may move from the last runs, as fractions.
    """
    key = key_of(table)
    checks = [Check("key", "unique", "uniqueness", "fail", f"{', '.join(key)} stands once", key)] if key else []
    required = [name for name, column in table.columns.items() if column.required]
    checks += [
        Check(f"{name}_required", "not_null", "completeness", "fail", f"{name} has no NULL", (name,))
        for name in required
    ]
    declared = facts_of(table)
    for name in facts:
        if name in declared:
            body = declared[name]
            checks.append(
                Check(name, "fact", body.kind, body.level, body.description, low=body.at_least, high=body.at_most)
            )
    moved = {
        "row_count_change": ("volume", "Change of the number of rows against the last runs, as a fraction"),
        "null_share_change": ("completeness", "Largest change of a column's share of NULLs against the last runs"),
        "mean_change": ("distribution", "Largest change of a measure's mean against the last runs, as a fraction"),
    }
    checks += [
        Check(name, "fact", kind, "warn", text, high=limits[name])
        for name, (kind, text) in moved.items()
        if name in facts
    ]
    return checks


def profile_query(table: Table) -> str:
    """Return the query that measures a table in one pass: `rows`, `nulls_<column>`, `mean_<column>`."""
    parts = ["count(*) AS rows"]
    parts += [f"count(*) - count({name}) AS nulls_{name}" for name in table.columns]
    parts += [f"avg(CAST({name} AS DOUBLE)) AS mean_{name}" for name in _measures(table)]
    return f"SELECT {', '.join(parts)} FROM {table.name}"


def _measures(table: Table) -> list[str]:
    apart = {*table.key, "load_id", "schema_version"}
    return [n for n, c in table.columns.items() if n not in apart and _MEASURED.match(c.type)]


def profile_from(row: Mapping[str, Any]) -> Profile:
    """Read the answer to `profile_query`."""
    nulls = {name.removeprefix("nulls_"): int(value) for name, value in row.items() if name.startswith("nulls_")}
    means = {n.removeprefix("mean_"): float(v) for n, v in row.items() if n.startswith("mean_") and v is not None}
    return Profile(int(row["rows"]), nulls, means)


def change_from(now: Profile, last: Sequence[Profile]) -> Change:
    """Compare a table with the median of its last runs; nothing is said where there were none."""
    if not last:
        return Change({}, {})
    facts, where = {}, {}
    before = median(one.rows for one in last)
    facts["row_count_change"] = abs(now.rows - before) / max(before, 1)
    where["row_count_change"] = f"{before:,.0f} → {now.rows:,} rows"
    shares = {
        name: (median(one.nulls.get(name, 0) / max(one.rows, 1) for one in last), count / max(now.rows, 1))
        for name, count in now.nulls.items()
        if any(name in one.nulls for one in last)
    }
    if shares:
        name, (old, new) = max(shares.items(), key=lambda item: abs(item[1][1] - item[1][0]))
        facts["null_share_change"] = abs(new - old)
        where["null_share_change"] = f"{name}: {old:.1%} → {new:.1%} NULL"
    means = {
        name: (median(one.means[name] for one in last if name in one.means), mean)
        for name, mean in now.means.items()
        if any(name in one.means for one in last)
    }
    moved = {name: (old, new) for name, (old, new) in means.items() if old}
    if moved:
        name, (old, new) = max(moved.items(), key=lambda item: abs(item[1][1] - item[1][0]) / abs(item[1][0]))
        facts["mean_change"] = abs(new - old) / abs(old)
        where["mean_change"] = f"{name}: {old:,.4g} → {new:,.4g}"
    return Change(facts, where)
