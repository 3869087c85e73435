"""`cloudlake schema verify`: each table against its contract, each source's newest header, and the line that mends what differs."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command, add_verbs
from .typed import typed

if TYPE_CHECKING:
    from ..common.config import Config


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    schema = add_command(
        commands, "schema", "The tables against their contracts.", "example:\n  cloudlake schema verify\n"
    )
    verify = add_command(
        add_verbs(schema), "verify", "What differs from conf/, and the line that mends it.", within=True
    )
    verify.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Print what differs from conf/, each with its line, and return 1 where something does."""
    from ..upkeep.schema_check import verify
    from .tables import console

    out = console(wide=False)
    found = verify(config)
    for one in found:
        out.print(f"! {one.table}: {one.what}", highlight=False, markup=False, style="bold")
        out.print(f"  type: {typed(one.line, arguments)}", highlight=False, markup=False)
    if not found:
        out.print("Every table, and every newest header, is as conf/ says.", style="green")
    return 1 if found else 0
