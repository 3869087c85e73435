"""`cloudlake lineage`: what feeds a table or a column, back to the landing zone, and what it feeds."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ..common.errors import ConfigurationError
from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config

EXAMPLES = """examples:
  cloudlake lineage                                              every table, what it is made from and what it feeds
  cloudlake lineage --table customer_360                         one table, column by column
  cloudlake lineage --table customer_360 --column revenue_30d_usd    one column, back to the exports and on
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    lineage = add_command(commands, "lineage", "What feeds a table or a column, and what it feeds.", EXAMPLES, spark=True)
    lineage.add_argument("--table", metavar="T", help="one table")
    lineage.add_argument("--column", metavar="C", help="one column of it")
    lineage.add_argument("--json", action="store_true", help="as JSON")
    lineage.add_argument(
        "--derive",
        action="store_true",
        help="write conf/lineage.json anew from Spark's plans, after a change of a transform",
    )
    lineage.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Print what feeds a table or a column and what it feeds, or derive it anew."""
    from ..upkeep.lineage import described, load_lineage, named_table

    if arguments.derive:
        return _derive(config)
    if arguments.column and not arguments.table:
        raise ConfigurationError(f"--column {arguments.column}: name its table too, with --table")
    lineage = load_lineage(config)
    if not arguments.table:
        found: dict[str, Any] = {
            name: {"made_from": list(table.inputs), "feeds": described(lineage, table, None)["feeds"]}
            for name, table in lineage.registry.tables.items()
            if table.layer not in ("ops", "quarantine")
        }
    else:
        found = described(lineage, named_table(lineage.registry, arguments.table), arguments.column)
    if arguments.json:
        print(json.dumps(found, indent=2))
    elif not arguments.table:
        _show_tables(found)
    elif arguments.column:
        _show_column(found)
    else:
        _show_table(found)
    return 0


def _derive(config: Config) -> int:
    from ..common.session import Sessions
    from ..runs.lineage import derive
    from ..upkeep.lineage import FILE, write_columns

    write_columns(config.conf / FILE, derive(Sessions("cloudlake-lineage")(), config))
    print(f"wrote {config.conf / FILE}")
    return 0


def _show_tables(found: dict[str, Any]) -> None:
    from .tables import grid, print_grids

    shown = grid("Tables", "table", "made from", "feeds")
    for name, row in found.items():
        shown.add_row(name, ", ".join(row["made_from"]), ", ".join(row["feeds"]))
    print_grids(shown)


def _show_table(found: dict[str, Any]) -> None:
    from .tables import console, grid, print_grids

    out = console(wide=False)
    for title, key in (
        ("made from", "made_from"),
        ("upstream", "upstream"),
        ("feeds", "feeds"),
        ("downstream", "downstream"),
    ):
        out.print(f"{title + ':':11} {', '.join(found[key]) or 'nothing'}", highlight=False, markup=False)
    columns = grid(f"Columns of {found['table']}", "column", "made from")
    for name, made_from in found["columns"].items():
        columns.add_row(name, ", ".join(made_from))
    print_grids(columns)


def _show_column(found: dict[str, Any]) -> None:
    from .tables import console

    out = console(wide=False)
    out.print(found["column"], highlight=False, markup=False)
    for arrow, key in (("←", "back"), ("→", "on")):
        for one in found[key]:
            out.print(f"{'  ' * one['steps']}{arrow} {one['column']}", highlight=False, markup=False)
