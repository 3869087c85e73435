"""The only module that reads and writes Delta tables.

Spark writes data. The `deltalake` package (delta-rs) does what would otherwise wait for a JVM: creating tables with
their documented schema, reading a table's log, and appending the few rows of the `ops` tables.

Every commit holds its table's lock, because two processes on one local Delta table can both believe that they have
committed, and carries a note (`userMetadata`, JSON): who wrote it, from which inputs. What a crash must not lose is
read back from these notes, so no bookkeeping can fall between a write and its record.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake import Transaction as AppTransaction
from deltalake.exceptions import CommitFailedError, DeltaError
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from pyarrow.parquet import filters_to_expression

from ..contracts.schemas import arrow_schema, as_declared, bare, delta_schema
from ..contracts.table import Table
from ..errors import CloudlakeError
from .conflicts import Conflicts
from .duck import connected
from .storage import for_duckdb, local_file

if TYPE_CHECKING:
    from delta.tables import DeltaTable as SparkDeltaTable
    from pyarrow.dataset import Dataset
    from pyspark.sql import DataFrame, SparkSession

CONFLICTS = Conflicts()
_NOTE = "spark.databricks.delta.commitInfo.userMetadata"
_TXN_APP = "spark.databricks.delta.write.txnAppId"
_TXN_VERSION = "spark.databricks.delta.write.txnVersion"


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


@dataclass(frozen=True)
class Revision:
    """What becomes of a small table: rows to insert or to overwrite by key, and the keys of rows to delete."""

    changed: pa.Table
    gone: pa.Table | None = None


# --- tables by path ---------------------------------------------------------------------------------------------


@contextmanager
def table_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of the table at `path`, waiting for it; released when the process ends, however it ends."""
    target = Path(path)
    lock = target.parent / ".locks" / f"{target.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def committing(
    spark: SparkSession,
    path: str | os.PathLike[str],
    note: Mapping[str, Any] | None = None,
    transaction: Transaction | None = None,
) -> Iterator[None]:
    """Hold the table's lock, and give every commit made on this session inside the block its note and transaction.

    The settings belong to the session: steps that run side by side need a session each (`spark.newSession()`).
    """
    settings = {_NOTE: _note_text(note)}
    if transaction is not None:
        settings |= {_TXN_APP: transaction.app, _TXN_VERSION: str(transaction.version)}
    with table_lock(path):
        for key, value in settings.items():
            spark.conf.set(key, value)
        try:
            yield
        finally:
            for key in settings:
                spark.conf.unset(key)


def is_table(path: str | os.PathLike[str]) -> bool:
    """Tell whether a Delta table lies at `path`."""
    return DeltaTable.is_deltatable(str(path))


def version_of(path: str | os.PathLike[str]) -> int:
    """Return the newest version of the table at `path`."""
    return DeltaTable(str(path), without_files=True).version()


def commits_of(path: str | os.PathLike[str], after: int = -1) -> list[Commit]:
    """Return the commits of a table with a version greater than `after`, oldest first, with their notes."""
    table = DeltaTable(str(path), without_files=True)
    newest = table.version()
    if newest <= after:
        return []
    found = []
    for entry in table.history(newest - after):
        if entry["version"] > after:
            found.append(
                Commit(
                    entry["version"],
                    entry.get("operation", ""),
                    _parse_note(entry.get("userMetadata")),
                    entry.get("operationMetrics") or {},
                )
            )
    return sorted(found, key=lambda commit: commit.version)


def last_note(path: str | os.PathLike[str], version: int | None = None) -> dict[str, Any]:
    """Return the note of the newest commit, up to `version`, that carries one ({} where there is none)."""
    table = DeltaTable(str(path), without_files=True)  # of one opened at a version, the history has wrong numbers
    newest = table.version()
    upto = newest if version is None else version
    for limit in (newest - upto + 5, None):
        for entry in sorted(table.history(limit), key=lambda entry: -entry["version"]):
            note = _parse_note(entry.get("userMetadata"))
            if note and entry["version"] <= upto:
                return note
    return {}


def _parse_note(text: str | None) -> dict[str, Any]:
    try:
        note = json.loads(text) if text else {}
    except json.JSONDecodeError:
        return {}
    return note if isinstance(note, dict) else {}


def read_path(spark: SparkSession, path: str | os.PathLike[str], version: int | None = None) -> DataFrame:
    """Read the table at `path`, at `version` where one is given."""
    reader = spark.read.format("delta")
    if version is not None:
        reader = reader.option("versionAsOf", version)
    return reader.load(str(path))


