"""`cloudlake publish`: the publication in force, into PostgreSQL."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
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
MEANINGS = {"gone": "no longer published by the lake; it stays as it is until somebody drops it"}


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
    publish.add_argument("--json", action="store_true", help="as JSON")
    publish.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Publish, and say what became of each table."""
    from ..serving.postgres import publish

    told = publish(config, arguments.tables, dry_run=arguments.dry_run, full=arguments.full)
    if arguments.json:
        print(json.dumps([asdict(one) for one in told], indent=2))
        return 0
    for one in told:
        print(f"{one.table:36} {one.rows:>12,} rows  {MEANINGS.get(one.what, one.what)}")
    schema = config.settings.postgres.schema_name
    changed = sum(one.what in ("new", "changed") for one in told)
    print(
        "nothing was written: a dry run"
        if arguments.dry_run
        else f"schema {schema}: {changed} of {len(told)} tables written in one transaction"
    )
    return 0
