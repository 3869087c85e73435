"""The command line without Spark: what it loads, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cloudlake.cli.main import COMMANDS, build_parser, main

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}


def test_help_loads_nothing_heavy_so_that_it_answers_at_once() -> None:
    heavy = ("pyspark", "pandas", "pyarrow", "deltalake", "duckdb", "pydantic", "yaml", "rich", "requests", "great_expectations")
    code = (
        "import sys\nfrom cloudlake.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert "quarantine" in done.stdout and done.stdout.endswith("loaded: []\n")


def test_every_command_names_the_function_that_runs_it_and_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0 and "--lake" in capsys.readouterr().out
    assert callable(build_parser().parse_args(["quarantine", "show", "abc"]).run)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["batch", "--as-of", "31.08.2025"], "'31.08.2025' is not a date; write YYYY-MM-DD"),
        (["batch", "--parallel", "0"], "'0' is not a whole number of at least 1"),
        (["alerts", "silence", "--rule", "r", "--until", "soon"], "'soon' is not a time"),
        (["stauts"], "invalid choice: 'stauts'"),
        (["gate", "accept", "--run", "r", "--rule", "n"], "--reason"),
    ],
)
def test_bad_usage_is_told_in_a_line_with_exit_code_2(
    typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and "--help" in error


SHOWING = [
    ["status"], ["status", "--json"], ["stream", "status"], ["quality"], ["alerts", "list"],
    ["quarantine", "list"], ["dictionary"], ["query", "--list"], ["completion", "bash"],
]  # fmt: skip


@pytest.mark.parametrize("typed", SHOWING, ids=" ".join)
def test_a_reader_that_leaves_ends_a_command_without_a_word(typed: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "cloudlake.cli", *typed, "--lake", str(tmp_path)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False)
    both = subprocess.run(command, stdout=writer, stderr=writer, env=ENVIRONMENT, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr, both.returncode) == (141, "", 141)


def test_help_that_nobody_reads_is_no_fault(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    buffered = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONUNBUFFERED"}
    for typed in ([], ["query"]):
        command = [sys.executable, "-m", "cloudlake.cli", *typed, "--help"]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=buffered, check=False)
        assert (done.returncode in (0, 141), done.stderr) == (True, "")  # argparse passes over an unbuffered write that fails
    os.close(writer)


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "1989-12-31"])
def test_a_business_date_beyond_any_customer_is_refused_before_anything_is_made(
    day: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", "--as-of", day, "--lake", str(tmp_path / "lake"), "--landing", str(tmp_path)]) == 2
    assert f"--as-of {day}: a business date lies between 1990-01-01 and" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()
