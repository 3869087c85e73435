"""A snapshot that arrives after a newer one, on a lake of its own: the history is the one of the right order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from flow import business_columns, cloudlake, deliver, opened
from oracle import Oracle, assert_same
from pyspark.sql import SparkSession


def test_a_delivery_that_arrives_late_or_again_changes_only_what_it_should(spark: SparkSession, tmp_path: Path) -> None:
    landing, lake = tmp_path / "landing", tmp_path / "lake"
    deliver(landing, seed=5, orgs=30, days=2, events=20, files=2, snapshots=2)
    masters = ("customers_orgs", "resources")
    held_back = tmp_path / "held_back"
    dated = sorted(path for path in landing.iterdir() if path.is_dir() and path.name[:2] == "20")
    assert len(dated) == 2
    dated[0].rename(held_back)
    assert cloudlake(lake, landing, "batch", "--jobs", *masters) == 0
    held_back.rename(dated[0])
    assert cloudlake(lake, landing, "batch", "--jobs", *masters) == 0
    late = opened(lake, landing)

    assert cloudlake(tmp_path / "in_order", landing, "batch", "--jobs", *masters) == 0
    in_order = opened(tmp_path / "in_order", landing)
    oracle = Oracle(landing)
    for table in masters:
        contract = in_order.registry[f"silver.{table}"]
        key = [*contract.key, "effective_from"]
        assert_same(late.lake.read_small(contract.name), in_order.lake.read_small(contract.name), key, table)
        expected = oracle.silver(table)
        assert_same(business_columns(in_order, contract.name, expected), expected, list(contract.key), table)
        assert max(Counter(row[contract.key[0]] for row in late.lake.rows(contract.name)).values()) > 1, (
            "there is history"
        )
