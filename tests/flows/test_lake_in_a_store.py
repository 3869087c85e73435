"""The same deliveries to a lake on a disk and to one in an object store: the same tables, answers and publications."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pytest
from cloudlake.common.config import Config
from cloudlake.common.errors import ConfigurationError
from cloudlake.common.lake import stores
from cloudlake.common.lake.conflicts import Conflicts
from cloudlake.common.lake.objects import ObjectStorage, storage_at
from cloudlake.common.lake.opening import open_table
from cloudlake.common.lake.tables import append_path
from cloudlake.common.publication import published
from deltalake import write_deltalake
from flow import ROOT, cloudlake, deliver, event_line, opened
from object_store import BUCKET, KEY, SECRET, Proxy, S3Server, upload
from postgres_server import Server
from pyspark import cloudpickle
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Spark's workers know no tests
JOBS = ("--jobs", "customers_orgs", "usage_events", "usage_daily", "org_daily_usage_by_service", "serving")
NEW = [event_line(n, schema_version=3, org_id="org_new") for n in range(4)]
REPLAY = ("quarantine", "replay", "--table", "usage_events", "--reason", "schema_version_unknown")
OF_THE_RUN = {"run_id", "_run_id", "_ingested_at", "ingested_at", "quarantined_at", "recorded_at", "_source_modified_at", "modified_at",
              "resolved_at", "reconciled_at", "checked_at", "at", "started_at", "ended_at", "seconds", "delivery", "ingest_date"}  # fmt: skip
"""Columns that say when and by which run."""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    server = S3Server()
    with pytest.MonkeyPatch.context() as env:
        for name, value in server.environment().items():
            env.setenv(name, value)
        yield server
    stores.leave()
    server.stop()


def killed_after_its_first_commit(lake: Path, landing: Path) -> None:
    command = [sys.executable, "-m", "cloudlake.cli.main", "batch", "--lake", str(lake), "--landing", str(landing), "--jobs", "bronze.customers_orgs"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "CLOUDLAKE_CRASH_AT": "after_bronze_write"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def lived(lake: Path, landing: Path, conf: str, first: Path, *, whole: bool) -> None:
    """A delivery, a day later another, by the stream and by the batch; a replay, which builds every mart; a rollback."""
    jobs = () if whole else JOBS
    zone = storage_at(landing)
    upload(first, zone)
    killed_after_its_first_commit(lake, landing)
    assert cloudlake(lake, landing, "batch", *jobs) == 0
    zone.replace("usage_events_stream/new.jsonl", "\n".join([*NEW, event_line(9)]).encode())
    assert cloudlake(lake, landing, "stream", "once") == 0
    orgs = (first / "2025-09-01" / "customers_orgs.csv").read_text().splitlines(keepends=True)
    zone.replace("2025-09-02/customers_orgs.csv", "".join([orgs[0], orgs[1].replace("org_", "org_9", 1), *orgs[2:]]).encode())
    assert cloudlake(lake, landing, "batch", *jobs) == 0
    if whole:
        assert cloudlake(lake, landing, *REPLAY, "--conf", conf) == 0
    assert cloudlake(lake, landing, "rollback") == 0


@pytest.fixture(scope="module")
def both(
    spark: SparkSession, server: S3Server, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Config, Config]:
    """The lake on a disk, and the one in the store."""
    folder = tmp_path_factory.mktemp("both")
    deliver(folder / "made", seed=29, orgs=6, days=3, events=15, files=2)
    (folder / "made" / "2025-09-01").mkdir()
    for file in (folder / "made").glob("*.csv"):
        file.rename(folder / "made" / "2025-09-01" / file.name)
    conf = Path(shutil.copytree(ROOT / "conf", folder / "conf"))
    third = "    3: [event_id, timestamp, org_id, resource_id, service, region, metric, value, unit, cost_usd_increment]\n  metric_units"
    streaming = conf / "streaming.yaml"
    streaming.write_text(streaming.read_text().replace("  metric_units", third, 1))
    whole = bool(request.config.getoption("--soak"))
    lived(folder / "lake", folder / "landing", str(conf), folder / "made", whole=whole)
    there, zone = stores.root_path(f"s3a://{BUCKET}/lake"), stores.root_path(f"s3a://{BUCKET}/landing")
    store = opened(there, zone)
    lived(there, zone, str(conf), folder / "made", whole=whole)
    return opened(folder / "lake", folder / "landing"), store


def rows_of(config: Config, table: str) -> list[str]:
    rows = config.lake.rows(table)
    return sorted(json.dumps({k: v for k, v in row.items() if k not in OF_THE_RUN}, sort_keys=True, default=str) for row in rows)


def test_every_table_is_the_same_in_the_store(both: tuple[Config, Config]) -> None:
    disk, store = both
    made = [name for name in disk.registry.tables if disk.lake.exists(name)]
    assert made == [name for name in store.registry.tables if store.lake.exists(name)] and len(made) > 15
    own = {"ops.job_runs", "ops.stream_progress", "ops.quality_results", "ops.landed_files", "ops.reconciliation", "ops.notifications"}
    differ = {}
    for name in made:
        one, other = rows_of(disk, name), rows_of(store, name)
        assert len(one) == len(other), name
        if name not in own and one != other:
            differ[name] = next(pair for pair in zip(one, other, strict=True) if pair[0] != pair[1])
    assert not differ
    now, before = published(disk.lake), published(store.lake)
    assert {name: entry["load_id"] for name, entry in now.tables.items()} == {name: entry["load_id"] for name, entry in before.tables.items()}


def test_queries_and_postgres_read_the_store_without_spark(both: tuple[Config, Config], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    disk, store = both
    capsys.readouterr()
    said = []
    for config in both:
        assert cloudlake(config.lake.root, config.landing, "query", "daily-costs", "--format", "csv") == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and said[0].count("\n") > 10
    server = Server()
    try:
        monkeypatch.setenv("CLOUDLAKE_POSTGRES_DSN", server.dsn())
        assert cloudlake(store.lake.root, store.landing, "publish", "--to", "postgres", "--tables", "usage_daily") == 0
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(server.dsn()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM cloudlake.usage_daily")
            version = published(disk.lake).version("gold.usage_daily")
            assert cursor.fetchone() == (disk.lake.count("gold.usage_daily", version=version),)
    finally:
        server.remove()


def test_no_key_is_in_the_store_nor_in_the_list_of_processes(both: tuple[Config, Config]) -> None:
    _, store = both
    assert isinstance(store.lake.storage, ObjectStorage)
    held = [entry.path for entry in store.lake.storage.walk() if any(key.encode() in store.lake.storage.read(entry.path) for key in (SECRET, KEY))]
    assert held == []
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    assert not [line for line in lines if SECRET.encode() in line]


# --- the log store ----------------------------------------------------------------------------------------------------

DELTAS_OWN, OURS = "io.delta.storage.S3SingleDriverLogStore", "cloudlake.ConditionalLogStore"


@pytest.mark.parametrize(("log_store", "wins"), [(DELTAS_OWN, True), (OURS, False)])
def test_a_writer_that_comes_between_look_and_write_loses_its_commit_only_with_deltas_own_log_store(
    spark: SparkSession, server: S3Server, log_store: str, wins: bool
) -> None:
    """Another writer's entry is put, on condition, after Spark has looked and before its own PUT goes out."""
    entry = f"between-{wins}/t/_delta_log/{1:020d}.json"
    plain = stores.Store(server.endpoint, access_key=KEY, secret_key=SECRET)
    stores.use(plain)
    direct = stores.bucket(BUCKET)

    def another_is_first(method: str, path: str) -> str:
        if method == "PUT" and path.partition("?")[0].endswith(entry) and not put:
            obstore.put(direct, entry, b"another's", mode="create")
            put.append(path)
        return "pass"

    put: list[str] = []
    with Proxy(server) as proxy:
        proxy.behaviour = another_is_first
        context: Any = spark.sparkContext
        conf = context._jvm.org.apache.hadoop.conf.Configuration(context._jsc.hadoopConfiguration())
        for name, value in stores.Store(proxy.endpoint, access_key=KEY, secret_key=SECRET).for_hadoop().items():
            conf.set(name, value)
        conf.set("fs.s3a.impl.disable.cache", "true")
        kind = context._jvm.org.apache.spark.util.Utils.classForName(log_store, True, False)
        store = kind.getConstructors()[0].newInstance(_array(context, conf))
        path = context._jvm.org.apache.hadoop.fs.Path(f"s3a://{BUCKET}/{entry}")
        believes = True
        try:
            lines = context._jvm.java.util.ArrayList()
            lines.add("Spark's")
            store.write(path, lines.iterator(), False, conf)
        except Exception as error:
            assert "FileAlreadyExistsException" in str(error)
            believes = False
    assert put and believes is wins
    assert bytes(obstore.get(direct, entry).bytes()) == (b"Spark's\n" if wins else b"another's")


