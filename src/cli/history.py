"""`cloudlake history`: the versions of one key, when each held, and what changed from the one before."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..common.errors import CloudlakeError, ConfigurationError, did_you_mean
from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config
    from ..common.contracts.table import Table

_BOOKKEEPING = {"effective_from", "effective_to", "is_current", "is_deleted", "record_hash"}


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    history = add_command(
        commands,
        "history",
        "The versions of one key of a table with history, and what changed between them.",
        "example:\n  cloudlake history --table users --key user_00d1e2f3\n",
    )
    history.add_argument("--table", required=True, metavar="T", help="customers_orgs, users or resources")
    history.add_argument(
        "--key", required=True, metavar="K", help="the key; of a composite one, its parts with commas between"
    )
    history.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Print the history of one key, oldest version first.

    Raises:
        ConfigurationError: the table has no history, or the key has another number of parts.
        CloudlakeError: the key has no version.
    """
    from .tables import grid, print_grids

    key = arguments.key
    contract = _table(config, arguments.table)
    parts = key.split(",") if len(contract.key) > 1 else [key]
    if len(parts) != len(contract.key):
        raise ConfigurationError(
            f"--key {key}: {contract.name} has the key {', '.join(contract.key)}; give its parts with commas between"
        )
    if not config.lake.exists(contract.name):
        raise CloudlakeError(f"{contract.name}: nothing has been built yet; run scripts/run_batch_pipeline.sh")
    filters = [(column, "=", value) for column, value in zip(contract.key, parts, strict=True)]
    versions = config.lake.read_small(contract.name, filters=filters).to_pylist()
    if not versions:
        raise CloudlakeError(f"{contract.name}: no version of {', '.join(contract.key)} = {key} is known")
    shown = grid(f"{contract.name} {key}", "from", "to", "state", "what changed")
    before: dict[str, Any] | None = None
    for version in sorted(versions, key=lambda row: row["effective_from"]):
        shown.add_row(*_line(contract, version, before))
        before = version
    print_grids(shown)
    return 0


def _table(config: Config, name: str) -> Table:
    kept = {t.short_name: t for t in config.registry.tables.values() if t.history.kind == "scd2"}
    found = kept.get(name.rpartition(".")[2])
    if found is None:
        raise ConfigurationError(f"--table {name}: no table with history has that name{did_you_mean(name, kept)}")
    return found


def _line(table: Table, version: dict[str, Any], before: dict[str, Any] | None) -> tuple[str, str, str, str]:
    state = "deleted" if version["is_deleted"] else "current" if version["is_current"] else "closed"
    business = [
        n
        for n in table.column_names
        if n not in {*_BOOKKEEPING, *table.key, table.history.surrogate_key, "quality_flags"}
    ]
    if before is None:
        text = ", ".join(
            f"{name} {_shown(table, name, version[name])}" for name in business if version[name] is not None
        )
    else:
        gap = before["effective_to"] != version["effective_from"]
        changes = [
            f"{name} {_shown(table, name, before[name])} → {_shown(table, name, version[name])}"
            for name in business
            if before[name] != version[name]
        ]
        text = ", ".join((["came back"] if gap else []) + changes) or "nothing but its state"
    return _time(version["effective_from"]), _time(version["effective_to"]), state, text


def _shown(table: Table, column: str, value: Any) -> str:
    if value is None:
        return "NULL"
    return "(personal data)" if table.columns[column].pii else str(value)


def _time(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if value else "open"
