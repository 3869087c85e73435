"""The rules of a history one by one: refusals, hashes, nested types, columns that come and go, reading."""

from __future__ import annotations

import json
import re
import threading
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from cloudlake.common.errors import CloudlakeError
from cloudlake.common.lake import commits_of, is_table, read_path, version_of
from cloudlake.common.scd2 import (
    HistoryRefusedError,
    apply_changes,
    apply_snapshot,
    apply_snapshots,
    as_of,
    changes_of,
    join_as_of,
)
from cloudlake.common.scd2.shape import Shape, named_json, record_hash
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

JAN = [datetime(2024, 1, day) for day in range(1, 10)]


def frame(spark: SparkSession, rows: list[Any], schema: str = "id int, name string") -> DataFrame:
    return spark.createDataFrame(rows, schema)


def test_hashes_and_json_tell_apart_what_differs_and_nothing_else(spark: SparkSession) -> None:
    schema = "a string, b string, t timestamp, m map<string, array<string>>, d double, s struct<x: int, y: int>"
    moment = datetime(2024, 1, 1, 0, 0, 0, 1)
    rows = [
        ("a", "bc", moment, {"p": ["1"], "q": ["2"]}, 0.0, (None, None)),
        ("ab", "c", moment, {"p": ["1"], "q": ["2"]}, 0.0, (None, None)),
        ("a", None, moment, {"p": ["1"], "q": ["2"]}, 0.0, (None, None)),
        ("a", "", moment, {"p": ["1"], "q": ["2"]}, 0.0, (None, None)),
        ("a", "bc", datetime(2024, 1, 1), {"p": ["1"], "q": ["2"]}, 0.0, (None, None)),
        ("a", "bc", moment, {"p": ["1"], "q": None}, 0.0, (None, None)),
        ("a", "bc", moment, {"p": ["1"]}, 0.0, (None, None)),
        ("a", "bc", moment, {"p": ["1"], "q": ["2"]}, 0.0, None),
        ("a", "bc", moment, {"q": ["2"], "p": ["1"]}, -0.0, (None, None)),  # the same as the first
    ]
    told = frame(spark, rows, schema)
    types = {part.name: part.dataType for part in told.schema.fields}
    shape = Shape("changes", (), "int", None, "sk", columns=types)
    wider = Shape("changes", (), "int", None, "sk", columns={**types, "new": T.StringType()})
    hashes = [tuple(r) for r in told.select(record_hash(shape), named_json(list(types), types)).collect()]
    assert hashes[0] == hashes[-1]
    assert len({hash_ for hash_, _ in hashes}) == len(rows) - 1
    widened = told.selectExpr("*", "CAST(NULL AS STRING) AS new").select(record_hash(wider)).collect()
    assert [row[0] for row in widened] == [hash_ for hash_, _ in hashes], "a new column changed old hashes"
    assert "00:00:00.000001Z" in hashes[0][1]


def test_a_batch_that_contradicts_itself_is_refused_with_counts_and_keys_only(
    spark: SparkSession, tmp_path: Path
) -> None:
    target = str(tmp_path / "history")
    schema = "id int, name string, seq int"
    with pytest.raises(HistoryRefusedError, match=r"2 rows have a NULL in the key \(id\)") as refused:
        rows = [(None, "secret", 1), (None, "secret", 2), (1, "secret", None)]
        apply_changes(spark, target, frame(spark, rows, schema), keys=["id"], sequence_by="seq")
    assert "1 rows have no sequence, such as: id='1'" in str(refused.value)
    assert "secret" not in str(refused.value)
    with pytest.raises(
        HistoryRefusedError, match="1 keys are in the snapshot more than once, such as: id='7'"
    ) as refused:
        doubled = frame(spark, [(7, "secret"), (7, "secret"), (None, "secret")])
        apply_snapshot(spark, target, doubled, keys=["id"], snapshot_at=JAN[0])
    assert "1 rows have a NULL in the key" in str(refused.value)
    assert isinstance(refused.value, CloudlakeError)
    assert not is_table(target) and not is_table(f"{target}__memory")


