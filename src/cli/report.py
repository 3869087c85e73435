"""`cloudlake report`: the dashboard's pages as one file, to mail or print; of one customer alone where it is for one."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config

EXAMPLES = """examples:
  cloudlake report --out monday.html                    every page; opens from disk, without a network
  cloudlake report --out nimbus.html --org org_1a2b     one customer: nothing of others in it
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    report = add_command(commands, "report", "Write the dashboard's pages as one HTML file.", EXAMPLES)
    report.add_argument("--out", required=True, metavar="FILE", help="the file to write, such as report.html")
    report.add_argument("--org", metavar="ORG", help="one organisation: only what is of it alone")
    report.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Write the report."""
    import os
    from pathlib import Path

    from ..common.clock import now_utc
    from ..common.errors import ConfigurationError
    from ..serving.dashboard.report import report

    page = report(config, now_utc(), arguments.org)
    path = Path(arguments.out)
    scratch = path.with_name(f".{path.name}.tmp")
    try:
        scratch.write_text(page, encoding="utf-8")
        os.replace(scratch, path)
    except OSError as error:
        raise ConfigurationError(
            f"--out {path}: can't be written ({error.strerror}); name a file in a folder that is there"
        ) from None
    covers = f"of {arguments.org} alone" if arguments.org else "of all organisations"
    print(f"{path}: {covers}, {len(page.encode()):,} bytes; open it with a browser, or print it from there")
    return 0
