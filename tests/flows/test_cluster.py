"""A real standalone cluster, a master and two workers: the same deliveries, with a killed driver and a killed executor, give the
same tables as one machine."""

from __future__ import annotations

import csv
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from books_lake import rows_of
from cloudlake.cli.compiler import QUICK
from cloudlake.common.config import Config
from flow import ROOT, cloudlake, deliver, event_line, land_events, opened, wait_for

SMALL = {
    "spark.driver.memory": "1g", "spark.executor.memory": "512m", "spark.executor.cores": "1",
    "spark.executor.extraJavaOptions": QUICK.partition(" ")[0],
}  # fmt: skip
JOBS = ["customers_orgs", "usage_events", "gold.usage_daily", "gold.org_daily_usage_by_service", "serving.org_daily_usage"]
"""A history, the stream, marts that are built of it, and what is served: one of each kind, because each costs seconds here."""
DELIVERED = datetime(2025, 8, 31, 6, tzinfo=UTC).timestamp()
BATCH = ("run_batch_pipeline.sh", "--jobs")
STREAM = ("run_streaming_pipeline.sh", "once")


class Cluster:
    """The cluster of scripts/local_cluster.sh, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = re.findall(r"spark://\S+", self.call("start"))[0]

    def call(self, verb: str) -> str:
        command = [str(ROOT / "scripts" / "local_cluster.sh"), verb, "--dir", str(self.folder), "--memory", "600m"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def workers(self) -> list[psutil.Process]:
        return [psutil.Process(int(file.read_text().split()[0])) for file in sorted(self.folder.glob("worker-*.pid"))]

    def log(self) -> str:
        return "".join(file.read_text() for file in self.folder.glob("worker-*.log"))

    def kill_an_executor(self) -> None:
        children = [child for worker in self.workers() for child in worker.children()]
        alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]  # one of a run before may still stand there
        next(child for child in alive if "org.apache.spark.executor.CoarseGrainedExecutorBackend" in child.cmdline()).kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    began = started.workers()
    started.call("stop")
    assert not [one for one in began if one.is_running()]


@pytest.fixture
def jobs(request: pytest.FixtureRequest) -> list[str]:
    """A few tables of each kind; all of them where there is time."""
    return ["all"] if request.config.getoption("--soak") else JOBS


class OnCluster:
    """Commands on a lake as they are typed, on a cluster; where Spark runs is all that differs."""

    def __init__(self, cluster: Cluster, config: Config) -> None:
        self.cluster, self.config = cluster, config
        self.log = config.lake.root.with_suffix(".log")
        self.begun: list[subprocess.Popen[bytes]] = []

    def begin(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        folders = ["--lake", str(self.config.lake.root), "--landing", str(self.config.landing)]
        spark = [word for key, value in SMALL.items() for word in ("--spark-conf", f"{key}={value}")]
        command = [str(ROOT / "scripts" / script), *arguments, *folders, "--master", self.cluster.url, *spark]
        env = {name: value for name, value in os.environ.items() if name not in ("SPARK_CONF_DIR", "PYSPARK_SUBMIT_ARGS")}
        with self.log.open("wb") as log:
            self.begun.append(subprocess.Popen(command, stdout=log, stderr=log, env={**env, **environment}))
        return self.begun[-1]

    def run(self, script: str, *arguments: str, **environment: str) -> int:
        return self.begin(script, *arguments, **environment).wait(500)  # as long as busy cores may need

    def end(self) -> None:
        """Leave nothing behind: without executors a driver would wait for ever."""
        for process in self.begun:
            if process.poll() is None:
                for member in [*psutil.Process(process.pid).children(recursive=True), process]:
                    member.kill()

    def said(self) -> str:
        return self.log.read_text()


def next_day(landing: Path) -> None:
    """Land one more day: events of it, repeats of older ones, and a newer export of the organisations."""
    new = [event_line(number, timestamp="2025-09-01T10:00:00Z") for number in range(40)]
    land_events(landing, "next_day.jsonl", [*new, *new[:3], "broken"])
    with (landing / "customers_orgs.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    plan = header.index("plan_tier")
    rows[2][plan] = "pro" if rows[2][plan].strip().lower() != "pro" else "free"
    (landing / "2025-09-01").mkdir()
    with (landing / "2025-09-01" / "customers_orgs.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def answers(config: Config) -> dict[str, list[str]]:
    """Return the rows of every table but the records of the runs, without what says when and by which run."""
    layers = ("bronze", "silver", "quarantine", "gold", "speed", "serving")
    tables = [table for table in config.registry.layer(*layers) if config.lake.exists(table.name)]
    return {table.name: rows_of(config, table.name) for table in tables}


@pytest.mark.usefixtures("spark")
@pytest.mark.timeout(1200)
def test_a_cluster_makes_the_tables_that_one_machine_makes(
    cluster: Cluster, tmp_path: Path, jobs: list[str], request: pytest.FixtureRequest
) -> None:
    landing = tmp_path / "landing"
    deliver(landing, 7, orgs=8, days=6, events=30, files=3)
    os.utime(landing / "customers_orgs.csv", (DELIVERED, DELIVERED))  # flat exports speak of the time they were written
    here, there = opened(tmp_path / "here", landing), opened(tmp_path / "there", landing)
    on_cluster = OnCluster(cluster, there)
    request.addfinalizer(on_cluster.end)

    assert cloudlake(here.lake.root, landing, "stream", "once") == 0
    assert cloudlake(here.lake.root, landing, "batch", "--jobs", *jobs) == 0
    assert on_cluster.run(*STREAM, CLOUDLAKE_CRASH_AT="stream_after_silver") != 0
    assert there.lake.exists("silver.usage_events") and not there.lake.rows("ops.reconciliation"), on_cluster.said()
    assert on_cluster.run(*BATCH, *jobs) == 0, on_cluster.said()

    next_day(landing)
    assert cloudlake(here.lake.root, landing, "batch", "--jobs", *jobs) == 0
    process = on_cluster.begin(*BATCH, *jobs)
    wait_for(lambda: "done     silver.usage_events" in on_cluster.said() or process.poll() is not None, 400)
    cluster.kill_an_executor()
    assert process.wait(500) == 0, on_cluster.said()
    assert "nanobind" not in on_cluster.said(), "DuckDB's binding would list what outlives the interpreter"
    assert "exitStatus 137" in cluster.log(), "it was an executor at work"

    found, expected = answers(there), answers(here)
    assert found.keys() == expected.keys() and sum(map(len, found.values())) > 400
    assert len(found["silver.customers_orgs"]) > here.lake.read_small("silver.customers_orgs", filters=[("is_current", "=", True)]).num_rows
    assert not {name: (found[name], expected[name]) for name in expected if found[name] != expected[name]}