def test_a_batch_that_asks_for_another_history_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "history")
    rows = frame(spark, [(1, "a", "b")], "id int, name string, note string")
    built: dict[str, Any] = {"keys": ["id"], "tracked": ["name"], "changed_at": None, "first_effective_from": JAN[0]}
    apply_snapshot(spark, target, rows, snapshot_at=JAN[1], **built)
    versions = version_of(target), version_of(f"{target}__memory")
    for other, message in [
        ({"keys": ["id", "note"]}, "keys: the table was built with id, this batch asks for id, note"),
        ({"tracked": ["name", "note"]}, "tracked: the table was built with name"),
        ({"tracked": None}, "tracked"),
        ({"hard_deletes": "ignore"}, "hard_deletes: the table was built with invalidate"),
        ({"changed_at": "note"}, "changed_at"),
        ({"first_effective_from": None}, "first_effective_from"),
        ({"first_effective_from": "note"}, "first_effective_from"),
        ({"hard_deletes": "forget"}, "hard_deletes: 'forget' is none of ignore, invalidate, new_record"),
        ({"keys": ["idd"]}, "did you mean 'id'"),
        ({"snapshot_at": date(2024, 1, 3)}, "time_type"),
        ({"snapshot_at": "2024-01-03"}, "snapshot_at"),
        ({"surrogate_key": "other_sk"}, "surrogate_key"),
    ]:
        with pytest.raises(HistoryRefusedError, match=message):
            apply_snapshot(spark, target, rows, **{"snapshot_at": JAN[2], **built, **other})
    for changed, message in [
        (rows.selectExpr("id", "1 AS name"), "column 'name' is int, the history has string"),
        (rows.selectExpr("*", "true AS is_current"), "column 'is_current' is one that the history adds itself"),
    ]:
        with pytest.raises(HistoryRefusedError, match=message):
            apply_snapshot(spark, target, changed, snapshot_at=JAN[2], **built)
    with pytest.raises(HistoryRefusedError, match="input: the table was built with snapshots"):
        apply_changes(
            spark, target, rows.selectExpr("*", "1L AS seq"), keys=["id"], sequence_by="seq", tracked=["name"]
        )
    assert (version_of(target), version_of(f"{target}__memory")) == versions


def test_many_snapshots_are_refused_with_every_fault_before_anything_is_written(
    spark: SparkSession, tmp_path: Path
) -> None:
    target = str(tmp_path / "history")
    rows = [(1, 1, "secret"), (1, 1, "secret"), (2, 1, "a"), (3, None, "secret"), (9, 7, "secret"), (None, 8, "a")]
    told = frame(spark, rows, "at int, id int, name string")
    with pytest.raises(HistoryRefusedError, match="1 keys are in one snapshot more than once") as refused:
        apply_snapshots(spark, target, told, keys=["id"], times=[1, 2, 3], at="at")
    assert "at: 2 rows are of snapshots that `times` does not name, such as: " in str(refused.value)
    assert "1 rows have a NULL in the key (id)" in str(refused.value) and "secret" not in str(refused.value)
    for asked, message in [
        ({"times": []}, "times: name the time of every snapshot"),
        ({"times": [1, JAN[0]]}, "times: of more than one type"),
        ({"times": [JAN[0]]}, "column 'at' of snapshots is int, times are timestamp; cast it"),
        ({"times": [1], "at": "att"}, "at: snapshots has no column 'att'; did you mean 'at'?"),
        ({"times": [1], "present": told.select("id")}, "at: present has no column 'at'"),
        ({"times": [1], "keys": ["at"]}, "at: 'at' is a key"),
    ]:
        with pytest.raises(HistoryRefusedError, match=re.escape(message)):
            apply_snapshots(spark, target, told, **{"keys": ["id"], "at": "at", **asked})
    assert not is_table(target) and not is_table(f"{target}__memory")