def _array(context: Any, item: Any) -> Any:
    array = context._gateway.new_array(context._jvm.java.lang.Object, 1)
    array[0] = item
    return array


APPEND = """
import sys
import pyarrow as pa
from cloudlake.common.config import load_config
from cloudlake.common.lake.stores import rust_options
from deltalake import write_deltalake
load_config(lake="s3a://lake/any")
for n in range(int(sys.argv[2])):
    write_deltalake(sys.argv[1], pa.table({"who": ["delta-rs"], "n": pa.array([n], pa.int64())}), mode="append", storage_options=rust_options(sys.argv[1]))
"""


@pytest.mark.parametrize("times", [pytest.param((6, 40), id="few"), pytest.param((100, 900), id="1000", marks=pytest.mark.soak)])
def test_two_programs_that_commit_to_one_table_side_by_side_lose_and_double_nothing(
    spark: SparkSession, both: tuple[Config, Config], times: tuple[int, int]
) -> None:
    path, (ours, theirs) = f"s3a://{BUCKET}/side-by-side-{times[0]}/t", times
    spark.range(1).selectExpr("'nobody' AS who", "id AS n").write.format("delta").save(path)
    other = subprocess.Popen([sys.executable, "-c", APPEND, path, str(theirs)], stderr=subprocess.PIPE, text=True)
    for n in range(ours):  # Spark moves an append behind another's commit, as long as it need; no lock is held
        rows = spark.range(n, n + 1).selectExpr("'Spark' AS who", "id AS n")
        rows.write.format("delta").mode("append").save(path)
    _, told = other.communicate(timeout=600)
    assert other.returncode == 0, told
    held = open_table(path).to_pyarrow_table(filesystem=stores.arrow_folder(path)).to_pylist()
    expected = [("nobody", 0), *(("Spark", n) for n in range(ours)), *(("delta-rs", n) for n in range(theirs))]
    assert sorted((row["who"], row["n"]) for row in held) == sorted(expected)
    assert open_table(path).version() == ours + theirs


