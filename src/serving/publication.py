"""Publication: which version of each gold table readers see, changed for all tables at once by one atomic replace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..common.clock import now_utc
from ..common.config import Config
from ..common.errors import CloudlakeError, ConfigurationError, did_you_mean
from ..common.faults import crash_point
from ..common.lake.books import require_own
from ..common.lake.tables import Lake
from ..common.publication import Ledger, Publication, read_ledger, write_ledger
from ..common.steps import StepResult


def publish(config: Config, run_id: str) -> StepResult:
    """Put the newest version of every gold table in force, in one atomic replace; a no-op where nothing changed.

    After a rollback, what was rolled back stays so until a run has built something new.

    Raises:
        CloudlakeError: a table of silver or gold holds what another program wrote, or lacks what the books say it holds.
    """
    made = [table.name for table in config.registry.layer("silver", "gold")]
    require_own(config.lake, made, "Nothing was published; scripts/run_batch_pipeline.sh says what mends it.")
    tables: dict[str, dict[str, Any]] = {}
    for table in config.registry.layer("gold"):
        if config.lake.exists(table.name):
            note = config.lake.last_note(table.name)
            if "stale" in note:
                raise CloudlakeError(
                    f"{table.name}: what it is made of was made anew, and it was not built since; nothing was published. "
                    f"Run scripts/run_batch_pipeline.sh --jobs gold"
                )
            tables[table.name] = {
                "version": config.lake.version(table.name),
                "load_id": note.get("load_id", 0),
                "run_id": note.get("run_id"),
                "as_of": note.get("as_of"),
            }
    ledger = read_ledger(config.lake)
    left = [other for other in ledger.others if other.run_id == ledger.rolled_back_from]
    if ledger.in_force.tables == tables:
        return StepResult(skipped=True, message="nothing new to publish")
    if left and left[0].tables == tables:
        return StepResult(skipped=True, message=f"nothing new since run {left[0].run_id} was rolled back")
    crash_point("before_publish")
    new = Publication(run_id, now_utc().isoformat(timespec="microseconds"), tables)
    earlier = (ledger.in_force, *ledger.others) if ledger.in_force.run_id else ()
    write_ledger(
        config.lake,
        Ledger(new, tuple(sorted(earlier, key=lambda p: p.published_at)[-config.settings.retention.publications :]), seen=ledger.seen),
    )
    crash_point("after_publish")
    return StepResult(rows_out=len(tables), message=f"{len(tables)} tables in force")


def rollback(config: Config, to: str | None = None) -> tuple[Publication, Publication]:
    """Put an earlier publication in force again, by default the one before; returns what was and what now is in force.

    The caller holds the batch lock.

    Raises:
        ConfigurationError: there is no such publication, or none before.
        CloudlakeError: a version of it can't be read any more.
    """
    ledger = read_ledger(config.lake)
    now = ledger.in_force
    if to is None:
        before = [other for other in ledger.others if other.published_at < now.published_at]
        if not before:
            raise ConfigurationError("rollback: nothing was published before what is in force now")
        target = max(before, key=lambda p: p.published_at)
    else:
        known = {other.run_id: other for other in ledger.others}
        if to not in known:
            raise ConfigurationError(f"--to {to}: no publication of that run is kept{did_you_mean(to, known)}")
        target = known[to]
    gone = broken(config.lake, target)
    if gone:
        raise CloudlakeError(
            f"run {target.run_id} can't be published again: {', '.join(gone)} no longer has that version (VACUUM removes "
            "old files); nothing was changed. Rebuild it with scripts/run_batch_pipeline.sh --jobs gold --full-reload"
        )
    others = (*(other for other in ledger.others if other is not target), now)
    write_ledger(config.lake, Ledger(target, others, rolled_back_from=now.run_id, seen=ledger.seen))
    return now, target


def broken(lake: Lake, publication: Publication) -> list[str]:
    """Return the tables of which a publication's version can't be read any more."""
    return [name for name, entry in sorted(publication.tables.items()) if not _is_there(lake, name, entry)]


def forget(lake: Lake, publication: Publication) -> None:
    """Drop a publication that is not in force, because it can't be rolled back to. The caller holds the batch lock."""
    ledger = read_ledger(lake)
    write_ledger(
        lake, replace(ledger, others=tuple(other for other in ledger.others if other.run_id != publication.run_id))
    )


def _is_there(lake: Lake, table: str, entry: dict[str, Any]) -> bool:
    """Tell whether the published version can be read, and is the one that was published: a table may be made anew."""
    version = entry["version"]
    return lake.is_readable(table, version) and lake.last_note(table, version).get("run_id") == entry["run_id"]