def test_a_snapshot_without_a_row_counts_and_what_was_told_at_once_is_not_written_again(
    spark: SparkSession, tmp_path: Path
) -> None:
    target = str(tmp_path / "history")
    rows = frame(
        spark, [(JAN[0], 1, "a"), (JAN[2], 1, "a"), (JAN[3], 1, "a")], "snapshot_at timestamp, id int, name string"
    )
    result = apply_snapshots(spark, target, rows, keys=["id"], times=JAN[:4], run_id="run-7")
    assert (result.keys, result.opened) == (1, 2)
    found = read_path(spark, target).orderBy("effective_from").select("effective_from", "effective_to").collect()
    assert [tuple(row) for row in found] == [(JAN[0], JAN[1]), (JAN[2], None)]
    assert commits_of(target)[-1].note["run_id"] == "run-7" and len(commits_of(target)) == 1
    versions = version_of(target), version_of(f"{target}__memory")
    assert apply_snapshots(spark, target, rows, keys=["id"], times=JAN[:4]).is_empty
    assert (version_of(target), version_of(f"{target}__memory")) == versions
    later = apply_snapshots(spark, target, rows.where("false"), keys=["id"], times=JAN[4:6])
    assert (later.closed, later.opened) == (1, 0)
    assert read_path(spark, target).where("is_current").isEmpty()


def test_nested_values_are_compared_by_content_and_the_note_says_what_was_told(
    spark: SparkSession, tmp_path: Path
) -> None:
    target = str(tmp_path / "history")
    schema = "id int, tags map<string, array<string>>, seen array<int>, place struct<x: int, m: map<string, int>>"
    first = frame(spark, [(1, {"a": ["x"], "b": ["y"]}, [1], (1, {"p": 1, "q": 2})), (2, None, None, None)], schema)
    same = frame(spark, [(1, {"b": ["y"], "a": ["x"]}, [1], (1, {"q": 2, "p": 1})), (2, None, None, None)], schema)
    other = frame(spark, [(1, {"a": ["x"], "b": ["z"]}, [1], (1, {"p": 1, "q": 2})), (2, {}, None, None)], schema)
    for day, rows in enumerate((first, same, other)):
        result = apply_snapshot(spark, target, rows, keys=["id"], snapshot_at=JAN[day], run_id="run-7")
    assert (result.keys, result.opened, result.closed, result.unchanged) == (2, 2, 2, 0)
    assert len(commits_of(target)) == 2, "creation with the first load is one commit, the unchanged snapshot none"
    note = commits_of(target)[-1].note
    assert note["run_id"] == "run-7" and note["snapshot_at"] == str(JAN[2])
    shown = {
        row["effective_from"]: row["changed"]
        for row in changes_of(read_path(spark, target), ["id"]).where("id = 1").collect()
    }
    assert shown[JAN[0]] == []
    assert [change["column"] for change in shown[JAN[2]]] == ["tags"]
    assert json.loads(shown[JAN[2]][0]["after"])["tags"][1]["value"] == ["z"]


def test_a_closed_key_that_returns_begins_at_its_snapshot_not_at_the_column_of_first_times(
    spark: SparkSession, tmp_path: Path
) -> None:
    target = str(tmp_path / "history")
    since = datetime(2023, 6, 1)
    after_it_was_lacked = datetime(2024, 1, 2, 12)
    other = (2, "b", since)
    for day, rows in enumerate(([(1, "a", since), other], [other], [(1, "a", after_it_was_lacked), other])):
        told = frame(spark, rows, "id int, name string, since timestamp")
        apply_snapshot(spark, target, told, keys=["id"], snapshot_at=JAN[day], first_effective_from="since")
    versions = read_path(spark, target).where("id = 1").orderBy("effective_from").collect()
    assert [(v["effective_from"], v["effective_to"]) for v in versions] == [(since, JAN[1]), (JAN[2], None)]


def test_columns_come_and_go_in_one_commit_each(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "history")
    tell = [
        frame(spark, [(1, "a"), (2, "b")]),
        frame(spark, [(1, "a", None), (2, "b", None)], "id int, name string, city string"),
        frame(spark, [(1, "a", "Rome"), (2, "b", None)], "id int, name string, city string"),
        frame(spark, [(1, "c"), (2, "b")]),
        frame(spark, [(1, "c", "Rome", 5), (2, "b", None, 6)], "id int, name string, city string, size int"),
    ]
    commits = []
    for day, rows in enumerate(tell):
        apply_snapshot(spark, target, rows, keys=["id"], snapshot_at=JAN[day])
        commits.append(version_of(target))
    assert commits == [0, 1, 2, 3, 4]
    rows = read_path(spark, target).where("id = 1").orderBy("effective_from").select("name", "city", "size").collect()
    assert [tuple(row) for row in rows] == [
        ("a", None, None),
        ("a", "Rome", None),
        ("c", "Rome", None),
        ("c", "Rome", 5),
    ]


