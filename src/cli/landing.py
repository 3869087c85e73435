"""`cloudlake landing check`: what a run would take from the landing zone and what it would refuse, before any run."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command, add_verbs, day, moment

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from ..common.config import Config
    from ..runs.landing import Lying

EXAMPLES = """examples:
  cloudlake landing check
  cloudlake landing check --landing /data/landing --json
  cloudlake landing check --business-date 2025-08-31    what databases say of that day
"""
_STYLES = {"new": "green", "taken": "dim", "refused": "bold red", "missing": "bold red", "waiting": "yellow", "ignored": "yellow"}


def register(commands: Commands[Parser]) -> None:
    """Add the command and its verb."""
    landing = add_command(commands, "landing", "What lies in the landing zone.", EXAMPLES)
    verbs = add_verbs(landing)
    check = add_command(
        verbs,
        "check",
        "What is there, what of it is new, and what would be refused and why; exit code 1 where something would.",
        EXAMPLES,
        within=True,
    )
    check.add_argument(
        "--snapshot-at", type=moment, metavar="TIME", help="the time flat exports speak of (default: each file's own)"
    )
    check.add_argument(
        "--business-date",
        type=day,
        metavar="DATE",
        help="the date that sources in databases are asked for (default: yesterday, in UTC)",
    )
    check.add_argument("--json", action="store_true", help="as JSON")
    check.set_defaults(run=_check)


def _check(config: Config, arguments: Namespace) -> int:
    """Print what lies there; returns 1 where a run would refuse it, pass it over, or miss it."""
    from ..common.clock import now_utc
    from ..runs.landing import WRONG, landing_state
    from .batch import require_likely
    from .tables import print_grids

    require_likely(config, "--business-date", arguments.business_date)
    found = landing_state(config, arguments.snapshot_at, now_utc(), arguments.business_date)
    wrong = [one for one in found if one.state in WRONG]
    if arguments.json:
        print(json.dumps([asdict(one) for one in found], indent=2, default=str))
        return 1 if wrong else 0
    print_grids(_grid(f"{config.landing}: {len(wrong)} of {len(found)} to look at", found))
    return 1 if wrong else 0


def _grid(title: str, found: Sequence[Lying]) -> Grid:
    from rich.markup import escape

    from .tables import grid

    shown = grid(title, "source", "file", "state", "rows", "speaks of", "note")
    for one in found:
        rows = "" if one.rows is None else f"{one.rows:,}"
        at = f"{one.speaks_of:%Y-%m-%d %H:%M}" if one.speaks_of else ""
        state = f"[{_STYLES[one.state]}]{one.state}[/]"
        shown.add_row(one.source, escape(one.path), state, rows, at, escape(one.told))
    return shown
