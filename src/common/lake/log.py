"""The log of a Delta table, read without Spark: versions, commits and their notes, data files and their statistics."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from ..contracts.table import Table
from .duck import connected, parquet_of
from .entries import is_compaction, read_entry
from .objects import storage_at
from .opening import is_table, open_table
from .storage import Storage, local_file


@dataclass(frozen=True)
class Transaction:
    """Names a write so that Delta takes it once: a repetition with the same app and version is skipped."""

    app: str
    version: int


@dataclass(frozen=True)
class Commit:
    """One commit of a table: its version, the operation, and the note its writer left (empty for foreign commits)."""

    version: int
    operation: str
    note: dict[str, Any]
    metrics: dict[str, Any]


def version_of(path: str | os.PathLike[str]) -> int:
    """Return the newest version of the table at `path`."""
    return open_table(path, without_files=True).version()


def commits_of(path: str | os.PathLike[str], after: int = -1) -> list[Commit]:
    """Return the commits of a table with a version greater than `after`, oldest first, with their notes."""
    table = open_table(path, without_files=True)
    newest = table.version()
    if newest <= after:
        return []
    found = []
    for entry in table.history(newest - after):
        if entry["version"] > after:
            found.append(_commit(entry["version"], entry))
    return sorted(found, key=lambda commit: commit.version)


def newest_first(path: str | os.PathLike[str], upto: int | None = None) -> Iterator[Commit]:
    """Yield the commits of a table, the newest (up to a version) first, each read only when it is asked for.

    Ends where the log begins: entries that a checkpoint covers go in time.
    """
    for version in range(version_of(path) if upto is None else upto, -1, -1):
        try:
            text = read_entry(path, version).decode()
        except FileNotFoundError:
            return
        info: dict[str, Any] = next(
            (json.loads(line)["commitInfo"] for line in text.splitlines() if line.startswith('{"commitInfo"')), {}
        )
        yield _commit(version, info)


def last_note(path: str | os.PathLike[str], version: int | None = None) -> dict[str, Any]:
    """Return the note of the newest commit, up to `version`, that carries one ({} where there is none)."""
    return next((commit.note for commit in newest_first(path, version) if commit.note), {})


def _commit(version: int, info: Mapping[str, Any]) -> Commit:
    note, metrics = _parse_note(info.get("userMetadata")), info.get("operationMetrics") or {}
    return Commit(version, info.get("operation", ""), note, metrics)


def _parse_note(text: str | None) -> dict[str, Any]:
    try:
        note = json.loads(text) if text else {}
    except json.JSONDecodeError:
        return {}
    return note if isinstance(note, dict) else {}


def property_of(path: str, name: str) -> str | None:
    """Return a property of the table at `path`, None where it has none of that name."""
    return open_table(path, without_files=True).metadata().configuration.get(name)


def has_deletion_vectors(delta: DeltaTable) -> bool:
    """Tell whether rows of a table may be deleted within its files, which delta-rs neither reads nor writes."""
    return "deletionVectors" in (delta.protocol().reader_features or ())


def schema_of(path: str) -> pa.Schema:
    """Return the Arrow schema of the table at `path`, as it is stored."""
    return pa.schema(open_table(path, without_files=True).schema().to_arrow())


def is_hidden(folder: str) -> bool:
    """Tell whether a folder of a table holds no rows; that of a partition does, whatever its column is called."""
    return folder[:1] in "_." and "=" not in folder


def stored(path: str, version: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the data files and the columns of a version of the table at `path`."""
    delta = open_table(path, version=version, skip_stats=True)
    return tuple(data_files(delta, path)), tuple(field.name for field in delta.schema().fields)


def data_files(delta: DeltaTable, path: str, partitions: list[tuple[str, str, Any]] | None = None) -> list[str]:
    """Return the paths of a table's data files, of those in some partitions where any are named."""
    return [local_file(path, uri) for uri in delta.file_uris(partitions)]


def _folder(table: str) -> str:
    layer, _, name = table.partition(".")
    return f"{layer}/{name}"


def log_entry(table: str, version: int) -> str:
    """Return where, below the lake's root, a version's entry of a table's log lies."""
    return f"{_folder(table)}/_delta_log/{version:020d}.json"


