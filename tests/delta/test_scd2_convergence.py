"""Random facts, shuffled, split and repeated at random: the table is what a plain replay says, and keeps the laws."""

from __future__ import annotations

import itertools
import os
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cloudlake.common.lake import read_path, version_of
from cloudlake.common.scd2 import apply_changes, apply_snapshot, apply_snapshots, history_of
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scd2_replay import Fact, Rules, Snapshot, changed_histories, snapshot_histories

SEED = int(os.environ.get("CLOUDLAKE_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
KEYS = 250
COLUMNS = ["a", "b", "note"]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    print(f"seed {SEED} (set CLOUDLAKE_SEED to repeat)")
    return random.Random(f"{SEED}-{request.node.name}")


def table(spark: SparkSession, rows: Iterable[tuple[Any, ...]], schema: str) -> DataFrame:
    return spark.createDataFrame(list(rows), schema)


def histories(history: DataFrame, columns: list[str]) -> dict[Any, list[tuple[Any, ...]]]:
    found: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    rows = history.select("k", "effective_from", "effective_to", "is_deleted", *columns).collect()
    for row in sorted(rows, key=lambda row: (row["k"], row["effective_from"])):
        found[row["k"]].append(tuple(row)[1:])
    return dict(found)


def assert_laws(history: DataFrame, tracked: list[str]) -> None:
    by_key: dict[Any, list[Any]] = defaultdict(list)
    for row in history.orderBy("k", "effective_from").collect():
        by_key[row["k"]].append(row)
    for key, rows in by_key.items():
        assert sum(row["is_current"] for row in rows) <= 1, f"two current rows of {key}"
        for row in rows:
            assert row["is_current"] == (row["effective_to"] is None)
            assert row["effective_to"] is None or row["effective_from"] < row["effective_to"], f"zero width: {row}"
        for before, after in itertools.pairwise(rows):
            assert before["effective_to"] is not None and before["effective_to"] <= after["effective_from"], (
                f"overlap: {key}"
            )
            gap = before["effective_to"] < after["effective_from"] or before["is_deleted"] != after["is_deleted"]
            assert gap or any(before[name] != after[name] for name in tracked), f"noise: {before} {after}"
    keys = history.agg(F.count_distinct("sk"), F.count("sk")).collect()[0]
    assert keys[0] == keys[1], "a surrogate key names two versions"


# --- changes ----------------------------------------------------------------------------------------------------


def random_facts(rng: random.Random) -> list[Fact]:
    facts = []
    column_sets = [COLUMNS, ["a", "note"], ["a", "b"]]
    for key in range(KEYS):
        for _ in range(rng.randrange(1, 9)):
            at = rng.randrange(12)
            if rng.random() < 0.2:
                facts.append(Fact(key, at, None))
                continue
            names = rng.choice(column_sets) if rng.random() < 0.4 else COLUMNS
            facts.append(Fact(key, at, tuple((name, rng.choice(["x", "y", "", None])) for name in names)))
    return facts


def random_batches(rng: random.Random, facts: list[Fact], batches: int) -> list[list[Fact]]:
    """Split facts into batches of one column set each; a few are told in two batches."""
    shuffled = facts + rng.sample(facts, len(facts) // 10)
    rng.shuffle(shuffled)
    split: dict[Any, list[Fact]] = defaultdict(list)
    for fact in shuffled:
        names = tuple(name for name, _ in fact.row) if fact.row is not None else tuple(COLUMNS)
        split[(names, rng.randrange(batches) if names == tuple(COLUMNS) else 0)].append(fact)
    order = list(split.values())
    rng.shuffle(order)
    return order


def tell_changes(spark: SparkSession, target: str, batch: list[Fact]) -> None:
    names = next(([name for name, _ in fact.row] for fact in batch if fact.row is not None), COLUMNS)
    rows = [
        (
            f.key,
            f.at,
            *(dict(f.row).get(n) if f.row else "ignored" for n in names),
            None if f.row and f.at % 2 else f.row is None,
        )
        for f in batch
    ]
    schema = f"k int, at int, {', '.join(f'{name} string' for name in names)}, is_delete boolean"
    apply_changes(spark, target, table(spark, rows, schema), keys=["k"], sequence_by="at", tracked=["a", "b"])


def test_changes_converge_to_the_replay_in_any_order_and_split(
    spark: SparkSession, tmp_path: Path, rng: random.Random
) -> None:
    facts = random_facts(rng)
    allowed = changed_histories(facts, COLUMNS, ["a", "b"])
    found = []
    for order in range(2):
        target = str(tmp_path / f"changes_{order}")
        batches = random_batches(rng, facts, batches=1 + order)
        for batch in batches:
            tell_changes(spark, target, batch)
        history = read_path(spark, target)
        assert_laws(history, ["a", "b"])
        found.append(histories(history, COLUMNS))
    version = version_of(target)
    tell_changes(spark, target, batches[0])
    assert version_of(target) == version, "a repetition was committed"
    for key, choices in allowed.items():
        assert found[0].get(key, []) in choices, f"key {key}: {[f for f in facts if f.key == key]}"
    assert found[0] == found[1]


def test_a_history_without_a_table_is_what_the_replay_says(spark: SparkSession, rng: random.Random) -> None:
    facts = [fact for fact in random_facts(rng) if fact.row is None or len(fact.row) == len(COLUMNS)]
    rows = [(f.key, f.at, *(dict(f.row or ()).get(name) for name in COLUMNS), f.row is None) for f in facts]
    rng.shuffle(rows)
    changes = table(spark, rows, f"k int, at int, {', '.join(f'{name} string' for name in COLUMNS)}, gone boolean")
    made = history_of(changes, keys=["k"], sequence_by="at", deletes="gone", tracked=["a", "b"]).persist()
    assert_laws(made, ["a", "b"])
    found = histories(made, COLUMNS)
    for key, choices in changed_histories(facts, COLUMNS, ["a", "b"]).items():
        assert found.get(key, []) in choices, f"key {key}: {[f for f in facts if f.key == key]}"
    made.unpersist()


# --- snapshots --------------------------------------------------------------------------------------------------

RULES = [
    Rules([*COLUMNS, "seen"], ["a", "b"], "invalidate", changed_at="seen", first_column="born"),
    Rules([*COLUMNS, "seen"], ["a", "b"], "new_record", changed_at="seen", first_time=0),
    Rules([*COLUMNS, "seen"], ["a", "b"], "ignore", changed_at="seen", first_time=25),
    Rules(COLUMNS, ["a", "b"], "invalidate", first_time=0),
]


def random_snapshots(rng: random.Random, rules: Rules, count: int) -> list[Snapshot]:
    columns = [*rules.columns, *([rules.first_column] if rules.first_column else [])]
    times = [10 * (i + 1) for i in range(count)]
    narrow = rng.choice(times)
    snapshots = []
    for at in times:
        names = [name for name in columns if name != "b" or at != narrow]
        snapshot = Snapshot(at, {})
        for key in range(KEYS):
            chance = rng.random()
            if chance < 0.1:
                snapshot.refused.add(key)
            elif chance < 0.7:
                values = {"a": rng.choice(["x", "y"]), "b": rng.choice(["x", None]), "note": rng.choice(["p", "q"])}
                values |= {name: rng.choice([None, rng.randrange(at + 15)]) for name in ("seen", "born")}
                snapshot.rows[key] = {name: values[name] for name in names}
        snapshots.append(snapshot)
    return snapshots


def tell_snapshots(spark: SparkSession, target: str, snapshots: list[Snapshot], rules: Rules) -> None:
    """Tell one snapshot by itself, several at once."""
    names = list(next(iter(snapshots[0].rows.values())))
    schema = "at int, k int, " + ", ".join(f"{n} {'bigint' if n in ('seen', 'born') else 'string'}" for n in names)
    rows = table(spark, [(s.at, key, *row.values()) for s in snapshots for key, row in s.rows.items()], schema)
    refused = [(s.at, key) for s in snapshots for key in s.refused]
    present = table(spark, refused, "at int, k int") if refused else None
    asked: dict[str, Any] = {
        "keys": ["k"],
        "hard_deletes": rules.hard_deletes,
        "tracked": rules.tracked,
        "changed_at": rules.changed_at,
        "first_effective_from": rules.first_column or rules.first_time,
    }
    if len(snapshots) > 1:
        times = [snapshot.at for snapshot in snapshots]
        apply_snapshots(spark, target, rows, times=times, at="at", present=present, **asked)
        return
    here = present.drop("at") if present is not None else None
    apply_snapshot(spark, target, rows.drop("at"), snapshot_at=snapshots[0].at, present=here, **asked)


def in_batches(rng: random.Random, snapshots: list[Snapshot]) -> list[list[Snapshot]]:
    """Cut an order of snapshots into batches at random: a batch has one set of columns, and each time once."""
    batches: list[list[Snapshot]] = []
    for snapshot in snapshots:
        names = list(next(iter(snapshot.rows.values())))
        last = batches[-1] if batches else []
        fits = last and list(next(iter(last[0].rows.values()))) == names and snapshot.at not in {s.at for s in last}
        if fits and rng.random() < 0.7:
            last.append(snapshot)
        else:
            batches.append([snapshot])
    return batches


@pytest.mark.parametrize("rules", RULES[:2], ids=lambda rules: f"{rules.hard_deletes}-{rules.changed_at}")
def test_snapshots_converge_to_the_replay_in_any_order(
    spark: SparkSession, tmp_path: Path, rng: random.Random, rules: Rules
) -> None:
    converges(spark, str(tmp_path / "snapshots"), rng, replace(rules), count=3)


@pytest.mark.soak
@pytest.mark.parametrize("round_", range(3))
@pytest.mark.parametrize("rules", RULES, ids=lambda rules: f"{rules.hard_deletes}-{rules.changed_at}")
def test_many_snapshots_converge_to_the_replay_in_any_order(
    spark: SparkSession, tmp_path: Path, rng: random.Random, rules: Rules, round_: int
) -> None:
    converges(spark, str(tmp_path / f"snapshots_{round_}"), rng, replace(rules), count=7)


def converges(spark: SparkSession, target: str, rng: random.Random, rules: Rules, count: int) -> None:
    """Tell random snapshots in random order and batches, one of them first with other rows, and compare with the replay."""
    snapshots = random_snapshots(rng, rules, count)
    columns = [*rules.columns, *([rules.first_column] if rules.first_column else [])]
    rules.columns = columns
    told_wrong = Snapshot(snapshots[1].at, random_snapshots(rng, rules, count=1)[0].rows)
    order = rng.sample(snapshots, len(snapshots))
    order.insert(order.index(snapshots[1]), told_wrong)
    batches = in_batches(rng, order)
    for batch in batches:
        tell_snapshots(spark, target, batch, rules)
    history = read_path(spark, target)
    assert_laws(history, rules.tracked)
    expected = snapshot_histories(snapshots, rules)
    found = histories(history, columns)
    told = [[(s.at, s is told_wrong) for s in batch] for batch in batches]
    for key in expected.keys() | found.keys():
        said = [(s.at, s.rows.get(key, "refused" if key in s.refused else None)) for s in order]
        assert found.get(key) == expected.get(key), f"key {key}, told {told}: {said}"
    version = version_of(target)
    tell_snapshots(spark, target, batches[-1], rules)
    assert version_of(target) == version, "a repetition was committed"