def test_spark_commits_as_the_successor_of_the_version_it_read_or_reads_afresh(
    spark: SparkSession, both: tuple[Config, Config], tmp_path: Path
) -> None:
    """A commit that came between is never passed by: what was read under a lease that was lost would be stale."""
    path, sign, options = f"s3a://{BUCKET}/successor/t", tmp_path / "now", stores.current().for_rust()
    spark.createDataFrame([("a",)], "v string").write.format("delta").save(path)

    def commit(value: str) -> str:
        if sign.exists():
            sign.unlink()
            write_deltalake(path, pa.table({"v": ["another's"]}), mode="append", storage_options=options)
        return value

    commit.__annotations__ = {}  # by hints Spark would choose another kind of function
    rows = spark.createDataFrame([("b",)], "v string").select(F.udf(commit, "string")("v").alias("v"))
    for attempts in (1, 3):
        sign.touch()
        write = functools.partial(append_path, rows, path, note={"try": attempts}, conflicts=Conflicts(attempts, 0.01, 0.02))
        if attempts == 1:
            with pytest.raises(Exception, match="DELTA_MAX_COMMIT_RETRIES_EXCEEDED"):
                write()
        else:
            write()
        assert not sign.exists(), "nothing came between"
    held = open_table(path).to_pyarrow_table(filesystem=stores.arrow_folder(path))["v"].to_pylist()
    assert sorted(held) == ["a", "another's", "another's", "b"]


def test_spark_is_refused_a_store_under_a_log_store_that_loses_commits(
    spark: SparkSession, both: tuple[Config, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LOG_STORE", "cloudlake.AnotherLogStore")  # than the one that conf/spark-defaults.conf names
    with pytest.raises(ConfigurationError, match=r"spark\.delta\.logStore\.s3a\.impl: found cloudlake\.ConditionalLogStore, under which"):
        stores.tell_spark(spark)
