"""A reader of one publication: DuckDB, with a view for each table that is asked for, without a JVM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from ...common import live
from ...common.config import Config
from ...common.contracts.schemas import arrow_schema
from ...common.contracts.table import Table
from ...common.errors import CloudlakeError
from ...common.lake.duck import connected, connected_beside, parquet_of
from ...common.names import INCREMENTS
from ...common.publication import published
from .. import customer_live
from .declaration import Declarations, load_queries, tables_of

# Exact arithmetic on the digits, as DuckDB divides decimals as doubles. A HUGEINT holds 38 digits.
MACROS = """
CREATE MACRO micros(amount) AS CAST(replace(CAST(CAST(amount AS DECIMAL(38, 6)) AS VARCHAR), '.', '') AS HUGEINT);
CREATE MACRO half_away(n, d) AS sign(n)::HUGEINT * sign(d)::HUGEINT * ((2 * abs(n) + abs(d)) // (2 * abs(d)));
CREATE MACRO quotient(n, d) AS
    CASE WHEN d <> 0 THEN CAST(half_away(micros(n) * 1000000, micros(d)) AS DECIMAL(32, 0)) * 0.000001::DECIMAL(6, 6) END;
CREATE MACRO percent(n, d) AS CASE WHEN d <> 0 THEN 100 * (CAST(n AS DOUBLE) / CAST(d AS DOUBLE)) END;
"""


@dataclass(frozen=True)
class Moment:
    """What an answer was made from: the publication, its newest load_id, and the state of the increments after it."""

    run_id: str
    published_at: str
    load_id: int
    speed_version: int

    @property
    def tag(self) -> str:
        """A text that changes when an answer may: of the publication and of what came in after it."""
        return f"{self.run_id}@{self.published_at}+{self.speed_version}"


class Reader:
    """One publication and the increments after it, in a DuckDB connection whose views are made when they are needed.

    gold at the published versions; serving computed from them and the increments, by the definitions of the served
    tables, so that it is of this minute and of this publication at once; silver at the versions that gold was made
    from; speed and ops as they are now.
    """

    def __init__(self, config: Config, alone: bool = False) -> None:
        """Look up the publication.

        Args:
            config: the configuration.
            alone: whether to use a DuckDB of its own, whose settings may be changed.

        Raises:
            CloudlakeError: nothing has been published yet, or published.json is damaged.
            ConfigurationError: conf/queries.yaml is wrong.
        """
        self.config = config
        self._publication = published(config.lake)
        if not self._publication.run_id:
            raise CloudlakeError(
                f"{config.lake.root}: nothing has been published yet; run scripts/run_batch_pipeline.sh"
            )
        self.pins = live.pin_of(config, self._publication)
        self.publication = Moment(
            self._publication.run_id, self._publication.published_at, self.pins.load_id, self.pins[INCREMENTS]
        )
        self.declarations: Declarations = load_queries(config.conf, config.registry)
        if alone:
            self.connection = connected()
            self._leave = self.connection.close
        else:
            self.connection, self._leave = connected_beside()
        self.connection.execute(MACROS)
        self._known: set[str] = set()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._leave()

    @property
    def as_of(self) -> date | None:
        """A, the business date of the publication; None where no published table has one."""
        dates = [entry["as_of"] for entry in self._publication.tables.values() if entry.get("as_of")]
        return date.fromisoformat(max(dates)) if dates else None

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return what declared SQL finds in the tables that it names.

        Raises:
            CloudlakeError: a table is not published, or can't be read.
        """
        try:
            self.require(tables_of(sql))
            return self.connection.sql(sql, params=dict(parameters or {})).to_arrow_table()
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise CloudlakeError(_unreadable(self.publication.run_id, error)) from None

    def require(self, names: Iterable[str]) -> None:
        """Make the views of some tables, and of what they are computed from.

        Raises:
            CloudlakeError: a table is not published, or can't be read.
        """
        for name in sorted(set(names)):
            if name in self._known:  # from before, or just now for a table that is computed from it
                continue
            table = self.config.registry[name]
            self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.layer}")
            sql = self._computed(table) if table.layer == "serving" else self._stored(table)
            self.connection.execute(f"CREATE VIEW {name} AS {sql}")
            self._known.add(name)

    def _computed(self, table: Table) -> str:
        """Return the SQL of a served table over the publication and the increments after it."""
        if table.name == live.WINDOWS:
            self.require([INCREMENTS])
            return live.windows_sql(self.config, speed=self._last_hours())
        if table.name == live.DAILY:
            self.require([live.BATCH_VIEW, INCREMENTS])
            after = f"(FROM {INCREMENTS} WHERE load_id > {self.pins.load_id})"
            return live.daily_sql(table, batch=live.BATCH_VIEW, speed=after)
        self.require([customer_live.CUSTOMERS, customer_live.ALERTS, live.DAILY])
        days = f"(FROM {live.DAILY} WHERE usage_date = {self._newest_date()})"
        sql = customer_live.sql(customer_live.CUSTOMERS, customer_live.ALERTS, days)
        return f"SELECT {', '.join(table.column_names)} FROM ({sql})"

    def _last_hours(self) -> str:
        """Return the increments that the windows are made of, as SQL; given as a value, the others are not read."""
        newest = self.run(f"SELECT max(bucket_start) AS newest FROM {INCREMENTS}")["newest"].to_pylist()[0]
        if newest is None:
            return INCREMENTS
        since = newest - timedelta(hours=self.config.stream.live.hours)
        return f"(FROM {INCREMENTS} WHERE bucket_start > TIMESTAMPTZ '{since.isoformat()}')"

    def _newest_date(self) -> str:
        """Return the newest date with usage as SQL: given as a value, only the files of that date are read."""
        found = self.run(
            f"SELECT max(day) AS day FROM (SELECT max(usage_date) AS day FROM {live.BATCH_VIEW} "
            f"UNION ALL SELECT CAST(max(bucket_start) AS DATE) FROM {INCREMENTS})"
        )["day"].to_pylist()[0]
        return f"DATE '{found}'" if found else "NULL"

    def _stored(self, table: Table) -> str:
        """Return the SQL that reads a table at its version: the columns of its contract, NULL where it has them not yet."""
        version = self._version(table)
        lake = self.config.lake
        files: tuple[str, ...] = ()
        columns: tuple[str, ...] = ()
        if version >= 0:
            files, columns = _files(lake.path(table.name), version, lake.stamp(table.name, version))
        kept = [name for name in table.column_names if name in columns]
        source = parquet_of(files, partitioned=bool(table.layout.partition))
        # Of a folder's name DuckDB knows whether it is a date or a number, not whether it is a boolean.
        named = {name for name in table.layout.partition if table.columns[name].type == "boolean"}
        selected = ", ".join(f'CAST("{c}" AS BOOLEAN) AS "{c}"' if c in named else f'"{c}"' for c in kept)
        if files and kept == table.column_names:
            return f"SELECT {selected} FROM {source}"
        empty = f"empty_{table.layer}_{table.short_name}"
        self.connection.register(empty, arrow_schema(table).empty_table())
        return f"FROM {empty}" + (f" UNION ALL BY NAME SELECT {selected} FROM {source}" if files else "")

    def _version(self, table: Table) -> int:
        """Return the version of a table that belongs to the publication, -1 where there is none yet."""
        if table.layer == "gold":
            version = self._publication.version(table.name)
            if version is None:
                raise CloudlakeError(
                    f"{table.name}: run {self.publication.run_id} published no such table; "
                    "build it with scripts/run_batch_pipeline.sh --jobs gold"
                )
            return version
        if table.name == INCREMENTS:
            return self.pins[INCREMENTS]
        if table.layer == "silver":
            return self._silver_version(table.name)
        return self.config.lake.version(table.name)

    def _silver_version(self, name: str) -> int:
        """Return the version that the published marts were made from, the newest where they differ."""
        lake, publication = self.config.lake, self._publication
        made_from = [
            lake.last_note(mart.name, publication.version(mart.name)).get("inputs", {}).get(name, -1)
            for mart in self.config.registry.layer("gold")
            if name in mart.inputs and mart.name in publication.tables
        ]
        newest = max(made_from, default=-1)
        return int(newest) if newest >= 0 else lake.version(name)


@lru_cache(maxsize=512)
def _files(path: str, version: int, stamp: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the data files and the columns of a version, which never change; `stamp` tells a table made anew."""
    from ...common.lake.log import stored

    return stored(path, version)


def _unreadable(run_id: str, error: Exception) -> str:
    first = str(error).splitlines()[0]
    return (
        f"run {run_id}: a table of the publication can't be read ({first}); if its files are gone, rebuild them with "
        "scripts/run_batch_pipeline.sh --jobs gold --full-reload"
    )


def open_reader(config: Config, alone: bool = False) -> Reader:
    """Return a reader of the publication in force now, to be used in a `with` block; see `Reader`."""
    return Reader(config, alone)
