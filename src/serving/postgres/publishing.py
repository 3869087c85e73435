"""One publication into PostgreSQL: staged, then written in one transaction for all tables, so readers see all of it or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.errors import CloudlakeError, ConfigurationError, LockedError, did_you_mean
from ...common.faults import crash_point
from ...common.lake.duck import parquet_of
from ...common.postgres import TransientError, attempts, connected, execute, quoted, rows
from ...common.publication import Publication, published
from ..queries.reader import Reader
from . import statements as sql

if TYPE_CHECKING:
    import pyarrow as pa
    from adbc_driver_manager.dbapi import Connection

_RIGHTS = "give the user what it lacks: CREATE and TEMPORARY on the database, and the schema's tables as its own (docs/postgresql.md)"
_STATE_COLUMNS = {
    "table_name": ("text PRIMARY KEY", "The table, as the lake names it"),
    "made_from": ("text NOT NULL", "What its rows are: the Delta table and its version, for a served table its inputs"),
    "fingerprint": ("text NOT NULL", "The form its contract had"),
    "row_count": ("bigint NOT NULL", "Its rows"),
    "run_id": ("text NOT NULL", "The run whose publication it belongs to"),
    "published_at": ("timestamp with time zone NOT NULL", "When it was last written here"),
}


@dataclass(frozen=True)
class Published:
    """What became of one table."""

    table: str
    what: str
    """new, changed, unchanged, gone (the lake publishes it no longer: it stays as it is), or in a dry run what would be done."""
    rows: int


@dataclass(frozen=True)
class _Known:
    made_from: str
    fingerprint: str
    row_count: int


@dataclass
class _Work:
    """One table that differs from what PostgreSQL has."""

    table: Table
    made_from: str
    known: _Known | None
    steps: list[str]
    is_new: bool
    whole: bool = True
    count: int = 0


def publish(
    config: Config, tables: Sequence[str] = (), *, dry_run: bool = False, full: bool = False
) -> list[Published]:
    """Bring PostgreSQL to the publication in force; a repetition writes nothing.

    Args:
        config: the lake and where PostgreSQL is.
        tables: only these, by full or short name.
        dry_run: say what would be done, and write nothing.
        full: compare every row, also of tables that are at the version in force: for when somebody wrote into them.

    Raises:
        ConfigurationError: a table is not known, or there is no address.
        LockedError: another publication into the schema is running.
        CloudlakeError: nothing is published, a table can't be migrated, or the server fails; nothing was changed then.
    """
    try:
        return attempts(config.settings.postgres)(_publish_once, config, tables, dry_run, full)
    except TransientError as error:
        raise CloudlakeError(
            f"{error}; nothing was changed there. When the server is back: cloudlake publish --to postgres"
        ) from None


def _chosen(config: Config, publication: Publication, wanted: Sequence[str]) -> list[Table]:
    served = [t for t in config.registry.layer("serving") if all(_has(config, publication, n) for n in t.inputs)]
    there = [t for t in config.registry.layer("gold") if t.name in publication.tables] + served
    if not wanted:
        return there
    names = {name: table for table in there for name in (table.short_name, table.name)}
    faults = [f"--tables {n}: no such published table{did_you_mean(n, names)}" for n in wanted if n not in names]
    if faults:
        raise ConfigurationError(faults)
    return [table for table in there if {table.name, table.short_name} & set(wanted)]


def _has(config: Config, publication: Publication, name: str) -> bool:
    return name in publication.tables if name.startswith("gold.") else config.lake.exists(name)


def _publish_once(config: Config, wanted: Sequence[str], dry_run: bool, full: bool) -> list[Published]:
    schema = config.settings.postgres.schema_name
    chosen = _chosen(config, published(config.lake), wanted)
    with Reader(config) as reader, connected(config.settings.postgres, _RIGHTS) as connection:
        run_id = reader.publication.run_id
        if not rows(
            connection, f"SELECT 1 WHERE pg_try_advisory_xact_lock(hashtext({sql.text('cloudlake ' + schema)}))"
        ):
            raise LockedError(
                f"PostgreSQL: another publication into schema {schema} is running; wait until it has ended"
            )
        known = _known(connection, schema)
        sources = _sources(config, reader, chosen)
        todo, faults = [], []
        for table in chosen:
            before = known.get(table.name)
            current = _Known(sources[table.name], sql.fingerprint(table), before.row_count if before else 0)
            found = _columns(connection, schema, table)
            if before == current and found and not full:
                continue
            steps, refused = sql.migration(schema, table, found) if found else (sql.create(schema, table), [])
            refused += _other_key(connection, schema, table) if found else []
            faults += [_refusal(schema, table, fault) for fault in refused]
            whole = full or not found or before is None or before.fingerprint != current.fingerprint
            todo.append(_Work(table, sources[table.name], before, steps, not found, whole))
        if faults:
            raise CloudlakeError("\n".join(faults))
        if not dry_run:
            _write(config, reader, connection, chosen, todo, run_id)
    gone = [] if wanted else sorted(set(known) - {table.name for table in chosen})
    return [*_told(chosen, todo, known, dry_run), *(Published(name, "gone", known[name].row_count) for name in gone)]


def _write(
    config: Config, reader: Reader, connection: Connection, chosen: list[Table], todo: list[_Work], run_id: str
) -> None:
    schema = config.settings.postgres.schema_name
    # The columns of a key hang together, which the planner does not know: it expects one row where there are
    # thousands, and would read a staged table anew for each of them.
    execute(connection, ["SET LOCAL enable_nestloop = off"])
    for work in todo:
        _stage(config, reader, connection, work)
    crash_point("after_postgres_staging")
    execute(connection, _schema(schema))
    for work in todo:
        _apply(config, reader, connection, work, run_id)
    crash_point("before_postgres_commit")
    execute(connection, [_remember(schema, work, run_id) for work in todo])
    names = ", ".join(sql.text(table.name) for table in chosen)
    state = f"{quoted(schema)}.{quoted(sql.STATE)}"
    execute(
        connection,
        [
            f"UPDATE {state} SET run_id = {sql.text(run_id)} WHERE table_name IN ({names}) AND run_id <> {sql.text(run_id)}"
        ],
    )
    connection.commit()


def _stage(config: Config, reader: Reader, connection: Connection, work: _Work) -> None:
    """Copy what may differ into temporary tables: the files that the versions do not share, or the whole table."""
    table = work.table
    execute(connection, sql.staging(table))
    parts = None if work.whole else _parts(config, reader, work)
    work.whole = parts is None
    if parts is None:
        reader.require([table.name])
        _copy(reader, connection, "rows_" + table.short_name, f"SELECT {sql.selected(table)} FROM {table.name}")
        return
    added, removed = parts
    for name, files, columns in (("rows_", added, sql.selected(table)), ("gone_", removed, sql.selected_keys(table))):
        if files:
            _copy(reader, connection, name + table.short_name, f"SELECT {columns} FROM {parquet_of(files)}")


def _parts(config: Config, reader: Reader, work: _Work) -> tuple[list[str], list[str]] | None:
    """Return the files that came and those that went since the version there; None where that can't be told."""
    before, after = (
        made_from.rpartition("@") for made_from in (work.known.made_from if work.known else "", work.made_from)
    )
    if work.table.layer != "gold" or before[0] != after[0] or work.table.layout.partition:
        return None
    return config.lake.replaced_files(work.table.name, int(before[2]), int(after[2]), work.table.column_names)


