"""Refused rows that come back: let them enter, corrected or not, and rebuild what hangs on them; or keep them out."""

from __future__ import annotations

import getpass
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..batch.silver import corrections
from ..common.clock import new_run_id, now_utc
from ..common.config import Config
from ..common.contracts.table import Table, fold
from ..common.errors import ConfigurationError, did_you_mean
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


def refused_rows(config: Config, tables: Sequence[Table]) -> list[Row]:
    """Return refused rows with `table`, the silver table that refused them; open ones first, then by time."""
    rows = [{"table": f"silver.{t.short_name}", **row} for t in tables for row in config.lake.rows(t.name)]
    return sorted(rows, key=lambda row: (row["status"] != quarantine.OPEN, row["quarantined_at"], row["quarantine_id"]))


def named_rows(rows: Sequence[Row], ids: Sequence[str]) -> list[Row]:
    """Return the rows that ids name; the beginning of an id is enough where it is unique.

    Raises:
        ConfigurationError: an id names none, or more than one.
    """
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
