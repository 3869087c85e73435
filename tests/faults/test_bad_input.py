"""What people get wrong: each is one readable message, the exit code of its kind, and nothing half done."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cloudlake.common.lake.locks import process_lock
from flow import ROOT, cloudlake, deliver, opened
from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("delivered")
    deliver(folder, seed=5, orgs=8, days=2, events=5, files=1)
    return folder


@pytest.fixture
def landing(delivered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(delivered, tmp_path / "landing"))


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert lines, "an error is said on stderr"
    return "\n".join(lines)


def test_an_unknown_flag_is_bad_usage(landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloudlake(tmp_path / "lake", landing, "batch", "--no-such-flag") == 2
    assert "--no-such-flag" in error_of(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "silvr"], "there is no such job; did you mean 'silver'?"),
        (["--as-of", "yesterday"], "'yesterday' is not a date; write YYYY-MM-DD"),
        (["--snapshot-at", "noon"], "'noon' is not a time"),
        (["--parallel", "0"], "'0' is not a whole number of at least 1"),
    ],
)
def test_a_wrong_value_is_bad_usage(
    landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cloudlake(tmp_path / "lake", landing, "batch", *arguments) == 2
    assert message in error_of(capsys)
    assert not list((tmp_path / "lake").glob("bronze/*"))


def test_a_missing_landing_folder_is_named_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["batch"], ["stream", "once"]):
        assert cloudlake(tmp_path / "lake", tmp_path / "nowhere", *command) == 2
        assert "there is no such landing folder; name it with --landing" in error_of(capsys)


def test_every_source_that_was_never_delivered_is_named_before_anything_starts(
    landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (landing / "users.csv").unlink()
    (landing / "resources.csv").write_text("")
    assert cloudlake(tmp_path / "lake", landing, "batch") == 1
    message = error_of(capsys)
    assert "users.csv: missing" in message and "resources.csv: the file is empty" in message
    assert not list((tmp_path / "lake").glob("bronze/*"))


def test_broken_yaml_is_named_with_its_line(landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))
    (conf / "gold.yaml").write_text("tables:\n  a: [1, 2\n  b: 3\n")
    assert cloudlake(tmp_path / "lake", landing, "batch", "--conf", str(conf)) == 2
    assert "gold.yaml: line 3" in error_of(capsys)


def test_contradicting_contracts_are_all_named(
    landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))
    text = (conf / "silver.yaml").read_text()
    text = text.replace("key: [user_id]", "key: [user_idd]").replace("domain: severity", "domain: severty")
    (conf / "silver.yaml").write_text(text)
    assert cloudlake(tmp_path / "lake", landing, "batch", "--conf", str(conf)) == 2
    message = error_of(capsys)
    assert "did you mean 'user_id'?" in message and "did you mean 'severity'?" in message


def test_a_missing_conf_folder_is_named(landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloudlake(tmp_path / "lake", landing, "batch", "--conf", str(tmp_path / "no")) == 2
    assert "there is no such conf folder" in error_of(capsys)


def test_without_java_the_message_says_what_to_install(
    landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cloudlake(tmp_path / "lake", landing, "batch") == 2
    assert "install Java 17 or newer" in error_of(capsys)


def test_a_lake_that_cannot_be_a_folder_is_named(
    landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lake").write_text("a file, no folder")
    assert cloudlake(tmp_path / "lake", landing, "batch") == 2
    assert "the lake folder can't be written" in error_of(capsys)


def test_a_lake_without_write_permission_is_named(landing: Path) -> None:
    lake = landing / "sealed"
    lake.mkdir(mode=0o555)
    for folder in [landing, *landing.parents][:-1]:
        folder.chmod(folder.stat().st_mode | 0o555)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "PYTHONDONTWRITEBYTECODE": "1"}
    python = [sys.executable]
    if os.geteuid() == 0:  # root may write everywhere, so somebody else has to try
        python = ["setpriv", "--reuid=65534", "--clear-groups", *python]
        able = shutil.which("setpriv") and subprocess.run(
            [*python, "-c", "import cloudlake.cli"], capture_output=True, env=environment, check=False
        )
        if not able or able.returncode:
            pytest.skip("nobody but root can run this checkout's Python")
    command = [*python, "-m", "cloudlake.cli.main", "batch", "--lake", str(lake / "lake"), "--landing", str(landing)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2, done.stderr
    assert "the lake folder can't be written (Permission denied)" in done.stderr and "Traceback" not in done.stderr


def test_a_second_run_leaves_at_once_and_names_the_holder(
    landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = opened(tmp_path / "lake", landing)
    with process_lock(config.lake, "batch", "20250101T000000Z-abcdef"):
        assert cloudlake(config.lake.root, landing, "batch") == 4
    message = error_of(capsys)
    assert f"process {os.getpid()}" in message and "20250101T000000Z-abcdef" in message
    with process_lock(config.lake, "stream", "r"):
        assert cloudlake(config.lake.root, landing, "stream", "once") == 4


def test_a_refused_file_is_named_and_everything_else_goes_on(
    spark: SparkSession, landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    before = landing / "2025-08-01"
    before.mkdir()
    (before / "users.csv").write_text("org_id,email\no1,a@example.com\n")
    (before / "resources.csv").write_text("")
    with gzip.open(before / "support_tickets.csv.gz", "wt") as archive:
        archive.write("ticket_id,org_id\n" + "t,o\n" * 5000)
    cut = (before / "support_tickets.csv.gz").read_bytes()
    (before / "support_tickets.csv.gz").write_bytes(cut[: len(cut) // 2])
    jobs = ["--jobs", "customers_orgs", "users", "resources", "support_tickets", "dim_region"]
    assert cloudlake(lake, landing, "batch", "--continue-on-failure", *jobs) == 1
    message = error_of(capsys)
    assert "2025-08-01/users.csv: key column missing: user_id (found: org_id, email)" in message
    assert "2025-08-01/resources.csv: the file is empty" in message
    assert "2025-08-01/support_tickets.csv.gz: the file can't be read" in message
    config = opened(lake, landing)
    refused = {row["path"] for row in config.lake.rows("ops.landed_files") if row["status"] == "refused"}
    assert len(refused) == 3
    assert config.lake.rows("silver.users") and config.lake.rows("gold.dim_region"), "the good files went all the way"

    assert cloudlake(lake, landing, "batch", *jobs) == 0, "a refused file is not tried again until it changes"
    for name in ("users.csv", "resources.csv", "support_tickets.csv.gz"):
        (before / name).unlink()


def test_a_snapshot_that_deletes_too_much_waits_for_a_person(
    spark: SparkSession, landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    jobs = ["--jobs", "bronze", "customers_orgs", "users"]
    assert cloudlake(lake, landing, "batch", *jobs) == 0
    config = opened(lake, landing)
    users = config.lake.read_small("silver.users")
    lines = (landing / "users.csv").read_text().splitlines()
    (landing / "users.csv").write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    capsys.readouterr()
    assert cloudlake(lake, landing, "batch", *jobs) == 3
    message = error_of(capsys)
    assert "more than 20%" in message and re.search(r"cloudlake gate accept --lake \S+ --landing \S+ --run", message)
    assert config.lake.read_small("silver.users").equals(users), "nothing of it is visible"

    run = next(row["run_id"] for row in config.lake.rows("ops.gates"))
    assert cloudlake(lake, landing, "gate", "accept", "--run", run, "--rule", "snapshot_keys", "--reason", "x") == 2
    assert "did you mean 'snapshot_deletes'?" in error_of(capsys)
    assert (
        cloudlake(
            lake,
            landing,
            "gate",
            "accept",
            "--run",
            run,
            "--rule",
            "snapshot_deletes",
            "--reason",
            "a spun-off business",
        )
        == 0
    )
    assert cloudlake(lake, landing, "batch", *jobs) == 0
    current = [row for row in config.lake.rows("silver.users") if row["is_current"]]
    assert 0 < len(current) < users.num_rows


def test_the_scripts_refuse_bad_arguments_and_show_help() -> None:
    for script in ("quick_start.sh", "setup_environment.sh", "setup_cron.sh", "run_batch_pipeline.sh", "run_tests.sh"):
        shown = subprocess.run([str(ROOT / "scripts" / script), "--help"], capture_output=True, text=True, check=False)
        assert shown.returncode == 0 and "scripts/" in shown.stdout, script
    for script in ("quick_start.sh", "setup_environment.sh", "setup_cron.sh"):
        refused = subprocess.run(
            [str(ROOT / "scripts" / script), "--nonsense"], capture_output=True, text=True, check=False
        )
        assert refused.returncode == 2 and "--help" in refused.stderr, script
