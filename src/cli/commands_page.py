"""docs/commands.md: every command with its options and examples, from the parser that reads them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from .arguments import FOLDERS, Parser

_HEAD = """# Commands

Made from the parser by `cloudlake dictionary`; change it in src/cli/. `cloudlake COMMAND --help` says the same.

`cloudlake` is `.venv/bin/cloudlake` of the checkout. What needs Spark all the time is started by a script of `scripts/`, with the
same options. Where Spark runs, `--master` and `--spark-conf` say; on clusters: docs/cluster.md.

Exit codes: 0 done, 1 a step failed or something is wrong, 2 bad usage or configuration, 3 a quality gate failed, 4 another run
holds the lock, 141 nobody reads the output any more.

Every command takes these:

| option | meaning |
| --- | --- |"""
_COMMON = {*FOLDERS, "--verbose", "-h"}
_SCRIPTS = {
    "batch": "scripts/run_batch_pipeline.sh",
    "stream": "scripts/run_streaming_pipeline.sh",
    "serve": "scripts/run_serving_layer.sh",
    "dashboard": "scripts/run_dashboard.sh",
}


def render(parser: Parser) -> str:
    """Return the page as Markdown, the same for the same parser."""
    lines = [_HEAD]
    lines += [f"| `{option} DIR` | {_cell(meaning)} |" for option, meaning in FOLDERS.items()]
    lines += ["| `--verbose` | show the whole trace of an error |", ""]
    for name, command in _verbs(parser).items():
        lines += [*_section(name, command), ""]
    return "\n".join(lines).rstrip() + "\n"


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a parser, or the verbs of a command."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def _section(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield command.description or ""
    if name in _SCRIPTS:
        yield ""
        yield f"Started by `{_SCRIPTS[name]}`."
    yield from _options(command)
    for verb, parser in _verbs(command).items():
        yield ""
        yield f"### {name} {verb}"
        yield ""
        yield parser.description or ""
        yield from _options(parser)
    if command.epilog:
        yield ""
        yield "```text"
        yield from (line.strip() for line in command.epilog.strip().splitlines() if line[:1] == " ")
        yield "```"


def _options(command: argparse.ArgumentParser) -> Iterator[str]:
    if isinstance(command, Parser):
        command.prepare()
    own = [action for action in command._actions if not set(action.option_strings) & _COMMON]
    own = [action for action in own if not isinstance(action, argparse._SubParsersAction)]
    if own:
        yield ""
        yield "| option | meaning |"
        yield "| --- | --- |"
        yield from (f"| `{_cell(_spelled(action))}` | {_cell(_meaning(action))} |" for action in own)


def _spelled(action: argparse.Action) -> str:
    choices = "|".join(map(str, action.choices or ()))
    value = action.metavar if isinstance(action.metavar, str) else choices or action.dest.upper()
    value += " …" if action.nargs in ("+", "*") else ""
    if not action.option_strings:
        return f"[{value}]" if action.nargs in ("?", "*") else value
    return action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]} {value}"


def _meaning(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
