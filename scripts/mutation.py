"""Mutation tests of the modules that need no Spark, by cosmic-ray; run by scripts/mutation.sh, in an environment of its own.

Of each module some places are drawn, and one change of each: a comparison turned, a number moved, a branch taken always.
A change that no test of the module notices survives, and is printed to be read by a person: it is a hole in the tests,
or it changes nothing that matters.
"""

from __future__ import annotations

import argparse
import ast
import random
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from os import chdir
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("src", "conf", "tests", "scripts", ".typing", "docs", "pyproject.toml", "setup.py", "README.md")
TESTS = {
    "src/alerts/rules.py": "tests/pure/test_alert_rules.py",
    "src/cli/quality.py": "tests/pure/test_command_line.py",
    "src/common/contracts/loading.py": "tests/pure/test_contracts.py",
    "src/common/contracts/table.py": "tests/pure/test_contracts.py",
    "src/common/contracts/types.py": "tests/pure/test_contracts.py",
    "src/common/lake/provenance.py": "tests/pure/test_provenance.py",
    "src/common/lake/storage.py": "tests/pure/test_storage.py tests/pure/test_starting.py",
    "src/common/quality/outcomes.py": "tests/pure/test_provenance.py",
    "src/common/usage/versions.py": "tests/pure/test_contracts.py",
    "src/runs/state.py": "tests/pure/test_state.py",
    "src/batch/bronze/scanning.py": "tests/pure/test_exports.py",
    "src/batch/bronze/exports.py": "tests/pure/test_exports.py",
}
"""Modules, and the tests that should notice when they change. Only tests that run the code in their own process."""


def main() -> int:
    """Draw, change, test; print the survivors and the rate. Exit code 1 where the tests fail without a change."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "modules", nargs="*", default=sorted(TESTS), metavar="MODULE", help="default: all that are known"
    )
    parser.add_argument("--sites", type=int, default=12, metavar="N", help="places of each module (default 12)")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    arguments = parser.parse_args()
    _copy_into(ROOT / ".mutation" / "tree")
    chdir(ROOT / ".mutation" / "tree")
    noticed = survived = 0
    for module in arguments.modules:
        command = f"{ROOT / '.venv' / 'bin' / 'python'} -m pytest -x -q -p no:cacheprovider {TESTS[module]}"
        started = time.monotonic()
        outcome, output = _unchanged(command)
        if not outcome:
            print(f"{module}: its tests fail without any change:\n{output}", file=sys.stderr)
            return 1
        limit = 3 * (time.monotonic() - started) + 20
        for change in _drawn(Path(module), arguments.sites, random.Random(f"{arguments.seed} {module}")):
            result = mutate_and_test([change], command, limit)
            if result.worker_outcome != WorkerOutcome.NORMAL:
                continue
            is_alive = result.test_outcome == TestOutcome.SURVIVED
            noticed, survived = noticed + (not is_alive), survived + is_alive
            if is_alive:
                lines = [
                    line
                    for line in (result.diff or "").splitlines()
                    if line[:1] in "+-" and line[:3] not in ("+++", "---")
                ]
                print(
                    f"{module}:{change.start_pos[0]} in {change.definition_name}: {change.operator_name}",
                    *lines,
                    sep="\n    ",
                )
        print(f"{module}: so far {noticed} noticed, {survived} survived", flush=True)
    print(f"{noticed} of {noticed + survived} changes noticed ({noticed / max(1, noticed + survived):.0%})")
    return 0


def _copy_into(tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)


def _unchanged(command: str) -> tuple[bool, str]:
    from cosmic_ray.testing import run_tests

    outcome, output = run_tests(command, 600)
    return outcome == TestOutcome.SURVIVED, output


def _drawn(module: Path, sites: int, choice: random.Random) -> list[MutationSpec]:
    """Draw places of a module, and one change of each."""
    with use_db(str(ROOT / ".mutation" / "session.sqlite"), WorkDB.Mode.create) as work:
        init([module], work, {})
        changes = [change for item in work.work_items for change in item.mutations]
    unread = list(_without_effect(ast.parse(module.read_text(encoding="utf-8"))))
    by_place: dict[tuple[int, int], list[MutationSpec]] = defaultdict(list)
    for change in changes:
        if not any(first <= change.start_pos < last for first, last in unread):
            by_place[change.start_pos].append(change)
    places = choice.sample(sorted(by_place), min(sites, len(by_place)))
    return [choice.choice(sorted(by_place[place], key=str)) for place in sorted(places)]


def _without_effect(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield where a change would change nothing that runs, or no answer: annotations and decorators."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            parts = [node.returns, *(each.annotation for each in arguments), *node.decorator_list]
        elif isinstance(node, ast.ClassDef):
            parts = list(node.decorator_list)
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        else:
            continue
        for part in parts:
            if part is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno or part.lineno, part.end_col_offset or 0)


if __name__ == "__main__":
    sys.exit(main())
