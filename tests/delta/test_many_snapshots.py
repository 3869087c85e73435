"""Many exports of a master that wait are told at once: each is counted beside the one before it, in one commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cloudlake.common.lake import commits_of
from cloudlake.common.quality import gates
from pyspark.sql import SparkSession
from table_by_table import ORGS, TableByTable, org


def orgs(*names: str, **renamed: str) -> str:
    return ORGS + "".join(org(name).replace(f"Name of {name}", renamed.get(name, f"Name of {name}")) for name in names)


def splits(lake: TableByTable) -> list[tuple[str, dict[str, int]]]:
    rows = [row for row in lake.config.lake.rows("ops.reconciliation") if row["table"] == "silver.customers_orgs"]
    names = ("inserted", "changed", "unchanged", "quarantined")
    return sorted((row["delivery"][:10], {name: row[name] for name in names if row[name]}) for row in rows)


def history(lake: TableByTable) -> list[tuple[Any, ...]]:
    rows = lake.config.lake.rows("silver.customers_orgs")
    times = [(row["effective_from"], row["effective_to"]) for row in rows]
    days = [(f"{start:%m-%d}", f"{end:%m-%d}" if end else None) for start, end in times]
    return sorted((row["org_id"], row["org_name"], *span) for row, span in zip(rows, days, strict=True))


def test_pending_snapshots_are_one_commit_and_the_guard_stops_at_the_one_that_deletes_too_much(
    tmp_path: Path, spark: SparkSession
) -> None:
    lake = TableByTable(tmp_path, spark)
    everyone = ("a1", "b1", "c1", "d1", "e1")
    refused = org("b1").replace(",pro,", ",unheard of,")
    lake.deliver("2025-08-01", customers_orgs=orgs(*everyone))
    lake.deliver("2025-08-02", customers_orgs=orgs("a1", "d1", "e1", d1="New") + refused)
    lake.deliver("2025-08-03", customers_orgs=orgs(*everyone, d1="New", b1="Newer"))
    lake.deliver("2025-08-04", customers_orgs=orgs(*everyone, d1="New", b1="Newer"))
    lake.run("customers_orgs")
    assert splits(lake) == [
        ("2025-08-01", {"inserted": 5}),
        ("2025-08-02", {"changed": 1, "unchanged": 2, "quarantined": 1}),
        ("2025-08-03", {"changed": 1, "inserted": 1, "unchanged": 3}),
        ("2025-08-04", {"unchanged": 5}),
    ]
    first = [
        ("a1", "Name of a1", "01-01", None),
        ("b1", "Name of b1", "01-01", "08-03"),
        ("b1", "Newer", "08-03", None),
        ("c1", "Name of c1", "01-01", "08-02"),
        ("c1", "Name of c1", "08-03", None),
        ("d1", "Name of d1", "01-01", "08-02"),
        ("d1", "New", "08-02", None),
        ("e1", "Name of e1", "01-01", None),
    ]
    path = lake.config.lake.path("silver.customers_orgs")
    assert history(lake) == first and len(commits_of(path)) == 1

    everybody = orgs(*everyone, d1="New", b1="Newer", a1="Other")
    lake.deliver("2025-08-05", customers_orgs=everybody)
    lake.deliver("2025-08-06", customers_orgs=everybody)
    lake.deliver("2025-08-07", customers_orgs=orgs("a1", a1="Other"))
    lake.deliver("2025-08-08", customers_orgs=orgs(*everyone))
    lake.ingest("customers_orgs")
    with pytest.raises(gates.GateFailed, match=r"2025-08-07/customers_orgs\.csv lacks 4 of 5 keys"):
        lake.transform("customers_orgs")
    told = [("a1", "Name of a1", "01-01", "08-05"), ("a1", "Other", "08-05", None), *first[1:]]
    assert history(lake) == told and len(commits_of(path)) == 2, "what comes before it is told, nothing after it"
