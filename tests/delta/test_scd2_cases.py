"""The worked cases of scd2_cases: many cases a table, so that a batch number of all of them is one batch."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from cloudlake.common.lake import commits_of, read_path
from cloudlake.common.scd2 import apply_changes, apply_snapshot, apply_snapshots
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scd2_cases import BY_COLUMN, BY_TIME, CHANGES, COMPOSITE, DBT, SCENARIOS, SCENARIOS_EXPECTED, UNTRACKED


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def told(history: DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    rows = history.selectExpr(*columns).collect()
    return sorted((tuple(row) for row in rows), key=lambda row: tuple(str(value) for value in row))


def sorted_rows(rows: Any) -> list[tuple[Any, ...]]:
    return sorted(rows, key=lambda row: tuple(str(value) for value in row))


def test_the_change_events_of_spark_give_their_histories(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "changes")
    for batch in zip_longest(*(case["batches"] for case in CHANGES.values()), fillvalue=[]):
        rows = [(case, *fact) for case, facts in zip(CHANGES, batch, strict=True) for fact in facts]  # type: ignore[misc]
        frame = spark.createDataFrame(rows, "case string, id int, value string, seq bigint, is_delete boolean")
        apply_changes(spark, target, frame, keys=["case", "id"], sequence_by="seq")
    found = told(read_path(spark, target), "case", "id", "value", "effective_from", "effective_to")
    assert found == sorted_rows((name, *row) for name, case in CHANGES.items() for row in case["expected"])  # type: ignore[misc]


def test_an_untracked_column_shows_the_newest_fact_and_a_new_one_is_null_before(
    spark: SparkSession, tmp_path: Path
) -> None:
    target = str(tmp_path / "untracked")
    for number, batch in enumerate(UNTRACKED["batches"]):
        frame = spark.createDataFrame(batch, "id int, name string, score int, seq bigint")
        frame = frame.withColumnRenamed("score", "Score" if number else "score")
        apply_changes(spark, target, frame, keys=["id"], sequence_by="seq", tracked=["name"])
    found = told(read_path(spark, target), "id", "name", "score", "effective_from", "effective_to")
    assert found == sorted_rows(UNTRACKED["expected"])


def test_versions_of_a_composite_key_do_not_mix(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "composite")
    frame = spark.createDataFrame(COMPOSITE["batch"], "country string, city string, population int, seq int")
    apply_changes(spark, target, frame, keys=["country", "city"], sequence_by="seq")
    history = read_path(spark, target)
    assert history.schema["effective_from"].dataType.simpleString() == "int"
    assert told(history, "country", "city", "population", "effective_from", "effective_to") == COMPOSITE["expected"]


def tell(
    spark: SparkSession, target: str, rows: dict[datetime, list[Any]], schema: str, *, at_once: bool, **asked: Any
) -> None:
    """Tell snapshots by their times, one by one or at once."""
    if at_once:
        frame = spark.createDataFrame(
            [(at, *row) for at, told in rows.items() for row in told], f"at timestamp, {schema}"
        )
        apply_snapshots(spark, target, frame, times=list(rows), at="at", **asked)
        return
    for at, told in rows.items():
        apply_snapshot(spark, target, spark.createDataFrame(told, schema), snapshot_at=at, **asked)


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
def test_snapshots_of_sqlmesh_by_time_and_by_column(spark: SparkSession, tmp_path: Path, at_once: bool) -> None:
    times = ["CAST(CAST(effective_from AS DATE) AS STRING)", "CAST(CAST(effective_to AS DATE) AS STRING)"]
    for name, case, changed_at in (("time", BY_TIME, "updated_at"), ("column", BY_COLUMN, None)):
        target = str(tmp_path / name)
        third = "updated_at" if changed_at else "status"
        snapshots = {day(at): rows for at, rows in case["snapshots"].items()}  # type: ignore[attr-defined]
        asked: dict[str, Any] = {"keys": ["id"], "changed_at": changed_at, "first_effective_from": datetime(1970, 1, 1)}
        tell(spark, target, snapshots, f"id int, name string, {third} string", at_once=at_once, **asked)
        columns = ["id", "name", *([] if changed_at else ["status"])]
        assert told(read_path(spark, target), *columns, *times) == sorted_rows(case["expected"])


def test_snapshots_of_dbt_at_once_in_two_batches_the_later_one_first(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "dbt")
    first, updated = DBT["first"], DBT["updated"]
    snapshots = [first, DBT["id_1"] + updated, updated, updated, DBT["id_1_back"] + updated, updated, updated]
    for batch in ((1, 3, 4), (0, 2, 5, 6)):
        rows = [(datetime(2024, 1, n + 1), *row) for n in batch for row in snapshots[n]]
        frame = spark.createDataFrame(rows, "at timestamp, id int, email string, updated_at string")
        apply_snapshots(
            spark,
            target,
            frame.withColumn("updated_at", F.col("updated_at").cast("timestamp")),
            keys=["id"],
            times=[datetime(2024, 1, n + 1) for n in batch],
            at="at",
            hard_deletes="new_record",
            changed_at="updated_at",
        )
    times = ["CAST(effective_from AS STRING)", "CAST(effective_to AS STRING)"]
    assert told(read_path(spark, target), "id", *times, "is_deleted") == sorted_rows(DBT["expected"])
    assert len(commits_of(target)) == 2, "one commit a batch"


def test_snapshots_of_dbt_with_deletion_records_reruns_and_a_future_change(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "dbt")
    first, updated = DBT["first"], DBT["updated"]
    snapshots = [first, DBT["id_1"] + updated, updated, updated, DBT["id_1_back"] + updated, updated, updated]
    for number, rows in enumerate(snapshots):
        result = apply_snapshot(
            spark,
            target,
            spark.createDataFrame(rows, "id int, email string, updated_at string").selectExpr(
                "id", "email", "CAST(updated_at AS TIMESTAMP) AS updated_at"
            ),
            keys=["id"],
            snapshot_at=datetime(2024, 1, number + 1),
            hard_deletes="new_record",
            changed_at="updated_at",
        )
        assert result.is_empty == (number in (3, 6))
    times = ["CAST(effective_from AS STRING)", "CAST(effective_to AS STRING)"]
    assert told(read_path(spark, target), "id", *times, "is_deleted") == sorted_rows(DBT["expected"])


def test_scenarios_of_dbt_open_and_close_the_versions_they_should(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "scenarios")
    names = list(SCENARIOS_EXPECTED)
    tellings = [
        dict.fromkeys(names, SCENARIOS["base"]),
        {name: SCENARIOS["deletes" if name == "revives" else name] for name in names},
        {name: SCENARIOS[name] for name in names},
    ]
    for number, telling in enumerate(tellings):
        rows = [(name, *row) for name, chosen in telling.items() for row in chosen]
        frame = spark.createDataFrame(
            rows, "scenario string, id int, email string, full_name string, updated_at string"
        )
        apply_snapshot(
            spark,
            target,
            frame.drop("full_name") if number == 0 else frame,
            keys=["scenario", "id"],
            snapshot_at=datetime(2024, 1, number + 1),
            changed_at="updated_at",
        )
    rows = read_path(spark, target).select("scenario", "id", "is_current").collect()
    for name, (is_open, is_closed) in SCENARIOS_EXPECTED.items():
        assert {row["id"] for row in rows if row["scenario"] == name and row["is_current"]} == is_open, name
        assert {row["id"] for row in rows if row["scenario"] == name and not row["is_current"]} == is_closed, name
