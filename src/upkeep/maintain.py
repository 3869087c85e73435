"""Upkeep of every table: rows past their retention go, small files become few, and what nobody can read any more goes.

No row that is read changes by it, and no reader, publication or stream misses a file (common/lake/pruning.py). Each table
is done for itself: where it ends in the middle, what was done is done, and the next time goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from deltalake.exceptions import DeltaError
from pyspark.sql import SparkSession

from ..common.config import Config
from ..common.contracts.derived import with_memories
from ..common.contracts.table import Table
from ..common.errors import CloudlakeError, ConfigurationError, did_you_mean, explain_failure
from ..common.faults import crash_point
from ..common.lake import pruning
from ..common.lake.log import has_deletion_vectors
from ..common.lake.objects import storage_at
from ..common.lake.opening import open_table
from ..common.lake.storage import for_sql
from ..common.lake.tables import committing
from ..common.publication import Ledger, Publication, publications, read_ledger, write_ledger
from . import leftovers
from .purging import purge

FILE_BYTES = 128 << 20
"""What a file of a table should have."""
ORDERED_FILE_BYTES = 32 << 20
"""The same where files are ordered by key: a snapshot then rewrites those that hold its keys, and no more."""


@dataclass(frozen=True)
class Kept:
    """What was done with a table, or would be."""

    table: str
    rows: int = 0
    """Rows that went, or were put together."""
    files: tuple[int, int] = (0, 0)
    """Files of its newest version, before and after."""
    pruned: int = 0
    """Data files that no version needed any more."""
    entries: int = 0
    """Files of its log that no version needed any more."""
    bytes: int = 0
    fault: str = ""

    @property
    def is_changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.rows or self.pruned or self.entries or self.files[0] != self.files[1])


@dataclass
class Maintained:
    """What upkeep did with the lake, or would do."""

    tables: list[Kept] = field(default_factory=list)
    leftovers: list[Path] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What could not be done, and why."""
        return [f"{kept.table}: {kept.fault}" for kept in self.tables if kept.fault]


def kept_tables(config: Config) -> dict[str, Table]:
    """Return every table of the lake, memories included, in the order of the contracts."""
    return {table.name: table for one in config.registry.tables.values() for table in with_memories([one])}


def maintain(
    config: Config,
    session: Callable[[], SparkSession],
    now: datetime,
    *,
    unread: Mapping[str, int],
    only: str | None = None,
    dry_run: bool = False,
) -> Maintained:
    """Keep every table, or one, in order; the caller holds the batch lock, a stream may run.

    Args:
        config: the lake and its retention.
        session: gives a Spark session, for tables whose rows are deleted within files.
        now: the time.
        unread: table → the first of its versions that a stream has not read.
        only: one table.
        dry_run: say what would be done, and do nothing.

    Raises:
        ConfigurationError: there is no table of that name.
    """
    tables = kept_tables(config)
    if only is not None and only not in tables:
        raise ConfigurationError(f"--table {only}: there is no such table{did_you_mean(only, tables)}")
    done = Maintained()
    noted = _noted_inputs(config)
    for name, table in tables.items():
        if only in (None, name) and config.lake.exists(name):
            try:
                done.tables.append(
                    _keep(config, session, table, now, noted.get(name, set()), unread.get(name), dry_run)
                )
            except (CloudlakeError, DeltaError, OSError) as error:
                done.tables.append(Kept(name, fault=explain_failure(error)))
            crash_point("maintain_after_table")
    if only is None:
        done.leftovers = leftovers.find_leftovers(config, now)
        for file in () if dry_run else done.leftovers:
            storage_at(str(file.parent)).delete(file.name)
        aside = leftovers.rotate_log(config, now, dry_run=dry_run)
        done.leftovers += [aside] if aside else []
    return done


def _noted_inputs(config: Config) -> dict[str, set[int]]:
    """Return table → the versions that the newest state of a mart was made from: what has changed since is told by them."""
    found: dict[str, set[int]] = {}
    for mart in config.registry.layer("gold"):
        for name, version in config.lake.last_note(mart.name).get("inputs", {}).items():
            found.setdefault(name, set()).add(int(version))
    return found


def _keep(
    config: Config,
    session: Callable[[], SparkSession],
    table: Table,
    now: datetime,
    noted: set[int],
    unread: int | None,
    dry_run: bool,
) -> Kept:
    lake, path = config.lake, config.lake.path(table.name)
    rows = purge(config, table.name, now, unread=unread, dry_run=dry_run)
    if not dry_run:  # at the newest commit with a note, which stays: compactions come after it
        pruning.write_checkpoint(path)
    before = lake.file_count(table.name)
    after = _compact(config, session, table, dry_run)
    keep = pruning.Keep(now - _history(config, table), frozenset(noted | _published(config, table.name)), unread)
    if not dry_run:
        crash_point("maintain_after_compaction")
        _publish_compacted(config, table.name)
        keep = replace(keep, versions=frozenset(noted | _published(config, table.name)))
    pruned = pruning.find_unneeded(path, keep)
    if not dry_run:
        pruning.let_go(path, pruned)
    return Kept(table.name, rows, (before, after), len(pruned.files), len(pruned.entries), pruned.bytes)


def _history(config: Config, table: Table) -> timedelta:
    """Return how long every version of a table stays readable."""
    is_live = table.writer != "batch" or table.layer in ("speed", "serving", "ops")
    kept = config.settings.retention
    return timedelta(hours=kept.live_hours) if is_live else timedelta(days=kept.history_days)


def _compact(config: Config, session: Callable[[], SparkSession], table: Table, dry_run: bool) -> int:
    """Write small files as few, partition by partition, so that a stream waits for one only; returns the files then."""
    lake, path = config.lake, config.lake.path(table.name)
    target = ORDERED_FILE_BYTES if table.layout.cluster else FILE_BYTES
    crowded = pruning.crowded(path, target)
    if dry_run or not crowded:
        return lake.file_count(table.name) - sum(one.saves for one in crowded)
    if has_deletion_vectors(open_table(path, without_files=True)):
        with committing(session(), path):
            session().sql(f"OPTIMIZE {for_sql(path)}")
        return lake.file_count(table.name)
    for one in crowded:
        pruning.compact(path, one.partition, target, table.layout.cluster)
        crash_point("maintain_after_partition")
    return lake.file_count(table.name)


def _published(config: Config, name: str) -> set[int]:
    return {version for one in publications(config.lake) if (version := one.version(name)) is not None}


def _publish_compacted(config: Config, name: str) -> None:
    """Have publications name the compacted version where it holds the rows of the one they name: it has fewer files."""
    ledger = read_ledger(config.lake)
    newest = config.lake.version(name)

    def moved(one: Publication) -> Publication:
        version = one.version(name)
        if version is None or version == newest or not config.lake.same_rows(name, version, newest):
            return one
        return replace(one, tables={**one.tables, name: {**one.tables[name], "version": newest}})

    new = Ledger(moved(ledger.in_force), tuple(map(moved, ledger.others)), ledger.rolled_back_from, ledger.seen)
    if new != ledger:
        write_ledger(config.lake, new)
