"""A command that a message, the README or a page names exists, with its verb and its options."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import pytest
from cloudlake.cli.arguments import Parser
from cloudlake.cli.main import build_parser
from cloudlake.common.clock import spoken_age
from flow import ROOT

SCRIPTS = {
    "run_batch_pipeline.sh": "batch",
    "run_streaming_pipeline.sh": "stream",
    "run_serving_layer.sh": "serve",
    "run_dashboard.sh": "dashboard",
}
OF_SPARK = {"--master", "--spark-conf"}
WORDS = r"((?: (?:--?[a-z][\w-]*|[\w…]+))*)"
A_COMMAND = re.compile(r"(?<![\w./-])(?:\.venv/bin/)?cloudlake ([a-z]\w*)" + WORDS)
A_SCRIPT = re.compile(r"scripts/(\w+\.(?:sh|py))" + WORDS)
NO_COMMAND = {"# cloudlake nightly: ", "cloudlake alerts run"}
"""Where a word after the name is no command: the mark of the entry in the crontab, and a sentence about where commands run."""


def parsers() -> dict[str, Parser]:
    found = verbs_of(build_parser())
    for one in found.values():
        one.prepare(["--conf", str(ROOT / "conf")])  # the filters of the named queries
    return found


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, Parser]:
    found = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {name: one for action in found for name, one in action.choices.items()}


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def choices_of(parser: argparse.ArgumentParser) -> set[str]:
    first = next((action for action in parser._actions if not action.option_strings and action.choices), None)
    return set(map(str, first.choices)) if first is not None and first.choices else set()


def wrong_in(text: str) -> list[str]:
    """What a text says of commands that is not so."""
    known, wrong = parsers(), []
    for mark in NO_COMMAND:
        text = text.replace(mark, "")
    found = [(match[0], match[1], match[2]) for match in A_COMMAND.finditer(text)]
    for match in A_SCRIPT.finditer(text):
        if not (ROOT / "scripts" / match[1]).is_file():
            wrong.append(f"{match[0]}: no such script")
        elif match[1] == "submit.py" and match[2]:
            found.append((match[0], match[2].split()[0], match[2].partition(" ")[2].partition(" ")[2]))
        elif match[1] in SCRIPTS:
            found.append((match[0], SCRIPTS[match[1]], match[2]))
        else:
            script = (ROOT / "scripts" / match[1]).read_text(encoding="utf-8")
            wrong += [f"{match[0]}: no {word}" for word in match[2].split() if word[:2] == "--" and word not in script]
    for said, command, rest in found:
        if command not in known:
            wrong.append(f"{said}: no such command")
            continue
        parser, words = known[command], rest.split()
        allowed = options_of(parser) | (OF_SPARK if command in SCRIPTS.values() else set())
        verbs = verbs_of(parser)
        if words and words[0] in verbs:
            allowed |= options_of(verbs[words[0]])
        elif choices_of(parser) and words and words[0][0] != "-" and words[0] not in choices_of(parser):
            wrong.append(f"{said}: {command} knows no {words[0]}")
        wrong += [f"{said}: no {word}" for word in words if word[:2] == "--" and word not in allowed]
    return wrong


def texts() -> list[Path]:
    rooms = ["src", "README.md", "docs", "scripts", "conf", "benchmarks", "notebooks", ".ci"]
    listed = subprocess.run(["git", "ls-files", "--", *rooms], cwd=ROOT, capture_output=True, text=True, check=True)
    suffixes = {".py", ".md", ".sh", ".yaml", ".html", ".ipynb", ".conf"}
    return [ROOT / name for name in listed.stdout.splitlines() if Path(name).suffix in suffixes]


def test_every_command_that_is_named_anywhere_exists() -> None:
    found = texts()
    assert len(found) > 100
    wrong = {
        str(path.relative_to(ROOT)): said for path in found if (said := wrong_in(path.read_text(encoding="utf-8")))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("`cloudlake repair` mends it", "no such command"),
        ("run cloudlake quarantine list --tabel users", "no --tabel"),
        ("scripts/run_streaming_pipeline.sh restart", "stream knows no restart"),
        ("scripts/run_batch_pipeline.sh --rebuild", "no --rebuild"),
        ("scripts/heal.sh", "no such script"),
        ("scripts/setup_environment.sh --again", "no --again"),
        ("cloudlake quarantine replay --reason missing", ""),
        ("scripts/run_batch_pipeline.sh --spark-conf spark.x=y", ""),
    ],
)
def test_a_command_that_does_not_exist_is_seen(text: str, said: str) -> None:
    wrong = wrong_in(text)
    assert said in wrong[0] if said else wrong == []


def test_ages_are_said_as_people_say_them() -> None:
    assert [spoken_age(hours) for hours in (0.002, 0.5, 1, 31, 71.9, 72, 10_850)] == [
        "7 s",
        "30 min",
        "1 h",
        "31 h",
        "72 h",
        "3 d",
        "452 d",
    ]