@dataclass(frozen=True)
class Logs:
    """The tables under one root folder, as their logs tell them: a table `layer.name` lies at `<root>/<layer>/<name>`."""

    root: Path

    @property
    def storage(self) -> Storage:
        """The files below the root."""
        return storage_at(self.root)

    def path(self, table: str) -> str:
        """Return the folder of a table."""
        return self.storage.at(_folder(table))

    def exists(self, table: str) -> bool:
        """Tell whether the table has been created."""
        return is_table(self.path(table))

    def version(self, table: str) -> int:
        """Return the newest version of a table, -1 where it does not exist yet."""
        return version_of(self.path(table)) if self.exists(table) else -1

    def version_at(self, table: str, moment: datetime) -> int:
        """Return the newest version of a table that had been committed by a moment, -1 where there was none."""
        if not self.exists(table):
            return -1
        upto = moment.timestamp() * 1000
        history = open_table(self.path(table), without_files=True).history()
        return max((int(entry["version"]) for entry in history if entry["timestamp"] <= upto), default=-1)

    def same_rows(self, table: str, old: int | None, new: int) -> bool:
        """Tell whether two versions of a table hold the same rows, because only compactions lie between them."""
        if old == new:
            return True
        if old is None or not 0 <= old < new:
            return False
        path = self.path(table)
        return all(is_compaction(path, version) for version in range(old + 1, new + 1))

    def rows_since(self, table: str, version: int | None = None) -> int:
        """Return the version since when a table has held the rows it has; compactions after it changed none (-1: no table)."""
        found = self.version(table) if version is None else version
        path = self.path(table)
        while found > 0 and is_compaction(path, found):
            found -= 1
        return found

    def commits(self, table: str, after: int = -1) -> list[Commit]:
        """Return a table's commits after a version, oldest first ([] where it does not exist yet)."""
        return commits_of(self.path(table), after) if self.exists(table) else []

    def newest_first(self, table: str) -> Iterator[Commit]:
        """Yield a table's commits, newest first, each read only when it is asked for; none where it does not exist."""
        return newest_first(self.path(table)) if self.exists(table) else iter(())

    def bytes_added(self, table: str, after: int) -> int:
        """Return the bytes of the data files that the commits after a version added."""
        versions = range(after + 1, self.version(table) + 1)
        return sum(int(action["size"]) for version in versions for action in self._added(table, version))

    def last_note(self, table: str, version: int | None = None) -> dict[str, Any]:
        """Return the newest note a writer left on the table, up to `version` ({} where there is none)."""
        return last_note(self.path(table), version) if self.exists(table) else {}

    def undeclared(self, table: Table) -> list[str]:
        """Say in what a table's description, comments and properties differ from its contract; [] where in nothing."""
        delta = open_table(self.path(table.name))
        metadata, fields = delta.metadata(), {field.name: field for field in delta.schema().fields}
        found = [] if metadata.description == table.description else ["description"]
        found += [key for key, value in table.properties.items() if metadata.configuration.get(key) != value]
        found += [
            name
            for name, column in table.columns.items()
            if name in fields and (fields[name].metadata or {}).get("comment") != column.description
        ]
        return found

    def leaking(self, table: Table) -> list[str]:
        """Return the personal columns of which the table's files carry statistics."""
        names = pa.table(open_table(self.path(table.name)).get_add_actions(flatten=True))
        return [
            name
            for name in table.personal
            if any(
                names[at].null_count < names.num_rows
                for at in names.column_names
                if at in (f"min.{name}", f"max.{name}")
            )
        ]

    def column_names(self, table: str) -> list[str]:
        """Return the columns that a table has ([] where it does not exist yet)."""
        if not self.exists(table):
            return []
        return [field.name for field in open_table(self.path(table), without_files=True).schema().fields]

    def stamp(self, table: str, version: int) -> int:
        """Return a number that tells a version from the same one of a table that was made anew; -1 where it has no entry."""
        entry = self.storage.look(log_entry(table, version))
        return int(sha256(entry.version.encode()).hexdigest()[:15], 16) if entry else -1

    def table_id(self, table: str) -> str:
        """Return the id that a table keeps for life: another one means that it was made anew."""
        return str(open_table(self.path(table), without_files=True).metadata().id)

    def is_readable(self, table: str, version: int) -> bool:
        """Tell whether every file of a version is still there."""
        try:
            files = data_files(open_table(self.path(table), version=version), self.path(table))
        except DeltaError:
            return False
        return not storage_at(self.path(table)).lacking(files)

    def newest(self, table: str, column: str, version: int | None = None) -> Any:
        """Return the largest value of a column from the file statistics, without reading data; None where there is none."""
        if not self.exists(table):
            return None
        actions = pa.table(open_table(self.path(table), version=version).get_add_actions(flatten=True))
        name = f"max.{column}"
        values = (
            [value for value in actions[name].to_pylist() if value is not None] if name in actions.column_names else []
        )
        return max(values, default=None)

    def least_of_newest(self, table: str, column: str, rows: int) -> Any:
        """Return a value of a column from which on at least so many of the table's newest rows lie, from file statistics.

        None where the table holds none.
        """
        if not self.exists(table):
            return None
        actions = pa.table(open_table(self.path(table)).get_add_actions(flatten=True))
        if f"max.{column}" not in actions.column_names:
            return None
        files = zip(
            *(actions[name].to_pylist() for name in (f"max.{column}", f"min.{column}", "num_records")), strict=True
        )
        held, least = 0, []
        for _, low, records in sorted((file for file in files if file[0] is not None), reverse=True):
            least.append(low)
            held += records
            if held >= rows:
                break
        return min(least, default=None)

    def has_transaction(self, table: str, transaction: Transaction) -> bool:
        """Tell whether the table has taken this write, or a later one of its app."""
        seen = open_table(self.path(table)).transaction_version(transaction.app)
        return seen is not None and int(seen) >= transaction.version

    def has_files(self, table: str) -> bool:
        """Tell whether the table holds any data file."""
        return bool(open_table(self.path(table), skip_stats=True).file_uris())

    def file_count(self, table: str) -> int:
        """Return the number of data files of the newest version."""
        return len(open_table(self.path(table)).file_uris())

    def partition_values(self, table: str, column: str, version: int | None = None) -> set[str]:
        """Return the values of a partition column that the table holds, as text."""
        delta = open_table(self.path(table), version=version, skip_stats=True)
        return {str(part[column]) for part in delta.partitions()}

    def files(self, table: str, version: int, partition: tuple[str, Sequence[str]]) -> list[str]:
        """Return the data files of a version in some partitions (column, its values as text)."""
        column, values = partition
        delta = open_table(self.path(table), version=version, skip_stats=True)
        return data_files(delta, self.path(table), [(column, "in", list(values))])

    def files_holding(self, table: str, column: str, value: Any) -> list[str]:
        """Return the data files whose statistics do not rule out that the column holds the value."""
        import pyarrow.compute as pc

        actions = pa.table(open_table(self.path(table)).get_add_actions(flatten=True))
        low, high = (actions.column(f"{end}.{column}") for end in ("min", "max"))
        ruled_out = pc.fill_null(pc.or_(pc.greater(low, value), pc.less(high, value)), False)
        paths = actions.filter(pc.invert(ruled_out))["path"].to_pylist()
        return [f"{self.path(table)}/{unquote(path)}" for path in paths]

    def has_version(self, table: str, version: int) -> bool:
        """Tell whether the log entry of a version, or the place of the next one, is there to be streamed from."""
        return self.storage.is_file(log_entry(table, version)) or version == self.version(table) + 1

    def changed_values(self, table: str, column: str, old: int, new: int) -> set[Any] | None:
        """Return the values of a column in the rows that differ between two versions, without Spark.

        Only files that the versions do not share are read. None where it can't be told: an old file is gone, the
        versions have other columns, or a row has no value.
        """
        try:
            path = self.path(table)
            before, after = (set(data_files(open_table(path, version=v), path)) for v in (old, new))
        except DeltaError:
            return None
        added, removed = sorted(after - before), sorted(before - after)
        if storage_at(path).lacking(removed):
            return None
        with connected() as connection:
            sides = []
            for name, files in (("new_rows", added), ("old_rows", removed)):
                if files:
                    connection.register(name, connection.sql(f"FROM {parquet_of(files, partitioned=True)}"))
                    sides.append(name)
            if not sides:
                return set()
            source = sides[0]
            if len(sides) == 2:
                if sorted(connection.table("new_rows").columns) != sorted(connection.table("old_rows").columns):
                    return None
                columns = ", ".join(f'"{name}"' for name in connection.table("new_rows").columns)
                new_, old_ = (f"SELECT {columns} FROM {name}" for name in sides)
                source = f"(({new_} EXCEPT ALL {old_}) UNION ALL ({old_} EXCEPT ALL {new_}))"
            values = {row[0] for row in connection.sql(f'SELECT DISTINCT "{column}" FROM {source}').fetchall()}
        return None if None in values else values

    def replaced_files(
        self, table: str, old: int, new: int, columns: Sequence[str]
    ) -> tuple[list[str], list[str]] | None:
        """Return the data files that only the new, and that only the old of two versions has, without reading them.

        None where rows can't be told from files: an old file is gone, a version has other columns than those named, or
        rows are deleted within files.
        """
        path = self.path(table)
        sides = []
        for version in (old, new):
            try:
                delta = open_table(path, version=version)
            except DeltaError:
                return None
            names = [field.name for field in delta.schema().fields]
            if sorted(names) != sorted(columns) or has_deletion_vectors(delta):
                return None
            sides.append(set(data_files(delta, path)))
        added, removed = sorted(sides[1] - sides[0]), sorted(sides[0] - sides[1])
        return (added, removed) if not storage_at(path).lacking(removed) else None

    def files_added(self, table: str, version: int) -> list[str]:
        """Return the names of the data files that a commit added, in the order of the log."""
        return [unquote(action["path"]).rpartition("/")[2] for action in self._added(table, version)]

    def rows_appended(self, table: str, after: int) -> int:
        """Return how many rows the commits after a version have appended; those that rewrite what is there count none."""
        rows = 0
        for version in range(after + 1, self.version(table) + 1):
            actions = self._actions(table, version)
            if not any("remove" in action for action in actions):
                rows += sum(int(json.loads(a["add"]["stats"])["numRecords"]) for a in actions if "add" in a)
        return rows

    def _added(self, table: str, version: int) -> list[dict[str, Any]]:
        return [action["add"] for action in self._actions(table, version) if "add" in action]

    def _actions(self, table: str, version: int) -> list[dict[str, Any]]:
        entry = log_entry(table, version)
        if not self.storage.is_file(entry):
            return []
        return [json.loads(line) for line in self.storage.read(entry).splitlines()]
