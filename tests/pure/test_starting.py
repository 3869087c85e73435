"""What happens before Spark starts: arguments are checked without a JVM, and Java gets the surroundings it needs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cloudlake.cli import compiler, launch
from cloudlake.cli.main import build_parser
from cloudlake.common import java
from cloudlake.common.errors import ConfigurationError
from flow import ROOT


def test_options_of_spark_go_to_spark_submit_and_its_settings_to_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "java_command", lambda: "java")
    monkeypatch.delenv("SPARK_CONF_DIR", raising=False)
    given = ["--jobs", "silver", "--master=local[2]", "--spark-conf", "spark.ui.enabled=true", "--conf", "/c", "--conf=/d"]
    line, env = launch.command_line(["batch", *given, "--spark-conf=spark.some.secret=x"])
    at = line.index("scripts/submit.py")
    assert line[1:at] == ["--master", "local[2]", "--conf", "spark.ui.enabled=true", "--conf", "spark.some.secret=x"]
    # The run notes its master, for the line that resumes it.
    assert line[at + 1 :] == ["batch", "--jobs", "silver", "--master=local[2]", "--conf", "/c", "--conf=/d"]
    assert env["SPARK_CONF_DIR"] == str(ROOT / "conf")
    assert "spark.some.secret=…" in launch.shown(line) and "=x" not in launch.shown(line)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--master"], "--master: expected one argument"),
        (["--spark-conf", "--dry-run"], "--spark-conf: expected one argument"),
        (["--master", "sprak://here:7077"], r"this is no master of Spark; write local\[\*\], spark://HOST:PORT"),
        (["--master", "spark://here"], "this is no master of Spark"),
        (["--master", "spark://here:7077:"], "this is no master of Spark"),
        (["--spark-conf", "spark.master=yarn"], "write --master yarn"),
        (["--spark-conf", "spark.submit.deployMode=cluster"], "the driver is this command itself"),
        (["--spark-conf", "spark.ui.enabled"], "write spark.some.setting=value"),
        (["--spark-conf", "ui.enabled=true"], "write spark.some.setting=value"),
        (["--conf", "spark.ui.enabled=true"], "write --spark-conf spark.ui.enabled=true"),
        (["--conf=spark.ui.enabled=true"], "write --spark-conf spark.ui.enabled=true"),
    ],
)
def test_an_option_of_spark_that_is_written_wrongly_is_refused_with_the_right_way(given: list[str], said: str) -> None:
    for command in (["batch"], ["stream", "once"], ["maintain"], ["erase", "--user", "u"], ["quarantine", "replay"]):
        with pytest.raises(ConfigurationError, match=said):
            build_parser().parse_args([*command, *given])


def test_wrong_arguments_are_told_without_starting_java(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": "/usr/bin:/bin", "JAVA_HOME": str(tmp_path)}
    script = str(ROOT / "scripts" / "run_batch_pipeline.sh")
    refused = subprocess.run([script, "--as-of", "soon"], capture_output=True, text=True, check=False, env=env)
    assert refused.returncode == 2 and "'soon' is not a date" in refused.stderr
    refused = subprocess.run([script], capture_output=True, text=True, check=False, env=env)
    assert refused.returncode == 2 and f"Java: none found in JAVA_HOME ({tmp_path})" in refused.stderr


def nameless() -> int:
    return 987_654_321


@pytest.fixture
def without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", nameless)
    monkeypatch.delenv("HADOOP_USER_NAME", raising=False)


def test_a_user_without_a_name_gets_one_and_a_home(without_a_name: None) -> None:
    assert java.user_name() is None
    options = java.surroundings({"HOME": "/a home", "SPARK_SUBMIT_OPTS": "-Xmx1g"})["SPARK_SUBMIT_OPTS"]
    assert options == f'-Xmx1g -Duser.name=uid-{nameless()} "-Duser.home=/a home"'
    assert "-Duser.home=/" in java.surroundings({})["SPARK_SUBMIT_OPTS"], "Ivy wants an absolute one"
    again = java.surroundings({"HOME": "/a home", "SPARK_SUBMIT_OPTS": options})
    assert "SPARK_SUBMIT_OPTS" not in again, "asked twice, it says nothing twice"


def test_spark_writes_its_temporary_files_where_tmpdir_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(java.tempfile, "tempdir", str(tmp_path))
    found = java.surroundings({"TMPDIR": str(tmp_path)})
    assert found["SPARK_LOCAL_DIRS"] == str(tmp_path) and f"-Djava.io.tmpdir={tmp_path}" in found["SPARK_SUBMIT_OPTS"]
    assert "SPARK_LOCAL_DIRS" not in java.surroundings({"TMPDIR": str(tmp_path), "SPARK_LOCAL_DIRS": "/mine"})
    assert "SPARK_SUBMIT_OPTS" not in java.surroundings({})


def test_names_beyond_ascii_need_a_locale_and_get_one_where_there_is_none() -> None:
    tell = "import os; from cloudlake.common import java; print(java.surroundings(os.environ).get('LC_ALL'))"

    def locale_for(**given: str) -> str:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / ".typing"), **given}
        python = str(ROOT / ".venv" / "bin" / "python")
        return subprocess.run([python, "-c", tell], capture_output=True, text=True, check=True, env=env).stdout.strip()

    assert locale_for(LC_ALL="C") == "C.UTF-8"
    assert locale_for(LC_ALL="C.UTF-8") == "None"


def fake_java(folder: Path, script: str) -> str:
    (folder / "bin").mkdir()
    program = folder / "bin" / "java"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'openjdk version \"11.0.2\"' >&2", "is version 11; install Java 17"),
        ("echo 'cannot execute binary file' >&2; exit 126", "does not run (cannot execute binary file)"),
        ("echo 'openjdk version \"21.0.1\" 2023-10-17' >&2", "gateway exited"),
    ],
)
def test_java_is_blamed_only_where_it_is_java(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", fake_java(tmp_path, script))
    assert said in java.why_not_started(RuntimeError("the gateway exited"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No usable temporary directory found in ['/nowhere']"), "name one that can with TMPDIR"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (
            RuntimeError("java.lang.ClassNotFoundException: org.apache.spark.sql.delta.catalog.DeltaCatalog"),
            "the Delta jars",
        ),
    ],
)
def test_what_kept_spark_from_starting_is_told_by_its_cause(error: Exception, said: str) -> None:
    advice: Callable[[BaseException], str] = java.why_not_started
    assert said in advice(error) and "Java" not in advice(error)


def compiler_of(command: str, landing: Path, lake: Path, *more: str, given: str = "") -> str:
    chosen = build_parser().parse_args([*command.split(), "--landing", str(landing), "--lake", str(lake), *more])
    env = {"SPARK_SUBMIT_OPTS": given} if given else {}
    return str(compiler.with_compiler(env, chosen).get("SPARK_SUBMIT_OPTS", ""))


def test_a_short_run_gets_the_quick_compiler_and_a_stream_or_much_data_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiler, "MUCH", 100)
    landing, lake = tmp_path / "landing", tmp_path / "lake"
    (landing / "usage_events_stream").mkdir(parents=True)
    old, new = landing / "usage_events_stream" / "old.jsonl", landing / "usage_events_stream" / "new.jsonl"
    old.write_text("x" * 60)
    assert compiler_of("batch", landing, lake) == compiler_of("stream once", landing, lake) == compiler.QUICK
    assert compiler_of("stream run", landing, lake) == "", "it goes on"
    assert compiler_of("batch", landing, lake, given="-Xmx1g") == f"-Xmx1g {compiler.QUICK}"
    assert compiler_of("batch", landing, lake, given="-XX:TieredStopAtLevel=4") == "", "a person's own choice"
    new.write_text("x" * 60)
    assert compiler_of("batch", landing, lake) == "", "all that lies there is new to an empty lake"
    log = lake / "ops" / "landed_files" / "_delta_log"
    log.mkdir(parents=True)
    os.utime(log, (new.stat().st_ctime + 1, new.stat().st_ctime + 1))
    assert compiler_of("batch", landing, lake) == compiler.QUICK, "what was taken counts no more"
    assert compiler_of("batch", landing, lake, "--full-reload") == "", "but where all is made anew"
    os.utime(log, (1, 1))
    os.utime(new, (0, 0))
    assert compiler_of("batch", landing, lake) == "", "a file that was moved here is new, whatever time it bears"