def delta_table(spark: SparkSession, path: str | os.PathLike[str]) -> SparkDeltaTable:
    """Return Spark's handle of the table at `path`, for MERGE, DELETE and maintenance."""
    from delta.tables import DeltaTable as SparkDeltaTable

    return SparkDeltaTable.forPath(spark, str(path))


def append_path(
    rows: DataFrame,
    path: str | os.PathLike[str],
    *,
    note: Mapping[str, Any] | None = None,
    transaction: Transaction | None = None,
    partition_by: Sequence[str] = (),
    add_columns: bool = False,
    conflicts: Conflicts = CONFLICTS,
) -> None:
    """Append rows in one commit; with a transaction, a repetition of the same one is skipped."""
    writer = rows.write.format("delta").mode("append")
    if add_columns:
        writer = writer.option("mergeSchema", "true")
    if partition_by:
        writer = writer.partitionBy(*partition_by)
    _commit(writer, path, note, transaction, conflicts)


def replace_path(
    rows: DataFrame,
    path: str | os.PathLike[str],
    *,
    where: str | None = None,
    note: Mapping[str, Any] | None = None,
    conflicts: Conflicts = CONFLICTS,
) -> None:
    """Replace the whole table, or the rows that satisfy `where`, in one commit."""
    writer = rows.write.format("delta").mode("overwrite")
    if where is not None:
        writer = writer.option("replaceWhere", where)
    _commit(writer, path, note, None, conflicts)


def _commit(
    writer: Any,
    path: str | os.PathLike[str],
    note: Mapping[str, Any] | None,
    transaction: Transaction | None,
    conflicts: Conflicts,
) -> None:
    writer = writer.option("userMetadata", _note_text(note))
    if transaction is not None:
        writer = writer.option("txnAppId", transaction.app).option("txnVersion", transaction.version)
    with table_lock(path):
        conflicts.retried(lambda: writer.save(str(path)))


def noted(note: Mapping[str, Any] | None, transaction: Transaction | None = None) -> CommitProperties:
    """Return the properties of a commit without Spark that carries a note, and names its write where it has a name."""
    named = None if transaction is None else [AppTransaction(transaction.app, transaction.version)]
    return CommitProperties(custom_metadata={"userMetadata": _note_text(note)}, app_transactions=named)


def _note_text(note: Mapping[str, Any] | None) -> str:
    return json.dumps(note or {}, sort_keys=True, default=str)


def read_small_path(
    path: str,
    version: int | None = None,
    columns: Sequence[str] | None = None,
    filters: Sequence[tuple[str, str, Any]] | None = None,
) -> pa.Table:
    """Read the small table at `path`, or the few rows that satisfy `filters` (column, operator, value), without Spark."""
    delta, files = DeltaTable(path, version=version), _files_of(path)
    wanted = list(columns) if columns else None
    if not filters:
        return delta.to_pyarrow_table(columns=wanted, filesystem=files)
    try:
        return delta.to_pyarrow_table(columns=wanted, filters=list(filters), filesystem=files)
    except pa.ArrowNotImplementedError:
        # delta-rs writes text that it has changed as string_view, for which Arrow's scan has no comparison.
        needed = list(dict.fromkeys([*wanted, *(name for name, _, _ in filters)])) if wanted else None
        rows = delta.to_pyarrow_table(columns=needed, filesystem=files).filter(filters_to_expression(list(filters)))
        return rows.select(wanted) if wanted else rows


