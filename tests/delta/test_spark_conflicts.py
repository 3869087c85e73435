"""Commits of another program while Spark works on its own: Spark's write fails, reads afresh, and ends as if it had come after."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cloudlake.common.lake.conflicts import Conflicts
from cloudlake.common.lake.tables import Lake
from cloudlake.common.scd2 import apply_changes, batches
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from pyspark import cloudpickle
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Spark's workers know no tests
Hook = Callable[[Column], Column]


def between(path: str, sign: Path, change: Callable[[DeltaTable], None]) -> Hook:
    """A column that, the first time its rows are computed while `sign` is there, has another program commit to a table."""

    def commit(value: str) -> str:
        if sign.exists():
            sign.unlink()
            change(DeltaTable(path))
        return value

    commit.__annotations__ = {}  # by hints Spark would choose another kind of function
    return F.udf(commit, "string")


def append_another(table: DeltaTable) -> None:
    """Append a row like one that is there, of another key."""
    rows = table.to_pyarrow_table().slice(0, 1)
    place = rows.column_names.index("id")
    write_deltalake(table, rows.set_column(place, rows.schema.field("id"), [["other"]]), mode="append")


def set_a_property(table: DeltaTable) -> None:
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 31 days"})


@pytest.mark.parametrize("way", ["merge", "replace", "append"])
def test_a_write_that_another_commit_overtakes_is_done_again_with_a_fresh_read(
    way: str, spark: SparkSession, tmp_path: Path
) -> None:
    lake, sign = Lake(tmp_path, Conflicts(3, 0.01, 0.02)), tmp_path / "now"
    path = lake.path("silver.t")
    spark.createDataFrame([("a", "old"), ("z", "kept")], "id string, v string").write.format("delta").save(path)
    hook = between(path, sign, set_a_property if way == "append" else append_another)
    rows = spark.createDataFrame([("a", "new"), ("b", "new")], "id string, v string").withColumn("v", hook(F.col("v")))
    sign.touch()
    note = {"run_id": "r"}
    if way == "merge":
        lake.merge(spark, rows, "silver.t", ["id"], note=note)
    elif way == "replace":
        lake.replace(rows, "silver.t", where="v = 'old' OR v = 'new'", note=note)
    else:
        lake.append(rows, "silver.t", note=note)
    assert not sign.exists(), "nothing came between"
    found = sorted((row["id"], row["v"]) for row in lake.rows("silver.t"))
    mine = [("a", "new"), ("b", "new"), ("z", "kept")]
    theirs = {"merge": [("other", "old")], "replace": [], "append": [("a", "old")]}[way]
    assert found == sorted(mine + theirs)
    assert [commit.note for commit in lake.commits("silver.t")].count(note) == 1


def test_a_history_that_another_commit_overtakes_is_told_again_whole(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(tmp_path / "history")
    rows = spark.createDataFrame([("a", "one", datetime(2024, 1, 1))], "id string, v string, at timestamp")
    apply_changes(spark, target, rows, keys=["id"], sequence_by="at")
    later = spark.createDataFrame(
        [("a", "two", datetime(2024, 1, 2)), ("b", "one", datetime(2024, 1, 2))], rows.schema
    )
    commit, overtaken = batches.commit, []

    def commit_too_late(*arguments: Any, **options: Any) -> None:
        if not overtaken:  # The memory holds the batch by now, and the difference was read from the table as it was.
            overtaken.append(True)
            append_another(DeltaTable(target))
            raise CommitFailedError("another commit came between")
        commit(*arguments, **options)

    monkeypatch.setattr(batches, "commit", commit_too_late)
    apply_changes(spark, target, later, keys=["id"], sequence_by="at", conflicts=Conflicts(3, 0.01, 0.02))
    assert overtaken
    found = DeltaTable(target).to_pyarrow_table().to_pylist()
    versions = sorted((row["id"], row["v"], row["effective_from"].day, row["is_current"]) for row in found)
    told = [("a", "one", 1, False), ("a", "two", 2, True), ("b", "one", 2, True)]
    assert versions == told, "a history holds what it was told, once, and nothing that nobody told it"
