"""`cloudlake batch`: run the batch pipeline, show how each step ends, and where every record went."""

from __future__ import annotations

import json
import sys
import traceback
from argparse import Namespace
from datetime import date
from typing import TYPE_CHECKING

from ..common.errors import ConfigurationError
from .arguments import Commands, Parser, add_command, day, moment, positive, require_java
from .typed import typed

if TYPE_CHECKING:
    from ..common.config import Config
    from ..runs.batch_run import Options, Run
    from ..runs.steps import StepRecord

EXAMPLES = """examples:
  scripts/run_batch_pipeline.sh                                 everything that is new, from landing to the served view
  scripts/run_batch_pipeline.sh --jobs silver gold              two layers only
  scripts/run_batch_pipeline.sh --jobs users --dry-run          what a run would do with one table
  scripts/run_batch_pipeline.sh --landing /data/in --lake /data/lake
  scripts/run_batch_pipeline.sh --as-of 2025-08-31 --full-reload
  scripts/run_batch_pipeline.sh --master spark://node-1:7077 --spark-conf spark.executor.memory=8g
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    batch = add_command(
        commands, "batch", "Run the batch pipeline, as scripts/run_batch_pipeline.sh does.", EXAMPLES, spark=True
    )
    batch.add_argument(
        "--jobs",
        nargs="+",
        default=["all"],
        metavar="JOB",
        help="all, bronze, silver, gold, quality, serving, or tables",
    )
    batch.add_argument(
        "--as-of", type=day, metavar="DATE", help="the business date (default: the last closed day of the data)"
    )
    batch.add_argument(
        "--snapshot-at", type=moment, metavar="TIME", help="the time flat exports speak of (default: each file's own)"
    )
    batch.add_argument(
        "--business-date",
        type=day,
        metavar="DATE",
        help="the date that sources in databases are asked for (default: yesterday, in UTC)",
    )
    batch.add_argument(
        "--full-reload", action="store_true", help="rebuild what comes from CSV files, and gold, from bronze"
    )
    batch.add_argument("--dry-run", action="store_true", help="say what a run would do, and do nothing")
    batch.add_argument("--json", action="store_true", help="with --dry-run: as JSON")
    batch.add_argument(
        "--continue-on-failure", action="store_true", help="go on with what does not need the failed step"
    )
    batch.add_argument("--parallel", type=positive, metavar="N", help="steps side by side (default: conf/lake.yaml)")
    batch.set_defaults(run=run, makes_lake=lambda options: not options.dry_run)


def run(config: Config, arguments: Namespace) -> int:
    """Run the batch pipeline, or say what a run would do."""
    from ..runs.batch_run import Options, plan_batch

    require_likely(config, "--as-of", arguments.as_of)
    require_likely(config, "--business-date", arguments.business_date)
    if arguments.business_date and not any(table.query for table in config.registry.layer("bronze")):
        print("note: --business-date: no source of conf/bronze.yaml is a query, so nothing is asked", file=sys.stderr)
    config.lake.storage.require_writable()
    require_java()
    options = Options(
        jobs=tuple(arguments.jobs),
        as_of=arguments.as_of,
        snapshot_at=arguments.snapshot_at,
        business_date=arguments.business_date,
        full_reload=arguments.full_reload,
        continue_on_failure=arguments.continue_on_failure,
        parallel=arguments.parallel or config.settings.parallel,
        master=arguments.master,
    )
    if arguments.json and not arguments.dry_run:
        raise ConfigurationError("--json: it says what a run would do; give it together with --dry-run")
    if arguments.dry_run and arguments.json:
        planned = [{"step": step, "plan": plan} for step, plan in plan_batch(config, options)]
        print(json.dumps(planned, indent=2))
        return 0
    if arguments.dry_run:
        print("A run would do this; nothing has been written.")
        for step, plan in plan_batch(config, options):
            print(f"  {step:36} {plan}")
        return 0
    return run_and_show(config, options, arguments)


def require_likely(config: Config, option: str, given: date | None) -> None:
    """Check that a date which an option gives lies within the limits of conf/.

    Raises:
        ConfigurationError: it does not.
    """
    times = config.settings.times
    if given is not None and not times.earliest <= given <= times.latest:
        raise ConfigurationError(
            f"{option} {given}: a business date lies between {times.earliest} and {times.latest} (times in conf/lake.yaml)"
        )


def run_and_show(config: Config, options: Options, arguments: Namespace) -> int:
    """Run the batch pipeline, show each step as it ends and the whole at last, and return the run's exit code.

    Args:
        config: the lake and its contracts.
        options: what the run does.
        arguments: those of the command: the folders that it names, and whether traces are shown.
    """
    from ..runs.batch_run import run_batch

    def on_end(record: StepRecord) -> None:
        if arguments.verbose and record.failure is not None:
            traceback.print_exception(record.failure)
        print(typed(progress(record), arguments), file=sys.stderr, flush=True)

    ran = run_batch(config, options, on_end=on_end)
    show(ran, arguments)
    return ran.exit_code


def progress(record: StepRecord) -> str:
    """Say how a step has ended, in a line."""
    what = record.error or record.result.message
    return f"{record.status:8} {record.step:36} {record.seconds:6.1f} s  {what}".rstrip()


def show(ran: Run, arguments: Namespace) -> None:
    """Show the steps of a run, where every record went, and what failed."""
    from .tables import print_grids, reconciliation_grid, steps_grid

    grids = [steps_grid(ran.records, lambda note: typed(note, arguments))]
    if ran.reconciliation:
        grids.append(reconciliation_grid(ran.reconciliation, "Where every record went in this run"))
    print_grids(*grids)
    print(f"run {ran.run_id} {ran.whole.status} in {ran.whole.seconds:.1f} s; report: {ran.report}")
    for record in ran.failed:
        print(typed(f"error: {record.step}: {record.error}", arguments), file=sys.stderr)
