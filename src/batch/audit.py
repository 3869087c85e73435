"""The audit before a publication: whole tables against their expectations, and the gate where one of level `fail` breaks.

A table is checked where it, a table its facts speak of, or its contract has changed since it was last found good; of a
large one, its rows are checked in the days or months that have changed since then. Spark reads what is too large for
DuckDB and pandas. Results go to ops.quality_results, pages to <lake>/quality/.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
from pyspark.sql import DataFrame

from ..common.config import Config
from ..common.contracts.table import Table
from ..common.errors import CloudlakeError, QualityGateError
from ..common.faults import crash_point
from ..common.lake.duck import connected
from ..common.lake.provenance import fingerprint
from ..common.names import RESULTS
from ..common.quality import gates
from ..common.quality.checks import (
    Profile,
    change_from,
    checks_of,
    facts_of,
    profile_from,
    profile_query,
    row_rules,
    row_rules_query,
    tables_in,
    with_views,
)
from ..common.quality.docs import INDEX, Line, Validated, index_page, page_of, table_page
from ..common.session import Sessions
from ..common.steps import Expected, StepResult
from .audited_rows import rows_to_check

if TYPE_CHECKING:
    from ..common.quality.expectations import Finding, Suites

PROFILE = "profile"
ROW_RULES = "row_rules"


@dataclass(frozen=True)
class Subject:
    """A table at one version, with the versions of the tables that its facts speak of."""

    table: Table
    versions: Mapping[str, int]
    rows_since: Mapping[str, int]
    """The versions since when they hold these rows: a compaction makes a version of its own, and changes none."""
    fingerprint: str
    sound: int | None = None
    """The version of the table at which all of its rows were last found to hold, by this contract; None where none was."""

    @property
    def version(self) -> int:
        """The version of the table itself."""
        return self.versions[self.table.name]

    @property
    def name(self) -> str:
        """What a gate accepts: the table, and the data it was checked with."""
        others = [f"{name}@{since}" for name, since in sorted(self.rows_since.items()) if name != self.table.name]
        return " ".join([f"{self.table.name}@{self.rows_since[self.table.name]}", *others])


@dataclass
class Audited:
    """What the audit of one table gave."""

    subject: Subject
    engine: str
    profile: Profile
    findings: list[Finding]
    where: Mapping[str, str]


def subjects(config: Config) -> list[Subject]:
    """Return every silver and gold table that holds something, with what it is checked against. Needs no Spark."""
    lake, registry = config.lake, config.registry
    tables = [
        table for table in registry.layer("silver", "gold") if lake.version(table.name) > 0 or _is_filled(config, table)
    ]
    # What is counted is pinned before what it is compared with: a stream that is running writes silver first.
    named = {name for table in tables for fact in facts_of(table).values() for name in tables_in(fact.measure)}
    in_order = sorted(named | {table.name for table in tables}, key=lambda name: not name.startswith("ops."))
    newest = {name: lake.version(name) for name in in_order}
    settings = config.settings.quality.model_dump_json()
    sound = lake.last_note(RESULTS).get("sound", {})
    found = []
    for table in tables:
        mentioned = {name for fact in facts_of(table).values() for name in tables_in(fact.measure)}
        # A mart is compared with the versions that it was built from.
        built_from = lake.last_note(table.name).get("inputs", {}) if table.layer == "gold" else {}
        versions = {name: built_from.get(name, newest[name]) for name in sorted(mentioned | {table.name})}
        since = {name: lake.rows_since(name, version) for name, version in versions.items()}
        contract = fingerprint(settings, table.model_dump_json())
        at, by = sound.get(table.name, (None, ""))
        found.append(Subject(table, versions, since, contract, at if by == contract else None))
    return found


def _is_filled(config: Config, table: Table) -> bool:
    return config.lake.exists(table.name) and config.lake.has_files(table.name)


def pending(config: Config, found: Sequence[Subject], full_reload: bool) -> list[Subject]:
    """Return the tables that have to be checked: those not found good as they are."""
    good = {} if full_reload else config.lake.last_note(RESULTS).get("good", {})
    return [one for one in found if good.get(one.table.name) != _mark(one)]


def _mark(subject: Subject) -> str:
    return f"{subject.name} {subject.fingerprint}"


def describe(config: Config, full_reload: bool, expected: Expected) -> str:
    """Say what a run would check, without doing it."""
    todo = pending(config, subjects(config), full_reload)
    names = sorted(
        {one.table.name for one in todo} | {name for name in expected if name.split(".")[0] in ("silver", "gold")}
    )
    return f"checks {len(names)} table(s): {', '.join(names[:5])}{' …' if names[5:] else ''}" if names else "skips it"


def audit(
    sessions: Sessions, config: Config, *, run_id: str, now: datetime, parallel: int = 2, full_reload: bool = False
) -> StepResult:
    """Check every table that has changed against its expectations.

    Raises:
        QualityGateError: an expectation of level `fail` is broken and nobody has accepted that; all of them are named.
    """
    found = subjects(config)
    todo = pending(config, found, full_reload)
    if not todo:
        return StepResult(skipped=True, message="nothing changed")
    from ..common.quality.expectations import Suites

    history = _last_profiles(config, {one.table.name for one in todo})
    suites = Suites()
    with ThreadPoolExecutor(max_workers=parallel) as pool:
        audited = list(
            pool.map(lambda one: _audit_table(sessions, config, suites, one, history.get(one.table.name, [])), todo)
        )
    broken = [
        (one, finding)
        for one in audited
        for finding in one.findings
        if finding.check.level == "fail" and not finding.holds
    ]
    passed = {
        (one.subject.name, finding.check.rule)
        for one, finding in broken
        if gates.is_accepted(config.lake, finding.check.rule, one.subject.name)
    }
    _record(config, audited, passed, found, run_id, now)
    crash_point("after_quality_results")
    _write_pages(config, audited, run_id, now)
    stopped = [
        _failure(one, finding, run_id)
        for one, finding in broken
        if (one.subject.name, finding.check.rule) not in passed
    ]
    for failure in stopped:
        gates.record_failure(config.lake, config.registry, run_id, failure)
    if stopped:
        raise QualityGateError("\n".join(str(failure) for failure in stopped))
    warned = [finding.check.rule for one in audited for finding in one.findings if not finding.holds]
    checked = sum(len(one.findings) for one in audited)
    message = f"{checked} expectations of {len(audited)} tables" + (f"; {len(warned)} do not hold" if warned else "")
    return StepResult(rows_in=sum(one.profile.rows for one in audited), rows_out=checked, message=message)


def _failure(one: Audited, finding: Finding, run_id: str) -> gates.GateFailed:
    check, table = finding.check, one.subject.table.name
    seen = f"{finding.observed:,.6g}" if finding.observed is not None else "nothing"
    what = f"{table}: {check.rule}: {check.description}: found {seen}, expected {check.expected}."
    return gates.GateFailed(check.rule, table, one.subject.name, what, run_id)


# --- one table ----------------------------------------------------------------------------------------------------


def _audit_table(
    sessions: Sessions, config: Config, suites: Suites, subject: Subject, last: Sequence[Profile]
) -> Audited:
    """Measure a table and run its suite, with Spark where one of the tables at hand is large."""
    table = subject.table
    facts = facts_of(table)
    rules = row_rules(table)
    known = {
        name: body.measure
        for name, body in facts.items()
        if name not in rules and _is_measurable(config, subject, body.measure)
    }
    queries = {PROFILE: profile_query(table), **({ROW_RULES: row_rules_query(table)} if rules else {}), **known}
    settings = config.settings.quality
    named = {name for query in queries.values() for name in tables_in(query)}
    is_large = any(config.lake.is_for_spark(name, subject.versions[name], settings.duckdb_rows) for name in named)
    measured = (_with_spark if is_large else _with_duckdb)(sessions, config, subject, queries)
    profile = profile_from(measured.pop(PROFILE))
    change = change_from(profile, last)
    broken = {name: float(count) for name, count in measured.pop(ROW_RULES, {}).items()}
    numbers = {name: float(row["n"] or 0) for name, row in measured.items()} | broken | dict(change.facts)
    limits = {name: getattr(settings, name) for name in ("row_count_change", "null_share_change", "mean_change")}
    checks = checks_of(table, numbers, limits)
    rows = rows_to_check(sessions, config, table, subject.version, subject.sound)
    findings = suites.validate(table.name, checks, rows, numbers)
    is_by_spark = is_large or isinstance(rows, DataFrame)
    return Audited(subject, "spark" if is_by_spark else "pandas", profile, findings, change.where)


def _is_measurable(config: Config, subject: Subject, query: str) -> bool:
    """A fact about a table that has not been built yet says nothing."""
    return all(subject.versions[name] >= 0 for name in tables_in(query))


def _with_duckdb(
    sessions: Sessions, config: Config, subject: Subject, queries: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    names = {name for query in queries.values() for name in tables_in(query)}
    views = {name.replace(".", "_"): config.lake.dataset(name, subject.versions[name]) for name in names}
    with connected(**views) as connection:
        connection.execute("CREATE TEMP MACRO datediff(later, earlier) AS date_diff('day', earlier, later)")
        found = {}
        for name, query in queries.items():
            try:
                answer = connection.sql(with_views(query)).to_arrow_table()
            except duckdb.Error as error:
                raise _no_answer(subject, name, error) from error
            found[name] = _one_row(name, answer.to_pylist()[0])
    return found


def _with_spark(
    sessions: Sessions, config: Config, subject: Subject, queries: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    spark = sessions()
    for name in {name for query in queries.values() for name in tables_in(query)}:
        view = config.lake.read(spark, name, subject.versions[name])
        view.createOrReplaceTempView(name.replace(".", "_"))
    found = {}
    for name, query in queries.items():
        try:
            found[name] = _one_row(name, spark.sql(with_views(query)).collect()[0].asDict())
        except Exception as error:
            raise _no_answer(subject, name, error) from error
    return found


def _one_row(name: str, row: dict[str, Any]) -> dict[str, Any]:
    return row if name in (PROFILE, ROW_RULES) else {"n": next(iter(row.values()))}


def _no_answer(subject: Subject, name: str, error: Exception) -> CloudlakeError:
    first = str(error).strip().splitlines()[0]
    return CloudlakeError(f"{subject.table.name}: expectations.{name}.measure gives no answer: {first}")


# --- what is kept -------------------------------------------------------------------------------------------------


def _last_profiles(config: Config, tables: Iterable[str]) -> dict[str, list[Profile]]:
    """Return each table's profiles of the last runs, oldest first."""
    if not config.lake.exists(RESULTS):
        return {}
    rows = config.lake.read_small(RESULTS, filters=[("rule", "=", PROFILE)]).to_pylist()
    found: dict[str, list[Profile]] = {}
    for row in sorted(rows, key=lambda row: row["checked_at"]):
        if row["table"] in tables:
            detail = json.loads(row["detail"])
            found.setdefault(row["table"], []).append(Profile(row["rows"], detail["nulls"], detail["means"]))
    return {table: profiles[-config.settings.quality.last_runs :] for table, profiles in found.items()}


