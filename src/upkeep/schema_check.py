"""Each table of a lake against its contract, and each source's newest header against its declaration."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from ..common.config import Config
from ..common.contracts.derived import is_of_a_history, owner_of, with_memories
from ..common.contracts.schemas import delta_schema
from ..common.contracts.table import Table
from ..common.lake.duck import connected
from ..common.lake.opening import open_table
from ..common.names import LANDED

BATCH = "scripts/run_batch_pipeline.sh"
_NEWEST = """
SELECT source, path, drift FROM landed WHERE status = 'ingested'
QUALIFY row_number() OVER (PARTITION BY source ORDER BY snapshot_at DESC, ingested_at DESC) = 1 ORDER BY source
"""


@dataclass(frozen=True)
class Difference:
    """Something that is not as conf/ says, and the line that mends it."""

    table: str
    what: str
    line: str


def verify(config: Config) -> list[Difference]:
    """Return every difference: columns, types, comments, properties, partitions, statistics, headers. Reads no row."""
    tables = with_memories(config.registry.tables.values())
    found = [one for table in tables if config.lake.exists(table.name) for one in _of_table(config, table)]
    return found + list(_of_headers(config))


def _of_table(config: Config, table: Table) -> Iterator[Difference]:
    lake, path = config.lake, config.lake.path(table.name)
    delta = open_table(path, without_files=True)
    stored = {field.name: str(field.type) for field in delta.schema().fields}
    declared = {field.name: str(field.type) for field in delta_schema(table).fields}
    missing = [name for name in declared if name not in stored]
    if missing:
        yield Difference(table.name, f"it lacks the column(s) {', '.join(missing)}", _adding(path, table, missing))
    other = {name: (stored[name], kind) for name, kind in declared.items() if name in stored and stored[name] != kind}
    for name, (kind, wanted) in other.items():
        what = f"column {name} is {_spoken(kind)}, and declared as {_spoken(wanted)}"
        yield Difference(table.name, what, _anew(config, table))
    more = [name for name in stored if name not in declared]
    if more and table.layer != "bronze":  # bronze keeps what is delivered
        yield Difference(
            table.name, f"it has the column(s) {', '.join(more)}, which conf/ does not declare", _anew(config, table)
        )
    if list(delta.metadata().partition_columns) != list(table.layout.partition):
        was, by = delta.metadata().partition_columns, list(table.layout.partition)
        what = f"it is partitioned by {', '.join(was) or 'nothing'}, and declared by {', '.join(by) or 'nothing'}"
        yield Difference(table.name, what, _anew(config, table))
    differs = lake.undeclared(table)
    if differs:
        what = f"description, comments or properties differ: {', '.join(differs)}"
        yield Difference(table.name, what, _compare_again(config))
    leaks = lake.leaking(table)
    if leaks:
        line = _compare_again(config) if is_of_a_history(table) else _anew(config, table)
        yield Difference(table.name, f"its files carry statistics of personal data: {', '.join(leaks)}", line)


def _spoken(kind: str) -> str:
    return kind.removeprefix('PrimitiveType("').removesuffix('")')


def _adding(path: str, table: Table, names: list[str]) -> str:
    """Return the line that adds columns to a table, with NULL in the rows that are there."""
    fields = json.loads(delta_schema(table).to_json())["fields"]
    chosen = json.dumps({"type": "struct", "fields": [field for field in fields if field["name"] in names]})
    code = (
        "from deltalake import DeltaTable, Schema; "
        f"DeltaTable({path!r}).alter.add_columns(Schema.from_json({chosen!r}).fields)"
    )
    return shlex.join([sys.executable, "-c", code])


def _compare_again(config: Config) -> str:
    """Return the line of a run that compares every table with its contract, also those that it has found well before."""
    return f"rm -f {shlex.quote(config.lake.storage.at('ops/declared.json'))} && {BATCH}"


def _anew(config: Config, table: Table) -> str:
    """Return the line that makes a table anew with the columns of its contract."""
    if table.layer in ("silver", "gold"):
        return f"{BATCH} --full-reload --jobs {owner_of(table.short_name)}"
    aside = config.lake.storage.at("aside")
    away = shlex.join(["mv", config.lake.path(table.name), f"{aside}/{table.name}-undeclared"])
    return f"{shlex.join(['mkdir', '-p', aside])} && {away} && {BATCH}"


def _of_headers(config: Config) -> Iterator[Difference]:
    """Yield what the newest file of each source has beyond its declaration, and what it lacks."""
    if not config.lake.exists(LANDED):
        return
    columns = ["source", "path", "status", "drift", "snapshot_at", "ingested_at"]
    exports = [("source", "!=", "usage_events")]  # event files have no header
    with connected(landed=config.lake.read_small(LANDED, columns=columns, filters=exports)) as connection:
        newest = connection.sql(_NEWEST).fetchall()
    for source, path, text in newest:
        drift, name = json.loads(text or "{}"), f"bronze.{source}"
        if drift.get("new"):
            what = f"{path} has the column(s) {', '.join(drift['new'])}, which conf/bronze.yaml does not declare; they are kept"
            line = f"add them under {source}: columns: in conf/bronze.yaml, and where they mean something, in conf/silver.yaml"
            yield Difference(name, what, line)
        if drift.get("missing"):
            what = f"{path} lacks the column(s) {', '.join(drift['missing'])}; their values are NULL"
            line = f"have the source deliver them, or take them out under {source}: columns: in conf/bronze.yaml"
            yield Difference(name, what, line)
