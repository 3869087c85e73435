"""The command line: arguments to use cases, errors to exit codes.

Exit codes: 0 done, 1 a step failed, 2 bad usage or configuration, 3 a quality gate failed, 4 another run holds the lock.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NoReturn

from ..common.config import Config, load_config, require_landing
from ..common.errors import CloudlakeError, ConfigurationError, explain_failure
from . import commands
from . import quality as quality_page
from . import quarantine as quarantine_commands
from . import stream as stream_service

EXAMPLES = """examples:
  scripts/run_batch_pipeline.sh                                 everything that is new, from landing to the served view
  scripts/run_batch_pipeline.sh --jobs silver gold              two layers only
  scripts/run_batch_pipeline.sh --jobs users --dry-run          what a run would do with one table
  scripts/run_batch_pipeline.sh --landing /data/in --lake /data/lake
  scripts/run_batch_pipeline.sh --as-of 2025-08-31 --full-reload
"""
REFUSED = """examples:
  cloudlake quarantine list --table usage_events --reason schema_version_unknown
  cloudlake quarantine replay --table usage_events --reason schema_version_unknown    after conf/ knows the version
  cloudlake quarantine list --table billing_monthly --status open --json > rows.jsonl  edit the payloads, then
  cloudlake quarantine replay --file rows.jsonl
  cloudlake quarantine discard 3f2a91c04b7e --reason "a test account"
"""

ALERT_EXAMPLES = """examples:
  cloudlake alerts list                                         what is not resolved
  cloudlake alerts list --status resolved --json
  cloudlake alerts ack 3f9a2c
  cloudlake alerts silence --rule window_cost --org org_1a2b --until 2025-08-31T18:00:00Z
  cloudlake alerts resend                                       deliver what was kept while a target was down
