"""`cloudlake doctor`: what is wrong with the lake and its machine, what it means for the answers, and the line to type."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command
from .typed import typed

if TYPE_CHECKING:
    from ..common.config import Config
    from ..upkeep.findings import Finding

EXAMPLES = """examples:
  cloudlake doctor          look at everything: Java, disk, rights, clock, logs, data files, publications, checkpoints, locks
  cloudlake doctor --fix    mend what loses nothing, say what was done, and look again
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    doctor = add_command(
        commands, "doctor", "What is wrong, what it means for the answers, and what to type.", EXAMPLES
    )
    doctor.add_argument("--fix", action="store_true", help="mend what loses nothing")
    doctor.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Print each finding with its line, and return 1 where one is left."""
    from .tables import console

    out = console(wide=False)
    found = _examine(config)
    if arguments.fix and found:
        for told in _mend(config, found):
            out.print(f"mended: {told}", highlight=False, markup=False)
        found = _examine(config)
    for finding in found:
        out.print(f"! {finding.where}: {finding.what}", highlight=False, markup=False, style="bold")
        out.print(f"  {finding.means}.", highlight=False, markup=False)
        out.print(f"  type: {typed(finding.line, arguments)}", highlight=False, markup=False)
    if not found:
        out.print("Nothing is wrong.", style="green")
    return 1 if found else 0


def _examine(config: Config) -> list[Finding]:
    """Return everything that is wrong; where Spark is not installed, what the machine lacks is all that can be looked at."""
    from ..common.clock import now_utc
    from ..upkeep.machine import machine_findings

    try:
        from ..runs.health import examine
    except ModuleNotFoundError:
        return machine_findings(config, now_utc())
    return examine(config, now_utc())


def _mend(config: Config, found: list[Finding]) -> list[str]:
    if not any(finding.mend for finding in found):
        return []
    from ..runs.health import mend

    return mend(config, found)
