"""`cloudlake quarantine`: what was refused and why, and the ways out: replay, as it was or corrected, or discard."""

from __future__ import annotations

import argparse
import csv
import getpass
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from ..batch.silver import corrections
from ..common.clock import new_run_id, now_utc
from ..common.config import Config
from ..common.contracts.table import Table
from ..common.errors import ConfigurationError, did_you_mean
from ..common.lake.locks import process_lock
from ..common.quality import quarantine
from ..common.session import Sessions
from ..streaming import reentry as replays
from . import commands
from .tables import print_grids

EVENTS = "silver.usage_events"
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


def listed(config: Config, table: str | None, reason: str | None, status: str | None, as_json: bool) -> int:
    """Print the refused rows, those that wait first; the payload of tables with personal data is left to `show`."""
    rows = [
        row
        for row in _rows(config, _tables(config, table))
        if (reason is None or reason in row["reasons"]) and status in (None, row["status"])
    ]
    if as_json:
        print(json.dumps([_without_personal(config, row) for row in rows], indent=2, default=str))
        return 0
    counts = Counter((row["table"], name, row["status"]) for row in rows for name in row["reasons"])
    summary = Grid("table", "reason", "status", "rows", title="Refused, by reason", title_justify="left")
    for (name, why, state), count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1])):
        summary.add_row(name.partition(".")[2], why, state, f"{count:,}")
    grid = Grid("id", "table", "reasons", "status", "refused at", "from", title="Rows", title_justify="left")
    for row in rows[:SHOWN]:
        name = row["table"].partition(".")[2]
        when = f"{row['quarantined_at']:%Y-%m-%d %H:%M:%S}"
        grid.add_row(
            row["quarantine_id"][:12], name, ", ".join(row["reasons"]), row["status"], when, row["_source_file"]
        )
    print_grids(summary, grid)
    if len(rows) > SHOWN:
        print(f"{len(rows) - SHOWN:,} more; --table, --reason and --status narrow it down, --json lists them all")
    return 0


def show(config: Config, one: str) -> int:
    """Print one refused row with everything that is known of it, its payload included."""
    row = _named(config, _rows(config, config.registry.layer("quarantine")), [one])[0]
    silver = config.registry[row["table"]]
    out = Console(soft_wrap=True)
    for name in KNOWN_OF_A_ROW:
        if row[name] is not None:
            out.print(f"{name:15} {row[name]}", highlight=False, markup=False)
    for reason in row["reasons"]:
        rule = silver.rules.get(reason)
        out.print(f"{'reason':15} {reason}{': ' + rule.description if rule else ''}", highlight=False, markup=False)
    for commit in config.lake.commits(f"quarantine.{silver.short_name}"):
        if row["quarantine_id"] in commit.note.get("discarded", []):
            out.print(
                f"{'discarded by':15} {commit.note['by']}: {commit.note['reason']}", highlight=False, markup=False
            )
    out.print(row["payload"], highlight=False, markup=False)
    return 0


def discard(config: Config, ids: Sequence[str], reason: str) -> int:
    """Keep rows out for good, also where the same line arrives again; the reason stays in the table's log."""
    if not reason.strip():
        raise ConfigurationError("--reason: say why, in words; it is kept")
    chosen = _named(config, _rows(config, config.registry.layer("quarantine")), ids)
    for row in chosen:
        if row["status"] == quarantine.REPLAYED:
            raise ConfigurationError(
                f"{row['quarantine_id'][:12]}: it was replayed, so silver holds it; nothing was discarded"
            )
    for table in sorted({row["table"] for row in chosen}):
        mine = [row["quarantine_id"] for row in chosen if row["table"] == table and row["status"] == quarantine.OPEN]
        note = {"discarded": mine, "by": getpass.getuser(), "reason": reason}
        name = f"quarantine.{table.partition('.')[2]}"
        quarantine.resolve(config.lake, config.registry, name, mine, quarantine.DISCARDED, now_utc(), note)
        print(f"{table.partition('.')[2]}: {len(mine)} row(s) discarded; they never enter, also where they land again")
    return 0


def replay(config: Config, arguments: argparse.Namespace) -> int:
    """Let refused rows enter that the rules of now accept, as they were or corrected, and rebuild what hangs on them.

    Event lines enter bronze again and go on through the stream; CSV rows are judged again in their delivery; corrected
    ones enter bronze as a delivery of their own. Then silver, gold, the publication and the served view follow.

    Raises:
        LockedError: the stream or another batch is running.
    """
    if arguments.ids and arguments.file:
        raise ConfigurationError("--file names the rows it corrects itself; leave the ids out")
    if not (arguments.ids or arguments.table or arguments.reason or arguments.file):
        raise ConfigurationError("say what to replay: ids, --table, --reason, or --file with corrected rows")
    rows = _rows(config, _tables(config, arguments.table))
    given = read_corrected(Path(arguments.file)) if arguments.file else dict.fromkeys(arguments.ids)
    named = {_named(config, rows, [one])[0]["quarantine_id"]: content for one, content in given.items()}
    chosen = [row for row in rows if arguments.reason in (None, *row["reasons"])]
    if named:
        chosen = [row for row in chosen if row["quarantine_id"] in named]
        for row in chosen:
            if row["status"] != quarantine.OPEN:
                print(f"{row['quarantine_id'][:12]}: {row['status']} already; left alone", file=sys.stderr)
    waiting = [row for row in chosen if row["status"] == quarantine.OPEN]
    if not waiting:
        print("nothing to replay")
        return 0
    refused, again = _enter(config, waiting, named if arguments.file else {})
    tables = {row["table"] for row in waiting} - {EVENTS}
    below = config.registry.downstream(tables) if tables else set()
    options = argparse.Namespace(
        jobs=[*sorted(name for name in below if name.startswith("silver.")), "gold", "serving"],
        as_of=None,
        snapshot_at=None,
        full_reload=False,
        dry_run=False,
        continue_on_failure=False,
        parallel=None,
        verbose=arguments.verbose,
    )
    exit_code = commands.batch(config, options, again)
    return max(exit_code, _report(config, waiting, refused, bool(arguments.file)))


