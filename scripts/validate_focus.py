"""What tools of others say of an export's files, against what its manifest expects; run by scripts/validate_focus.sh.

usage: scripts/validate_focus.py EXPORT/focus ENVIRONMENTS

The official validator ends with 0 whatever it finds, and opens a file relative to the working directory: so its output is
read, in a folder where that file lies, and an output without its total counts as a crash.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RULES = 578
"""The rules of 1.2 that the validator counts for Cost and Usage: fewer, and it has looked at less than it did."""
_DATASETS = {"Cost and Usage": "cost-and-usage", "Invoice Detail": "invoice-detail", "Billing Period": "billing-period"}


def read_findings(output: str) -> dict[str, int] | None:
    """Return the red lines of the official validator with their violations; None where it has not come to its end."""
    total = re.search(r"^Total: (\d+) \| Pass: \d+ \| Fail: (\d+) \|", output, re.MULTILINE)
    red = re.findall(r"^❌ (\S+): FAIL +\(violations=(\d+)", output, re.MULTILINE)
    if total is None or int(total[1]) != RULES or int(total[2]) != len(red):
        return None
    return {rule: int(violations) for rule, violations in red}


def differences(found: dict[str, int] | None, expected: dict[str, int]) -> list[str]:
    """Say in what the red lines are not those that are expected."""
    if found is None:
        return ["the validator did not come to its end, or did not look at all of its rules"]
    names = sorted({*found, *expected})
    return [
        f"{name}: {found.get(name, 0)} violations, expected {expected.get(name, 0)}"
        for name in names
        if found.get(name, 0) != expected.get(name, 0)
    ]


def official(environment: Path, file: Path, criteria: list[str]) -> str:
    """Return what the official validator prints of a file."""
    (site,) = environment.glob("lib/python*/site-packages")
    line = [environment.absolute() / "bin" / "focus-validator", "--data-file", file, "--validate-version", "1.2", "--block-download",
            "--show-violations"]  # fmt: skip
    line += ["--applicability-criteria", ",".join(criteria)] if criteria else []
    done = subprocess.run(line, cwd=site, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def validated(environment: Path, version: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield each file of 1.2, without the criteria that we claim and with them, and what is wrong with it."""
    for period, entry in manifest["periods"].items():
        for name, said in entry["files"].items():
            for kind, criteria in (("unclaimed", []), ("claimed", manifest["criteria"])):
                found = read_findings(official(environment, version / period / name, criteria))
                yield f"1.2/{period}/{name}, criteria {kind}", differences(found, said["red_lines"][kind])


def linted(environment: Path, version: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield each file of 1.4, and each month's files together, and what is wrong with them."""
    toolkit = environment / "bin" / "focus-toolkit"
    for period, entry in manifest["periods"].items():
        bundles: dict[str, list[str]] = {}
        for name, said in entry["files"].items():
            dataset, file = _DATASETS[said["dataset"]], str(version / period / name)
            yield (
                f"1.4/{period}/{name}",
                _said([toolkit, "validate", file, "--dataset", dataset], "STRUCTURAL_VALID, SEMANTIC_VALID"),
            )
            bundles.setdefault(dataset, []).append(file)
        others = [
            part for name in _DATASETS.values() for part in (f"--{name}", *bundles.get(name, [])[:1]) if name in bundles
        ]
        yield f"1.4/{period} as a bundle", _said([toolkit, "validate-bundle", *others], "OK")


def _said(line: list[Any], expected: str) -> list[str]:
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    return [] if done.returncode == 0 and expected in said else said.splitlines() or ["it said nothing"]


def main(folder: Path, environments: Path) -> int:
    """Check every version that is there; return the exit code."""
    faults = 0
    for version, tool, check in (("1.2", "validator", validated), ("1.4", "linter", linted)):
        path = folder / version / "metadata.json"
        if not path.exists() or not (environments / tool).exists():
            continue
        for what, wrong in check(environments / tool, path.parent, json.loads(path.read_text(encoding="utf-8"))):
            print(f"{'ok ' if not wrong else 'RED'} {what}", *wrong, sep="\n    ", flush=True)
            faults += bool(wrong)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
