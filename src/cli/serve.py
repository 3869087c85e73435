"""`cloudlake serve`: bring the served tables to this moment, once or again and again."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command, positive

if TYPE_CHECKING:
    from ..common.config import Config


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    serve = add_command(commands, "serve", "Merge the speed and the batch view into the served tables.")
    serve.add_argument("--interval", type=positive, metavar="SECONDS", help="again and again, this many seconds apart")
    serve.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Upsert the served tables, once or every `interval` seconds until interrupted."""
    from ..common.clock import new_run_id, now_utc
    from ..common.lake.locks import process_lock
    from ..serving import served

    config.lake.storage.require_writable()
    run_id = new_run_id(now_utc())
    with process_lock(config.lake, "serving", run_id):
        while True:
            for table in served.SERVED:
                result = served.serve(config, table, run_id)
                line = f"{now_utc():%H:%M:%S} {table:26} {result.rows_out:,} row(s) written; {result.message}"
                print(line.rstrip("; "), flush=True)
            if arguments.interval is None:
                return 0
            time.sleep(arguments.interval)
