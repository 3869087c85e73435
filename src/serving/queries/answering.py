"""Answering a named query: check the filters, run its SQL, give the rows in the declared types."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from ...common.contracts.schemas import arrow_type
from ...common.errors import CloudlakeError, ConfigurationError, did_you_mean
from .declaration import Filter, Query, Values
from .reader import Moment, Reader

_SHOWN = 12
"""A value that is not known is answered with all that are, up to so many."""


@dataclass(frozen=True)
class Answer:
    """The answer to a named query."""

    query: Query
    table: pa.Table
    """Its rows; columns and types as declared."""
    publication: Moment
    as_of: date | None
    filters: Mapping[str, Any]
    """Every filter's value, None where it was not given and has no default."""
    empty_hint: str | None = None
    """Where there are no rows: which there would be."""

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        rows: list[dict[str, Any]] = self.table.to_pylist(maps_as_pydicts="strict")
        return rows


def answer(reader: Reader, name: str, filters: Mapping[str, Any] | None = None) -> Answer:
    """Answer a named query from the reader's publication.

    Args:
        reader: the publication.
        name: the query's name.
        filters: filter → value, as text or typed; None and '' are as if not given.

    Raises:
        ConfigurationError: no such query or filter, a value that is malformed or unknown; every fault at once.
        CloudlakeError: a table that it needs is not published, or can't be read.
    """
    query = reader.declarations[name]
    given = resolve(reader, query, filters or {})
    wanted = query.parameters
    if "as_of" in wanted and reader.as_of is None:
        raise CloudlakeError(f"{name}: no published table has a business date; run scripts/run_batch_pipeline.sh")
    known = {**given, "as_of": reader.as_of, "load_id": reader.publication.load_id}
    found = reader.run(query.sql, {key: value for key, value in known.items() if key in wanted})
    schema = pa.schema([(column.name, arrow_type(column.type)) for column in query.columns.values()])
    # A reader's cast is the table's; the table's own waits for all of pyarrow.compute to be imported.
    table = found.select(schema.names).to_reader().cast(schema).read_all()
    hint = None if table.num_rows else _empty_hint(reader, query, given)
    return Answer(query, table, reader.publication, reader.as_of, given, hint)


def resolve(reader: Reader, query: Query, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return every filter's value in its type, checked.

    Raises:
        ConfigurationError: with every fault.
    """
    faults = [
        f"{query.name}: '{name}' is not a filter{did_you_mean(name, query.filters)}"
        for name in filters
        if name not in query.filters
    ]
    values: dict[str, Any] = {}
    for filter_ in query.filters.values():
        said = filters.get(filter_.name)
        said = filter_.default if said is None or said == "" else said
        if said is None and filter_.needed:
            known = reader.declarations.values.get(filter_.type)
            lists = f"; {known.list} lists them" if known else ""
            faults.append(f"{query.name}: {filter_.name} is missing ({filter_.description}{lists})")
        try:
            values[filter_.name] = None if said is None else _typed(reader, filter_, said)
        except ValueError as error:
            faults.append(f"{filter_.name}: {error}")
    first, last = values.get("from"), values.get("to")
    if first is not None and last is not None and first > last:
        faults.append(f"from: {first} is after to, {last}")
    if faults:
        raise ConfigurationError(faults)
    return values


def _typed(reader: Reader, filter_: Filter, said: Any) -> Any:
    """Return a filter's value in its type.

    Raises:
        ValueError: it is malformed, out of bounds, or none that the data knows.
    """
    if filter_.type in ("date", "month"):
        return _date(said, filter_.type)
    if filter_.type == "whole":
        return _whole(filter_, said)
    text = str(said)
    if filter_.choices and text not in filter_.choices:
        raise ValueError(f"'{text}' is none of {', '.join(filter_.choices)}{_nearest(text, filter_.choices)}")
    if filter_.type in reader.declarations.values:
        _require_known(reader, reader.declarations.values[filter_.type], text)
    return text


def _date(said: Any, form: str) -> date:
    """Return a date; of a month its first day."""
    if isinstance(said, datetime):
        said = said.date()
    try:
        day = said if isinstance(said, date) else date.fromisoformat(f"{said}-01" if len(str(said)) == 7 else str(said))
        if form == "date" and not isinstance(said, date) and len(str(said)) != 10:
            raise ValueError
    except ValueError:
        wanted = "date; write YYYY-MM-DD" if form == "date" else "month; write YYYY-MM, or a date of it"
        raise ValueError(f"'{said}' is not a {wanted}") from None
    return day.replace(day=1) if form == "month" else day


def _whole(filter_: Filter, said: Any) -> int:
    least, most = filter_.least, filter_.most
    text = str(said).strip()
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 18):
        raise ValueError(f"'{said}' is not a whole number")
    number = int(text)
    if (least is not None and number < least) or (most is not None and number > most):
        raise ValueError(f"{number} is not between {least} and {most}")
    return number


def _require_known(reader: Reader, values: Values, text: str) -> None:
    """Check that the data knows a value.

    Raises:
        ValueError: it does not; with the nearest one.
    """
    if reader.run(f"SELECT 1 FROM ({values.sql}) AS known(value) WHERE value = $text LIMIT 1", {"text": text}).num_rows:
        return
    known = [str(value) for value in reader.run(values.sql)[0].to_pylist() if value is not None]
    kind = values.description.lower()
    raise ValueError(f"no {kind} is called '{text}'{_nearest(text, known) or _all(known, values)}")


def _nearest(text: str, known: Any) -> str:
    near = difflib.get_close_matches(text, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def _all(known: list[str], values: Values) -> str:
    if not known:
        return "; there is none yet"
    if len(known) <= _SHOWN:
        return f"; known: {', '.join(sorted(known))}"
    return f"; {len(known)} are known, see {values.list}"


def _empty_hint(reader: Reader, query: Query, given: Mapping[str, Any]) -> str:
    """Say what there is, where nothing fits."""
    covers = query.covers
    if covers is None:
        return f"{query.name}: nothing fits"
    table, _, column = covers.column.rpartition(".")
    chosen = {name: given[name] for name in covers.by if given[name] is not None}
    conditions = [f"({covers.where})", *(f"{covers.by[name]} = ${name}" for name in chosen)]
    sql = f"SELECT min({column}) AS first, max({column}) AS last FROM {table} WHERE {' AND '.join(conditions)}"
    first, last = reader.run(sql, chosen).to_pylist()[0].values()
    of = "".join(f", {name} {value}" for name, value in chosen.items())
    if first is None:
        return f"{query.name}: there is nothing{of} at all"
    return f"{query.name}: nothing fits; there is {column} {first} to {last}{of}"
