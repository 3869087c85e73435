"""`cloudlake runs`: the runs of a lake; of one its steps, where it failed, its log, and the line that resumes it."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config
    from ..upkeep.run_history import RecordedRun, RunDetails

EXAMPLES = """examples:
  cloudlake runs                     the last runs, newest first
  cloudlake runs --failed            those that failed, or whose process was killed
  cloudlake runs 20250831T020003Z    one run, by as much of its id as names it: steps, errors, log, what resumes it
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    runs = add_command(
        commands, "runs", "The runs; of one its steps, errors, log, and the line that resumes it.", EXAMPLES
    )
    runs.add_argument("id", nargs="?", metavar="ID", help="one run")
    runs.add_argument("--failed", action="store_true", help="only runs that failed or were interrupted")
    runs.add_argument("--json", action="store_true", help="as JSON")
    runs.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Print the last runs, or one with its steps."""
    from dataclasses import asdict

    from ..upkeep.run_history import recorded_run, recorded_runs

    if arguments.id:
        details = recorded_run(config, arguments.id)
        if arguments.json:
            print(json.dumps(details.plain(), indent=2, default=str))
        else:
            _show(details)
        return 0
    runs = recorded_runs(config, failed=arguments.failed)
    if arguments.json:
        print(json.dumps([asdict(run) for run in runs], indent=2, default=str))
    elif not runs:
        print("no run has failed" if arguments.failed else "no run is recorded yet: scripts/run_batch_pipeline.sh")
    else:
        _list(runs)
    return 0


def _list(runs: Sequence[RecordedRun]) -> None:
    from .tables import STYLES, grid, print_grids

    shown = grid("Runs", "run", "what", "status", "started", "seconds", "failed steps")
    for run in runs:
        status = f"[{STYLES.get(run.status, '')}]{run.status}[/]" if STYLES.get(run.status) else run.status
        seconds = "" if run.seconds is None else f"{run.seconds:,.1f}"
        shown.add_row(run.run_id, run.kind, status, _time(run), seconds, ", ".join(run.failed_steps))
    print_grids(shown)


def _time(run: RecordedRun) -> str:
    return f"{run.started_at:%Y-%m-%d %H:%M:%S}" if run.started_at else ""


def _show(details: RunDetails) -> None:
    from .tables import STYLES, console, grid, print_grids

    run, out = details.run, console(wide=False)
    steps = grid("Steps", "step", "status", "started", "seconds", "rows in", "rows out", "quarantined", "error")
    for row in details.steps:
        numbers = [f"{row[name]:,}" if row[name] else "" for name in ("rows_in", "rows_out", "rows_quarantined")]
        style, started = STYLES.get(row["status"], ""), row["started_at"]
        status = f"[{style}]{row['status']}[/]" if style else row["status"]
        when = f"{started:%H:%M:%S}" if started else ""
        steps.add_row(row["step"], status, when, f"{row['seconds']:,.1f}", *numbers, row["error"] or "")
    if details.steps:
        print_grids(steps)
    ended = f", ended {run.ended_at:%H:%M:%S}, {run.seconds:,.1f} s" if run.ended_at and run.seconds is not None else ""
    out.print(f"{run.kind} run {run.run_id} {run.status}: started {_time(run)}{ended}", highlight=False, markup=False)
    named = {"error": run.error, "log": details.log, "report": details.report, "to go on": details.resume}
    for name, what in named.items():
        if what:
            out.print(f"{name + ':':9} {what}", highlight=False, markup=False)
