"""How much of the tables passes their rules and expectations, and where that has been going."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from ..batch.audit import PROFILE
from ..common.config import Config
from ..common.contracts.table import Table
from ..common.errors import ConfigurationError, did_you_mean
from ..common.names import RECONCILIATION, RESULTS
from ..common.quality.docs import INDEX, page_of

LAST = 8
"""How many deliveries or runs a trend shows."""
_NEWEST_RESULTS = 20_000
"""So many of the newest results are looked at: a run that has built everything leaves some 400."""
SHOWN = (
    "kind",
    "level",
    "status",
    "observed",
    "expected",
    "detail",
    "rows",
    "version",
    "engine",
    "run_id",
    "checked_at",
)


def quality_state(config: Config, name: str | None) -> dict[str, Any]:
    """Return rules over rows and expectations of tables as plain data, with their pass rates and trends.

    Raises:
        ConfigurationError: no silver or gold table has that name.
    """
    tables = _tables(config, name)
    names = {table.name for table in tables}
    return {
        "row_rules": [rule for table in tables for rule in _row_rules(config, table)],
        "expectations": _expectations(config, names),
        "profiles": _profiles(config, names),
        "docs": config.lake.storage.at(page_of(INDEX)),
    }


def _tables(config: Config, name: str | None) -> list[Table]:
    tables = config.registry.layer("silver", "gold")
    if name is None:
        return tables
    found = [table for table in tables if name in (table.name, table.short_name)]
    if not found:
        known = [table.short_name for table in tables]
        raise ConfigurationError(f"--table {name}: no silver or gold table has that name{did_you_mean(name, known)}")
    return found


def _row_rules(config: Config, table: Table) -> list[dict[str, Any]]:
    """One entry for each rule that rows have met, or might: pass rate over all deliveries, trend over the last."""
    newest: dict[str, dict[str, Any]] = {}
    columns = ["delivery", "counted_at", "landed", "accepted", "reasons", "flags"]
    counts = config.lake.rows(RECONCILIATION, columns, [("table", "=", table.name)])
    for row in sorted(counts, key=lambda row: row["counted_at"]):
        newest[row["delivery"]] = row
    counted = sorted(newest.values(), key=lambda row: row["counted_at"])
    broken: dict[str, list[tuple[int, int]]] = defaultdict(list)
    seen = {name for row in counted for kind in ("reasons", "flags") for name in json.loads(row[kind] or "{}")}
    for row in counted:
        counts = json.loads(row["reasons"] or "{}") | json.loads(row["flags"] or "{}")
        for name in seen | set(table.rules):
            level = table.rules[name].level if name in table.rules else "quarantine"
            broken[name].append((counts.get(name, 0), row["accepted"] if level == "warn" else row["landed"]))
    entries = []
    for name in sorted(broken):
        rule = table.rules.get(name)
        rows, of = (sum(column) for column in zip(*broken[name], strict=True))
        entries.append(
            {
                "table": table.name,
                "rule": name,
                "level": rule.level if rule else "quarantine",
                "description": rule.description if rule else _meaning(name),
                "rows": rows,
                "of": of,
                "pass_rate": 1 - rows / of if of else None,
                "trend": [1 - count / whole for count, whole in broken[name][-LAST:] if whole],
            }
        )
    return entries


def _meaning(reason: str) -> str:
    """Say what a reason means that follows from a column's declaration."""
    known = {
        "malformed_row": "The row does not fit its header",
        "malformed_json": "The line is not exactly one JSON object",
        "conflicting_rows": "Another row of the delivery has the same key and other content",
        "event_id_conflict": "Another content of that event came first",
        "discarded": "A person has discarded it",
    }
    column, _, fault = reason.rpartition("_")
    faults = {"missing": "has no value", "unknown": "has an unknown value", "invalid": "can't be read as its type"}
    return known.get(reason) or f"{column} {faults.get(fault, 'breaks its rule')}"


def _results(config: Config, names: set[str]) -> list[dict[str, Any]]:
    since = config.lake.least_of_newest(RESULTS, "checked_at", _NEWEST_RESULTS)
    if since is None:
        return []
    rows = config.lake.rows(RESULTS, filters=[("checked_at", ">=", since), ("table", "in", sorted(names))])
    return sorted(rows, key=lambda row: row["checked_at"])


def _expectations(config: Config, names: set[str]) -> list[dict[str, Any]]:
    """One entry for each expectation of its table's newest audit."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    newest: dict[str, str] = {}
    for row in _results(config, names):
        newest[row["table"]] = row["run_id"]
        if row["rule"] != PROFILE:
            runs[row["table"], row["rule"]].append(row)
    found = []
    for (table, rule), rows in sorted(runs.items()):
        last = rows[-1]
        if last["run_id"] == newest[table]:
            passed = sum(row["status"] == "passed" for row in rows)
            found.append(
                {"table": table, "rule": rule}
                | {name: last[name] for name in SHOWN}
                | {"pass_rate": passed / len(rows), "trend": [row["observed"] for row in rows[-LAST:]]}
            )
    return found


def _profiles(config: Config, names: set[str]) -> dict[str, Any]:
    newest = {row["table"]: row for row in _results(config, names) if row["rule"] == PROFILE}
    return {table: {"rows": row["rows"], **json.loads(row["detail"])} for table, row in sorted(newest.items())}
