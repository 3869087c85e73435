"""The command line: arguments to commands, errors to exit codes.

Exit codes: 0 done, 1 a step failed, 2 bad usage or configuration, 3 a quality gate failed, 4 another run holds the lock.

A command is a module of this room: `register` adds its arguments and names the function that runs it. What that needs is
imported when it runs, so that `cloudlake --help` answers at once.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Sequence

from ..common.errors import CloudlakeError, explain_failure
from . import (
    alerts,
    backfill,
    batch,
    completion,
    dashboard,
    dictionary,
    doctor,
    erase,
    export,
    gate,
    history,
    landing,
    lineage,
    maintain,
    publish,
    quality,
    quarantine,
    query,
    report,
    rollback,
    runs,
    schema,
    serve,
    sql,
    status,
    stream,
)
from .arguments import Parser
from .typed import typed

COMMANDS = (
    batch, landing, stream, serve, query, sql, dashboard, report, status, runs, doctor, gate, rollback, publish, export, maintain,
    backfill, erase, history, alerts, quarantine, quality, schema, lineage, dictionary, completion,
)  # fmt: skip
"""The commands, in the order that --help lists them."""

READER_LEFT = 128 + 13
"""The exit code where nobody reads the output any more, the one of a process that SIGPIPE has ended."""


def build_parser() -> Parser:
    """Return the parser of every command."""
    parser = Parser(prog="cloudlake", description="The analytics platform of a cloud provider.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.register(commands)
    parser.set_defaults(parser=parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; every error is one readable message on stderr."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = Namespace()
    try:
        return _run(arguments, options)
    except CloudlakeError as error:
        said = typed(str(error), options)
        print("\n".join(f"error: {line}" for line in said.splitlines()), file=sys.stderr)
        if "--verbose" in arguments:
            traceback.print_exc()
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; what was committed is kept, run again to go on", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            return READER_LEFT
        if "--verbose" in arguments:
            traceback.print_exc()
        print(f"error: {typed(explain_failure(error), options)}", file=sys.stderr)
        return 1


def _tell(said: str) -> None:
    print(f"note: {said}", file=sys.stderr)


def _run(arguments: Sequence[str], options: Namespace) -> int:
    gc.disable()  # what is loaded here stays: to look for garbage among it takes a tenth of a short command
    try:
        build_parser().parse_args(arguments, options)
        from ..common.config import load_config

        makes_lake = "makes_lake" in options and options.makes_lake(options)
        config = load_config(options.conf, options.lake, options.landing, _tell if makes_lake else None, getattr(options, "run_dir", None))
        if "starts_spark" in options:
            from ..common.session import choose_spark

            choose_spark(options.master, options.spark_conf)
    finally:
        gc.enable()
    exit_code: int = options.run(config, options)
    sys.stdout.flush()
    return exit_code


def _reader_has_left() -> bool:
    """Say whether nobody reads the output any more, as after `cloudlake status 2>&1 | head -1`, and close it if so."""
    look = select.poll()
    for output in (sys.stdout, sys.stderr):
        look.register(output.fileno(), 0)
    left = [number for number, event in look.poll(0) if event & (select.POLLERR | select.POLLHUP)]
    for number in left:  # or Python complains, when it ends, of what is still buffered
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return bool(left)


if __name__ == "__main__":
    sys.exit(main())