def _record(
    config: Config,
    audited: Sequence[Audited],
    passed: set[tuple[str, str]],
    found: Sequence[Subject],
    run_id: str,
    now: datetime,
) -> None:
    """Append the results in one commit; its note says which tables are good as they are."""
    rows: list[dict[str, Any]] = []
    last = config.lake.last_note(RESULTS)
    good, sound = dict(last.get("good", {})), dict(last.get("sound", {}))
    for one in audited:
        table = one.subject.table
        same = {
            "run_id": run_id,
            "table": table.name,
            "rows": one.profile.rows,
            "version": one.subject.version,
            "engine": one.engine,
            "checked_at": now,
        }
        detail = {"nulls": dict(one.profile.nulls), "means": dict(one.profile.means)}
        rows.append(same | {"rule": PROFILE, "kind": "volume", "level": "warn", "status": "passed",
                            "observed": float(one.profile.rows), "expected": "", "detail": json.dumps(detail)})  # fmt: skip
        is_good = True
        for finding in one.findings:
            check = finding.check
            is_accepted = (one.subject.name, check.rule) in passed
            is_good &= finding.holds or check.level == "warn" or is_accepted
            rows.append(
                same
                | {
                    "rule": check.rule,
                    "kind": check.kind,
                    "level": check.level,
                    "status": "passed" if finding.holds else "accepted" if is_accepted else "failed",
                    "observed": finding.observed,
                    "expected": check.expected,
                    "detail": one.where.get(check.rule),
                }
            )
        good[table.name] = _mark(one.subject) if is_good else ""
        sound.pop(table.name, None)
        if all(finding.holds for finding in one.findings if finding.check.what != "fact"):
            sound[table.name] = (one.subject.version, one.subject.fingerprint)
    here = {one.table.name for one in found}
    kept = {"good": good, "sound": sound}
    note = {"run_id": run_id} | {
        kind: {n: mark for n, mark in marks.items() if n in here} for kind, marks in kept.items()
    }
    config.lake.append_small(rows, config.registry[RESULTS], note)


