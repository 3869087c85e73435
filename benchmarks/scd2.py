"""How fast the SCD type 2 engine is beside a plain Delta MERGE of the same rows.

    python benchmarks/scd2.py [--keys 1000000] [--share 0.01] [--history 10] [--only changes|history|snapshots|nightly]

Measures, in one run: a batch of changes in `--share` of the keys against a plain MERGE upsert; the same batch on a
table with `--history` times the versions; snapshots with that share changed and with nothing changed; and the small
snapshots of a nightly run. Prints a table and writes benchmarks/results/scd2.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

from cloudlake.common.lake import commits_of, delta_table, read_path
from cloudlake.common.scd2 import apply_changes, apply_snapshot
from cloudlake.common.session import start_session
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

RESULTS = Path(__file__).parent / "results" / "scd2.json"
Measured = dict[str, Any]


def rows(spark: SparkSession, keys: int, generation: int | str, share: float = 1.0) -> DataFrame:
    """A master of ten columns; `share` of the keys, spread evenly over all of them."""
    step = round(1 / share)
    return spark.range(0, keys, step, 2).select(
        F.format_string("org-%08d", "id").alias("id"),
        *(
            F.concat(F.lit(f"{name} "), F.col("id") % 1000).alias(name)
            for name in ("name", "city", "region", "plan", "rep")
        ),
        F.concat(F.lit("stage "), F.lit(generation).cast("string")).alias("stage"),
        (F.col("id") % 97).cast("double").alias("score"),
        F.date_add(F.lit("2020-01-01").cast("date"), (F.col("id") % 900).cast("int")).alias("signed_up"),
    )


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return round(time.perf_counter() - started, 2)


def changes(spark: SparkSession, keys: int, share: float, times: int, folder: str) -> Measured:
    """A batch of changes beside a plain MERGE, on a history with `times` versions a key."""
    target, plain = f"{folder}/history_{times}", f"{folder}/plain_{times}"
    generations = [rows(spark, keys, generation).withColumn("seq", F.lit(generation)) for generation in range(times)]
    everything = reduce(DataFrame.unionByName, generations)
    built = timed(lambda: apply_changes(spark, target, everything, keys=["id"], sequence_by="seq"))
    rows(spark, keys, times - 1).write.format("delta").save(plain)
    ours, theirs = [], []
    for generation in range(times, times + 3):
        batch = rows(spark, keys, generation, share).withColumn("seq", F.lit(generation)).persist()
        batch.count()
        theirs.append(timed(lambda batch=batch: upsert(spark, plain, batch.drop("seq"))))  # type: ignore[misc]
        ours.append(timed(lambda batch=batch: apply_changes(spark, target, batch, keys=["id"], sequence_by="seq")))  # type: ignore[misc]
        batch.unpersist()
    median, plain_median = statistics.median(ours), statistics.median(theirs)
    return {
        "keys": keys,
        "versions a key": times,
        "first load s": built,
        "engine s": median,
        "plain MERGE s": plain_median,
        "times plain": round(median / plain_median, 2),
    }


def upsert(spark: SparkSession, target: str, batch: DataFrame) -> None:
    merge = delta_table(spark, target).alias("t").merge(batch.alias("s"), "t.id = s.id")
    merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()


def snapshots(spark: SparkSession, keys: int, share: float, folder: str) -> Measured:
    """Full snapshots: the first, one with a share of changed keys, one unchanged, one told again."""
    target, plain = f"{folder}/snapshots", f"{folder}/plain_snapshots"
    first, start = rows(spark, keys, 0), datetime(2024, 1, 1)
    changed = first.withColumn("stage", F.when(F.substring("id", -2, 2) == "00", "new").otherwise(F.col("stage")))

    def tell(snapshot: DataFrame, day: int) -> float:
        return timed(lambda: apply_snapshot(spark, target, snapshot, keys=["id"], snapshot_at=start + timedelta(day)))

    measured: Measured = {"keys": keys, "first load s": tell(first, 0)}
    first.write.format("delta").save(plain)
    measured["plain MERGE of all rows s"] = timed(lambda: upsert(spark, plain, changed))
    measured["1 % changed s"] = tell(changed, 1)
    files = set(read_path(spark, target).inputFiles())
    measured["unchanged s"] = tell(changed, 2)
    measured["files rewritten by the unchanged"] = len(files ^ set(read_path(spark, target).inputFiles()))
    measured["memory rows of the unchanged"] = read_path(spark, f"{target}__memory").where("_told = 2").count()
    measured["told again s"] = tell(changed, 2)
    measured["commits"] = len(commits_of(target))
    measured["history MB"] = size(target)
    measured["memory MB"] = size(f"{target}__memory")
    return measured


def nightly(spark: SparkSession, folder: str) -> Measured:
    """The small masters of a nightly run: medians of warm calls."""
    target, start = f"{folder}/nightly", datetime(2024, 1, 1)
    changed, same = [], []
    for night in range(8):
        snapshot = rows(spark, 800, 0).withColumn("stage", F.when(F.col("score") < 9, str(night)).otherwise("same"))
        at = start + timedelta(night)
        changed.append(timed(lambda s=snapshot, t=at: apply_snapshot(spark, target, s, keys=["id"], snapshot_at=t)))  # type: ignore[misc]
        later = at + timedelta(hours=1)
        same.append(timed(lambda s=snapshot, t=later: apply_snapshot(spark, target, s, keys=["id"], snapshot_at=t)))  # type: ignore[misc]
    return {"changed s": statistics.median(changed[3:]), "unchanged s": statistics.median(same[3:])}


def size(folder: str) -> float:
    return round(sum(path.stat().st_size for path in Path(folder).rglob("*.parquet")) / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--history", type=int, default=10)
    parser.add_argument("--only", choices=["changes", "history", "snapshots", "nightly"])
    chosen = parser.parse_args()
    spark = start_session("benchmark-scd2")
    folder = tempfile.mkdtemp(prefix="cloudlake-scd2-")
    results: Measured = {
        "keys": chosen.keys,
        "share": chosen.share,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    try:
        if chosen.only in (None, "nightly"):
            results["nightly, 800 rows"] = nightly(spark, folder)
        if chosen.only in (None, "changes"):
            results["changes"] = changes(spark, chosen.keys, chosen.share, 1, folder)
        if chosen.only in (None, "history"):
            few, many = (
                changes(spark, chosen.keys, chosen.share, times, f"{folder}/long") for times in (1, chosen.history)
            )
            times = round(many["engine s"] / few["engine s"], 2)
            results["long history"] = {
                "keys": chosen.keys,
                "one version a key": few["engine s"],
                **many,
                "times one version": times,
            }
        if chosen.only in (None, "snapshots"):
            results["snapshots"] = snapshots(spark, chosen.keys, chosen.share, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(results)
    RESULTS.parent.mkdir(exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if chosen.only and RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**kept, **results}, indent=2) + "\n")


def show(results: Measured) -> None:
    for name, value in results.items():
        for part, number in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"{name:24}{part:36}{number:>14}")


if __name__ == "__main__":
    main()
