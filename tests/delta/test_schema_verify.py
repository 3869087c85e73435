"""Tables that are not as conf/ says: each difference found, and the lines that need no run typed as they stand. No Spark."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from cloudlake.cli.main import main
from cloudlake.common.config import Config, load_config
from cloudlake.common.contracts.schemas import arrow_schema, bare
from cloudlake.runs.declaring import declare_all
from cloudlake.upkeep.schema_check import Difference, verify
from deltalake import DeltaTable, write_deltalake

AT = datetime(2025, 8, 31, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(lake=str(tmp_path / "our lake"), landing=str(tmp_path))


def differences(config: Config, table: str) -> list[Difference]:
    return [one for one in verify(config) if one.table == table]


def no_spark() -> None:
    raise AssertionError("no table here needs Spark")


def test_columns_types_comments_properties_and_statistics_are_compared_and_the_lines_mend_them(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, registry = config.lake, config.registry
    for table in registry.tables.values():
        lake.create(table)
    assert verify(config) == []
    assert main(["schema", "verify", "--lake", str(lake.root)]) == 0

    runs = registry["ops.job_runs"]
    old = bare(pa.schema([field for field in arrow_schema(runs) if field.name not in ("detail", "cpu_seconds")]))
    write_deltalake(lake.path("ops.job_runs"), old.empty_table(), mode="overwrite", schema_mode="overwrite")
    (lacks, more) = differences(config, "ops.job_runs")
    assert lacks.what == "it lacks the column(s) cpu_seconds, detail" and "comments" in more.what
    subprocess.run(["bash", "-c", lacks.line], check=True)
    assert not any("lacks" in one.what for one in differences(config, "ops.job_runs"))

    DeltaTable(lake.path("gold.revenue_monthly")).alter.set_table_description("something else")
    assert main(["schema", "verify", "--lake", str(lake.root)]) == 1
    said = capsys.readouterr().out
    assert f"type: rm -f '{lake.root}/ops/declared.json' && scripts/run_batch_pipeline.sh --lake '{lake.root}'" in said
    declare_all(config, no_spark, "r", ())  # what that run begins with
    assert verify(config) == []

    wrong = pa.table({"org_id": ["a"], "month": ["2025-08"], "extra": [1]})
    write_deltalake(lake.path("gold.nps_by_month"), wrong, mode="overwrite", schema_mode="overwrite")
    told = {one.what: one.line for one in differences(config, "gold.nps_by_month")}
    assert told["column month is string, and declared as date"].endswith("--full-reload --jobs nps_by_month")
    assert "it has the column(s) org_id, extra, which conf/ does not declare" in told
    users = pa.table({"email": ["a@b.c"], "user_id": ["u"]})
    write_deltalake(
        lake.path("quarantine.users"), users, mode="overwrite", schema_mode="overwrite", partition_by=["user_id"]
    )
    assert "it is partitioned by user_id, and declared by nothing" in {
        o.what for o in differences(config, "quarantine.users")
    }


def test_statistics_of_personal_data_are_found(config: Config) -> None:
    users = config.registry["silver.users"]
    row = pa.Table.from_pylist([{"user_id": "u", "email": "a@b.c"}], arrow_schema(users))
    write_deltalake(config.lake.path(users.name), row.cast(bare(row.schema)))
    assert "its files carry statistics of personal data: email" in {one.what for one in differences(config, users.name)}


def test_the_newest_header_of_a_source_is_compared_with_its_declaration(config: Config) -> None:
    file = {"source": "users", "status": "ingested", "ingested_at": AT}
    config.lake.append_small(
        [
            file | {"path": "2025-08-30/users.csv", "snapshot_at": AT, "drift": '{"new": [], "missing": ["role"]}'},
            file
            | {
                "path": "2025-08-31/users.csv",
                "snapshot_at": AT.replace(day=31, hour=1),
                "drift": '{"new": ["age"], "missing": []}',
            },
        ],
        config.registry["ops.landed_files"],
    )
    (found,) = (one for one in verify(config) if one.table == "bronze.users")
    assert "2025-08-31/users.csv has the column(s) age" in found.what and "conf/bronze.yaml" in found.line
