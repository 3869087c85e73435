"""What people read at the end of a run and in `cloudlake status`: tables for the terminal, JSON for machines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from ..common.config import Config
from ..runs.steps import StepRecord

STYLES = {"done": "green", "skipped": "dim", "failed": "bold red", "not_run": "yellow"}


def progress_line(record: StepRecord) -> str:
    """Say in one line how a step ended."""
    what = record.error or record.result.message
    return f"{record.status:8} {record.step:36} {record.seconds:6.1f} s  {what}".rstrip()


def reconciliation(config: Config, run_id: str | None = None) -> list[dict[str, Any]]:
    """Return where every landed record of each source went, over all deliveries or those one run counted."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(config.lake.rows("ops.reconciliation"), key=lambda row: row["counted_at"]):
        newest[row["table"], row["delivery"]] = row
    measures = ("landed", "accepted", "quarantined", "duplicates")
    totals: dict[str, dict[str, Any]] = defaultdict(lambda: dict.fromkeys(measures, 0) | {"reasons": {}, "flags": {}})
    for (table, _), row in newest.items():
        if run_id is not None and row["run_id"] != run_id:
            continue
        for measure in measures:
            totals[table][measure] += row[measure]
        for kind in ("reasons", "flags"):
            for name, count in json.loads(row[kind] or "{}").items():
                totals[table][kind][name] = totals[table][kind].get(name, 0) + count
    return [{"table": table, **totals[table], "holds": _holds(totals[table])} for table in sorted(totals)]


def _holds(row: Mapping[str, Any]) -> bool:
    return bool(row["landed"] == row["accepted"] + row["quarantined"] + row["duplicates"])


def steps_grid(records: Sequence[StepRecord]) -> Grid:
    """Return the table of a run's steps."""
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
        grid.add_row(record.step, status, *numbers, f"{record.seconds:.1f}", record.error or result.message)
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
    """Print tables, as wide as the terminal, or 160 columns where there is none."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    for grid in grids:
        console.print(grid)


def write_report(config: Config, run_id: str, content: Mapping[str, Any]) -> Path:
    """Write a run's report as JSON to <lake>/reports/."""
    path = config.lake.root / "reports" / f"{run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=_plain), encoding="utf-8")
    return path


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def record_json(records: Iterable[StepRecord]) -> list[dict[str, Any]]:
    """Return a run's steps as plain data."""
    return [
        {
            "step": record.step,
            "status": record.status,
            "started_at": record.started_at,
            "ended_at": record.ended_at,
            "seconds": round(record.seconds, 3),
            "rows_in": record.result.rows_in,
            "rows_out": record.result.rows_out,
            "quarantined": record.result.quarantined,
            "duplicates": record.result.duplicates,
            "message": record.result.message,
            "error": record.error,
            **record.result.detail,
        }
        for record in records
    ]