def _write_pages(config: Config, audited: Sequence[Audited], run_id: str, now: datetime) -> None:
    """Write the pages of the tables at hand, and the index of all."""
    storage = config.lake.storage
    for one in audited:
        table = one.subject.table
        version = one.subject.versions[table.name]
        about = Validated(table.name, table.description, run_id, now, version, one.profile.rows, one.engine)
        storage.replace(page_of(f"{table.name}.html"), table_page(about, one.findings).encode(), durable=False)
    storage.replace(page_of(INDEX), index_page(_validated(config)).encode(), durable=False)


def _validated(config: Config) -> list[Line]:
    """Return the newest validation of each table."""
    rows = config.lake.read_small(RESULTS, columns=["table", "rule", "status", "run_id", "checked_at"]).to_pylist()
    newest: dict[str, tuple[datetime, str]] = {}
    for row in rows:
        at = (row["checked_at"], row["run_id"])
        newest[row["table"]] = max(at, newest.get(row["table"], at))
    lines = []
    for table in config.registry.layer("silver", "gold"):
        if table.name in newest:
            checked_at, run_id = newest[table.name]
            mine = [
                row["status"]
                for row in rows
                if (row["table"], row["run_id"]) == (table.name, run_id) and row["rule"] != PROFILE
            ]
            lines.append(Line(table.name, mine.count("passed"), len(mine), run_id, checked_at))
    return lines
