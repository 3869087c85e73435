"""`cloudlake query`: the named queries of conf/queries.yaml, answered from one publication."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..common.errors import ConfigurationError
from .arguments import Commands, Parser, add_command
from .output import add_output, write_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from ..common.config import Config
    from ..serving.queries import Query

EXAMPLES = """examples:
  cloudlake query --list
  cloudlake query daily-costs --from 2025-08-01 --to 2025-08-31 --service genai
  cloudlake query top-services --org org_1a2b3c4d --days 30 --top 3
  cloudlake query customer org_1a2b3c4d
  cloudlake query monthly-revenue --format csv --output revenue.csv
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command; its filters are those of conf/queries.yaml, read when the command is chosen."""
    query = add_command(
        commands, "query", "Answer a named query: what was used, earned, asked and is at risk.", EXAMPLES
    )
    query.add_argument("name", nargs="?", metavar="NAME", help="the query; --list shows them")
    query.add_argument("--list", action="store_true", help="the queries, their filters and columns")
    add_output(query)
    query.later = _add_filters
    query.set_defaults(run=run)


def _add_filters(query: Parser, arguments: Sequence[str]) -> None:
    """Add an option for each filter that some query has, with what it means and which queries take it."""
    from ..common.config import conf_folder
    from ..serving.queries.declaration import declared_filters

    only_conf = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    only_conf.add_argument("--conf")
    conf = conf_folder(only_conf.parse_known_args(list(arguments))[0].conf)
    filters = query.add_argument_group("filters")
    for name, (meaning, takers, is_positional) in declared_filters(conf).items():
        said = f"{meaning} ({', '.join(takers)})".replace("%", "%%")
        if is_positional:
            filters.add_argument("value", nargs="?", metavar=name.upper(), help=f"the same as --{name}")
        filters.add_argument(f"--{name}", dest=f"filter_{name}", metavar=name.upper(), help=said)


def run(config: Config, arguments: Namespace) -> int:
    """Write the answer, and, where it is empty, say what there would be.

    Raises:
        ConfigurationError: no such query or filter, or a value that is unknown.
        CloudlakeError: nothing has been published yet.
    """
    from ..serving.queries import answer, load_queries, open_reader

    declared = load_queries(config.conf, config.registry)
    if arguments.list:
        write_rows(_listing(list(declared.queries.values())), arguments)
        return 0
    if arguments.name is None:
        raise ConfigurationError("query: name a query; cloudlake query --list shows them")
    query = declared[arguments.name]
    with open_reader(config) as reader:
        found = answer(reader, query.name, _filters(query, arguments))
    write_rows(found.table, arguments)
    if found.empty_hint:
        print(found.empty_hint, file=sys.stderr)
    return 0


def _filters(query: Query, arguments: Namespace) -> dict[str, Any]:
    """Return the filters that were given."""
    given = {
        name.removeprefix("filter_"): value
        for name, value in vars(arguments).items()
        if name.startswith("filter_") and value is not None
    }
    value = getattr(arguments, "value", None)
    if value is not None:
        place = next((filter_.name for filter_ in query.filters.values() if filter_.positional), None)
        if place is None:
            raise ConfigurationError(f"{query.name}: '{value}' has no place here; filters stand as --name value")
        if given.setdefault(place, value) != value:
            raise ConfigurationError(f"{query.name}: {place} is both '{value}' and '{given[place]}'")
    return given


def _listing(queries: Sequence[Query]) -> pa.Table:
    import pyarrow as pa

    def shown(query: Query) -> dict[str, str]:
        filters = []
        for one in query.filters.values():
            word = one.name.upper() if one.positional else f"--{one.name}"
            filters.append(f"{word} {one.default}" if one.default is not None else word if one.needed else f"[{word}]")
        return {
            "query": query.name,
            "title": query.title,
            "filters": " ".join(filters),
            "columns": ", ".join(query.columns),
        }

    names = ("query", "title", "filters", "columns")
    return pa.Table.from_pylist([shown(query) for query in queries], pa.schema([(name, pa.string()) for name in names]))