"""


STREAM_EXAMPLES = """examples:
  scripts/run_streaming_pipeline.sh start     stream in the background; the log is <lake>/run/stream.log
  scripts/run_streaming_pipeline.sh status    is it alive, how far is it behind
  scripts/run_streaming_pipeline.sh stop      end it when the micro-batch at hand has ended
  scripts/run_streaming_pipeline.sh once      take what is there, then end
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{self.prog}: {message}; see {self.prog} --help")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a date; write YYYY-MM-DD") from None


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time; write 2025-08-31T00:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def _add(
    commands_: argparse._SubParsersAction[_Parser], name: str, summary: str, examples: str = "", within: bool = False
) -> _Parser:
    """Add a command, or, `within` another, a verb of it that takes the common options as well."""
    parser: _Parser = commands_.add_parser(
        name, help=summary, description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.prog = os.environ.get("CLOUDLAKE_PROG", parser.prog)
    unsaid = argparse.SUPPRESS if within else None
    folders = {
        "--lake": "the lake's folder (CLOUDLAKE_LAKE; default datalake/)",
        "--landing": "the landing folder (CLOUDLAKE_LANDING; default datalake/landing/)",
        "--conf": "the folder of declarations and settings (CLOUDLAKE_CONF; default conf/)",
    }
    for option, meaning in folders.items():
        parser.add_argument(option, metavar="DIR", default=unsaid, help=meaning)
    parser.add_argument(
        "--verbose", action="store_true", default=unsaid or False, help="show the whole trace of an error"
    )
    return parser


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = _Parser(prog="cloudlake", description="The analytics platform of a cloud provider.")
    verbs = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    _add_batch(verbs)
    _add_stream(verbs)
    serve = _add(verbs, "serve", "Merge the speed and the batch view into the served tables.")
    serve.add_argument("--interval", type=_positive, metavar="SECONDS", help="again and again, this many seconds apart")

    status = _add(verbs, "status", "Last runs, freshness, lock holder, where every record went.")
    status.add_argument("--check", action="store_true", help="exit 1 when something is stale or the last run failed")
    status.add_argument("--json", action="store_true", help="as JSON")

    gate = _add(verbs, "gate", "Let pass what a quality gate stopped in one run; the reason is kept.")
    gate.add_argument("verb", choices=["accept"])
    gate.add_argument("--run", required=True, metavar="RUN", help="the run that was stopped")
    gate.add_argument("--rule", required=True, metavar="RULE", help="the gate that stopped it, as its message names it")
    gate.add_argument("--reason", required=True, metavar="TEXT", help="why it is right to go on")

    rollback = _add(verbs, "rollback", "Put an earlier run's gold tables in force again, all at once.")
    rollback.add_argument("--to", metavar="RUN", help="the run that published them (default: the one before)")

    history = _add(
        verbs,
        "history",
        "The versions of one key of a table with history, and what changed between them.",
        "example:\n  cloudlake history --table users --key user_00d1e2f3\n",
    )
    history.add_argument("--table", required=True, metavar="T", help="customers_orgs, users or resources")
    history.add_argument(
        "--key", required=True, metavar="K", help="the key; of a composite one, its parts with commas between"
    )

    _add_alerts(verbs)
    _add_quarantine(verbs)
    rules = _add(
        verbs, "quality", "Rules and expectations of the tables: how much passes them, and where that is going."
    )
    rules.add_argument("--table", metavar="T", help="one table, with what holds as well")
    rules.add_argument("--json", action="store_true", help="as JSON")
    rules.add_argument("--docs", action="store_true", help="open the Data Docs")

    dictionary = _add(verbs, "dictionary", "Write docs/data_dictionary.md and the graph from the contracts.")
    dictionary.add_argument("--check", action="store_true", help="write nothing; exit 1 where the file is stale")
    dictionary.add_argument("--out", metavar="FILE", help="default docs/data_dictionary.md")
    return parser


def _add_batch(verbs: argparse._SubParsersAction[_Parser]) -> None:
    batch = _add(verbs, "batch", "Run the batch pipeline (scripts/run_batch_pipeline.sh starts it on Spark).", EXAMPLES)
    batch.add_argument(
        "--jobs",
        nargs="+",
        default=["all"],
        metavar="JOB",
        help="all, bronze, silver, gold, quality, serving, or tables",
    )
    batch.add_argument(
        "--as-of", type=_date, metavar="DATE", help="the business date (default: the last closed day of the data)"
    )
    batch.add_argument(
        "--snapshot-at", type=_time, metavar="TIME", help="the time flat exports speak of (default: each file's own)"
    )
    batch.add_argument(
        "--full-reload", action="store_true", help="rebuild what comes from CSV files, and gold, from bronze"
    )
    batch.add_argument("--dry-run", action="store_true", help="say what a run would do, and do nothing")
    batch.add_argument(
        "--continue-on-failure", action="store_true", help="go on with what does not need the failed step"
    )
    batch.add_argument("--parallel", type=_positive, metavar="N", help="steps side by side (default: conf/lake.yaml)")


def _add_stream(verbs: argparse._SubParsersAction[_Parser]) -> None:
    stream = _add(verbs, "stream", "Take usage events from landing to silver and the speed view.", STREAM_EXAMPLES)
    stream.add_argument(
        "mode",
        choices=["start", "stop", "status", "once", "run"],
        help="start: in the background; stop: end that one when its micro-batch has ended; status: what it does; "
        "once: what is there, then end; run: in the foreground until stopped",
    )
    stream.add_argument("--master", metavar="URL", help="where Spark runs (start, once, run; through the script)")


def _add_quarantine(verbs: argparse._SubParsersAction[_Parser]) -> None:
    refused = _add(
        verbs, "quarantine", "What was refused and why; let it enter, corrected or not, or discard it.", REFUSED
    )
    ways = refused.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    listing = _add(ways, "list", "The refused rows, those that wait first.", within=True)
    again = _add(
        ways,
        "replay",
        "Let refused rows enter that the rules of now accept, and rebuild what hangs on them.",
        within=True,
    )
    for one in (listing, again):
        one.add_argument("--table", metavar="T", help="such as users")
        one.add_argument("--reason", metavar="R", help="only rows refused for this reason")
    listing.add_argument("--status", choices=["open", "replayed", "discarded"])
    listing.add_argument("--json", action="store_true", help="as JSON, all of them")
    shown = _add(ways, "show", "One refused row, whole.", within=True)
    shown.add_argument("id", metavar="ID", help="its id, or the beginning of it")
    again.add_argument("ids", nargs="*", metavar="ID")
    again.add_argument(
        "--file", metavar="FILE", help="corrected rows: .jsonl or .csv with quarantine_id, and payload or the columns"
    )
    out = _add(ways, "discard", "Keep refused rows out for good, also where they land again.", within=True)
    out.add_argument("ids", nargs="+", metavar="ID")
    out.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept")


def _add_alerts(verbs: argparse._SubParsersAction[_Parser]) -> None:
    alerts = _add(
        verbs, "alerts", "What is wrong now: list it, take it on, silence it, tell people again.", ALERT_EXAMPLES
    )
    actions = alerts.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=_Parser)
    listed = _add(actions, "list", "The alerts that are not resolved, the gravest first.", within=True)
    listed.add_argument("--status", choices=["open", "acknowledged", "resolved"], help="only these")
    listed.add_argument("--json", action="store_true", help="as JSON")
    ack = _add(
        actions, "ack", "Take an alert on: nobody else is told, and it stays so while the trouble lasts.", within=True
    )
    ack.add_argument("id", metavar="ID", help="the alert's id, or its beginning")
    silence = _add(actions, "silence", "Tell nobody of an alert, or of a rule's alerts, until a time.", within=True)
    what = silence.add_mutually_exclusive_group(required=True)
    what.add_argument("id", nargs="?", metavar="ID", help="the alert's id, or its beginning")
    what.add_argument("--rule", metavar="R", help="every alert of a rule of conf/streaming.yaml")
    silence.add_argument("--org", metavar="O", help="with --rule: only those of one organisation")
    silence.add_argument("--until", type=_time, required=True, metavar="TIME", help="such as 2025-08-31T18:00:00Z")
    resend = _add(
        actions, "resend", "Tell every target of one alert again; without ID, deliver what was kept.", within=True
    )
    resend.add_argument("id", nargs="?", metavar="ID", help="the alert's id, or its beginning")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; every error is one readable message on stderr."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = build_parser().parse_args(arguments)
        config = load_config(options.conf, options.lake, options.landing)
        return run(options, config)
    except CloudlakeError as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        if "--verbose" in arguments:
            traceback.print_exc()
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; what was committed is kept, run again to go on", file=sys.stderr)
        return 130
    except Exception as error:
        if "--verbose" in arguments:
            traceback.print_exc()
        print(f"error: {explain_failure(error)}", file=sys.stderr)
        return 1


