"""Before a run trusts its books: each table compared with them, what differs healed from what it is made of, or told.

A table of another program's rows is never healed unasked: somebody may need them. What is derived (gold, serving, the
increments) is made anew; silver is told anew from bronze, bronze read anew from the landing zone, as far as it reaches.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from dataclasses import replace

from ..batch.bronze import restoring
from ..common.config import Config
from ..common.contracts.derived import memory_name, owner_of, with_memories
from ..common.contracts.schemas import arrow_schema
from ..common.contracts.table import Table
from ..common.errors import CloudlakeError
from ..common.lake.books import CLEARED, NEW, Books, Finding, restore_line
from ..common.lake.duck import connected
from ..common.names import BRONZE_EVENTS, INCREMENTS, LANDED, RECONCILIATION, RESULTS
from ..common.names import EVENTS as SILVER
from ..common.names import REFUSED_EVENTS as QUARANTINE
from ..common.steps import StepResult
from ..streaming import rebuilding
from ..streaming.committed import last_accepted, made_anew

RECENT = "speed.recent_events"
STREAM = (BRONZE_EVENTS, SILVER, QUARANTINE, INCREMENTS, RECENT)
"""The tables that streaming code writes and mends; it holds the stream's lock then."""
RUN = "scripts/run_batch_pipeline.sh"


def watched(config: Config) -> list[str]:
    """Return every table of the lake, memories included."""
    return [table.name for table in with_memories(config.registry.tables.values())]


def compared(config: Config, names: Collection[str], *, keep: bool = True) -> list[Finding]:
    """Return the tables that are not what the books say; `keep`: whether the marks of the others move on."""
    books = Books.of(config.lake)
    found = []
    if not unreadable_records(config):  # what can't be read says nothing of other tables
        found = _behind(config, names, [name for name in names if name not in books.marks])
    told = {finding.table for finding in found}
    return found + books.compare([name for name in names if name not in told], keep=keep)


def unreadable_records(config: Config) -> list[Finding]:
    """Return the records of deliveries and counts that lack a data file: who trusts them must not read them first."""
    found = Books.of(config.lake).compare([LANDED, RECONCILIATION], keep=False)
    return [finding for finding in found if finding.kind == "files"]


def close(config: Config) -> None:
    """Move every mark to what the run has written, so that the next one need not look through it."""
    compared(config, watched(config))


def _behind(config: Config, names: Collection[str], unmarked: Collection[str]) -> list[Finding]:
    """Return the tables that are older than what other books say of them: landed files, counts, and gold's notes.

    A mark may be older than what was written since, and a lake may have none yet.
    """
    lake = config.lake
    least = _least(config, unmarked) if unmarked else {}
    for source, version in _landed_versions(config):
        least[f"bronze.{source}"] = max(least.get(f"bronze.{source}", -1), version)
    found = []
    for name in names:
        version = lake.version(name) if name in least else -1
        if version < least.get(name, -1):
            gone = "the table is gone" if version < 0 else f"the table is at version {version}"
            what = f"{gone}; what was counted, or made from it, knows version {least[name]}"
            found.append(Finding(name, "removed" if version < 0 else "older", what))
    told = {finding.table for finding in found}
    return found + [finding for finding in _lost_loads(config) if finding.table in names and finding.table not in told]


def _landed_versions(config: Config) -> list[tuple[str, int]]:
    """Return each source with the newest version of bronze that its landed files lie in."""
    if not config.lake.exists(LANDED):
        return []
    with connected(landed=config.lake.dataset(LANDED)) as connection:
        sql = "SELECT source, coalesce(max(bronze_version), -1) FROM landed GROUP BY source"
        return connection.sql(sql).fetchall()


def _least(config: Config, names: Collection[str]) -> dict[str, int]:
    """Return the version that each table has at least, by what was counted, and what gold was made from."""
    lake = config.lake
    least: dict[str, int] = {}
    for row in lake.rows(RECONCILIATION, ["table", "accepted", "quarantined"]):  # once: of a lake without marks
        short = row["table"].partition(".")[2]
        for name, count in ((row["table"], row["accepted"]), (f"quarantine.{short}", row["quarantined"])):
            least |= {name: 1} if count else {}  # version 0 is the empty table
    for table in config.registry.layer("silver"):
        if table.history.kind == "scd2" and table.name in least:
            least |= {table.name: 0, memory_name(table.name): 0}  # never empty
    for table in config.registry.layer("gold"):
        for name, version in lake.last_note(table.name).get("inputs", {}).items():
            least[name] = max(least.get(name, 0), version)
    return {name: version for name, version in least.items() if name in names}


def _lost_loads(config: Config) -> list[Finding]:
    """Return silver's events and the increments where they lack a load that was counted."""
    lake = config.lake
    counted = last_accepted(lake)
    if not counted:
        return []
    tables = [SILVER] if made_anew(lake.last_note(SILVER)) else [SILVER, INCREMENTS]
    newest = {name: int(lake.newest(name, "load_id") or 0) for name in tables}
    what = "load {} was counted, and the newest that the table holds is {}"
    return [
        Finding(name, "older" if lake.exists(name) else "removed", what.format(counted, held or "none"))
        for name, held in newest.items()
        if held < counted
    ]


