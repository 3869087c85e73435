"""Databases asked for one date: the queries of a set in one transaction, and their answers kept, all of them or none.

What is asked is read as it comes, a few megabytes at a time, whatever the size of the answer. Every value is the text that a
plain CSV export has: PostgreSQL writes it, so that no digit passes through a type of ours.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ...common.config import Config
from ...common.contracts.query import dated
from ...common.contracts.table import Table
from ...common.errors import CloudlakeError
from ...common.names import LANDED
from ...common.postgres import (
    READ_ONE_MOMENT,
    RefusedError,
    TransientError,
    attempts,
    connected,
    described,
    quoted,
    streamed,
)
from .extracts import Draft, extracts_in, hash_of, is_extract
from .naming import stored_names
from .scanning import FileRefusedError

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

_RIGHTS = "give the user SELECT on what the query reads"
_PERSON = re.compile(r"[^\s,;:\"'<>()=]+@[^\s,;:\"'<>()=]+")
"""What in an error of the server may be a person's address: it shows values that do not fit."""


@dataclass(frozen=True)
class Answer:
    """What came of asking for one source."""

    day: date
    rows: int = 0
    columns: tuple[str, ...] = ()
    """As they are kept."""
    is_new: bool = False
    """It differs from what was known of that date."""
    fault: str = ""
    """Why nothing came, where nothing did."""


def ask(config: Config, tables: Sequence[Table], day: date, *, keep: bool = True) -> dict[str, Answer]:
    """Ask for the sources of one set, or for a single one; what is new of it is kept in the landing zone.

    Args:
        config: the databases, and where the landing zone is.
        tables: the sources, each with a query.
        day: the date that they are asked for.
        keep: whether anything is written; otherwise it is only told.

    Returns:
        By short name, what came. Where one of them can't be had, none is kept, and each says why.
    """
    drafts: dict[str, Draft] = {}
    by_database: dict[str, list[Table]] = defaultdict(list)
    for table in tables:
        by_database[str(table.database)].append(table)
    try:
        faults: dict[str, str] = {}
        for database, mine in by_database.items():
            faults |= _asked(config, database, mine, day, drafts, keep)
        if faults:
            return {table.short_name: Answer(day, fault=_told(table, faults)) for table in tables}
        return {table.short_name: _kept(config, table, day, drafts, keep) for table in tables}
    finally:
        for draft in drafts.values():
            draft.drop()


def _kept(config: Config, table: Table, day: date, drafts: dict[str, Draft], keep: bool) -> Answer:
    """Keep what a source said, where that is new."""
    draft = drafts[table.short_name]
    is_new = draft.fingerprint.value != _last_known(config, table, day)
    if is_new and keep:
        draft.seal()
        del drafts[table.short_name]
    names, _ = stored_names(draft.fingerprint.columns, table, config.lake.column_names(table.name))
    return Answer(day, draft.fingerprint.rows, tuple(names), is_new)


def _told(table: Table, faults: dict[str, str]) -> str:
    own = faults.get(table.short_name)
    if own:
        return own
    others = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    return f"nothing of set {table.set_name} was taken, because of {others}"


def _asked(
    config: Config, database: str, tables: list[Table], day: date, drafts: dict[str, Draft], keep: bool
) -> dict[str, str]:
    """Read the answers of one database into drafts; returns what is wrong, by source."""
    settings = config.settings.databases[database]
    where = f"database {database}, asked for {day}"
    at: list[str] = []
    try:
        return attempts(settings)(_read, config, tables, day, drafts, keep, at)
    except (CloudlakeError, FileRefusedError) as error:
        named = at or [table.short_name for table in tables]
        mended = f"mended, there or in the query of {named[0]} in conf/bronze.yaml" if at else "mended"
        mended = "over" if isinstance(error, TransientError) else mended
        again = f"Once that is {mended}: scripts/run_batch_pipeline.sh --business-date {day}"
        return dict.fromkeys(named, f"{where}: {_PERSON.sub('***', str(error))}; nothing of it was taken. {again}")


def _read(
    config: Config, tables: list[Table], day: date, drafts: dict[str, Draft], keep: bool, at: list[str]
) -> dict[str, str]:
    """Read what the queries find in one transaction. `at` says which of them is being read."""
    settings = config.settings.databases[str(tables[0].database)]
    for table in tables:
        if table.short_name in drafts:  # from an attempt that failed
            drafts.pop(table.short_name).drop()
    at.clear()
    with connected(settings, _RIGHTS, begin=READ_ONE_MOMENT) as connection:
        schemas, faults = _schemas(config, connection, tables, day)
        if faults:
            return faults
        for table in tables:
            at[:] = [table.short_name]
            schema = schemas[table.short_name]
            draft = Draft(config.landing_zone if keep else None, table, day, schema.names)
            drafts[table.short_name] = draft
            for batch in streamed(connection, as_text(dated(str(table.query), day), schema)):
                draft.take(batch)
    return {}


def _schemas(
    config: Config, connection: Connection, tables: list[Table], day: date
) -> tuple[dict[str, pa.Schema], dict[str, str]]:
    """Return the columns that each query finds, and what is wrong with those that can't be asked: of all of them at once."""
    schemas: dict[str, pa.Schema] = {}
    faults: dict[str, str] = {}
    for table in tables:
        try:
            schema = described(connection, dated(str(table.query), day))
            stored_names(schema.names, table, config.lake.column_names(table.name))
            schemas[table.short_name] = schema
        except (RefusedError, FileRefusedError) as error:
            faults[table.short_name] = (
                f"database {table.database}: {_PERSON.sub('***', str(error))}; mend the query of {table.short_name} in "
                "conf/bronze.yaml, or what it reads"
            )
    return schemas, faults


def as_text(sql: str, schema: pa.Schema) -> str:
    """Return the query whose values are the texts that a CSV export has of what another one finds.

    Dates and times are ISO, in UTC and without an offset, a time at midnight is its date; booleans are True and False;
    numbers have the digits they have in PostgreSQL.
    """
    columns = ", ".join(f"{_text(quoted(one.name), one.type)} AS {quoted(one.name)}" for one in schema)
    return f"SELECT {columns} FROM (\n{sql}\n) AS asked"


def _text(name: str, kind: Any) -> str:
    if pa.types.is_boolean(kind):
        return f"CASE WHEN {name} THEN 'True' WHEN NOT {name} THEN 'False' END"
    if pa.types.is_timestamp(kind):
        at = f"({name} AT TIME ZONE 'UTC')" if kind.tz else name
        return f"CASE WHEN {at} = date_trunc('day', {at}) THEN {at}::date::text ELSE {at}::text END"
    return f"{name}::text"


def _last_known(config: Config, table: Table, day: date) -> str | None:
    """Return what a source last said of a date: by what lies in the landing zone, else by what was ingested."""
    zone = config.landing_zone
    there = extracts_in(zone, str(day), table.short_name)
    if there:
        return hash_of(zone.read(there[-1]))
    taken = config.lake.rows(LANDED, filters=[("source", "=", table.short_name), ("status", "=", "ingested")])
    mine = [row for row in taken if row["path"].startswith(f"{day}/") and is_extract(row["path"])]
    return max(mine, key=lambda row: row["ingested_at"])["sha256"] if mine else None