def run(options: argparse.Namespace, config: Config) -> int:
    """Hand the parsed arguments to their use case."""
    if options.command == "dictionary":
        return commands.dictionary(config, options.out, options.check)
    if options.command == "status":
        return commands.status(config, options.check, options.json)
    if options.command == "gate":
        return commands.accept_gate(config, options.run, options.rule, options.reason)
    if options.command == "rollback":
        return commands.rollback(config, options.to)
    if options.command == "history":
        return commands.history(config, options.table, options.key)
    if options.command == "alerts":
        return commands.alerts(config, options)
    if options.command == "quality":
        return quality_page.show(config, options.table, options.json, options.docs)
    if options.command == "quarantine" and options.verb != "replay":
        return quarantine(config, options)
    if options.command == "stream" and options.mode in ("stop", "status"):
        return stream_service.stop(config) if options.mode == "stop" else stream_service.status(config)
    require_writable(config.lake.root)
    if options.command == "serve":
        return commands.serve(config, options.interval)
    require_java()
    if options.command == "quarantine":
        return quarantine_commands.replay(config, options)
    if options.command == "batch":
        return commands.batch(config, options)
    require_landing(config.landing)
    if options.mode == "start":
        return stream_service.start(config, options.master)
    return commands.stream(config, options.mode)


def quarantine(config: Config, options: argparse.Namespace) -> int:
    """Run those verbs of the quarantine that need no Spark."""
    if options.verb == "list":
        return quarantine_commands.listed(config, options.table, options.reason, options.status, options.json)
    if options.verb == "show":
        return quarantine_commands.show(config, options.id)
    return quarantine_commands.discard(config, options.ids, options.reason)


def require_java() -> None:
    """Check that a Java can be started at all.

    Raises:
        ConfigurationError: none is found.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME ({home})" if home else "on the PATH"
        raise ConfigurationError(
            f"Java: none found {where}; install Java 17 or newer, or run scripts/setup_environment.sh"
        )


def require_writable(root: Path) -> None:
    """Check that the lake's folder can be made and written.

    Raises:
        ConfigurationError: it can't.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"{root}: the lake folder can't be written ({error.strerror}); check its owner and rights, or name another with --lake"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
