"""The nightly entry, in a crontab of the test's own: a program of that name, first on the PATH, keeps one in a file."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from flow import ROOT

SCRIPT = str(ROOT / "scripts" / "setup_cron.sh")
OTHER = "5 5 * * * echo another entry"
CRONTAB = """#!/bin/sh
[ -z "$CRONTAB_BROKEN" ] || { echo "crontab: can't open your crontab: Permission denied" >&2; exit 1; }
table="$(dirname "$0")/table"
case "$1" in
  -l) [ -f "$table" ] || { echo "no crontab for nobody" >&2; exit 1; }; cat "$table" ;;
  -) cat >"$table" ;;
esac
"""


class Cron:
    """A crontab in a file, and the script that writes into it, called as from a terminal or with other settings."""

    def __init__(self, folder: Path) -> None:
        self.table = folder / "table"
        program = folder / "crontab"
        program.write_text(CRONTAB)
        program.chmod(0o755)
        self.path = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def entries(self) -> list[str]:
        return self.table.read_text(encoding="utf-8").splitlines() if self.table.exists() else []

    def call(self, *arguments: str, script: str = SCRIPT, **settings: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": self.path, **settings}
        return subprocess.run([script, *arguments], capture_output=True, text=True, check=False, env=env)


@pytest.fixture
def cron(tmp_path: Path) -> Cron:
    found = Cron(tmp_path)
    found.table.write_text(OTHER + "\n")
    return found


def test_installing_twice_leaves_one_entry_of_each_and_every_other_one(cron: Cron) -> None:
    assert cron.call("install").returncode == 0
    assert cron.call("install", "--at", "30 3 * * 1-5", "--lake", "/data/my lake", "--check", "never").returncode == 0
    found = cron.entries()
    assert found[0] == OTHER and len(found) == 2
    assert found[1].startswith("30 3 * * 1-5 CLOUDLAKE_LAKE=/data/my\\ lake ") and "scripts/nightly.sh" in found[1]
    assert "installed: 30 3 * * 1-5" in cron.call("status").stdout
    assert cron.call("uninstall").returncode == 0 and cron.entries() == [OTHER]
    assert cron.call("uninstall").stdout == "nothing to uninstall\n"
    assert "not installed" in cron.call("status").stdout


def test_what_is_overdue_is_looked_for_from_cron_too(cron: Cron, tmp_path: Path) -> None:
    assert cron.call("install", "--lake", str(tmp_path / "no lake")).returncode == 0
    assert cron.call("install", "--lake", str(tmp_path / "no lake")).returncode == 0
    _, nightly, check = cron.entries()
    assert "nightly.sh" in nightly and check.startswith("*/15 * * * * CLOUDLAKE_LAKE=")
    told = subprocess.run(["/bin/sh", "-c", check.split(" ", 5)[5]], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert told.returncode == 1 and told.stdout == "", "a lake that never ran is not fresh"
    assert cron.call("install", "--check=0 * * * *").returncode == 0 and cron.entries()[2].startswith("0 * * * * ")
    assert cron.call("uninstall").returncode == 0 and cron.entries() == [OTHER]


def test_an_address_in_an_object_store_reaches_the_nightly_run_as_it_is(cron: Cron) -> None:
    assert cron.call("install", "--lake", "s3a://bucket/lake").returncode == 0
    assert "CLOUDLAKE_LAKE=s3a://bucket/lake " in cron.entries()[1]
    assert "no nightly run has been logged" in cron.call("status", CLOUDLAKE_LAKE="s3a://bucket/lake").stdout


def test_a_new_lake_gets_its_place_before_the_night_writes_its_log_there(tmp_path: Path) -> None:
    odd = tmp_path / "a #1 lake"
    env = {**os.environ, "CLOUDLAKE_LAKE": str(odd), "CLOUDLAKE_LANDING": str(tmp_path / "no landing")}
    ran = subprocess.run([str(ROOT / "scripts" / "nightly.sh")], env=env, capture_output=True, text=True, check=False)
    (log,) = odd.glob("logs/nightly-*.log")
    assert odd.is_symlink() and ran.returncode == 2 and "there is no such landing folder" in log.read_text(), log.read_text()


def test_a_schedule_that_is_none_is_refused(cron: Cron) -> None:
    refused = cron.call("install", "--at", "every night")
    assert refused.returncode == 2 and "is not five fields" in refused.stderr
    refused = cron.call("install", "--check", "sometimes")
    assert refused.returncode == 2 and "nor never" in refused.stderr
    assert cron.entries() == [OTHER]


def test_folders_reach_the_nightly_run_as_they_are_named(cron: Cron, tmp_path: Path) -> None:
    odd = tmp_path / "data {p} #1 50% ü 'q' $HOME;x"
    odd.mkdir()
    assert cron.call("install", "--lake", str(odd), "--landing", str(odd / "in *?"), LC_ALL="C").returncode == 0
    _, entry, _ = cron.entries()
    command = entry.split(" ", 5)[5]
    assert "%" not in command.replace("\\%", ""), "cron ends a command at a % without a backslash"
    # What cron hands to sh, with a program that tells its settings in the place of the run.
    line = command.replace("\\%", "%").replace(shlex.quote(str(ROOT / "scripts" / "nightly.sh")), "env")
    told = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert {f"CLOUDLAKE_LAKE={odd}", f"CLOUDLAKE_LANDING={odd / 'in *?'}"} <= set(told.stdout.splitlines())
    refused = cron.call("install", "--lake", "/data/two\nlines")
    assert refused.returncode == 2 and "control character" in refused.stderr
    refused = cron.call("install", "--lake", "/data/" + "x" * 1000)
    assert refused.returncode == 2 and "cron reads 990" in refused.stderr


def test_the_nightly_run_is_told_where_spark_runs(cron: Cron, tmp_path: Path) -> None:
    spark = ["--master", "k8s://https://[::1]:6443", "--spark-conf", "spark.app.name=5% of it"]
    assert cron.call("install", *spark, HADOOP_CONF_DIR=str(tmp_path)).returncode == 0
    command = cron.entries()[1].split(" ", 5)[5].replace("\\%", "%")
    assert f"HADOOP_CONF_DIR={tmp_path} " in command
    line = command.replace(shlex.quote(str(ROOT / "scripts" / "nightly.sh")), "printf '%s\\n'")
    told = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
    assert told.stdout.splitlines() == spark
    assert cron.call("install", HADOOP_CONF_DIR=str(tmp_path)).returncode == 0 and "HADOOP" not in cron.entries()[1]
    assert cron.call("install", "--master").returncode == 2


def test_an_entry_of_a_project_beside_this_one_stays(cron: Cron) -> None:
    beside = f"1 1 * * * /other/nightly.sh # cloudlake nightly: {ROOT}-too"
    cron.table.write_text(f"{OTHER}\n{beside}\n")
    assert cron.call("install").returncode == 0
    assert cron.call("uninstall").returncode == 0
    assert cron.entries() == [OTHER, beside]


def test_a_crontab_that_cannot_be_read_is_left_alone_and_none_is_an_empty_one(cron: Cron) -> None:
    refused = cron.call("install", CRONTAB_BROKEN="yes")
    assert refused.returncode == 2 and "left alone" in refused.stderr and cron.entries() == [OTHER]
    cron.table.unlink()
    assert cron.call("install").returncode == 0 and len(cron.entries()) == 2


def test_the_schedule_the_lake_and_how_long_logs_are_kept_come_from_the_named_conf(cron: Cron, tmp_path: Path) -> None:
    conf, lake = tmp_path / "conf", tmp_path / "the lake"
    shutil.copytree(ROOT / "conf", conf)
    text = (conf / "lake.yaml").read_text()
    text = re.sub(
        r"nightly: .*", 'nightly: "7 4 * * *"', re.sub(r"lake: .*", f"lake: '{lake}'", text, count=1), count=1
    )
    (conf / "lake.yaml").write_text(text)
    assert cron.call("install", "--conf", str(conf)).returncode == 0
    assert cron.entries()[1].startswith(f"7 4 * * * CLOUDLAKE_CONF={conf} ")
    (lake / "logs").mkdir(parents=True)
    (lake / "logs" / "nightly-20250901T020000Z.log").write_text("it went well\n")
    assert "it went well" in cron.call("status", CLOUDLAKE_CONF=str(conf)).stdout
    (conf / "lake.yaml").write_text("parallel: many\n")
    refused = cron.call("install", "--conf", str(conf))
    assert refused.returncode == 2 and "lake.yaml" in refused.stderr and "7 4" in cron.entries()[1]


def test_asking_the_nightly_script_for_help_begins_no_run(tmp_path: Path) -> None:
    environment = {**os.environ, "CLOUDLAKE_LAKE": str(tmp_path / "lake")}
    command = [str(ROOT / "scripts" / "nightly.sh"), "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "--master" in done.stdout and not list(tmp_path.iterdir())
