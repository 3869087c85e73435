"""`cloudlake gate accept`: the way past a quality gate, for one run, with its reason."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command
from .typed import typed

if TYPE_CHECKING:
    from ..common.config import Config


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    gate = add_command(commands, "gate", "Let pass what a quality gate stopped in one run; the reason is kept.")
    gate.add_argument("verb", choices=["accept"])
    gate.add_argument("--run", required=True, metavar="RUN", dest="run_id", help="the run that was stopped")
    gate.add_argument("--rule", required=True, metavar="RULE", help="the gate that stopped it, as its message names it")
    gate.add_argument("--reason", required=True, metavar="TEXT", help="why it is right to go on")
    gate.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Let pass what a gate stopped in one run."""
    from ..common.quality import gates

    rule = arguments.rule
    for row in gates.accept(config.lake, config.registry, arguments.run_id, rule, arguments.reason):
        said = f"accepted: {row['table']} {row['subject']} ({rule}); scripts/run_batch_pipeline.sh takes it now"
        print(typed(said, arguments))
    return 0
