"""Tables read and written without Spark: made from their contract, small tables read, appended to, revised, replaced.

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
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake import Transaction as AppTransaction
from deltalake.exceptions import CommitFailedError

from ..contracts.schemas import arrow_schema, as_declared, bare, delta_schema
from ..contracts.table import Table
from . import leases
from .conflicts import Conflicts
from .duck import connected
from .log import Logs, Transaction, has_deletion_vectors, schema_of, version_of
from .objects import ObjectStorage
from .opening import is_table, open_table
from .stores import arrow_folder, is_in_use, is_remote, rust_options

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset
    from pyarrow.fs import SubTreeFileSystem

CONFLICTS = Conflicts()
_GROUP_BYTES = 64 << 20
"""How much of a stream is one group of rows in a file: that much of it is in memory until it is written."""


@dataclass(frozen=True)
class Revision:
    """What becomes of a small table: rows to insert or to overwrite by key, and the keys of rows to delete."""

    changed: pa.Table
    gone: pa.Table | None = None


@contextmanager
def table_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of the table at `path`, waiting for it; released when the process ends, however it ends.

    In a store it is a lease, and who has lost one of its leases gets no other.
    """
    if is_remote(path):
        folder, _, name = str(path).rpartition("/")
        leases.require_held()
        with leases.held(ObjectStorage(folder), f".locks/{name}.lock", {}, wait=True):
            yield
        return
    target = Path(path)
    lock = target.parent / ".locks" / f"{target.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _in_groups(rows: pa.RecordBatchReader) -> tuple[pa.RecordBatchReader, WriterProperties]:
    """Return a stream, and how it is written: in groups of rows by what the first ones hold, not of a million whatever they hold."""
    first = list(islice(rows, 1))
    width = max([1, *(batch.nbytes // max(1, batch.num_rows) for batch in first)])
    count = min(1_000_000, max(1_000, _GROUP_BYTES // width))
    whole = pa.RecordBatchReader.from_batches(rows.schema, chain(first, rows))
    return whole, WriterProperties(compression="SNAPPY", max_row_group_size=count)


def noted(note: Mapping[str, Any] | None, transaction: Transaction | None = None) -> CommitProperties:
    """Return the properties of a commit without Spark that carries a note, and names its write where it has a name."""
    named = None if transaction is None else [AppTransaction(transaction.app, transaction.version)]
    # In a store a commit follows the version that was read under the table's lease, or it fails: see leases.py.
    retries = 0 if is_in_use() else None
    return CommitProperties({"userMetadata": note_text(note)}, retries, named)


def note_text(note: Mapping[str, Any] | None) -> str:
    """Return a note as the text that a commit carries."""
    return json.dumps(note or {}, sort_keys=True, default=str)


def read_small_path(
    path: str,
    version: int | None = None,
    columns: Sequence[str] | None = None,
    filters: Sequence[tuple[str, str, Any]] | None = None,
) -> pa.Table:
    """Read the small table at `path`, or the few rows that satisfy `filters` (column, operator, value), without Spark."""
    delta, files = open_table(path, version=version), _files_of(path)
    wanted = list(columns) if columns else None
    if not filters:
        return delta.to_pyarrow_table(columns=wanted, filesystem=files)
    try:
        return delta.to_pyarrow_table(columns=wanted, filters=list(filters), filesystem=files)
    except pa.ArrowNotImplementedError:
        # delta-rs writes text that it has changed as string_view, for which Arrow's scan has no comparison.
        from pyarrow.parquet import filters_to_expression

        needed = list(dict.fromkeys([*wanted, *(name for name, _, _ in filters)])) if wanted else None
        rows = delta.to_pyarrow_table(columns=needed, filesystem=files).filter(filters_to_expression(list(filters)))
        return rows.select(wanted) if wanted else rows


def append_arrow_path(path: str, rows: pa.Table, note: Mapping[str, Any] | None = None) -> None:
    """Append rows without Spark to the table at `path`, in one commit; columns that they lack become NULL."""
    with table_lock(path):
        schema = schema_of(path)
        for name in schema.names:
            if name not in rows.column_names:
                rows = rows.append_column(name, pa.nulls(rows.num_rows, schema.field(name).type))
        whole = rows.select(schema.names).cast(schema)
        write_deltalake(open_table(path), whole, mode="append", commit_properties=noted(note))


def _files_of(path: str) -> SubTreeFileSystem:
    """Return the table's folder as Arrow sees it. delta-rs's own view is written in Python: Arrow's threads call it even
    while the interpreter ends, and a short command then dies after it has done its work.
    """
    return arrow_folder(path)


def _has_columns_of(delta: DeltaTable, table: Table) -> bool:
    """Tell whether a stored table has the columns of its contract, in their order and their types."""
    stored, declared = delta.schema().fields, delta_schema(table).fields
    return [(field.name, str(field.type)) for field in stored] == [(field.name, str(field.type)) for field in declared]


def _revised(kept: pa.Table, revision: Revision, table: Table) -> pa.Table | None:
    """Return a small table after a revision, in the order of its key; None where nothing changes."""
    gone = revision.gone if revision.gone is not None else revision.changed.slice(0, 0)
    if not revision.changed.num_rows + gone.num_rows:
        return None
    keys = ", ".join(f'"{name}"' for name in table.key)
    sql = f"""
        SELECT * FROM (
            SELECT kept.* FROM kept ANTI JOIN changed USING ({keys}) UNION ALL BY NAME SELECT * FROM changed
        ) AS rows ANTI JOIN gone USING ({keys}) ORDER BY {keys}
    """
    with connected(kept=kept, changed=revision.changed, gone=gone) as connection:
        return connection.sql(sql).to_arrow_table().select(table.column_names).cast(arrow_schema(table))


@dataclass(frozen=True)
class SmallTables(Logs):
    """The tables under one root folder, written without Spark."""

    conflicts: Conflicts = CONFLICTS

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
                storage_options=rust_options(path),
            )

    def declare(self, table: Table) -> None:
        """Bring a table's description, comments and properties to its contract, without Spark; rows stay as they are."""
        path, columns = self.path(table.name), table.columns
        differs = set(self.undeclared(table))
        with table_lock(path):
            alter = open_table(path).alter
            properties = {key: value for key, value in table.properties.items() if key in differs}
            if properties:
                alter.set_table_properties(properties, raise_if_not_exists=False)
            if "description" in differs:
                open_table(path).alter.set_table_description(table.description)
            for name in differs & columns.keys():
                open_table(path).alter.set_column_metadata(name, {"comment": columns[name].description})

    def read_small(
        self,
        table: str,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        filters: Sequence[tuple[str, str, Any]] | None = None,
    ) -> pa.Table:
        """Read a small table, or the few rows that satisfy `filters` (column, operator, value), without Spark."""
        return read_small_path(self.path(table), version, columns, filters)

    def rows(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        filters: Sequence[tuple[str, str, Any]] | None = None,
    ) -> list[dict[str, Any]]:
        """Return the rows of a small table, or the few that satisfy `filters` ([] where it does not exist yet)."""
        return self.read_small(table, columns=columns, filters=filters).to_pylist() if self.exists(table) else []

    def dataset(self, table: str, version: int | None = None) -> Dataset:
        """Return a table, at `version` where one is given, to be read column by column without Spark."""
        path = self.path(table)
        return open_table(path, version=version).to_pyarrow_dataset(filesystem=_files_of(path))

    def count(self, table: str, column: str = "", values: Iterable[Any] = (), version: int | None = None) -> int:
        """Return the number of rows, of those with certain values of a column where one is named, without Spark.

        At `version` where one is given; before the first one, -1, there are none.
        """
        if version == -1 or not self.exists(table):
            return 0
        import pyarrow.compute as pc

        rows = self.dataset(table, version)
        return int(rows.count_rows(filter=pc.field(column).isin(list(values)) if column else None))

    def is_for_spark(self, table: str, version: int, rows: int) -> bool:
        """Tell whether a version has more than so many rows, or rows that are deleted within files, which only Spark reads."""
        import pyarrow.compute as pc

        delta = open_table(self.path(table), version=version)
        if has_deletion_vectors(delta):
            return True
        counts = pa.table(delta.get_add_actions())["num_records"]
        return bool(counts.null_count) or (pc.sum(counts).as_py() or 0) > rows

    def delete(self, table: str, where: str, note: Mapping[str, Any] | None = None) -> None:
        """Delete the rows that satisfy a SQL condition, without Spark, in one commit."""
        path = self.path(table)
        with table_lock(path):
            self.conflicts.retried(lambda: open_table(path).delete(where, commit_properties=noted(note)))

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
            import pyarrow.compute as pc

            place = pc.index_in(kept[key], value_set=told[key].combine_chunks())
            rows, place = kept.filter(pc.is_valid(place)), place.drop_null()
            for name in told.column_names:
                rows = rows.set_column(rows.column_names.index(name), schema.field(name), told[name].take(place))
            return Revision(rows)

        self.revise(table, changed, note)

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
                    storage_options=rust_options(path),
                )

    def append_widening(
        self, rows: pa.RecordBatchReader, table: Table, *, note: Mapping[str, Any] | None = None
    ) -> None:
        """Append a stream of rows without Spark, in one commit; columns that the table does not have yet are added to it."""
        self.create(table)
        path = self.path(table.name)
        rows, properties = _in_groups(rows)
        with table_lock(path):
            write_deltalake(
                path,
                rows,
                mode="append",
                schema_mode="merge",
                commit_properties=noted(note),
                writer_properties=properties,
                storage_options=rust_options(path),
            )

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
        delta = open_table(path)
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
            anew = where is None and not _has_columns_of(open_table(path, without_files=True), table)
            write_deltalake(
                path,
                data if anew else data.cast(bare(data.schema)),
                mode="overwrite",
                predicate=where,
                schema_mode="overwrite" if anew else None,
                commit_properties=noted(note, transaction),
                storage_options=rust_options(path),
            )

    def note_only(self, table: Table, note: Mapping[str, Any]) -> None:
        """Leave a note on a table, and its rows as they are: what decides by the newest note decides anew."""
        path = self.path(table.name)
        self.create(table)
        with table_lock(path):  # in the columns that the table has: those of its contract may have another type by now
            stored = bare(schema_of(path))
            write_deltalake(
                path,
                stored.empty_table(),
                mode="append",
                commit_properties=noted(note),
                storage_options=rust_options(path),
            )

    def set_aside(self, table: str, name: str) -> None:
        """Move a table out of the way, to `<lake>/aside/<table>-<name>`, for a person to look at or delete."""
        folder = self.storage.below(self.path(table)) or ""
        if self.storage.is_folder(folder):
            with table_lock(self.path(table)):
                self.storage.rename(folder, f"aside/{table}-{name}")
