"""Tables against their books, without Spark: what another program did, what was put back, what is gone; counted net."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cloudlake.common.config import Config, load_config
from cloudlake.common.errors import CloudlakeError
from cloudlake.common.lake.books import Books, Finding, restore_line
from cloudlake.common.lake.log import data_files
from cloudlake.runs import trust
from cloudlake.serving import connect, live_org_daily_usage
from cloudlake.serving.publication import publish, rollback
from deltalake import DeltaTable, write_deltalake

NAME = "gold.revenue_monthly"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(lake=str(tmp_path / "our lake's"), landing=str(tmp_path))


def append(config: Config, orgs: int, name: str = NAME, **note: Any) -> None:
    config.lake.append_small([{"orgs_billed": orgs}], config.registry[name], {"run_id": "r", **note})


def foreign(config: Config, orgs: int = 99, name: str = NAME) -> None:
    rows = config.lake.read_small(name).slice(0, 1)
    place = rows.column_names.index("orgs_billed")
    rows = rows.set_column(place, rows.schema.field(place), pa.array([orgs], rows.schema.field(place).type))
    write_deltalake(config.lake.path(name), rows, mode="append")


def look(config: Config, *names: str) -> list[Finding]:
    return Books.of(config.lake).compare(names or [NAME])


def kinds(config: Config) -> list[str]:
    return [finding.kind for finding in look(config)]


def test_own_commits_are_trusted_and_what_another_program_did_is_found_whether_or_not_there_is_a_mark(
    config: Config,
) -> None:
    append(config, 1)
    assert look(config) == []
    append(config, 2)
    foreign(config)
    append(config, 3)
    (finding,) = look(config)
    assert (
        finding.kind == "foreign" and finding.good == 2 and "version 3 (WRITE): 1 row(s) in 1 file(s)" in finding.what
    )
    Books.of(config.lake).path.unlink()
    assert look(config) == [finding], "the marks are a memory aid only"
    Books.of(config.lake).path.write_text("{")
    assert look(config) == [finding]


@pytest.mark.parametrize("change", ["delete", "update", "overwrite"])
def test_rows_that_another_program_takes_or_changes_are_found_and_a_restore_takes_it_back(
    config: Config, change: str
) -> None:
    for orgs in (1, 2):
        append(config, orgs)
    assert look(config) == []
    path = config.lake.path(NAME)
    if change == "delete":
        DeltaTable(path).delete("orgs_billed = 1")
    elif change == "update":
        DeltaTable(path).update({"orgs_billed": "7"}, predicate="orgs_billed = 1")
    else:
        write_deltalake(path, config.lake.read_small(NAME).slice(0, 1), mode="overwrite")
    (finding,) = look(config)
    assert finding.kind == "foreign" and "taken away" in finding.what
    line = restore_line(config.lake, finding)
    subprocess.run(["bash", "-c", line], check=True)
    assert kinds(config) == [] and config.lake.count(NAME) == 2


def test_a_restore_over_a_compaction_is_as_good_as_one_without(config: Config) -> None:
    for orgs in (1, 2):
        append(config, orgs)
    version = config.lake.version(NAME)
    assert look(config) == []
    DeltaTable(config.lake.path(NAME)).optimize.compact()
    assert kinds(config) == [], "a compaction changes no row"
    foreign(config)
    assert kinds(config) == ["foreign"]
    DeltaTable(config.lake.path(NAME)).restore(version)
    assert kinds(config) == [] and config.lake.count(NAME) == 2


def test_only_a_commit_that_keeps_no_row_clears_what_another_program_wrote(config: Config) -> None:
    table = config.registry["ops.gates"]
    config.lake.append_small([{"run_id": "a"}], table, {"run_id": "r"})
    write_deltalake(config.lake.path(table.name), config.lake.read_small(table.name), mode="append")
    config.lake.delete(table.name, "run_id = 'b'", {"run_id": "r"})
    assert [f.kind for f in look(config, table.name)] == ["foreign"]
    append(config, 1)
    foreign(config)
    mart = config.registry[NAME]
    rows = config.lake.read_small(NAME, filters=[("orgs_billed", "=", 1)])
    config.lake.replace_small(rows, mart, where="orgs_billed = 1", note={"run_id": "r"})
    assert kinds(config) == ["foreign"]
    config.lake.replace_small(config.lake.read_small(NAME).slice(0, 1), mart, note={"run_id": "r"})
    assert kinds(config) == []


def test_rows_of_another_program_are_not_laundered_by_an_upsert_of_ours(config: Config) -> None:
    alerts = config.registry["speed.alerts"]
    config.lake.append_small([{"alert_id": "a"}], alerts, {"run_id": "r"})
    rows = pa.Table.from_pylist([{"alert_id": "b"}])
    write_deltalake(config.lake.path(alerts.name), rows.select(["alert_id"]), mode="append", schema_mode="merge")
    config.lake.update_small(alerts, [{"alert_id": "a", "status": "open"}], {"run_id": "r"})
    assert [f.kind for f in look(config, alerts.name)] == ["foreign"]


def test_a_table_that_is_gone_older_made_anew_or_lacks_a_file_is_told_from_one_that_moved(config: Config) -> None:
    path = Path(config.lake.path(NAME))
    append(config, 1)
    shutil.copytree(path, path.with_name("backup"))
    append(config, 2)
    assert look(config) == []
    shutil.rmtree(path)
    assert kinds(config) == ["removed"]
    shutil.copytree(path.with_name("backup"), path)
    assert kinds(config) == ["older"]
    append(config, 8)
    append(config, 9)
    assert kinds(config) == ["older"], "its version is as high as the mark's again, and holds other rows"
    shutil.rmtree(path)
    shutil.copytree(path.with_name("backup"), path)
    Books.of(config.lake).path.unlink()
    assert look(config) == []
    Path(data_files(DeltaTable(str(path)), str(path))[0]).unlink()
    assert kinds(config) == ["files"]
    shutil.rmtree(path)
    shutil.copytree(path.with_name("backup"), path)
    assert kinds(config) == [], "copied elsewhere, with other times of folders"


def test_a_table_that_another_program_made_anew_counts_as_its_rows(config: Config) -> None:
    append(config, 1)
    append(config, 2)
    rows = config.lake.read_small(NAME)
    assert look(config) == []
    shutil.rmtree(config.lake.path(NAME))
    for _ in range(4):
        write_deltalake(config.lake.path(NAME), rows, mode="append")
    (finding,) = look(config)
    assert finding.kind == "foreign" and finding.good == -1


def test_nothing_is_published_or_served_in_silence_of_what_another_program_wrote(config: Config) -> None:
    append(config, 1)
    publish(config, "run1")
    foreign(config)
    with pytest.raises(CloudlakeError, match=r"gold.revenue_monthly: another program.*\nNothing was published"):
        publish(config, "run2")
    with connect(config) as reader:
        assert reader.execute("SELECT orgs_billed FROM gold.revenue_monthly").fetchall() == [(1,)]
    served = config.registry["serving.org_daily_usage"]
    config.lake.append_small([{"org_id": "a"}], served, {"run_id": "r"})
    write_deltalake(config.lake.path(served.name), config.lake.read_small(served.name), mode="append")
    with pytest.raises(CloudlakeError, match=r"serving.org_daily_usage: another program"):
        connect(config)
    speed = config.registry["speed.usage_increments"]
    config.lake.append_small([{"load_id": 1, "org_id": "a"}], speed, {"run_id": "r"})
    write_deltalake(config.lake.path(speed.name), config.lake.read_small(speed.name), mode="append")
    with pytest.raises(CloudlakeError, match=r"speed.usage_increments: another program"):
        live_org_daily_usage(config)


def test_a_rollback_never_takes_a_table_made_anew_for_the_one_that_was_published(config: Config) -> None:
    for run in ("run1", "run2"):
        append(config, 1, run_id=run)
        publish(config, run)
    shutil.rmtree(config.lake.path(NAME))
    for run in ("run3", "run4"):
        append(config, 5, run_id=run)
    with pytest.raises(CloudlakeError, match=r"gold.revenue_monthly no longer has that version"):
        rollback(config)


def test_a_mart_whose_input_was_made_anew_is_not_published_until_it_is_built(config: Config) -> None:
    append(config, 1, fingerprint="f", load_id=7)
    trust.stale(config, [NAME], "run2")
    with pytest.raises(CloudlakeError, match="it was not built since; nothing was published"):
        publish(config, "run2")
    assert config.lake.count(NAME) == 1, "readers of the newest version lose no row meanwhile"


def test_a_lake_without_marks_knows_what_its_tables_hold_from_what_was_counted(config: Config) -> None:
    row = {"table": "silver.support_tickets", "delivery": "a", "accepted": 3, "quarantined": 1}
    config.lake.append_small([row], config.registry["ops.reconciliation"], {"run_id": "r"})
    landed = {"source": "users", "path": "users.csv", "status": "ingested", "bronze_version": 2}
    config.lake.append_small([landed], config.registry["ops.landed_files"], {"run_id": "r"})
    append(config, 1, inputs={"silver.nps_surveys": 4})
    config.lake.create(config.registry["silver.nps_surveys"])
    found = {finding.table: finding.kind for finding in trust.compared(config, trust.watched(config))}
    assert found == {
        "silver.support_tickets": "removed",
        "quarantine.support_tickets": "removed",
        "bronze.users": "removed",
        "silver.nps_surveys": "older",
    }


def test_loads_that_were_counted_and_that_no_table_holds_are_found(config: Config) -> None:
    row = {"table": "silver.usage_events", "delivery": "1000000004", "accepted": 3}
    config.lake.append_small([row], config.registry["ops.reconciliation"], {"run_id": "r"})
    silver, increments = config.registry["silver.usage_events"], config.registry["speed.usage_increments"]
    for table in (silver, increments):
        config.lake.append_small([{"load_id": 1000000003}], table, {"run_id": "r"})
    found = {f.table: f.what for f in trust.compared(config, trust.STREAM)}
    assert set(found) == {silver.name, increments.name} and "load 1000000004 was counted" in found[silver.name]


def test_a_comparison_with_nothing_new_opens_no_table(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    append(config, 1)
    assert look(config) == []
    monkeypatch.setattr("cloudlake.common.lake.books.open_table", None)
    assert look(config) == []
    content = json.loads(Books.of(config.lake).path.read_text())
    assert content[NAME]["version"] == config.lake.version(NAME)
