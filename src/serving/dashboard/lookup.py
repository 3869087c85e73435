"""The named queries as the dashboard asks them: one reader for all threads, every failure an answer that says so."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import duckdb

from ...common.clock import now_utc
from ...common.config import Config
from ...common.errors import CloudlakeError, ConfigurationError
from ...common.live import pin_of
from ...common.names import EVENTS
from ...common.publication import published
from .. import queries
from .asking import Answer, Shape

_LIVE_LAYERS = ("speed", "ops", "quarantine")
"""Layers outside a publication: what is written there shows at once."""


def state_of(config: Config) -> str:
    """Return a text that changes when an answer may: of the publication, the stream, the tables outside both, and the hour.

    The hour is there for the ages that pages tell.

    Raises:
        CloudlakeError: published.json is damaged.
    """
    publication = published(config.lake)
    declared = queries.load_queries(config.conf, config.registry)
    named = {name for query in declared.queries.values() for name in query.tables}
    live = sorted(name for name in named if name.split(".")[0] in _LIVE_LAYERS)
    versions = " ".join(f"{name}@{config.lake.version(name)}" for name in live)
    pins = pin_of(config, publication) if publication.run_id else None
    return f"{publication.run_id}@{publication.published_at} {pins or ''} {versions} {now_utc():%Y-%m-%dT%H}"


class Asked:
    """A reader of one publication behind a lock: DuckDB answers one thread at a time, and uses every core for it."""

    def __init__(self, config: Config) -> None:
        self._reader = queries.open_reader(config)
        self._lock = threading.Lock()
        self.run_id = self._reader.publication.run_id
        self.published_at = self._reader.publication.published_at
        self.as_of = str(self._reader.as_of or "")
        self.made_at = now_utc()
        freshness = config.registry[EVENTS].freshness
        self._max_age_hours = freshness.max_age_hours if freshness else None

    def answer(self, name: str, filters: Mapping[str, str]) -> Answer:
        """Answer a named query; what goes wrong is the answer's `failure`."""
        if name not in self._reader.declarations.queries:
            return Answer(name, run_id=self.run_id, as_of=self.as_of)
        try:
            found = self.result(name, filters)
        except ConfigurationError as error:
            return Answer(
                name, filters=filters, run_id=self.run_id, as_of=self.as_of, failure=str(error), is_refused=True
            )
        except CloudlakeError as error:
            return Answer(name, filters=filters, run_id=self.run_id, as_of=self.as_of, failure=str(error))
        columns = {
            column.name: Shape(column.type, column.unit or "", column.description, column.source_table)
            for column in found.query.columns.values()
        }
        asked = {key: str(value) for key, value in found.filters.items() if value is not None and key in filters}
        return Answer(
            name, found.rows(), columns, asked, found.query.title, self.run_id, self.as_of, found.empty_hint or "",
            made_at=self.made_at, max_age_hours=self._max_age_hours,
        )  # fmt: skip

    def result(self, name: str, filters: Mapping[str, Any]) -> queries.Answer:
        """Return a query's answer as a table.

        Raises:
            ConfigurationError: no such query or filter, or a value that is not known.
            CloudlakeError: a table that it needs can't be read; the message says which query and what was found.
        """
        with self._lock:
            try:
                return queries.answer(self._reader, name, filters)
            except duckdb.Error as error:
                first = str(error).strip().splitlines()[0]
                raise CloudlakeError(f"{name}: it can't be answered ({first})") from error
            except OSError as error:
                raise CloudlakeError(f"{name}: a table that it reads can't be read ({error})") from error

    def close(self) -> None:
        """Close the reader."""
        with self._lock:
            self._reader.close()