def _copy(reader: Reader, connection: Connection, target: str, query: str) -> None:
    with connection.cursor() as cursor:
        cursor.adbc_ingest(target, _batches(reader, query), mode="append", temporary=True)


def _batches(reader: Reader, query: str) -> pa.RecordBatchReader:
    """Return the rows of a query as they are found: a table of any size takes little memory."""
    return reader.connection.sql(query).to_arrow_reader(100_000)


def _apply(config: Config, reader: Reader, connection: Connection, work: _Work, run_id: str) -> None:
    """Migrate a table and write what differs; where the count is not the lake's then, every row is compared."""
    schema, table = config.settings.postgres.schema_name, work.table
    try:
        execute(connection, work.steps)
    except Exception as error:
        if "used by a view" in str(error):
            raise CloudlakeError(
                _refusal(schema, table, "a view there uses a column that needs a wider type")
            ) from None
        raise
    execute(
        connection,
        [sql.filling(schema, table, run_id)] if work.is_new else sql.difference(schema, table, run_id, work.whole),
    )
    reader.require([table.name])
    expected = reader.run(f"SELECT count(*) AS rows FROM {table.name}")["rows"][0].as_py()
    work.count = _count(connection, schema, table)
    if work.count != expected and not work.whole:
        work.whole = True
        names = [quoted(kind + table.short_name) for kind in ("rows_", "gone_")]
        execute(connection, [f"DROP TABLE {name}" for name in names])
        _stage(config, reader, connection, work)
        execute(connection, sql.difference(schema, table, run_id, True))
        work.count = _count(connection, schema, table)
    if work.count != expected:
        raise CloudlakeError(
            f"{table.name}: {work.count:,} rows in PostgreSQL and {expected:,} in the lake; nothing was published"
        )
    if work.is_new or work.known is None or work.known.fingerprint != sql.fingerprint(table):
        execute(connection, [*sql.required(schema, table), *sql.comments(schema, table)])


