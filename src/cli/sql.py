"""`cloudlake sql`: SQL over the published tables, read-only."""

from __future__ import annotations

import os
import sys
import threading
from argparse import Namespace
from typing import TYPE_CHECKING

from ..common.errors import ConfigurationError
from .arguments import Commands, Parser, add_command
from .output import add_output, write_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from ..common.config import Config

EXAMPLES = """examples:
  cloudlake sql "SELECT service, sum(cost_usd) FROM serving.org_daily_usage GROUP BY ALL"
  cloudlake sql --list --format csv
  cloudlake sql - < question.sql
"""

_GRACE_SECONDS = 2
"""How much longer than the limit a statement gets to stop by itself."""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    sql = add_command(
        commands, "sql", "Ask gold, serving, silver and ops in DuckDB's SQL, read-only, of one publication.", EXAMPLES
    )
    sql.add_argument("statement", nargs="?", metavar="SQL", help="one SELECT; - reads it from standard input")
    sql.add_argument("--list", action="store_true", help="the tables and their columns")
    add_output(sql)
    sql.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Write what a SELECT finds.

    Raises:
        ConfigurationError: there is no statement, or it is not one SELECT that DuckDB understands.
        CloudlakeError: nothing has been published yet, or it takes too long or too much memory.
    """
    if arguments.list:
        write_rows(_listing(config), arguments)
        return 0
    if arguments.statement is None:
        raise ConfigurationError('sql: give a statement, such as cloudlake sql "SELECT * FROM gold.revenue_monthly"')
    from ..serving.queries import load_queries
    from ..serving.queries.sql import ask

    statement = sys.stdin.read() if arguments.statement == "-" else arguments.statement
    seconds = load_queries(config.conf, config.registry).limits.seconds
    last_word = threading.Timer(seconds + _GRACE_SECONDS, _end, [seconds])
    last_word.daemon = True
    last_word.start()
    rows = ask(config, statement)
    last_word.cancel()
    write_rows(rows, arguments)
    return 0


def _end(seconds: float) -> None:
    """End the process: DuckDB is deep in one value, such as repeat('x', 2000000000), and does not hear that it is to stop."""
    print(f"error: sql: stopped after {seconds:g} s; narrow it down", file=sys.stderr, flush=True)
    os._exit(1)


def _listing(config: Config) -> pa.Table:
    import pyarrow as pa

    from ..serving.queries.sql import LAYERS, shown_columns

    names = ("table", "column", "type", "description")
    rows = [
        dict(zip(names, (table.name, name, table.columns[name].type, table.columns[name].description), strict=True))
        for layer in LAYERS
        for table in config.registry.layer(layer)
        for name in shown_columns(table)
    ]
    return pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in names]))
