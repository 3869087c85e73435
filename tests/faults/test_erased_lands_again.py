"""A person who was erased does not come back by landing: refused at bronze's door, counted, named in the reconciliation."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from books_lake import rows_of, run
from cloudlake.common.config import Config
from cloudlake.runs.record import reconciliation
from flow import cloudlake, files_with

USERS = ("--jobs", "customers_orgs", "users")


@pytest.fixture
def later_export(config: Config) -> Iterator[Path]:
    """Where a later export of users may land; gone afterwards."""
    folder = config.landing / "2025-12-01"
    folder.mkdir()
    yield folder / "users.csv"
    shutil.rmtree(folder)


def test_an_erased_person_who_lands_again_is_refused_counted_and_named_in_the_reconciliation(
    config: Config, later_export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = config.lake
    people = [row for row in lake.rows("silver.users") if row["email"] and row["is_current"]]
    person = max(people, key=lambda row: str(row["user_id"]))
    user, address = str(person["user_id"]), str(person["email"])
    others = [row for row in rows_of(config, "silver.users") if user not in row]
    assert files_with(lake.root, address)
    assert cloudlake(lake.root, config.landing, "erase", "--user", user) == 0
    assert files_with(lake.root, address) == [] and rows_of(config, "silver.users") == others

    with (config.landing / "users.csv").open(newline="", encoding="utf-8") as file:
        header, *lines = list(csv.reader(file))
    own = [line for line in lines if line[header.index("user_id")].strip() == user]
    assert own and address.lower() in str(own).lower()
    with later_export.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    capsys.readouterr()
    assert run(config, *USERS) == 0
    assert "erased" in capsys.readouterr().out, "the run names it where it says where every record went"
    assert files_with(lake.root, address) == []
    assert not [row for row in rows_of(config, "silver.users") if user in row]
    counts = {row["delivery"].partition("@")[0]: row for row in lake.rows("ops.reconciliation") if row["table"] == "silver.users"}
    again = counts["2025-12-01/users.csv"]
    assert json.loads(again["reasons"])["erased"] == len(own)
    assert again["landed"] == again["accepted"] + again["quarantined"] + again["duplicates"]
    (told,) = [row for row in reconciliation(config) if row["table"] == "silver.users"]
    assert told["holds"] and told["reasons"]["erased"] >= len(own)

    after = rows_of(config, "silver.users")
    assert run(config, "--full-reload", "--jobs", "users") == 0, "deliveries of before are counted as they landed"
    assert rows_of(config, "silver.users") == after and files_with(lake.root, address) == []
    assert all(row["holds"] for row in reconciliation(config))