def test_tracked_columns_may_gain_a_column_that_the_history_never_had(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "history")
    apply_snapshot(spark, target, frame(spark, [(1, "a")]), keys=["id"], snapshot_at=1, tracked=["name"])
    wider = frame(spark, [(1, "a", "x")], "id int, name string, city string")
    for at in (2, 3):
        result = apply_snapshot(spark, target, wider, keys=["id"], snapshot_at=at, tracked=["name", "city"])
        assert result.opened == (at == 2)
    with pytest.raises(HistoryRefusedError, match="tracked"):
        apply_snapshot(spark, target, wider, keys=["id"], snapshot_at=4, tracked=["name"])


@pytest.mark.parametrize("kind", ["timestamp", "date", "timestamp_ntz"])
def test_effective_from_has_the_type_of_the_sequence(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    target = str(tmp_path / "history")
    day = "2024-01-{:02d}" if kind == "date" else "2024-01-{:02d} 01:02:03.000456"
    for batch in ([(1, "a", 1), (1, "b", 9)], [(1, "c", 5), (2, "d", 20)]):
        rows = frame(spark, [(key, name, day.format(at)) for key, name, at in batch], "id int, name string, seq string")
        apply_changes(
            spark, target, rows.selectExpr("id", "name", f"CAST(seq AS {kind})"), keys=["id"], sequence_by="seq"
        )
    history = read_path(spark, target)
    assert history.schema["effective_from"].dataType.simpleString() == kind
    found = history.selectExpr("name", "CAST(effective_from AS STRING)", "CAST(effective_to AS STRING)").orderBy("name")
    days = {at: day.format(at) for at in (1, 5, 9, 20)}
    assert [tuple(row) for row in found.collect()] == [
        ("a", days[1], days[5]),
        ("b", days[9], None),
        ("c", days[5], days[9]),
        ("d", days[20], None),
    ]


def test_as_of_and_join_as_of_follow_the_facts_own_time(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "history")
    for day, rows in enumerate(([(1, "a"), (2, "b")], [(1, "c")], [(1, "c"), (2, "d")])):
        apply_snapshot(
            spark, target, frame(spark, rows), keys=["id"], snapshot_at=JAN[2 * day], hard_deletes="new_record"
        )
    history = read_path(spark, target)
    in_force = {at.day: sorted(tuple(r) for r in as_of(history, at).select("id", "name").collect()) for at in JAN[:6]}
    assert in_force == {
        1: [(1, "a"), (2, "b")],
        2: [(1, "a"), (2, "b")],
        3: [(1, "c")],
        4: [(1, "c")],
        5: [(1, "c"), (2, "d")],
        6: [(1, "c"), (2, "d")],
    }
    assert as_of(history, datetime(2023, 12, 31)).isEmpty()
    facts = frame(
        spark,
        [(1, JAN[0]), (1, JAN[2]), (2, JAN[3]), (2, datetime(2023, 1, 1)), (9, JAN[0]), (2, None)],
        "id int, at timestamp",
    )
    joined = join_as_of(facts, history.select("id", "name", "effective_from", "effective_to", "is_deleted"), "id", "at")
    names = sorted((row["id"], str(row["at"]), row["name"]) for row in joined.collect())
    assert [name for _, _, name in names] == ["a", "c", None, None, None, None]
    with pytest.raises(CloudlakeError, match="name on both sides"):
        join_as_of(frame(spark, [(1, "x")]).selectExpr("*", "now() AS at"), history, ["id"], "at")


def test_two_batches_at_once_leave_one_current_row(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "history")
    apply_snapshot(spark, target, frame(spark, [(1, "a")]), keys=["id"], snapshot_at=0)
    failed: list[BaseException] = []

    def tell(at: int, name: str) -> None:
        session = spark.newSession()
        try:
            apply_snapshot(
                session,
                target,
                session.createDataFrame([(1, name)], "id int, name string"),
                keys=["id"],
                snapshot_at=at,
            )
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=tell, args=(at, name)) for at, name in ((10, "b"), (20, "c"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    rows = read_path(spark, target).orderBy("effective_from").select("name", "effective_from", "effective_to").collect()
    assert [tuple(row) for row in rows] == [("a", 0, 10), ("b", 10, 20), ("c", 20, None)]