# --- the batch run ------------------------------------------------------------------------------------------------


def open_books(
    config: Config,
    chosen: Collection[str],
    *,
    full_reload: bool,
    stream_runs: bool,
    run_id: str,
) -> StepResult:
    """Compare the tables that some steps read or write with the books, and heal what can be healed.

    Args:
        config: the lake and the contracts.
        chosen: the tables whose steps run.
        full_reload: the run makes silver anew from bronze, so rows of other programs go.
        stream_runs: a stream is running; what is its own is not touched then.
        run_id: the run.

    Raises:
        CloudlakeError: something is lost, or another program's; all of it is named, each with the line to type.
    """
    concerned = {*config.registry.upstream(chosen), *chosen}
    concerned |= {f"quarantine.{name.partition('.')[2]}" for name in concerned if name.startswith("silver.")}
    found = [f for f in compared(config, watched(config)) if owner_of(f.table) in concerned or _is_ops(f.table)]
    stopping = [f for f in found if _stops(config, f, chosen, full_reload, stream_runs)]
    if stopping:
        lines = [f"{finding}. {_remedy(config, finding)}" for finding in stopping]
        raise CloudlakeError("\n".join([*lines, "Nothing was started, and nothing is published."]))
    mine = [finding for finding in found if finding.table not in STREAM]
    mine.sort(key=lambda finding: not _is_ops(finding.table))  # what is healed by the records comes after them
    told = [_heal(config, finding, run_id) for finding in mine]
    names = ", ".join(f.table for f in found if f.table in STREAM)
    told += [f"{names}: made anew by the stream's step"] if names else []
    return StepResult(
        rows_in=len(found), skipped=not found, message="; ".join(told) or "every table is as the books say"
    )


def _is_ops(table: str) -> bool:
    return table.startswith("ops.")


def _stops(config: Config, finding: Finding, chosen: Collection[str], full_reload: bool, stream_runs: bool) -> bool:
    layer = finding.table.partition(".")[0]
    owner = owner_of(finding.table)
    if layer in ("gold", "serving"):
        return False
    if finding.table in STREAM and stream_runs:
        return finding.table not in (RECENT,)
    if finding.kind == "foreign":
        is_derived = finding.table in (INCREMENTS, RECENT)
        is_told_anew = full_reload and layer == "silver" and owner in chosen
        return not (is_derived or is_told_anew)
    maker = f"silver.{owner.partition('.')[2]}" if layer == "quarantine" else owner
    if finding.table in (INCREMENTS, RECENT):
        maker = SILVER
    if finding.table == BRONZE_EVENTS:
        maker = SILVER
    return layer not in ("ops", "speed") and maker not in chosen


def line(config: Config, finding: Finding) -> str:
    """Return what a person types to mend a finding of the books."""
    layer, _, short = owner_of(finding.table).partition(".")
    lake = config.lake
    anew = f"{RUN} --full-reload --jobs {short}"
    if finding.kind != "foreign" or layer in ("gold", "serving") or finding.table in (INCREMENTS, RECENT):
        return RUN
    if finding.good < 0 and layer != "silver":
        aside = lake.storage.at("aside")
        moved = shlex.join(["mv", lake.path(finding.table), f"{aside}/{finding.table}-foreign"])
        return f"{shlex.join(['mkdir', '-p', aside])} && {moved} && {RUN}"
    if layer == "silver":
        return f"{anew} && {RUN}"
    restore = restore_line(lake, finding)
    return f"{restore} && {anew} && {RUN}" if finding.table == BRONZE_EVENTS else restore


def _can_go_back(finding: Finding) -> bool:
    return finding.good >= 0 and owner_of(finding.table) == finding.table


def _remedy(config: Config, finding: Finding) -> str:
    """Say what a person types, and what it does."""
    layer = finding.table.partition(".")[0]
    typing = line(config, finding)
    if finding.kind != "foreign":
        return f"{typing}: it is made anew from what it is made of (a running stream must be stopped first)."
    if finding.good < 0 and layer != "silver":
        return f"The table was made by another program; to move it away, and run again: {typing}"
    if layer == "silver":
        back = f" (or take the table back: {restore_line(config.lake, finding)})" if _can_go_back(finding) else ""
        return f"To make it anew from bronze, without those rows: {typing}{back}"
    return f"To take it back: {typing}"


