"""What feeds a table or a column, and what it feeds: from the contracts, and for columns from what Spark's plans say.

`conf/lineage.json` holds, for each column that Spark computes, the columns it is made from. It is written from the analysed
plans (`cloudlake lineage --derive`); a test compares it with the code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.config import Config
from ..common.contracts.table import Registry, Table
from ..common.errors import ConfigurationError, did_you_mean

FILE = "lineage.json"
Columns = dict[str, dict[str, list[str]]]
"""Table → column → the columns it is made from, as `layer.table.column`."""


@dataclass(frozen=True)
class Lineage:
    """The graph of tables and columns."""

    registry: Registry
    columns: Mapping[str, Mapping[str, list[str]]]

    def inputs(self, column: str) -> list[str]:
        """Return what a column (`layer.table.column`) is made from, one step back; of bronze, the column of the export."""
        name, _, short = column.rpartition(".")
        table = self.registry.tables.get(name)
        if table is not None and table.layer == "bronze" and table.origin and not short.startswith("_"):
            return [f"{table.origin}:{short}"]
        return list(self.columns.get(name, {}).get(short, []))

    def feeds(self, column: str) -> list[str]:
        """Return what is made from a column, one step on."""
        found = [f"{t}.{c}" for t, cs in self.columns.items() for c, made_from in cs.items() if column in made_from]
        return sorted(found)

    def traced(self, column: str) -> list[tuple[int, str]]:
        """Return everything that a column is made from, back to the landing zone, each with its distance; nearest first."""
        return list(_walk(column, self.inputs))

    def followed(self, column: str) -> list[tuple[int, str]]:
        """Return everything that is made from a column, each with its distance; nearest first."""
        return list(_walk(column, self.feeds))


def _walk(start: str, step: Any) -> Iterator[tuple[int, str]]:
    seen, at = {start}, [start]
    distance = 0
    while at:
        distance += 1
        found = list(dict.fromkeys(name for one in at for name in step(one) if name not in seen))
        seen |= set(found)
        yield from ((distance, name) for name in found)
        at = found


def load_lineage(config: Config) -> Lineage:
    """Return the graph of the contracts, with the columns that conf/lineage.json knows.

    Raises:
        ConfigurationError: that file is damaged.
    """
    path = config.conf / FILE
    columns: Columns = {}
    if path.exists():
        try:
            columns = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigurationError(f"conf/{FILE}: {error}; write it anew with cloudlake lineage --derive") from None
    return Lineage(config.registry, columns)


def write_columns(path: Path, columns: Mapping[str, Mapping[str, Iterable[str]]]) -> None:
    """Write what columns are made from, the same text for the same graph."""
    content = {table: {name: sorted(made) for name, made in of.items()} for table, of in sorted(columns.items())}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def named_table(registry: Registry, name: str) -> Table:
    """Return the table of a full name, or of a short one that only one layer after bronze has.

    Raises:
        ConfigurationError: there is none.
    """
    if name in registry.tables:
        return registry[name]
    order = ("gold", "silver", "serving", "speed", "bronze", "ops", "quarantine")
    found = [f"{layer}.{name}" for layer in order if f"{layer}.{name}" in registry.tables]
    if not found:
        raise ConfigurationError(f"--table {name}: there is no such table{did_you_mean(name, registry.tables)}")
    return registry[found[0]]


def described(lineage: Lineage, table: Table, column: str | None) -> dict[str, Any]:
    """Return what feeds a table, or one of its columns, and what it feeds, as plain data.

    Raises:
        ConfigurationError: the table has no such column.
    """
    registry = lineage.registry
    if column is None:
        return {
            "table": table.name,
            "made_from": list(table.inputs) or ([table.origin] if table.origin else []),
            "upstream": sorted(registry.upstream([table.name]) - {table.name}),
            "feeds": sorted(t.name for t in registry.tables.values() if table.name in t.inputs),
            "downstream": sorted(registry.downstream([table.name]) - {table.name}),
            "columns": {name: lineage.inputs(f"{table.name}.{name}") for name in table.columns},
        }
    if column not in table.columns:
        raise ConfigurationError(
            f"--column {column}: {table.name} has no such column{did_you_mean(column, table.columns)}"
        )
    name = f"{table.name}.{column}"
    return {
        "column": name,
        "made_from": lineage.inputs(name),
        "back": [{"steps": steps, "column": one} for steps, one in lineage.traced(name)],
        "feeds": lineage.feeds(name),
        "on": [{"steps": steps, "column": one} for steps, one in lineage.followed(name)],
    }