def stored(path: str, version: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the data files and the columns of a version of the table at `path`."""
    delta = DeltaTable(path, version=version, skip_stats=True)
    return tuple(_data_files(delta, path)), tuple(field.name for field in delta.schema().fields)


def _data_files(delta: DeltaTable, path: str, partitions: list[tuple[str, str, Any]] | None = None) -> list[str]:
    """Return the paths of a table's data files, of those in some partitions where any are named."""
    return [local_file(path, uri) for uri in delta.file_uris(partitions)]


def _files_of(path: str) -> SubTreeFileSystem:
    """Return the table's folder as Arrow sees it. delta-rs's own view is written in Python: Arrow's threads call it even
    while the interpreter ends, and a short command then dies after it has done its work.
    """
    return SubTreeFileSystem(path, LocalFileSystem())


def _has_columns_of(delta: DeltaTable, table: Table) -> bool:
    """Tell whether a stored table has the columns of its contract, in their order and their types."""
    stored, declared = delta.schema().fields, delta_schema(table).fields
    return [(field.name, str(field.type)) for field in stored] == [(field.name, str(field.type)) for field in declared]


def _revised(kept: pa.Table, revision: Revision, table: Table) -> pa.Table | None:
    """Return a small table after a revision, in the order of its key; None where nothing changes."""
    gone = revision.gone if revision.gone is not None else revision.changed.slice(0, 0)
    if not revision.changed.num_rows + gone.num_rows:
        return None
    keys = ", ".join(table.key)
    sql = f"""
        SELECT * FROM (
            SELECT kept.* FROM kept ANTI JOIN changed USING ({keys}) UNION ALL BY NAME SELECT * FROM changed
        ) AS rows ANTI JOIN gone USING ({keys}) ORDER BY {keys}
    """
    with connected(kept=kept, changed=revision.changed, gone=gone) as connection:
        return connection.sql(sql).to_arrow_table().select(table.column_names).cast(arrow_schema(table))


# --- tables by name ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lake:
    """The lake under one root folder: a table `layer.name` lies at `<root>/<layer>/<name>`."""

    root: Path
    conflicts: Conflicts = CONFLICTS

    def path(self, table: str) -> str:
        """Return the folder of a table."""
        layer, _, name = table.partition(".")
        return str(self.root / layer / name)

    def exists(self, table: str) -> bool:
        """Tell whether the table has been created."""
        return is_table(self.path(table))

    def version(self, table: str) -> int:
        """Return the newest version of a table, -1 where it does not exist yet."""
        return version_of(self.path(table)) if self.exists(table) else -1

    def commits(self, table: str, after: int = -1) -> list[Commit]:
        """Return a table's commits after a version, oldest first ([] where it does not exist yet)."""
        return commits_of(self.path(table), after) if self.exists(table) else []

    def bytes_added(self, table: str, after: int) -> int:
        """Return the bytes of the data files that the commits after a version added."""
        versions = (commit.version for commit in self.commits(table, after))
        return sum(int(action["size"]) for version in versions for action in self._added(table, version))

    def last_note(self, table: str, version: int | None = None) -> dict[str, Any]:
        """Return the newest note a writer left on the table, up to `version` ({} where there is none)."""
        return last_note(self.path(table), version) if self.exists(table) else {}

    def create(self, table: Table) -> None:
        """Create an empty table with the schema, comments and layout its contract declares; no-op where it exists."""
        path = self.path(table.name)
        if is_table(path):
            return
        with table_lock(path):
            DeltaTable.create(
                path,
                delta_schema(table),
                mode="ignore",
                partition_by=list(table.layout.partition),
                name=table.name,
                description=table.description,
                configuration=dict(table.properties),
            )

    def undeclared(self, table: Table) -> list[str]:
        """Say in what a table's description, comments and properties differ from its contract; [] where in nothing."""
        delta = DeltaTable(self.path(table.name))
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
        names = pa.table(DeltaTable(self.path(table.name)).get_add_actions(flatten=True))
        return [
            name
            for name in table.personal
            if any(
                names[at].null_count < names.num_rows
                for at in names.column_names
                if at in (f"min.{name}", f"max.{name}")
            )
        ]

    def declare(self, table: Table) -> None:
        """Bring a table's description, comments and properties to its contract, without Spark; rows stay as they are."""
        path, columns = self.path(table.name), table.columns
        differs = set(self.undeclared(table))
        with table_lock(path):
            alter = DeltaTable(path).alter
            properties = {key: value for key, value in table.properties.items() if key in differs}
            if properties:
                alter.set_table_properties(properties, raise_if_not_exists=False)
            if "description" in differs:
                DeltaTable(path).alter.set_table_description(table.description)
            for name in differs & columns.keys():
                DeltaTable(path).alter.set_column_metadata(name, {"comment": columns[name].description})

    def read(self, spark: SparkSession, table: str, version: int | None = None) -> DataFrame:
        """Read a table with Spark, at `version` where one is given."""
        if not self.exists(table):
            raise CloudlakeError(f"{table}: no table at {self.path(table)}; run scripts/run_batch_pipeline.sh first")
        return read_path(spark, self.path(table), version)

    def read_small(
        self,
        table: str,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        filters: Sequence[tuple[str, str, Any]] | None = None,
    ) -> pa.Table:
        """Read a small table, or the few rows that satisfy `filters` (column, operator, value), without Spark."""
        return read_small_path(self.path(table), version, columns, filters)

    def rows(self, table: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a small table ([] where it does not exist yet)."""
        return self.read_small(table, columns=columns).to_pylist() if self.exists(table) else []

    def stamp(self, table: str, version: int) -> int:
        """Return a number that tells a version from the same one of a table that was made anew."""
        log = Path(self.path(table)) / "_delta_log" / f"{version:020d}.json"
        return log.stat().st_mtime_ns if log.exists() else -1

    def is_readable(self, table: str, version: int) -> bool:
        """Tell whether every file of a version is still there."""
        try:
            files = _data_files(DeltaTable(self.path(table), version=version), self.path(table))
        except DeltaError:
            return False
        return all(Path(file).exists() for file in files)

    def dataset(self, table: str, version: int | None = None) -> Dataset:
        """Return a table, at `version` where one is given, to be read column by column without Spark."""
        path = self.path(table)
        return DeltaTable(path, version=version).to_pyarrow_dataset(filesystem=_files_of(path))

    def count(self, table: str, column: str = "", values: Iterable[Any] = ()) -> int:
        """Return the number of rows, of those with certain values of a column where one is named, without Spark."""
        if not self.exists(table):
            return 0
        return int(self.dataset(table).count_rows(filter=pc.field(column).isin(list(values)) if column else None))

    def newest(self, table: str, column: str, version: int | None = None) -> Any:
        """Return the largest value of a column from the file statistics, without reading data; None where there is none."""
        if not self.exists(table):
            return None
        actions = pa.table(DeltaTable(self.path(table), version=version).get_add_actions(flatten=True))
        name = f"max.{column}"
        values = (
            [value for value in actions[name].to_pylist() if value is not None] if name in actions.column_names else []
        )
        return max(values, default=None)

    def table_id(self, table: str) -> str:
        """Return the id that a table keeps for life: another one means that it was made anew."""
        return str(DeltaTable(self.path(table), without_files=True).metadata().id)

    def has_transaction(self, table: str, transaction: Transaction) -> bool:
        """Tell whether the table has taken this write, or a later one of its app."""
        seen = DeltaTable(self.path(table)).transaction_version(transaction.app)
        return seen is not None and int(seen) >= transaction.version

    def has_files(self, table: str) -> bool:
        """Tell whether the table holds any data file."""
        return bool(DeltaTable(self.path(table), skip_stats=True).file_uris())

    def partition_values(self, table: str, column: str, version: int | None = None) -> set[str]:
        """Return the values of a partition column that the table holds, as text."""
        delta = DeltaTable(self.path(table), version=version, skip_stats=True)
        return {str(part[column]) for part in delta.partitions()}

    def files(self, table: str, version: int, partition: tuple[str, Sequence[str]]) -> list[str]:
        """Return the data files of a version in some partitions (column, its values as text), for DuckDB."""
        column, values = partition
        delta = DeltaTable(self.path(table), version=version, skip_stats=True)
        return for_duckdb(_data_files(delta, self.path(table), [(column, "in", list(values))]))

    def files_holding(self, table: str, column: str, value: Any) -> list[str]:
        """Return the data files, for DuckDB, whose statistics do not rule out that the column holds the value."""
        actions = pa.table(DeltaTable(self.path(table)).get_add_actions(flatten=True))
        low, high = (actions.column(f"{end}.{column}") for end in ("min", "max"))
        ruled_out = pc.fill_null(pc.or_(pc.greater(low, value), pc.less(high, value)), False)
        paths = actions.filter(pc.invert(ruled_out))["path"].to_pylist()
        return for_duckdb([str(Path(self.path(table)) / unquote(path)) for path in paths])

    def has_version(self, table: str, version: int) -> bool:
        """Tell whether the log entry of a version, or the place of the next one, is there to be streamed from."""
        log = Path(self.path(table)) / "_delta_log"
        return (log / f"{version:020d}.json").exists() or version == self.version(table) + 1

    def changed_values(self, table: str, column: str, old: int, new: int) -> set[Any] | None:
        """Return the values of a column in the rows that differ between two versions, without Spark.

        Only files that the versions do not share are read. None where it can't be told: an old file is gone, the
        versions have other columns, or a row has no value.
        """
        try:
            path = self.path(table)
            before, after = (set(_data_files(DeltaTable(path, version=v), path)) for v in (old, new))
        except DeltaError:
            return None
        added, removed = sorted(after - before), sorted(before - after)
        if not all(Path(file).exists() for file in removed):
            return None
        with duckdb.connect() as connection:
            sides = []
            for name, files in (("new_rows", added), ("old_rows", removed)):
                if files:
                    rows = connection.read_parquet(for_duckdb(files), hive_partitioning=True, union_by_name=True)
                    connection.register(name, rows)
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
                delta = DeltaTable(path, version=version)
            except DeltaError:
                return None
            names = [field.name for field in delta.schema().fields]
            if sorted(names) != sorted(columns) or "deletionVectors" in (delta.protocol().reader_features or ()):
                return None
            sides.append(set(_data_files(delta, path)))
        added, removed = sorted(sides[1] - sides[0]), sorted(sides[0] - sides[1])
        return (added, removed) if all(Path(file).exists() for file in removed) else None

    def files_added(self, table: str, version: int) -> list[str]:
        """Return the names of the data files that a commit added, in the order of the log."""
        return [Path(unquote(action["path"])).name for action in self._added(table, version)]

    def _added(self, table: str, version: int) -> list[dict[str, Any]]:
        log = Path(self.path(table)) / "_delta_log" / f"{version:020d}.json"
        if not log.exists():
            return []
        actions = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
        return [action["add"] for action in actions if "add" in action]

    def delete(self, table: str, where: str, note: Mapping[str, Any] | None = None) -> None:
        """Delete the rows that satisfy a SQL condition, without Spark, in one commit."""
        path = self.path(table)
        with table_lock(path):
            self.conflicts.retried(lambda: DeltaTable(path).delete(where, commit_properties=noted(note)))

    def update_small(
        self, table: Table, changes: Sequence[Mapping[str, Any]], note: Mapping[str, Any] | None = None
    ) -> None:
        """Change columns of known rows of a small table without Spark, in one commit.

        Args:
            table: the table; its key, of one column, finds the rows.
            changes: for each row its key and the columns to change, the same ones in all.
            note: what the commit says of itself.
        """
        if not changes:
            return
        (key,) = table.key
        schema = arrow_schema(table)
        told = pa.Table.from_pylist([dict(row) for row in changes], pa.schema([schema.field(n) for n in changes[0]]))

        def changed(kept: pa.Table) -> Revision:
            place = pc.index_in(kept[key], value_set=told[key].combine_chunks())
            rows, place = kept.filter(pc.is_valid(place)), place.drop_null()
            for name in told.column_names:
                rows = rows.set_column(rows.column_names.index(name), schema.field(name), told[name].take(place))
            return Revision(rows)

        self.revise(table, changed, note)

    def append(
        self,
        rows: DataFrame,
        table: str,
        *,
        note: Mapping[str, Any] | None = None,
        transaction: Transaction | None = None,
    ) -> None:
        """Append rows to a table in one commit."""
        append_path(rows, self.path(table), note=note, transaction=transaction, conflicts=self.conflicts)

    def merge(
        self,
        spark: SparkSession,
        rows: DataFrame,
        table: str,
        keys: Sequence[str],
        *,
        note: Mapping[str, Any] | None = None,
    ) -> None:
        """Upsert rows by key in one commit."""
        path = self.path(table)
        condition = " AND ".join(f"kept.{key} = new.{key}" for key in keys)

        def upsert() -> None:
            merge = delta_table(spark, path).alias("kept").merge(rows.alias("new"), condition)
            merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()

        with committing(spark, path, note):
            self.conflicts.retried(upsert)

    def append_small(
        self, rows: Sequence[Mapping[str, Any]], table: Table, note: Mapping[str, Any] | None = None
    ) -> None:
        """Append a few rows without Spark, in one commit (the `ops` tables)."""
        if rows:
            self.append_arrow(pa.Table.from_pylist([dict(row) for row in rows], arrow_schema(table)), table, note=note)

    def append_arrow(
        self,
        rows: pa.Table | pa.RecordBatchReader,
        table: Table,
        *,
        note: Mapping[str, Any] | None = None,
        transaction: Transaction | None = None,
    ) -> None:
        """Append rows without Spark, in one commit; batches go as they come. A repetition of a transaction is skipped."""
        self.create(table)
        path = self.path(table.name)
        with table_lock(path):
            if transaction is None or not self.has_transaction(table.name, transaction):
                write_deltalake(
                    path,
                    rows.cast(bare(arrow_schema(table))),
                    mode="append",
                    commit_properties=noted(note, transaction),
                )

    def append_widening(self, rows: pa.Table, table: Table, *, note: Mapping[str, Any] | None = None) -> None:
        """Append rows without Spark, in one commit; columns that the table does not have yet are added to it."""
        self.create(table)
        path = self.path(table.name)
        with table_lock(path):
            write_deltalake(path, rows, mode="append", schema_mode="merge", commit_properties=noted(note))

    def column_names(self, table: str) -> list[str]:
        """Return the columns that a table has ([] where it does not exist yet)."""
        if not self.exists(table):
            return []
        return [field.name for field in DeltaTable(self.path(table), without_files=True).schema().fields]

    def revise(
        self, table: Table, revise: Callable[[pa.Table], Revision], note: Mapping[str, Any] | None = None
    ) -> Revision:
        """Read a small table, decide, and upsert by key without Spark, in one commit; none where nothing changes.

        The table's lock is held from the read to the commit, so what another process writes is never overwritten
        unseen.
        """
        self.create(table)
        with table_lock(self.path(table.name)):
            return self.conflicts.retried(lambda: self._revise(table, revise, note))

    def _revise(self, table: Table, revise: Callable[[pa.Table], Revision], note: Mapping[str, Any] | None) -> Revision:
        path = self.path(table.name)
        delta = DeltaTable(path)
        stored = delta.to_pyarrow_table(filesystem=_files_of(path))
        kept = as_declared(stored, table)
        revision = revise(kept)
        rows = _revised(kept, revision, table)
        if rows is None:
            return revision
        # A small table is one file, which a MERGE would write anew as well; delta-rs's MERGE writes texts of a type
        # (string_view) that Arrow's filters do not know. An overwrite would take no notice of what came meanwhile.
        if version_of(path) != delta.version():
            raise CommitFailedError(f"{path}: another commit came between the read and the write")
        anew = not _has_columns_of(delta, table)
        mode: Literal["overwrite"] | None = "overwrite" if anew else None
        # "revises": the commit writes every row anew, those of other programs among them (books.py).
        told = noted({**(note or {}), "revises": True})
        rows = rows if anew else rows.cast(bare(rows.schema))
        write_deltalake(delta, rows, mode="overwrite", schema_mode=mode, commit_properties=told)
        return revision

    def replace_small(
        self,
        rows: pa.Table | pa.RecordBatchReader,
        table: Table,
        *,
        where: str | None = None,
        note: Mapping[str, Any] | None = None,
        transaction: Transaction | None = None,
    ) -> None:
        """Replace a table's rows, or those that satisfy `where`, without Spark, in one commit; batches go as they come.

        A table that is replaced whole takes the columns of its contract, should it have been made with others or other types.
        """
        path = self.path(table.name)
        data = rows.cast(arrow_schema(table))
        with table_lock(path):  # rows that come as they are read can't be written twice: no other try
            anew = where is None and not _has_columns_of(DeltaTable(path, without_files=True), table)
            write_deltalake(
                path,
                data if anew else data.cast(bare(data.schema)),
                mode="overwrite",
                predicate=where,
                schema_mode="overwrite" if anew else None,
                commit_properties=noted(note, transaction),
            )

    def note_only(self, table: Table, note: Mapping[str, Any]) -> None:
        """Leave a note on a table, and its rows as they are: what decides by the newest note decides anew."""
        path = self.path(table.name)
        self.create(table)
        with table_lock(path):  # in the columns that the table has: those of its contract may have another type by now
            stored = bare(pa.schema(DeltaTable(path, without_files=True).schema().to_arrow()))
            write_deltalake(path, stored.empty_table(), mode="append", commit_properties=noted(note))

    def set_aside(self, table: str, name: str) -> None:
        """Move a table out of the way, to `<lake>/aside/<table>-<name>`, for a person to look at or delete."""
        path, aside = Path(self.path(table)), self.root / "aside" / f"{table}-{name}"
        if path.exists():
            aside.parent.mkdir(parents=True, exist_ok=True)
            with table_lock(path):
                path.rename(aside)

    def replace(
        self, rows: DataFrame, table: str, *, where: str | None = None, note: Mapping[str, Any] | None = None
    ) -> None:
        """Replace a table's rows, or those that satisfy `where`, in one commit."""
        replace_path(rows, self.path(table), where=where, note=note, conflicts=self.conflicts)
