"""The pages of docs/ say what the code does: generated ones are current, every finding of the doctor has its entry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cloudlake.cli.main import COMMANDS, main
from cloudlake.upkeep.findings import KINDS, Finding

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_pages_are_current() -> None:
    assert main(["dictionary", "--check"]) == 0, "run cloudlake dictionary"


def test_the_command_reference_has_every_command_with_its_options() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    for command in COMMANDS:
        assert f"\n## {command.__name__.rpartition('.')[2]}\n" in page
    assert "### alerts silence" in page and "| `--failed` | only runs that failed or were interrupted |" in page


def test_the_runbook_has_an_entry_for_every_kind_of_finding_and_no_other_kind_can_be_found() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text().partition("## What the doctor finds")[2].partition("\n## ")[0]
    headings = {name.strip() for line in re.findall(r"^### (.+)$", page, re.M) for name in line.split(",")}
    assert headings == KINDS
    with pytest.raises(ValueError, match="no such kind"):
        Finding("unheard_of", "", "", "", "")