def _heal(config: Config, finding: Finding, run_id: str) -> str:
    """Mend one table, so that its step makes it whole; returns what was done. May be done again after a crash."""
    layer = finding.table.partition(".")[0]
    table = config.registry.tables.get(owner_of(finding.table))
    assert table is not None
    if layer == "bronze":
        return restoring.restore(config, table, finding, run_id)
    if layer in ("silver", "quarantine"):
        return tell_anew(config, config.registry[f"silver.{table.short_name}"], finding, run_id)
    if layer == "gold":
        stale(config, [finding.table], run_id)
        _forget(config, finding)
        return f"{finding}: it is made anew"
    if layer == "serving":
        config.lake.create(table)
        config.lake.replace_small(arrow_schema(table).empty_table(), table, note={CLEARED: run_id})
        _forget(config, finding)
        return f"{finding}: it is made anew"
    return _heal_record(config, finding, run_id)


def _heal_record(config: Config, finding: Finding, run_id: str) -> str:
    """Mend a record of operations: what the tables' own notes still say is written again, the rest is lost, and told."""
    if finding.kind == "files":
        config.lake.set_aside(finding.table, run_id)
    if finding.table == RECONCILIATION:
        rebuilding.recount(config)
    _forget(config, finding)
    if finding.table in (LANDED, RECONCILIATION):
        return f"{finding}: it is written again from the tables' notes"
    return f"warning: {finding}: what it recorded since is lost"


def _forget(config: Config, *findings: Finding) -> None:
    Books.of(config.lake).keep({finding.table: NEW for finding in findings})


def stale(config: Config, names: Iterable[str], run_id: str) -> None:
    """Have marts, and all that is made of them, built whole: versions of a table that was made anew mean other rows."""
    lake, registry = config.lake, config.registry
    for name in sorted(registry.downstream(names)):
        if name.startswith("gold.") and "fingerprint" in lake.last_note(name):
            lake.note_only(registry[name], {"stale": run_id})
    if lake.exists(RESULTS):
        lake.note_only(registry[RESULTS], {"good": {}, "run_id": run_id})


def tell_anew(config: Config, table: Table, finding: Finding, run_id: str) -> str:
    """Have a silver table told every delivery again: first its counts go, so that a crash leaves them all pending.

    The table is moved aside with its memory, except where only its quarantine is to be filled again.
    """
    lake = config.lake
    stale(config, [table.name], run_id)
    if lake.exists(RECONCILIATION):
        lake.delete(RECONCILIATION, f"\"table\" = '{table.name}'", {"told_anew": table.name, "run_id": run_id})
    if finding.table.startswith("quarantine."):
        if finding.kind == "files":
            lake.set_aside(finding.table, run_id)
        _forget(config, finding)
        return f"{finding}: filled again from bronze; decisions that were taken in it are lost"
    names = [table.name, memory_name(table.name)] if table.history.kind == "scd2" else [table.name]
    for name in names:
        lake.set_aside(name, run_id)
    _forget(config, *(replace(finding, table=name) for name in names))
    return f"{finding}: told anew from bronze"


# --- the stream -----------------------------------------------------------------------------------------------------


def open_stream_books(config: Config, run_id: str, *, full_reload: bool = False) -> list[Finding]:
    """Compare the stream's tables with the books, and mend bronze as far as the landing zone reaches.

    The caller holds the stream lock, and makes silver anew where something is returned (`mend_events`).

    Raises:
        CloudlakeError: something is lost, or another program's.
    """
    broken = unreadable_records(config)
    if broken:
        raise CloudlakeError("\n".join(f"{finding}. A batch run writes it again: {RUN}" for finding in broken))
    found = compared(config, STREAM)
    stopping = [f for f in found if f.kind == "foreign" and f.table in (BRONZE_EVENTS, SILVER, QUARANTINE)]
    stopping = [f for f in stopping if not (full_reload and f.table == SILVER)]
    if stopping:
        raise CloudlakeError("\n".join(f"{finding}. {_remedy(config, finding)}" for finding in stopping))
    return [rebuilding.unread(config, f, run_id) if f.table == BRONZE_EVENTS else f for f in found]


def needs_reload(found: Iterable[Finding]) -> bool:
    """Tell whether silver's events have to be made anew from bronze."""
    return any(finding.table in (BRONZE_EVENTS, SILVER, QUARANTINE) for finding in found)


def is_read_again(found: Iterable[Finding]) -> bool:
    """Tell whether bronze's events are read again from the landing zone."""
    return any(finding.table == BRONZE_EVENTS for finding in found)


def mend_derived(config: Config, found: Iterable[Finding], run_id: str) -> list[str]:
    """Make the stream's derived tables anew after silver is whole, and note that all of it is."""
    told = []
    findings = list(found)
    lake, registry = config.lake, config.registry
    for finding in findings:
        if finding.table == INCREMENTS:
            rebuilding.sum_again(config, run_id)
            for table in registry.layer("serving"):
                if lake.exists(table.name):
                    lake.note_only(table, {"stale": run_id})
        elif finding.table == RECENT and lake.exists(RECENT):
            lake.note_only(registry[RECENT], {"stale": run_id})
        told.append(f"{finding}: made anew")
    if needs_reload(findings):
        stale(config, [SILVER], run_id)
        if lake.exists(RECENT):
            lake.note_only(registry[RECENT], {"stale": run_id})
    _forget(config, *findings)
    return told
