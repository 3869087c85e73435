"""`cloudlake quality`: every rule of every table, how much passes it, and where that has been going."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.errors import CloudlakeError
from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from ..common.config import Config

_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {"passed": "green", "failed": "bold red", "accepted": "yellow"}


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    quality = add_command(
        commands, "quality", "Rules and expectations of the tables: how much passes them, and where that is going."
    )
    quality.add_argument("--table", metavar="T", help="one table, with what holds as well")
    quality.add_argument("--json", action="store_true", help="as JSON")
    quality.add_argument("--docs", action="store_true", help="open the Data Docs")
    quality.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Print what is known of the quality of the tables; with --docs, open the Data Docs."""
    from ..runs.quality import quality_state
    from .tables import print_grids

    name = arguments.table
    found = quality_state(config, name)
    if arguments.docs:
        return _open_docs(Path(found["docs"]))
    if arguments.json:
        print(json.dumps(found, indent=2, default=str))
        return 0
    print_grids(
        _rules(found["row_rules"], bool(name)),
        _whole_tables(found["expectations"], bool(name)),
        _summary(found["expectations"]),
    )
    if not name:
        print("--table T shows what holds as well; --docs opens the pages with every expectation")
    return 0


def _rules(rows: Sequence[Mapping[str, Any]], all_of_them: bool) -> Grid:
    from .tables import grid

    columns = ("table", "rule", "level", "rows", "pass rate", "trend", "a row breaks it where")
    rules = grid("Rules over rows, worst first", *columns)
    for row in sorted(rows, key=_worst):
        if row["rows"] or all_of_them:
            rate = "" if row["pass_rate"] is None else f"{row['pass_rate']:.2%}"
            rules.add_row(
                row["table"].partition(".")[2], row["rule"], row["level"], f"{row['rows']:,}", rate,
                spark_line(row["trend"]), row["description"],
            )  # fmt: skip
    return rules


def _whole_tables(rows: Sequence[Mapping[str, Any]], all_of_them: bool) -> Grid:
    from .tables import grid

    columns = ("table", "expectation", "level", "status", "found", "expected", "trend", "what moved")
    whole = grid("Expectations of tables, broken ones first", *columns)
    for row in sorted(rows, key=lambda row: (row["status"] == "passed", row["table"], row["rule"])):
        if row["status"] != "passed" or all_of_them:
            seen = "" if row["observed"] is None else f"{row['observed']:,.4g}"
            status = f"[{_STYLES[row['status']]}]{row['status']}[/]"
            whole.add_row(
                row["table"], row["rule"], row["level"], status, seen, row["expected"], spark_line(row["trend"]),
                row["detail"] or "",
            )  # fmt: skip
    return whole


def spark_line(values: Sequence[float | None]) -> str:
    """Draw numbers as bars, the smallest the lowest; equal ones in the middle."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    places = [round((value - low) / span * (len(_BARS) - 1)) if span else 3 for value in known]
    return "".join(_BARS[place] for place in places)


def _worst(row: Mapping[str, Any]) -> float:
    return 1.0 if row["pass_rate"] is None else float(row["pass_rate"])


def _summary(expectations: Sequence[Mapping[str, Any]]) -> Grid:
    from .tables import grid

    shown = grid("Tables", "table", "rows", "expectations", "hold", "checked")
    by_table: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in expectations:
        by_table[row["table"]].append(row)
    for table, rows in sorted(by_table.items()):
        holds = sum(row["status"] == "passed" for row in rows)
        style = "green" if holds == len(rows) else "yellow"
        shown.add_row(
            table, f"{rows[0]['rows']:,}", str(len(rows)), f"[{style}]{holds / len(rows):.0%}[/]",
            f"{rows[0]['checked_at']:%Y-%m-%d %H:%M}",
        )  # fmt: skip
    return shown


def _open_docs(path: Path) -> int:
    if not path.exists():
        raise CloudlakeError(
            f"{path}: nothing has been validated yet; run scripts/run_batch_pipeline.sh --jobs quality"
        )
    print(path)
    if sys.stdout.isatty():
        import webbrowser

        webbrowser.open(path.as_uri())
    return 0
