"""`cloudlake rollback`: put an earlier run's gold tables in force again, all at once."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command
from .typed import typed

if TYPE_CHECKING:
    from ..common.config import Config


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    rollback = add_command(commands, "rollback", "Put an earlier run's gold tables in force again, all at once.")
    rollback.add_argument("--to", metavar="RUN", help="the run that published them (default: the one before)")
    rollback.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Put an earlier publication in force."""
    from ..common.clock import new_run_id, now_utc
    from ..common.lake.locks import process_lock
    from ..serving import publication

    with process_lock(config.lake, "batch", new_run_id(now_utc())):
        left, target = publication.rollback(config, arguments.to)
    print(f"in force: {len(target.tables)} tables of run {target.run_id}, published {target.published_at}")
    said = (
        f"left:     run {left.run_id}; to return to it: cloudlake rollback --to {left.run_id}\n"
        "The served tables follow with scripts/run_serving_layer.sh; the next run that builds something publishes anew."
    )
    print(typed(said, arguments))
    return 0