def _enter(
    config: Config, waiting: Sequence[Row], mended: Mapping[str, Any]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Take to bronze what enters by it, while neither a batch nor a stream is running.

    Returns:
        The reasons of the rows that would be refused again, and the rows to judge again in their deliveries, by table.
    """
    run_id = new_run_id(now_utc())
    sessions = Sessions("cloudlake-replay")
    refused: dict[str, list[str]] = {}
    again: dict[str, list[str]] = {}
    with process_lock(config.lake, "batch", run_id):
        for table in sorted({row["table"] for row in waiting}):
            mine = [row for row in waiting if row["table"] == table]
            if table == EVENTS:
                lines = {row["quarantine_id"]: _as_line(mended, row) for row in mine}
                with process_lock(config.lake, "stream", run_id):
                    refused |= replays.replay(sessions(), config, lines, now=now_utc(), run_id=run_id)
            elif mended:
                cells = {row["quarantine_id"]: _as_cells(mended, row) for row in mine}
                silver = config.registry[table]
                refused |= corrections.take(sessions(), config, silver, cells, now=now_utc(), run_id=run_id)
            else:
                again[table] = [row["quarantine_id"] for row in mine]
    return refused, again


def _report(config: Config, waiting: Sequence[Row], refused: Mapping[str, list[str]], corrected: bool) -> int:
    """Say what became of the rows; 1 where a correction is no better than what it corrects."""
    now = {row["quarantine_id"]: row for row in _rows(config, config.registry.layer("quarantine"))}
    left = [row for row in (now[one["quarantine_id"]] for one in waiting) if row["status"] == quarantine.OPEN]
    print(f"{len(waiting) - len(left):,} row(s) replayed, {len(left):,} still refused")
    why = Counter(", ".join(refused.get(row["quarantine_id"], row["reasons"])) for row in left)
    for reasons, count in why.most_common():
        print(f"  {count:,} {reasons}")
    return 1 if corrected and left else 0


# --- reading ------------------------------------------------------------------------------------------------------


def read_corrected(path: Path) -> dict[str, Any]:
    """Return quarantine_id → what stands in its place, from a corrected file.

    JSON lines (or one array, as `quarantine list --json` prints it) or CSV, each with `quarantine_id` and either
    `payload` (the line, or the row as an object) or the row's columns themselves.

    Raises:
        ConfigurationError: the file can't be read, or a row does not say which one it corrects.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            found = list(csv.DictReader(text.splitlines(keepends=True), strict=True))
        elif text.lstrip().startswith("["):
            found = json.loads(text)
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigurationError(f"--file {path}: can't be read: {error}") from None
    mended: dict[str, Any] = {}
    for number, row in enumerate(found, start=1):
        one = row.get("quarantine_id") if isinstance(row, dict) else None
        if not one or one in mended:
            raise ConfigurationError(f"--file {path}: row {number} {'repeats its' if one else 'has no'} quarantine_id")
        mended[one] = row["payload"] if "payload" in row else {k: v for k, v in row.items() if k != "quarantine_id"}
    return mended


def _as_line(mended: Mapping[str, Any], row: Row) -> str:
    given = mended.get(row["quarantine_id"], row["payload"])
    return given if isinstance(given, str) else json.dumps(given, separators=(",", ":"), ensure_ascii=False)


def _as_cells(mended: Mapping[str, Any], row: Row) -> Mapping[str, Any]:
    given = mended[row["quarantine_id"]]
    try:
        cells = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        cells = None
    if not isinstance(cells, dict):
        raise ConfigurationError(f"{row['quarantine_id'][:12]}: its payload is no JSON object of the row's columns")
    return cells


def _tables(config: Config, name: str | None) -> list[Table]:
    tables = config.registry.layer("quarantine")
    if name is None:
        return tables
    found = [table for table in tables if table.short_name == name.rpartition(".")[2]]
    if not found:
        names = [table.short_name for table in tables]
        raise ConfigurationError(f"--table {name}: no table has a quarantine of that name{did_you_mean(name, names)}")
    return found


def _rows(config: Config, tables: Sequence[Table]) -> list[Row]:
    """Return refused rows with `table`, the silver table that refused them; open ones first, then by time."""
    rows = [{"table": f"silver.{t.short_name}", **row} for t in tables for row in config.lake.rows(t.name)]
    return sorted(rows, key=lambda row: (row["status"] != quarantine.OPEN, row["quarantined_at"], row["quarantine_id"]))


def _named(config: Config, rows: Sequence[Row], ids: Sequence[str]) -> list[Row]:
    """Return the rows that ids name; the beginning of an id is enough where it is unique."""
    whole = {row["quarantine_id"]: row for row in rows}
    found = []
    for one in ids:
        fitting = [whole[one]] if one in whole else [row for row in rows if row["quarantine_id"].startswith(one)]
        if len(fitting) != 1:
            what = (
                "no refused row has that id"
                if not fitting
                else f"{len(fitting)} refused rows begin so; write more of it"
            )
            raise ConfigurationError(f"{one}: {what}; cloudlake quarantine list shows them")
        found += [row for row in fitting if row not in found]
    return found


def _without_personal(config: Config, row: Row) -> Row:
    is_personal = bool(config.registry[row["table"]].personal)
    return {**row, "payload": None} if is_personal else row
