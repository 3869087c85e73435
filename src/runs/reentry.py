"""Refused rows that come back: let them enter, corrected or not, and rebuild what hangs on them; or keep them out."""

from __future__ import annotations

import getpass
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..batch.silver import corrections
from ..common.clock import new_run_id, now_utc
from ..common.config import Config
from ..common.contracts.table import Table, fold
from ..common.errors import ConfigurationError, did_you_mean
from ..common.lake.duck import connected
from ..common.lake.locks import process_lock
from ..common.names import EVENTS
from ..common.publication import published
from ..common.quality import quarantine
from ..common.session import Sessions
from ..streaming import reentry as events
from .batch_run import Options

Row = dict[str, Any]


@dataclass(frozen=True)
class Entered:
    """What became of refused rows at bronze's door, and the batch run that the rest of their way needs."""

    refused: Mapping[str, Sequence[str]]
    """quarantine_id → reasons, of the rows that would be refused again."""
    rest: Options


def replay_refused(config: Config, waiting: Sequence[Row], mended: Mapping[str, Any]) -> Entered:
    """Take to bronze what enters by it; the run that is returned judges the rest again, and builds what hangs on all.

    Event lines enter bronze again and go on through the stream; CSV rows are judged again in their delivery; corrected
    ones enter bronze as a delivery of their own.

    Args:
        config: the lake and its contracts.
        waiting: refused rows that are open.
        mended: quarantine_id → what stands in a row's place; empty where they come back as they were.

    Raises:
        LockedError: the stream or another batch is running.
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
                    refused |= events.replay(sessions(), config, lines, now=now_utc(), run_id=run_id)
            elif mended:
                silver = config.registry[table]
                held = config.lake.column_names(f"bronze.{silver.short_name}")
                columns = [name for name in held if not name.startswith("_")]
                cells = {row["quarantine_id"]: _as_cells(mended, row, columns) for row in mine}
                refused |= corrections.take(sessions(), config, silver, cells, now=now_utc(), run_id=run_id)
            else:
                again[table] = [row["quarantine_id"] for row in mine]
    jobs = jobs_behind(config, {row["table"] for row in waiting})
    return Entered(refused, Options(jobs=jobs, parallel=config.settings.parallel, replayed=again))


def jobs_behind(config: Config, tables: Collection[str]) -> tuple[str, ...]:
    """Return the jobs that bring up to date what hangs on some silver tables; of marts none where none was ever published."""
    csv = {name for name in tables if name != EVENTS}
    below = config.registry.downstream(csv) if csv else set()
    silver = sorted(name for name in below if name.startswith("silver."))
    return (*silver, "gold", "serving") if published(config.lake).run_id else tuple(silver)


def discard(config: Config, chosen: Sequence[Row], reason: str) -> dict[str, int]:
    """Keep rows out for good, also where the same line arrives again; the reason stays in the table's log.

    Returns:
        How many rows of each table were open and are out now.

    Raises:
        ConfigurationError: there is no reason, or silver holds one of the rows.
    """
    if not reason.strip():
        raise ConfigurationError("--reason: say why, in words; it is kept")
    for row in chosen:
        if row["status"] == quarantine.REPLAYED:
            raise ConfigurationError(
                f"{row['quarantine_id'][:12]}: it was replayed, so silver holds it; nothing was discarded"
            )
    out = {}
    for table in sorted({row["table"] for row in chosen}):
        mine = [row["quarantine_id"] for row in chosen if row["table"] == table and row["status"] == quarantine.OPEN]
        note = {"discarded": mine, "by": getpass.getuser(), "reason": reason}
        name = f"quarantine.{table.partition('.')[2]}"
        quarantine.resolve(config.lake, config.registry, name, mine, quarantine.DISCARDED, now_utc(), note)
        out[table] = len(mine)
    return out


def _as_line(mended: Mapping[str, Any], row: Row) -> str:
    given = mended.get(row["quarantine_id"], row["payload"])
    return given if isinstance(given, str) else json.dumps(given, separators=(",", ":"), ensure_ascii=False)


def _as_cells(mended: Mapping[str, Any], row: Row, columns: Sequence[str]) -> Mapping[str, Any]:
    """Return a corrected row by the columns of its source, whose names may be written in other case or with blanks.

    Raises:
        ConfigurationError: it is no object, or names a column that the source does not have, or one twice.
    """
    one = row["quarantine_id"][:12]
    given = mended[row["quarantine_id"]]
    try:
        cells = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        cells = None
    if not isinstance(cells, dict):
        raise ConfigurationError(f"{one}: its payload is no JSON object of the row's columns")
    known = {fold(name): name for name in columns}
    faults = [
        f"{one}: '{name}' is no column of {row['table'].partition('.')[2]}{did_you_mean(name, columns)}"
        for name in cells
        if name not in columns and fold(name) not in known
    ]
    if faults:
        raise ConfigurationError(faults)
    named = {name if name in columns else known[fold(name)]: value for name, value in cells.items()}
    if len(named) < len(cells):
        raise ConfigurationError(f"{one}: a column stands twice: {', '.join(cells)}")
    return named


def quarantine_tables(config: Config, name: str | None = None) -> list[Table]:
    """Return the quarantine tables, or the one that a name means.

    Raises:
        ConfigurationError: no table has a quarantine of that name.
    """
    tables = config.registry.layer("quarantine")
    if name is None:
        return tables
    found = [table for table in tables if table.short_name == name.rpartition(".")[2]]
    if not found:
        names = [table.short_name for table in tables]
        raise ConfigurationError(f"--table {name}: no table has a quarantine of that name{did_you_mean(name, names)}")
    return found


@dataclass
class Overview:
    """The refused rows at a glance."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By silver table, reason and status; a row counts for each reason it has."""
    rows: int = 0
    first: list[Row] = field(default_factory=list)
    """Some of them, those that wait first, without what was refused."""


