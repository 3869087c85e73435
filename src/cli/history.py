"""`cloudlake history`: the versions of one key, when each held, and what changed from the one before."""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..common.errors import CloudlakeError, ConfigurationError, did_you_mean
from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config
    from ..common.contracts.table import Table

_BOOKKEEPING = {"effective_from", "effective_to", "is_current", "is_deleted", "record_hash"}


EXAMPLES = """examples:
  cloudlake history --table users --key user_00d1e2f3
  cloudlake history --table resources --key res_00d1e2f3 --json
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    history = add_command(
        commands,
        "history",
        "The versions of one key of a table with history, and what changed between them.",
        EXAMPLES,
    )
    history.add_argument("--table", required=True, metavar="T", help="customers_orgs, users or resources")
    history.add_argument(
        "--key", required=True, metavar="K", help="the key; of a composite one, its parts with commas between"
    )
    history.add_argument("--json", action="store_true", help="as JSON")
    history.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Print the history of one key, oldest version first.

    Raises:
        ConfigurationError: the table has no history, or the key has another number of parts.
        CloudlakeError: the key has no version.
    """
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
    versions.sort(key=lambda row: row["effective_from"])
    told = [_told(contract, version, before) for before, version in pairwise([None, *versions])]
    if arguments.json:
        print(json.dumps(told, indent=2, default=str))
    else:
        _show(f"{contract.name} {key}", told)
    return 0


def _show(title: str, told: list[dict[str, Any]]) -> None:
    from .tables import grid, print_grids

    shown = grid(title, "from", "to", "state", "what changed")
    for version in told:
        texts = ["came back"] if version["came_back"] else []
        for change in version["changes"]:
            after = "NULL" if change["after"] is None else change["after"]
            if "before" in change:
                before = "NULL" if change["before"] is None else change["before"]
                after = f"{before} → {after}"
            texts.append(f"{change['column']} {after}")
        ends = (version["effective_from"], version["effective_to"])
        shown.add_row(*map(_time, ends), version["state"], ", ".join(texts) or "nothing but its state")
    print_grids(shown)


def _table(config: Config, name: str) -> Table:
    kept = {t.short_name: t for t in config.registry.tables.values() if t.history.kind == "scd2"}
    found = kept.get(name.rpartition(".")[2])
    if found is None:
        raise ConfigurationError(f"--table {name}: no table with history has that name{did_you_mean(name, kept)}")
    return found


def _told(table: Table, version: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """Return when a version held, and what changed from the one before; of the first one, what it says."""
    business = [
        n
        for n in table.column_names
        if n not in {*_BOOKKEEPING, *table.key, table.history.surrogate_key, "quality_flags"}
    ]
    if before is None:
        changes = [
            {"column": name, "after": _shown(table, name, version[name])} for name in business if version[name] is not None
        ]
    else:
        changes = [
            {"column": name, "before": _shown(table, name, before[name]), "after": _shown(table, name, version[name])}
            for name in business
            if before[name] != version[name]
        ]
    return {
        "effective_from": version["effective_from"],
        "effective_to": version["effective_to"],
        "state": "deleted" if version["is_deleted"] else "current" if version["is_current"] else "closed",
        "came_back": before is not None and before["effective_to"] != version["effective_from"],
        "changes": changes,
    }


def _shown(table: Table, column: str, value: Any) -> str | None:
    if value is None:
        return None
    return "(personal data)" if table.columns[column].pii else str(value)


def _time(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if value else "open"