def _count(connection: Connection, schema: str, table: Table) -> int:
    return int(rows(connection, f"SELECT count(*) FROM {sql.place(schema, table)}")[0][0])


def _sources(config: Config, reader: Reader, chosen: list[Table]) -> dict[str, str]:
    """Return what each table's rows are made from: what changes when they may."""
    lake, publication = config.lake, published(config.lake)
    alerts, pins = lake.version("speed.alerts"), reader.pins
    found = {}
    for table in chosen:
        if table.layer == "gold":
            found[table.name] = f"{lake.table_id(table.name)}@{publication.version(table.name)}"
        else:
            versions = [publication.version(name) for name in table.inputs if name.startswith("gold.")]
            live = config.stream.live.model_dump_json()
            found[table.name] = f"{pins} {versions} {alerts if 'speed.alerts' in table.inputs else ''} {live}"
    if publication.run_id != reader.publication.run_id:
        raise TransientError("the lake was published anew in between")
    return found


def _schema(schema: str) -> list[str]:
    state = f"{quoted(schema)}.{quoted(sql.STATE)}"
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in _STATE_COLUMNS.items())
    return [
        f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}",
        f"CREATE TABLE IF NOT EXISTS {state} ({columns})",
        f"COMMENT ON TABLE {state} IS 'What is published here, written in one transaction with it'",
        *(f"COMMENT ON COLUMN {state}.{name} IS {sql.text(told)}" for name, (_, told) in _STATE_COLUMNS.items()),
    ]


def _known(connection: Connection, schema: str) -> dict[str, _Known]:
    state = f"{quoted(schema)}.{quoted(sql.STATE)}"
    if rows(connection, f"SELECT 1 WHERE to_regclass({sql.text(state)}) IS NULL"):
        return {}
    found = rows(connection, f"SELECT table_name, made_from, fingerprint, row_count FROM {state}")
    return {str(name): _Known(str(made_from), str(form), int(count)) for name, made_from, form, count in found}


def _remember(schema: str, work: _Work, run_id: str) -> str:
    values = [work.table.name, work.made_from, sql.fingerprint(work.table)]
    names = [name for name in _STATE_COLUMNS if name != "table_name"]
    return (
        f"INSERT INTO {quoted(schema)}.{quoted(sql.STATE)} ({', '.join(_STATE_COLUMNS)}) "
        f"VALUES ({', '.join(map(sql.text, values))}, {work.count}, {sql.text(run_id)}, now()) "
        f"ON CONFLICT (table_name) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in names)}"
    )


def _columns(connection: Connection, schema: str, table: Table) -> dict[str, tuple[str, bool]]:
    """Return the columns a table has there, with type and NOT NULL; none where there is no such table."""
    found = rows(
        connection,
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_attribute a "
        f"WHERE a.attrelid = to_regclass({sql.text(sql.place(schema, table))}) AND a.attnum > 0 AND NOT a.attisdropped",
    )
    return {str(name): (str(kind), bool(needed)) for name, kind, needed in found}


def _other_key(connection: Connection, schema: str, table: Table) -> list[str]:
    found: list[Any] = rows(
        connection,
        "SELECT a.attname::text FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) "
        f"WHERE c.conrelid = to_regclass({sql.text(sql.place(schema, table))}) AND c.contype IN ('p', 'u')",
    )
    there = sorted(name for (name,) in found)
    return (
        []
        if there == sorted(table.key)
        else [f"its key there is ({', '.join(there)}) and here ({', '.join(table.key)})"]
    )


def _refusal(schema: str, table: Table, fault: str) -> str:
    line = f"ALTER TABLE {sql.place(schema, table)} RENAME TO {quoted(table.short_name + '_before')}"
    return (
        f"{table.name}: {fault}; nothing was published. Put the old table aside, with the views on it, by\n"
        f"  psql -c '{line}'\nand publish again; then let the views read the new one"
    )


def _told(chosen: list[Table], todo: list[_Work], known: dict[str, _Known], dry_run: bool) -> list[Published]:
    by_name = {work.table.name: work for work in todo}
    told = []
    for table in chosen:
        work = by_name.get(table.name)
        if work is None:
            told.append(Published(table.name, "unchanged", known[table.name].row_count))
        else:
            what = "new" if work.is_new else "changed"
            told.append(
                Published(table.name, "; ".join([f"would be {what}", *work.steps]) if dry_run else what, work.count)
            )
    return told
