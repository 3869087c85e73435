"""`cloudlake quarantine`: what was refused and why, and the ways out: replay, as it was or corrected, or discard."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.errors import ConfigurationError
from .arguments import Commands, Parser, add_command, add_verbs, require_java
from .corrected_files import read_corrected

if TYPE_CHECKING:
    from ..common.config import Config

EXAMPLES = """examples:
  cloudlake quarantine list --table usage_events --reason schema_version_unknown
  cloudlake quarantine replay --table usage_events --reason schema_version_unknown    after conf/ knows the version
  cloudlake quarantine list --table billing_monthly --status open --json > rows.jsonl  edit the payloads, then
  cloudlake quarantine replay --file rows.jsonl
  cloudlake quarantine discard 3f2a91c04b7e --reason "a test account"
"""
SHOWN = 40
KNOWN_OF_A_ROW = (
    "quarantine_id",
    "table",
    "status",
    "resolved_at",
    "quarantined_at",
    "run_id",
    "_source_file",
    "_snapshot_at",
)
Row = dict[str, Any]


def register(commands: Commands[Parser]) -> None:
    """Add the command and its verbs."""
    refused = add_command(
        commands, "quarantine", "What was refused and why; let it enter, corrected or not, or discard it.", EXAMPLES
    )
    verbs = add_verbs(refused)
    listing = add_command(verbs, "list", "The refused rows, those that wait first.", within=True)
    again = add_command(
        verbs,
        "replay",
        "Let refused rows enter that the rules of now accept, and rebuild what hangs on them.",
        within=True,
        spark=True,
    )
    for one in (listing, again):
        one.add_argument("--table", metavar="T", help="such as users")
        one.add_argument("--reason", metavar="R", help="only rows refused for this reason")
    listing.add_argument("--status", choices=["open", "replayed", "discarded"])
    listing.add_argument("--json", action="store_true", help="as JSON, all of them")
    listing.set_defaults(run=_list)
    shown = add_command(verbs, "show", "One refused row, whole.", within=True)
    shown.add_argument("id", metavar="ID", help="its id, or the beginning of it")
    shown.add_argument("--json", action="store_true", help="as JSON")
    shown.set_defaults(run=_show)
    again.add_argument("ids", nargs="*", metavar="ID")
    again.add_argument(
        "--file", metavar="FILE", help="corrected rows: .jsonl or .csv with quarantine_id, and payload or the columns"
    )
    again.set_defaults(run=_replay)
    out = add_command(verbs, "discard", "Keep refused rows out for good, also where they land again.", within=True)
    out.add_argument("ids", nargs="+", metavar="ID")
    out.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept")
    out.set_defaults(run=_discard)


def _list(config: Config, arguments: Namespace) -> int:
    """Print the refused rows, those that wait first; the payload of tables with personal data is left to `show`."""
    from ..runs.reentry import overview, quarantine_tables, refused_rows
    from .tables import grid, print_grids

    reason, status, tables = arguments.reason, arguments.status, quarantine_tables(config, arguments.table)
    if arguments.json:
        rows = [row for row in refused_rows(config, tables, status) if reason is None or reason in row["reasons"]]
        print(json.dumps([_without_personal(config, row) for row in rows], indent=2, default=str))
        return 0
    found = overview(config, tables, status=status, reason=reason, shown=SHOWN)
    summary = grid("Refused, by reason", "table", "reason", "status", "rows")
    for (name, why, state), count in sorted(found.counts.items(), key=lambda item: (item[0][0], -item[1], item[0])):
        summary.add_row(name.partition(".")[2], why, state, f"{count:,}")
    shown = grid("Rows", "id", "table", "reasons", "status", "refused at", "from")
    for row in found.first:
        name = row["table"].partition(".")[2]
        when = f"{row['quarantined_at']:%Y-%m-%d %H:%M:%S}"
        shown.add_row(
            row["quarantine_id"][:12], name, ", ".join(row["reasons"]), row["status"], when, row["_source_file"]
        )
    print_grids(summary, shown)
    if found.rows > SHOWN:
        print(f"{found.rows - SHOWN:,} more; --table, --reason and --status narrow it down, --json lists them all")
    return 0


def _show(config: Config, arguments: Namespace) -> int:
    """Print one refused row with everything that is known of it, its payload included."""
    from ..runs.reentry import named_rows, quarantine_tables
    from .tables import console

    row = named_rows(config, quarantine_tables(config), [arguments.id])[arguments.id]
    silver = config.registry[row["table"]]
    said = {name: silver.rules[name].description if name in silver.rules else "" for name in row["reasons"]}
    notes = [commit.note for commit in config.lake.commits(f"quarantine.{silver.short_name}")]
    out_by = [note for note in notes if row["quarantine_id"] in note.get("discarded", [])]
    errors = [why for note in notes if (why := note.get("step_failed", {}).get(row["quarantine_id"]))]
    if arguments.json:
        known = {name: row[name] for name in KNOWN_OF_A_ROW} | {"reasons": row["reasons"], "rules": said, "errors": errors}
        known["discarded"] = [{"by": note["by"], "reason": note["reason"]} for note in out_by]
        print(json.dumps(known | {"payload": row["payload"]}, indent=2, default=str))
        return 0
    lines = [f"{name:15} {row[name]}" for name in KNOWN_OF_A_ROW if row[name] is not None]
    lines += [f"{'reason':15} {name}{': ' + told if told else ''}" for name, told in said.items()]
    lines += [f"{'discarded by':15} {note['by']}: {note['reason']}" for note in out_by]
    lines += [f"{'error':15} {why}" for why in errors]
    out = console(wide=False)
    for line in [*lines, row["payload"]]:
        out.print(line, highlight=False, markup=False)
    return 0


def _discard(config: Config, arguments: Namespace) -> int:
    """Keep rows out for good."""
    from ..runs.reentry import discard, named_rows, quarantine_tables

    named = named_rows(config, quarantine_tables(config), arguments.ids)
    chosen = list({row["quarantine_id"]: row for row in named.values()}.values())
    for table, count in discard(config, chosen, arguments.reason).items():
        print(f"{table.partition('.')[2]}: {count} row(s) discarded; they never enter, also where they land again")
    return 0


def _replay(config: Config, arguments: Namespace) -> int:
    """Let refused rows enter that the rules of now accept, as they were or corrected, and rebuild what hangs on them.

    Raises:
        LockedError: the stream or another batch is running.
    """
    from ..runs.reentry import named_rows, quarantine_tables, refused_rows, replay_refused
    from .batch import run_and_show

    config.lake.storage.require_writable()
    require_java()
    if arguments.ids and arguments.file:
        raise ConfigurationError("--file names the rows it corrects itself; leave the ids out")
    if not (arguments.ids or arguments.table or arguments.reason or arguments.file):
        raise ConfigurationError("say what to replay: ids, --table, --reason, or --file with corrected rows")
    tables = quarantine_tables(config, arguments.table)
    given = read_corrected(Path(arguments.file)) if arguments.file else dict.fromkeys(arguments.ids)
    meant = named_rows(config, tables, list(given))
    named = {meant[one]["quarantine_id"]: content for one, content in given.items()}
    rows = list({row["quarantine_id"]: row for row in meant.values()}.values()) or refused_rows(config, tables, "open")
    waiting = _waiting([row for row in rows if arguments.reason in (None, *row["reasons"])], named)
    if not waiting:
        print("nothing to replay")
        return 0
    entered = replay_refused(config, waiting, named if arguments.file else {})
    exit_code = run_and_show(config, entered.rest, arguments)
    return max(exit_code, _report(config, waiting, entered.refused, bool(arguments.file)))


def _waiting(rows: Sequence[Row], named: Mapping[str, Any]) -> list[Row]:
    """Return the open ones of rows, or of those of them that are named; say which named ones are not."""
    if named:
        rows = [row for row in rows if row["quarantine_id"] in named]
        for row in rows:
            if row["status"] != "open":
                print(f"{row['quarantine_id'][:12]}: {row['status']} already; left alone", file=sys.stderr)
    return [row for row in rows if row["status"] == "open"]


def _report(config: Config, waiting: Sequence[Row], refused: Mapping[str, Sequence[str]], corrected: bool) -> int:
    """Say what became of the rows; 1 where a correction is no better than what it corrects."""
    from ..runs.reentry import quarantine_tables, refused_rows

    now = {row["quarantine_id"]: row for row in refused_rows(config, quarantine_tables(config))}
    left = [row for row in (now[one["quarantine_id"]] for one in waiting) if row["status"] == "open"]
    print(f"{len(waiting) - len(left):,} row(s) replayed, {len(left):,} still refused")
    why = Counter(", ".join(refused.get(row["quarantine_id"], row["reasons"])) for row in left)
    for reasons, count in why.most_common():
        print(f"  {count:,} {reasons}")
    return 1 if corrected and left else 0


def _without_personal(config: Config, row: Row) -> Row:
    is_personal = bool(config.registry[row["table"]].personal)
    return {**row, "payload": None} if is_personal else row
