"""`cloudlake erase`: take a person out of the lake, and prove it."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config

EXAMPLES = """examples:
  cloudlake erase --user user_0000d889 --dry-run     what the lake and the landing zone hold of a person
  cloudlake erase --user user_0000d889               take the person out: rows, history, memory, refusals, old files, logs
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = add_command(
        commands, "erase", "Take a person out of the lake, history and old files included; a stream may run.", EXAMPLES, spark=True
    )
    parser.add_argument("--user", metavar="ID", required=True, help="the person's user_id")
    parser.add_argument("--dry-run", action="store_true", help="say what is there, and do nothing")
    parser.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Erase a person, or say what is there."""
    from ..runs.upkeep_run import run_erase

    found = run_erase(config, arguments.user, dry_run=arguments.dry_run)
    for table, rows in found.rows.items():
        print(f"  {table:36} {rows:,} row(s)")
    if found.was_erased:
        print("the person was erased before; the lake holds nothing of that id")
    elif arguments.dry_run:
        print(f"would be taken out of {len(found.left)} file(s) that hold an address; nothing has been")
    else:
        for file in found.masked:
            print(f"  written over in {file}")
        print(f"erased: {found.files:,} old file(s) went; no file of the lake holds an address of the person")
        print("Marts stay as they are. What lands again of the person is refused, and counted as erased.")
    if found.landing:
        print(
            f"{len(found.landing)} file(s) of the landing zone ({config.landing}) still name the person; they are yours to mend:"
        )
        for file in found.landing:
            print(f"  {file}")
    return 0
