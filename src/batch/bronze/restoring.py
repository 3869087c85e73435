"""Bronze made whole again from the landing zone: deliveries that the books know, and the table no longer holds.

A delivery comes back as it was, under the run and the times it had, so silver need not be told anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from ...common.config import Config
from ...common.contracts.schemas import arrow_schema
from ...common.contracts.table import Table
from ...common.erasure import erased_in
from ...common.errors import CloudlakeError
from ...common.lake.books import NEW, Books, Finding
from ...common.lake.small import Revision
from ...common.names import LANDED
from ...common.quality.quarantine import ENTRY
from .ingestion import bronze_rows, registry_rows
from .landed import LandedFile, identify, opened

_KEY = ("_source_file", "_source_sha256", "_run_id")


def restore(config: Config, table: Table, finding: Finding, run_id: str) -> str:
    """Append the deliveries that a bronze table has lost, read again from the landing zone, in one commit.

    Returns what was done.

    Raises:
        CloudlakeError: a file is no longer there, or has other content by now; nothing was changed.
    """
    lake = config.lake
    known = [row for row in registry_rows(config, table) if row["status"] == "ingested"]
    held = set() if finding.kind in ("removed", "files") else _held(config, table)
    lost = [row for row in known if (row["path"], row["sha256"], row["run_id"]) not in held]
    files = [(row, _landed(config, table, row)) for row in lost]
    gone = sorted(row["path"] for row, file in files if file is None)
    if gone:
        raise CloudlakeError(
            f"{finding}, and the landing zone no longer has {len(gone)} file(s) of it as they were: "
            f"{', '.join(gone[:10])}{' …' if gone[10:] else ''}. Put them back into {config.landing}, or the table from "
            f"a backup into {lake.path(table.name)}, and run again."
        )
    if finding.kind == "files":
        lake.set_aside(table.name, run_id)
    lake.create(table)
    erased = erased_in(config, table.short_name)
    parts = [(file, row["ingested_at"], row["run_id"]) for row, file in files if file is not None]
    if parts:
        rows = bronze_rows(parts, erased)
        lake.append_widening(rows, table, note={"run_id": run_id, "restored": [row["path"] for row in lost]})
        version = lake.version(table.name)
        registry = config.registry[LANDED]
        changed = pa.Table.from_pylist([row | {"bronze_version": version} for row in lost], arrow_schema(registry))
        lake.revise(registry, lambda _: Revision(changed), {"restored": table.name, "run_id": run_id})
    Books.of(lake).keep({table.name: NEW})
    return f"{finding}: {len(lost)} delivery(ies) read again from the landing zone"


def _held(config: Config, table: Table) -> set[tuple[str, str, str]]:
    """Return the deliveries that the table holds: path, hash and run."""
    rows = config.lake.dataset(table.name).to_table(columns=list(_KEY)).group_by(list(_KEY)).aggregate([])
    return {tuple(row[name] for name in _KEY) for row in rows.to_pylist()}


def _landed(config: Config, table: Table, row: Mapping[str, Any]) -> LandedFile | None:
    """Return the landed file of a delivery as it was, None where the landing zone has it no more."""
    path = row["path"]
    if path.startswith(ENTRY) or not config.landing_zone.is_file(path):
        return None
    file, content = identify(config, table, path, row["snapshot_at"], row["ingested_at"])
    if file.sha256 != row["sha256"]:
        return None
    dated = replace(file, modified_at=row["modified_at"], snapshot_at=row["snapshot_at"], reason="")
    file = opened(config, dated, path, content, table, ())
    return file if file.export is not None else None
