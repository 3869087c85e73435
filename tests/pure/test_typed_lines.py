"""Lines that messages tell people to type name the folders that the command was given, and are taken as they stand."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest
from cloudlake.cli.main import build_parser, main
from cloudlake.cli.typed import typed
from test_named_commands import SCRIPTS

FOLDERS = argparse.Namespace(lake="/data/a lake", landing="/in", conf=None)
NAMED = "--lake '/data/a lake' --landing /in"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("Mend it and run scripts/run_batch_pipeline.sh", f"scripts/run_batch_pipeline.sh {NAMED}"),
        ("then cloudlake quarantine replay --table users --reason step_failed", f"cloudlake quarantine replay {NAMED} --table users --reason step_failed"),
        ("cloudlake gate accept --run r --rule x --reason TEXT, and run again.", f"cloudlake gate accept {NAMED} --run r --rule x --reason TEXT"),
        ("run scripts/run_batch_pipeline.sh --jobs gold --full-reload", f"scripts/run_batch_pipeline.sh {NAMED} --jobs gold --full-reload"),
        ("scripts/run_streaming_pipeline.sh start goes on where it stopped", f"scripts/run_streaming_pipeline.sh start {NAMED}"),
        ("cloudlake alerts resend says why", f"cloudlake alerts resend {NAMED}"),
        ("cloudlake publish --to postgres", f"cloudlake publish {NAMED} --to postgres"),
        ("cloudlake dashboard shows it", f"cloudlake dashboard {NAMED}"),
    ],
)  # fmt: skip
def test_a_line_to_type_names_the_folders_and_is_taken(said: str, line: str) -> None:
    told = typed(said, FOLDERS)
    assert line in told
    assert typed(said, argparse.Namespace(lake=None, landing=None, conf=None)) == said
    words = shlex.split(line)
    command = [SCRIPTS[words[0].removeprefix("scripts/")]] if "/" in words[0] else []
    options = build_parser().parse_args([*command, *words[1:]])
    assert (options.lake, options.landing) == ("/data/a lake", "/in")


@pytest.mark.parametrize(
    "said",
    ["export it where the stream and cloudlake alerts run", "scripts/run_batch_pipeline.sh --lake /other", "cloudlake 4.2", "scripts/nightly.sh"],
)  # fmt: skip
def test_what_is_no_line_to_type_or_names_its_folders_stays(said: str) -> None:
    assert typed(said, FOLDERS) == said


def test_an_error_tells_a_line_that_can_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "daily-costs", "--lake", str(tmp_path)]) == 1
    assert re.search(rf"run scripts/run_batch_pipeline\.sh --lake {tmp_path}$", capsys.readouterr().err, re.MULTILINE)
