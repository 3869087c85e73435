"""`cloudlake status`: what an operator asks at 3 a.m.: what runs, what is stale, what is wrong, and what to type."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..common.clock import spoken_age
from .arguments import Commands, Parser, add_command
from .typed import typed

if TYPE_CHECKING:
    from ..common.config import Config


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    status = add_command(commands, "status", "Last runs, freshness, lock holder, where every record went.")
    status.add_argument(
        "--check",
        action="store_true",
        help="for cron: exit 1 when something is stale or the last run failed, and tell the targets of notifications",
    )
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Print what is in force and what is wrong, and return 1 under `check` where something is."""
    from ..alerts.run_news import tell
    from ..common.clock import now_utc
    from ..runs.overdue import overdue
    from ..runs.state import gather

    now = now_utc()
    found = gather(config, now)
    if arguments.check:
        for fault in tell(config, now, overdue(found, now)):
            print(f"warning: {fault}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(found, indent=2, default=str))
    else:
        _show(found, arguments)
    return 1 if arguments.check and found["problems"] else 0


def _show(found: Mapping[str, Any], arguments: Namespace) -> None:
    """Print the state for people: problems first."""
    from rich.markup import escape

    from .alerts import alerts_grid
    from .stream import lines
    from .tables import STYLES, console, grid, print_grids, reconciliation_grid

    out = console()
    out.print(f"[bold]cloudlake[/] {found['lake']}  {found['now']}", highlight=False)
    for problem in found["problems"]:
        out.print(f"[bold red]![/] {escape(typed(problem, arguments))}", highlight=False)
    if not found["problems"]:
        out.print("[green]Nothing is wrong.[/]")
    for name, holder in found["locks"].items():
        if holder is not None:
            out.print(
                f"{name} is running: process {holder.get('pid')}, run {holder.get('run_id')}, since {holder.get('since')}"
            )
    for line in lines(found["stream"]):
        out.print(escape(typed(line, arguments)), highlight=False)
    publication = found["publication"]
    if publication["run_id"]:
        out.print(
            f"In force: {publication['tables']} gold tables of run {publication['run_id']}, published {publication['published_at']}"
        )
    runs = grid("Last runs", "run", "what", "status", "started", "seconds")
    for row in found["last_runs"]:
        what = "batch" if row["step"] == "run" else row["step"]
        style = STYLES.get(row["status"], "")
        runs.add_row(
            row["run_id"],
            what,
            f"[{style}]{row['status']}[/]",
            f"{row['started_at']:%Y-%m-%d %H:%M:%S}",
            f"{row['seconds']:.1f}",
        )
    fresh = grid("Freshness", "table", "newest", "age", "limit, h", "fresh")
    for row in found["freshness"]:
        mark = "[bold red]no[/]" if row["stale"] else "[green]yes[/]"
        fresh.add_row(
            row["table"],
            str(row["newest"] or ""),
            "" if row["age_hours"] is None else spoken_age(row["age_hours"]),
            f"{row['max_age_hours']:g}",
            mark,
        )
    print_grids(runs, fresh, reconciliation_grid(found["reconciliation"], "Where every record went"))
    if found["alerts"]:
        print_grids(alerts_grid(found["alerts"]))
    for row in found["drift"]:
        parts = [f"{kind} {', '.join(row[kind])}" for kind in ("new", "missing", "retyped") if row[kind]]
        parts += [f"'{delivered}' kept as {name}" for delivered, name in row.get("renamed", {}).items()]
        parts += [f"{row['not_text']} row(s) hold what is no {row['encoding']} text"] if row.get("not_text") else []
        parts += ["its last line has no line end"] if row.get("open_ended") else []
        out.print(escape(f"Columns of {row['path']} differ from conf/: {'; '.join(parts)}"), highlight=False)
    if found["open_quarantine"]:
        counts = ", ".join(f"{name} {count}" for name, count in found["open_quarantine"].items())
        out.print(f"Open in quarantine: {counts}", highlight=False)
