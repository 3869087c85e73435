"""`cloudlake completion`: what a shell needs to complete the commands, their options and the named queries."""

from __future__ import annotations

from argparse import Namespace, _SubParsersAction
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config

EXAMPLES = """examples:
  cloudlake completion bash > ~/.local/share/bash-completion/completions/cloudlake
  cloudlake completion zsh > ~/.zfunc/_cloudlake        in a folder of fpath, before compinit
  cloudlake completion tcsh > ~/.cloudlake.completion   then source it in ~/.cshrc
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    completion = add_command(commands, "completion", "Write the completion for a shell to standard output.", EXAMPLES)
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    completion.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Print the completion of every command, with the filters and the names of the queries of conf/."""
    import shtab

    from ..serving.queries import load_queries

    names = tuple(load_queries(config.conf, config.registry).queries)
    parser: Parser = arguments.parser
    for name, command in _commands(parser):
        command.prepare(["--conf", str(config.conf)])
        for action in command._actions:
            if name == "query" and action.dest == "name":
                action.choices = names
            if action.metavar in ("FILE", "DIR"):
                action.complete = shtab.FILE if action.metavar == "FILE" else shtab.DIRECTORY  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=arguments.shell))
    return 0


def _commands(parser: Parser) -> Iterator[tuple[str, Parser]]:
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            yield from action.choices.items()
