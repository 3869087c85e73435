"""The lake's tables. Spark writes data; what would otherwise wait for a JVM is done by delta-rs (small.py, log.py).

No other module opens a path of the lake.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import CloudlakeError
from .conflicts import Conflicts
from .log import Transaction
from .small import CONFLICTS, SmallTables, note_text, table_lock
from .stores import is_remote

if TYPE_CHECKING:
    from delta.tables import DeltaTable as SparkDeltaTable
    from pyspark.sql import DataFrame, SparkSession

_NOTE = "spark.databricks.delta.commitInfo.userMetadata"
_TXN_APP = "spark.databricks.delta.write.txnAppId"
_TXN_VERSION = "spark.databricks.delta.write.txnVersion"
_RETRIES = "spark.databricks.delta.maxCommitAttempts"


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
    settings = {_NOTE: note_text(note)}
    if transaction is not None:
        settings |= {_TXN_APP: transaction.app, _TXN_VERSION: str(transaction.version)}
    _follow_what_was_read(spark, path)
    with table_lock(path):
        for key, value in settings.items():
            spark.conf.set(key, value)
        try:
            yield
        finally:
            for key in settings:
                spark.conf.unset(key)


def _follow_what_was_read(spark: SparkSession, path: str | os.PathLike[str]) -> None:
    """In a store, have a commit follow the version that was read under the table's lease, or fail: see leases.py."""
    if is_remote(path):
        spark.conf.set(_RETRIES, "0")


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
    _commit(rows.sparkSession, writer, path, note, transaction, conflicts)


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
    _commit(rows.sparkSession, writer, path, note, None, conflicts)


def _commit(
    spark: SparkSession,
    writer: Any,
    path: str | os.PathLike[str],
    note: Mapping[str, Any] | None,
    transaction: Transaction | None,
    conflicts: Conflicts,
) -> None:
    _follow_what_was_read(spark, path)
    writer = writer.option("userMetadata", note_text(note))
    if transaction is not None:
        writer = writer.option("txnAppId", transaction.app).option("txnVersion", transaction.version)
    with table_lock(path):
        conflicts.retried(lambda: writer.save(str(path)))


@dataclass(frozen=True)
class Lake(SmallTables):
    """The lake under one root folder, with Spark and without."""

    def read(self, spark: SparkSession, table: str, version: int | None = None) -> DataFrame:
        """Read a table with Spark, at `version` where one is given."""
        if not self.exists(table):
            raise CloudlakeError(f"{table}: no table at {self.path(table)}; run scripts/run_batch_pipeline.sh first")
        return read_path(spark, self.path(table), version)

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

    def replace(
        self, rows: DataFrame, table: str, *, where: str | None = None, note: Mapping[str, Any] | None = None
    ) -> None:
        """Replace a table's rows, or those that satisfy `where`, in one commit."""
        replace_path(rows, self.path(table), where=where, note=note, conflicts=self.conflicts)
