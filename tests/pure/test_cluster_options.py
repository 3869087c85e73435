"""What a cluster is told and given, without one: its own settings stand, those that answers depend on do too."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cloudlake.cli import launch
from cloudlake.common import cluster, session
from cloudlake.common.errors import CloudlakeError, ConfigurationError
from cloudlake.common.project import packed_code
from flow import ROOT

FAR = "spark://node-1:7077"


def told(master: str | None, *settings: str, **environment: str) -> dict[str, str]:
    """The options for spark-submit, as settings; `--master` among them."""
    words = cluster.submit_options(master, settings, environment)
    pairs = list(zip(words[::2], words[1::2], strict=True))
    assert {option for option, _ in pairs} <= {"--master", "--conf"}
    return dict(value.split("=", 1) if option == "--conf" else (option, value) for option, value in pairs)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """The settings of a cluster, as an administrator writes them."""
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "spark-defaults.conf").write_text(
        "# of the cluster\nspark.master   yarn\nspark.driver.host=edge-1\nspark.sql.shuffle.partitions: 800\n"
        "spark.executor.extraJavaOptions  -Dkrb5=/etc/krb5.conf \\\n    -XX:+UseG1GC\nspark.sql.extensions com.example.Theirs\n"
        "spark.sql.session.timeZone Pacific/Auckland\nspark.sql.ansi.enabled false\nspark.driver.defaultJavaOptions -Xss8m\n"
    )
    return folder


def test_nothing_is_told_where_our_own_settings_are_all_there_are(theirs: Path) -> None:
    assert told(None) == {} == told(None, SPARK_CONF_DIR=str(ROOT / "conf"))
    assert told(FAR) == {"--master": FAR} == told(FAR, SPARK_HOME=str(theirs / "nowhere"))
    assert told(None, SPARK_HOME=str(theirs.parent)) == {}, "on one machine an installation of Spark elsewhere says nothing"
    assert told("local[2]", "spark.ui.enabled=true") == {"--master": "local[2]", "spark.ui.enabled": "true"}


@pytest.mark.parametrize("named_by", ["SPARK_CONF_DIR", "SPARK_HOME"])
def test_a_clusters_own_settings_are_not_hidden_but_by_what_answers_depend_on(theirs: Path, named_by: str) -> None:
    where = str(theirs if named_by == "SPARK_CONF_DIR" else theirs.parent)
    found = told(FAR, "spark.executor.memory=8g", **{named_by: where})
    assert cluster.conf_folder(FAR, {named_by: where}) == theirs, "spark-submit reads the cluster's folder"
    assert not {"spark.master", "spark.driver.host", "spark.sql.shuffle.partitions", "spark.executor.extraJavaOptions"} & found.keys()
    ours = cluster.read_settings(ROOT / "conf")
    assert {name: found[name] for name in cluster.EVERYWHERE} == {name: ours[name] for name in cluster.EVERYWHERE}
    assert found["spark.sql.extensions"] == "com.example.Theirs,io.delta.sql.DeltaSparkSessionExtension"
    assert found["spark.executor.memory"] == "8g" and found["spark.driver.memory"] == "4g"
    assert found["spark.driver.defaultJavaOptions"] == "-Xss8m -Duser.timezone=UTC"
    everything = ours.keys() | cluster.read_settings(theirs).keys() | {"spark.executor.memory", "--master"}
    assert found.keys() <= everything and found.keys() | cluster.read_settings(theirs).keys() == everything


def test_what_a_person_says_counts_before_all(theirs: Path) -> None:
    said = ["spark.sql.shuffle.partitions=7", "spark.driver.host=me", "spark.sql.session.timeZone=UTC"]
    found = told(FAR, *said, SPARK_CONF_DIR=str(theirs))
    assert [found[one.partition("=")[0]] for one in said] == ["7", "me", "UTC"]
    # Settings on one machine, of a person who named a folder: conf/ says where Spark runs, not that folder.
    assert told(None, SPARK_CONF_DIR=str(theirs))["--master"] == "local[*]"


def test_java_gets_one_garbage_collector(theirs: Path) -> None:
    ours = cluster.read_settings(ROOT / "conf")
    driver, executor = cluster.JAVA_OPTIONS
    assert "-XX:+UseParallelGC" in ours[driver]
    found = told(None, "spark.driver.extraJavaOptions=-XX:+UseZGC")
    assert "GC" not in found[driver] and "-Duser.timezone=UTC" in found[driver]
    assert "GC" not in told(FAR, SPARK_CONF_DIR=str(theirs)).get(executor, "")
    assert driver not in told(None, "spark.driver.extraJavaOptions=-Dx=y")


def test_settings_that_answers_depend_on_are_those_of_the_file() -> None:
    ours = cluster.read_settings(ROOT / "conf")
    assert set(cluster.EVERYWHERE) | {cluster.EXTENSIONS, *cluster.JAVA_OPTIONS} <= ours.keys()
    hidden = {"spark.driver.host", "spark.driver.bindAddress", "spark.driver.extraJavaOptions", "spark.executor.extraJavaOptions"}
    assert not hidden & ours.keys(), "a cluster could not be reached, or a person's options would take ours away"
    lines = [line for line in (ROOT / "conf" / "spark-defaults.conf").read_text().splitlines() if line.startswith("spark.")]
    assert len(lines) == len(ours) and all(line.split(None, 1)[1] == ours[line.split()[0]] for line in lines)


def test_the_examples_in_the_code_are_so() -> None:
    assert [doctest.testmod(module).failed for module in (cluster, launch)] == [0, 0]


def test_every_command_that_starts_spark_can_be_told_where() -> None:
    texts = {room: {file.stem: file.read_text() for file in (ROOT / "src" / room).glob("*.py")} for room in ("cli", "runs")}
    starters = [f"runs.{name} import" for name, text in texts["runs"].items() if "Sessions(" in text] + ["common.session import"]
    starting = {name: text for name, text in texts["cli"].items() if any(one in text for one in starters)}
    assert {"batch", "stream", "maintain", "erase", "quarantine", "lineage"} < starting.keys()
    assert {name for name, text in starting.items() if "spark=True" not in text} == {"main"}


def test_yarn_needs_the_folder_that_says_where_it_is() -> None:
    with pytest.raises(ConfigurationError, match="set HADOOP_CONF_DIR"):
        told("yarn")
    assert told("yarn", HADOOP_CONF_DIR="/etc/hadoop") == {"--master": "yarn"}


def test_a_master_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(CloudlakeError, match=r"no master of Spark answers there \(127.0.0.1:1: Connection refused\); start"):
        cluster.require_master("spark://127.0.0.1:1")
    cluster.require_master("yarn")


def test_executors_get_the_code_with_its_declarations_and_the_jars_that_spark_lacks() -> None:
    with zipfile.ZipFile(packed_code()) as archive:
        names = set(archive.namelist())
    assert {"cloudlake/__init__.py", "cloudlake/common/lake/tables.py", "cloudlake/conf/gold.yaml"} <= names
    assert not [name for name in names if "__pycache__" in name]
    jars = [jar.name for jar in cluster.added_jars()]
    assert any(name.startswith("delta-spark_") for name in jars) and not [name for name in jars if name.startswith("spark-")]


def test_a_command_without_spark_submit_starts_spark_where_it_is_told(monkeypatch: pytest.MonkeyPatch, theirs: Path) -> None:
    for name, value in {"PYSPARK_SUBMIT_ARGS": "--driver-memory 1g pyspark-shell", "SPARK_CONF_DIR": str(ROOT / "conf")}.items():
        monkeypatch.setenv(name, value)
    session.choose_spark(None, [])
    assert os.environ["PYSPARK_SUBMIT_ARGS"] == "--driver-memory 1g pyspark-shell"
    session.choose_spark("spark://here:1", ["spark.app.name=a b"])
    started = "--master spark://here:1 --conf 'spark.app.name=a b' --driver-memory 1g pyspark-shell"
    assert os.environ["PYSPARK_SUBMIT_ARGS"] == started
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")  # spark-submit was told before
    session.choose_spark("yarn", [])
    assert os.environ["PYSPARK_SUBMIT_ARGS"] == started


def test_a_dry_run_prints_the_line_that_would_be_submitted(tmp_path: Path) -> None:
    code = (
        "import json, sys; from cloudlake.cli import launch; from cloudlake.common import java\n"
        "java.java_command = lambda: 'java'\n"
        "json.dumps(launch.command_line(sys.argv[1:])[0])"
    )
    given = ["batch", "--dry-run", "--master", FAR, "--spark-conf", "spark.hadoop.fs.s3a.secret.key=abc"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=True, env=env)
    assert f"spark-submit --master {FAR} --conf spark.hadoop.fs.s3a.secret.key=… scripts/submit.py batch" in done.stdout
    assert "abc" not in json.dumps(done.stdout)


def test_the_local_cluster_ends_nothing_that_it_did_not_start(tmp_path: Path) -> None:
    script = str(ROOT / "scripts" / "local_cluster.sh")

    def call(verb: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([script, verb, "--dir", str(tmp_path)], capture_output=True, text=True, check=False)

    other = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "master.pid").write_text(f"{other.pid} 1.0")  # a number that the system has given to another process since
        assert (call("status").returncode, call("stop").stdout) == (1, "no cluster of ours was running\n")
        assert other.poll() is None and not (tmp_path / "master.pid").exists()
    finally:
        other.kill()
        other.wait()
