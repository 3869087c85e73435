"""A history dies between any two of its steps and is told the batch again: the table of a clean run, in one commit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from chispa.dataframe_comparer import assert_df_equality
from cloudlake.common.lake import commits_of, is_table, read_path
from cloudlake.common.scd2 import MergeResult, apply_changes, apply_snapshot, apply_snapshots, batches
from pyspark.sql import SparkSession

SNAPSHOTS = [
    (10, [(1, "a"), (2, "b"), (3, "c")]),
    (30, [(1, "a"), (2, "x"), (4, "d")]),
    (20, [(1, "q"), (2, "b"), (4, "e")]),
]
CHANGES = [[(1, "a", 10), (2, "b", 10)], [(1, "c", 20), (2, "b", 20), (3, "z", 5)], [(1, "a", 15), (2, "y", 12)]]

Tell = Callable[[SparkSession, str, int], MergeResult]


def tell_snapshot(spark: SparkSession, target: str, number: int) -> MergeResult:
    at, rows = SNAPSHOTS[number]
    frame = spark.createDataFrame(rows, "id int, name string")
    return apply_snapshot(spark, target, frame, keys=["id"], snapshot_at=at, first_effective_from=0)


def tell_snapshots(spark: SparkSession, target: str, number: int) -> MergeResult:
    """Each batch is two snapshots, five apart, with and without a change."""
    told = [SNAPSHOTS[number], (SNAPSHOTS[number][0] + 5, [(1, "z"), (5, "e")])]
    rows = spark.createDataFrame([(at, *row) for at, said in told for row in said], "at int, id int, name string")
    times = [at for at, _ in told]
    return apply_snapshots(spark, target, rows, keys=["id"], times=times, at="at", first_effective_from=0)


def tell_changes(spark: SparkSession, target: str, number: int) -> MergeResult:
    frame = spark.createDataFrame(CHANGES[number], "id int, name string, seq int")
    return apply_changes(spark, target, frame, keys=["id"], sequence_by="seq")


class DiedError(BaseException):
    """Stands for the death of the process: what is on disk at that moment is what the next batch finds."""


@pytest.mark.parametrize(
    "tell", [tell_snapshot, tell_snapshots, tell_changes], ids=["snapshot", "snapshots", "changes"]
)
def test_a_batch_told_again_after_a_crash_heals_the_history(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    clean, crashed = str(tmp_path / "clean"), str(tmp_path / "crashed")
    for number in range(3):
        tell(spark, clean, number)

    def die(number: int, point: str) -> None:
        def crash_point(name: str) -> None:
            if name == point:
                raise DiedError

        with monkeypatch.context() as patch, pytest.raises(DiedError):
            patch.setattr(batches, "crash_point", crash_point)
            tell(spark, crashed, number)

    die(0, "scd2_before_memory")
    assert not is_table(f"{crashed}__memory")
    die(0, "scd2_after_memory")
    assert not is_table(crashed)
    tell(spark, crashed, 0)
    die(1, "scd2_after_memory")
    assert len(commits_of(crashed)) == 1
    die(2, "scd2_after_memory")
    tell(spark, crashed, 2)
    tell(spark, crashed, 1)
    assert len(commits_of(crashed)) <= 3
    assert_df_equality(read_path(spark, clean), read_path(spark, crashed), ignore_row_order=True)


def test_a_history_killed_after_its_memory_is_healed_by_the_same_batch(spark: SparkSession, tmp_path: Path) -> None:
    clean, killed = str(tmp_path / "clean"), str(tmp_path / "killed")
    for number in range(2):
        tell_snapshot(spark, clean, number)
    tell_snapshot(spark, killed, 0)
    run(killed, 1, "scd2_after_memory", expected=-9)
    assert len(commits_of(killed)) == 1 and len(commits_of(f"{killed}__memory")) == 2
    tell_snapshot(spark, killed, 1)
    assert len(commits_of(killed)) == 2 and len(commits_of(f"{killed}__memory")) == 2
    assert_df_equality(read_path(spark, clean), read_path(spark, killed), ignore_row_order=True)


def run(target: str, number: int, point: str, expected: int) -> None:
    """Tell a snapshot in a process of its own, which kills itself at a crash point."""
    code = (
        "from cloudlake.common.session import start_session; import test_scd2_crash as this; "
        f"this.tell_snapshot(start_session('killed'), {target!r}, {number})"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "CLOUDLAKE_CRASH_AT": point, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stderr[-2000:]
