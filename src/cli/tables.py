"""What commands print with: the one console, and the tables that several of them show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

if TYPE_CHECKING:
    from ..runs.steps import StepRecord

STYLES = {"done": "green", "skipped": "dim", "failed": "bold red", "not_run": "yellow", "interrupted": "bold red",
          "running": "cyan"}  # fmt: skip


class _Console(Console):
    """A console that leaves it to the command line what a reader's leaving means; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Let the error that is being handled rise."""
        raise  # noqa: PLE0704 (rich calls this while it handles the error)


def console(wide: bool = True) -> Console:
    """Return the console: as wide as the terminal; where there is none 160 columns, or no end where not `wide`."""
    found = _Console(soft_wrap=not wide)
    return _Console(width=160) if wide and not found.is_terminal else found


def grid(title: str, *columns: str) -> Grid:
    """Return an empty table."""
    return Grid(*columns, title=title, title_justify="left")


def steps_grid(records: Sequence[StepRecord], said: Callable[[str], str]) -> Grid:
    """Return the table of a run's steps; `said` gives a note the form that people read."""
    grid = Grid(title="Steps", title_justify="left", header_style="bold")
    grid.add_column("step", no_wrap=True)
    grid.add_column("status", no_wrap=True)
    for name in ("rows in", "rows out", "quarantined", "seconds"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("note", overflow="fold")
    for record in records:
        result = record.result
        numbers = [f"{n:,}" if n else "" for n in (result.rows_in, result.rows_out, result.quarantined)]
        status = f"[{STYLES.get(record.status, '')}]{record.status}[/]"
        grid.add_row(
            record.step, status, *numbers, f"{record.seconds:.1f}", escape(said(record.error or result.message))
        )
    return grid


def reconciliation_grid(rows: Sequence[Mapping[str, Any]], title: str) -> Grid:
    """Return the table that shows landed = accepted + quarantined + duplicates for each source."""
    grid = Grid(title=title, title_justify="left", header_style="bold")
    grid.add_column("source", no_wrap=True)
    for name in ("landed", "= accepted", "+ quarantined", "+ duplicates"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("holds", no_wrap=True)
    grid.add_column("refused because", overflow="fold")
    for row in rows:
        reasons = ", ".join(
            f"{name} {count}" for name, count in sorted(row["reasons"].items(), key=lambda item: -item[1])
        )
        numbers = [f"{row[name]:,}" for name in ("landed", "accepted", "quarantined", "duplicates")]
        grid.add_row(
            row["table"].partition(".")[2], *numbers, "[green]yes[/]" if row["holds"] else "[bold red]NO[/]", reasons
        )
    return grid


def print_grids(*grids: Grid) -> None:
    """Print tables."""
    out = console()
    for one in grids:
        out.print(one)
