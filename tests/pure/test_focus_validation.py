"""What scripts/validate_focus.py makes of the official validator's output: exactly the expected red lines are right."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAID = """
=== Validation Summary ===
Total: 578 | Pass: 136 | Fail: 1 | Skipped: 441

=== Validation Results ===
❌ InvoiceId-C-004-C: FAIL  (violations=14812, msg=InvoiceId MUST be NULL., 11.9ms)

--- Failures ---
- InvoiceId-C-004-C: violations=14812; InvoiceId MUST be NULL.
"""
"""What focus-validator 2.2.1 printed of a month's invoiced charges."""


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("validate_focus", ROOT / "scripts" / "validate_focus.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_red_lines_are_read_with_their_violations(script: Any) -> None:
    assert script.read_findings(SAID) == {"InvoiceId-C-004-C": 14812}


@pytest.mark.parametrize("crash", ["", "Traceback", SAID.replace("578", "577"), SAID.replace("Fail: 1", "Fail: 2")])
def test_a_validator_that_has_not_looked_at_all_of_its_rules_is_no_pass(script: Any, crash: str) -> None:
    assert script.read_findings(crash) is None
    assert script.differences(None, {}) != []


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ({"InvoiceId-C-004-C": 14812}, []),
        ({"InvoiceId-C-004-C": 14811}, ["InvoiceId-C-004-C: 14812 violations, expected 14811"]),
        ({}, ["InvoiceId-C-004-C: 14812 violations, expected 0"]),
        ({"InvoiceId-C-004-C": 14812, "X": 1}, ["X: 0 violations, expected 1"]),
    ],
)
def test_one_red_line_more_or_fewer_is_a_fault(script: Any, expected: dict[str, int], told: list[str]) -> None:
    assert script.differences(script.read_findings(SAID), expected) == told


def test_a_folder_without_an_export_is_told(tmp_path: Path) -> None:
    for folder in (str(tmp_path), str(tmp_path / "none"), "--what"):
        done = subprocess.run(
            [ROOT / "scripts" / "validate_focus.sh", folder], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2 and done.stderr.startswith("validate_focus: ")