def overview(
    config: Config, tables: Sequence[Table], *, status: str | None, reason: str | None, shown: int
) -> Overview:
    """Count refused rows and return the first of them; what was refused, which is the most of such a table, is not read.

    Args:
        config: the lake.
        tables: quarantine tables.
        status: only rows of this status.
        reason: only rows refused for this reason, whatever else they were refused for.
        shown: how many rows are returned.
    """
    found = Overview()
    for table in tables:
        if not config.lake.exists(table.name):
            continue
        name = f"silver.{table.short_name}"
        with connected(refused=config.lake.dataset(table.name)) as connection:
            connection.execute(_CHOSEN, {"status": status, "reason": reason})
            found.rows += connection.sql("FROM chosen").count("*").fetchall()[0][0]
            for why, state, count in connection.sql(_COUNTED).fetchall():
                found.counts[name, why, state] += count
            first = connection.sql(f"FROM chosen ORDER BY {_ORDER} LIMIT {shown}").to_arrow_table().to_pylist()
        found.first += [{"table": name, **row} for row in first]
    found.first = sorted(found.first, key=_order)[:shown]
    return found


_FEW = 3
"""So many ids are looked up one by one; for more, the tables are read once."""
_CHOSEN = """CREATE TEMP TABLE chosen AS
SELECT quarantine_id, reasons, status, quarantined_at, _source_file FROM refused
WHERE ($status IS NULL OR status || '' = $status) AND ($reason IS NULL OR list_contains(reasons, $reason))"""
"""A bare comparison is handed to Arrow's scan, which has none for texts that delta-rs has written."""
_COUNTED = "SELECT why, status, count(*) FROM (SELECT unnest(reasons) AS why, status FROM chosen) GROUP BY ALL"
_ORDER = f"status <> '{quarantine.OPEN}', quarantined_at, quarantine_id"


def _order(row: Row) -> tuple[Any, ...]:
    return row["status"] != quarantine.OPEN, row["quarantined_at"], row["quarantine_id"]


def refused_rows(config: Config, tables: Sequence[Table], status: str | None = None) -> list[Row]:
    """Return refused rows with `table`, the silver table that refused them; open ones first, then by time."""
    filters = [("status", "=", status)] if status else None
    rows = [{"table": f"silver.{t.short_name}", **r} for t in tables for r in config.lake.rows(t.name, filters=filters)]
    return sorted(rows, key=_order)


def named_rows(config: Config, tables: Sequence[Table], ids: Sequence[str]) -> dict[str, Row]:
    """Return the rows that ids name, by the ids as they are given; the beginning of one is enough where it is unique.

    Where few are named, only those parts of the files are read in which they can be.

    Raises:
        ConfigurationError: an id names none, or more than one.
    """
    held = refused_rows(config, tables) if len(ids) > _FEW else None
    found: dict[str, Row] = {}
    for one in ids:
        rows = _beginning(config, tables, one) if held is None else held
        fitting = [row for row in rows if row["quarantine_id"].startswith(one)]
        fitting = [row for row in fitting if row["quarantine_id"] == one] or fitting
        if len(fitting) != 1:
            what = (
                "no refused row has that id"
                if not fitting
                else f"{len(fitting)} refused rows begin so; write more of it"
            )
            raise ConfigurationError(f"{one}: {what}; cloudlake quarantine list shows them")
        found[one] = fitting[0]
    return found


def _beginning(config: Config, tables: Sequence[Table], text: str) -> list[Row]:
    filters = [("quarantine_id", ">=", text), ("quarantine_id", "<", f"{text}\U0010ffff")]
    return [
        {"table": f"silver.{t.short_name}", **row} for t in tables for row in config.lake.rows(t.name, filters=filters)
    ]
