"""`cloudlake maintain`: compaction, checkpoints and cleaning of logs, VACUUM, and retention, beside a running stream."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config
    from ..upkeep.maintain import Maintained

EXAMPLES = """examples:
  cloudlake maintain                                 every table; scripts/nightly.sh does so after each run
  cloudlake maintain --dry-run                       what would be done, table by table
  cloudlake maintain --table bronze.usage_events     one table
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "maintain",
        "Compact small files, let old files, log entries and rows go (retention in conf/lake.yaml); a stream may run.",
        EXAMPLES,
        spark=True,
    )
    parser.add_argument("--table", metavar="T", help="one table, such as silver.usage_events (default: all of them)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Keep the lake in order, or say what would be done."""
    import sys

    from ..runs.upkeep_run import run_maintain

    done = run_maintain(config, arguments.table, dry_run=arguments.dry_run)
    _show(done, arguments.dry_run)
    for fault in done.faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if done.faults else 0


def _show(done: Maintained, dry_run: bool) -> None:
    changed = [kept for kept in done.tables if kept.is_changed]
    for kept in changed:
        parts = [f"{kept.files[0]:,} → {kept.files[1]:,} files"] if kept.files[0] != kept.files[1] else []
        parts += [f"{kept.rows:,} row(s) past their time"] if kept.rows else []
        parts += [f"{kept.pruned:,} old file(s)"] if kept.pruned else []
        parts += [f"{kept.entries:,} file(s) of its log"] if kept.entries else []
        print(f"  {kept.table:36} {', '.join(parts)}")
    if done.leftovers:
        print(f"  {len(done.leftovers)} file(s) beside the tables: reports, logs, pages, halves of writes")
    size = sum(kept.bytes for kept in done.tables)
    would = "would have to be done; nothing has been" if dry_run else "done"
    if not changed and not done.leftovers:
        print("every table is in order; there was nothing to do")
    else:
        print(f"{would}: {len(changed)} of {len(done.tables)} tables, {size / 1e6:,.1f} MB freed")
