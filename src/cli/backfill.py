"""`cloudlake backfill`: make a span of dates of a table anew, and what depends on it."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command, day, require_java

if TYPE_CHECKING:
    from ..common.config import Config
    from ..runs.steps import StepRecord

EXAMPLES = """examples:
  cloudlake backfill --table silver.usage_events --from 2025-08-01 --to 2025-08-07      events of a week, from bronze
  cloudlake backfill --table gold.usage_daily --from 2025-08-01 --to 2025-08-31         the parts of a mart
  cloudlake backfill --table silver.support_tickets --from 2025-07-01 --to 2025-07-31 --dry-run
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = add_command(
        commands, "backfill", "Make a span of dates of a table anew, and what depends on it.", EXAMPLES, spark=True
    )
    parser.add_argument("--table", metavar="T", required=True, help="a table of silver or gold")
    parser.add_argument("--from", dest="first", type=day, metavar="DATE", required=True, help="the first date")
    parser.add_argument("--to", dest="last", type=day, metavar="DATE", required=True, help="the last date, included")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Make a span anew, or say what would be done."""
    import sys

    from ..runs.backfill_run import plan_backfill, run_backfill, span_of
    from .batch import progress, show

    span = span_of(config, arguments.table, arguments.first, arguments.last)
    if arguments.dry_run:
        print("A backfill would do this; nothing has been written.")
        for line in plan_backfill(config, span):
            print(f"  {line}")
        return 0
    config.lake.storage.require_writable()
    require_java()

    def on_end(record: StepRecord) -> None:
        print(progress(record), file=sys.stderr, flush=True)

    ran = run_backfill(config, span, on_end=on_end, master=arguments.master)
    show(ran, arguments)
    return ran.exit_code
