"""`cloudlake publish`: the publication in force, into PostgreSQL."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config

EXAMPLES = """examples:
  export CLOUDLAKE_POSTGRES_DSN=postgresql://USER:PASSWORD@HOST:5432/DATABASE
  cloudlake publish --to postgres --dry-run
  cloudlake publish --to postgres
  cloudlake publish --to postgres --tables customer_360 org_daily_usage
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    publish = add_command(
        commands, "publish", "Bring PostgreSQL to the gold and serving tables in force, for BI tools.", EXAMPLES
    )
    publish.add_argument(
        "--to", required=True, choices=("postgres",), help="where; its address: conf/lake.yaml, postgres"
    )
    publish.add_argument("--tables", nargs="+", default=(), metavar="TABLE", help="only these")
    publish.add_argument("--dry-run", action="store_true", help="say what would be done")
    publish.add_argument(
        "--full", action="store_true", help="compare every row, as after somebody wrote into the tables"
    )
    publish.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Publish, and say what became of each table."""
    from ..serving.postgres import publish

    told = publish(config, arguments.tables, dry_run=arguments.dry_run, full=arguments.full)
    for one in told:
        print(f"{one.table:36} {one.rows:>12,} rows  {one.what}")
    if not arguments.dry_run:
        changed = sum(one.what != "unchanged" for one in told)
        print(
            f"schema {config.settings.postgres.schema_name}: {changed} of {len(told)} tables written in one transaction"
        )
    return 0
