"""The stream's tables made whole again: bronze from the landing zone, and what is derived from silver's events from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from ..common.clock import now_utc
from ..common.config import Config
from ..common.contracts.schemas import arrow_schema
from ..common.errors import CloudlakeError
from ..common.lake.books import Finding
from ..common.lake.duck import connected
from ..common.live import BATCH_VIEW
from ..common.names import BRONZE_EVENTS as BRONZE
from ..common.names import EVENTS as SILVER
from ..common.names import INCREMENTS, LANDED, RECONCILIATION
from ..common.names import REFUSED_EVENTS as QUARANTINE
from ..common.publication import published
from ..common.quality import quarantine
from ..common.usage.sums import increments_where
from .bronze_events import JOB as BRONZE_JOB
from .checkpoints import LOADS_PER_GENERATION, checkpoint_folder, transaction_of
from .committed import made_anew
from .counts import held_by_load, load_row, newest_of_each, restated
from .silver_load import JOB


def sum_again(config: Config, run_id: str) -> None:
    """Make speed.usage_increments anew from silver, in one commit.

    Of a load that gold does not cover, and that made events anew, there are none: what was served before it stays.
    """
    lake, contract = config.lake, config.registry[INCREMENTS]
    lake.create(contract)
    reloads = [int(c.note["load_id"]) for c in lake.commits(SILVER) if made_anew(c.note)]
    covered = published(lake).load_id(BATCH_VIEW)
    left_out = [load for load in reloads if load > covered]
    condition = f"load_id NOT IN ({', '.join(map(str, left_out))})" if left_out else "true"
    newest = lake.newest(SILVER, "load_id")
    if newest is None:
        lake.replace_small(lake.read_small(INCREMENTS).slice(0, 0), contract, note={"cleared": run_id})
        return
    generation, batch_id = divmod(int(newest), LOADS_PER_GENERATION)
    transaction = transaction_of(JOB, generation, batch_id)
    with connected(events=lake.dataset(SILVER)) as connection:
        rows = connection.sql(increments_where(condition)).to_arrow_table()
    note = {"load_id": int(newest), "run_id": run_id}
    lake.replace_small(rows.select(contract.column_names), contract, note=note, transaction=transaction)


def recount(config: Config) -> None:
    """Write the counts of the events' loads to ops.reconciliation again, from the notes of the commits that hold them."""
    lake, contract = config.lake, config.registry[RECONCILIATION]
    refused = {int(c.note["load_id"]): c.note for c in lake.commits(QUARANTINE) if "counts" in c.note}
    notes: dict[int, dict[str, Any]] = {load: note for load, note in refused.items() if not made_anew(note)}
    notes |= {int(c.note["load_id"]): c.note for c in lake.commits(SILVER) if "counts" in c.note}
    first = max((load for load, note in notes.items() if note.get("reload")), default=0)
    kept = newest_of_each(lake)
    missing = {n: note for n, note in sorted(notes.items()) if n >= first and not _is_counted(kept, n, note)}
    rows = [load_row(SILVER, note, str(note["run_id"]), now_utc()) for note in missing.values()]
    last = notes[max(notes)] if notes else {}
    backfills = [note for note in missing.values() if note.get("backfill")]
    if not backfills:
        lake.append_small(rows, contract, last)
        return
    rows, held = sorted([*kept, *rows], key=lambda row: int(row["delivery"])), held_by_load(lake)
    for note in backfills:
        rows = [*restated(rows, held, note), *(row for row in rows if int(row["delivery"]) >= note["load_id"])]
    anew = pa.Table.from_pylist(rows, schema=arrow_schema(contract))
    lake.replace_small(anew, contract, where=f"\"table\" = '{SILVER}'", note=last)


def _is_counted(kept: Sequence[Mapping[str, Any]], load: int, note: Mapping[str, Any]) -> bool:
    """Tell whether a load has a row, or is in one that upkeep has summed: the next, which reaches back to its lines."""
    after = next((row for row in kept if int(row["delivery"]) >= load), None)
    if after is None:
        return False
    return int(after["delivery"]) == load or after["from_version"] <= note["from_version"]


def unread(config: Config, finding: Finding, run_id: str) -> Finding:
    """Have the event files read again that bronze.usage_events has lost: neither register nor checkpoint know them then.

    Lines that were refused, and that a person let enter, are in no file: they are open again. Returns the finding, that
    said as well.

    Raises:
        CloudlakeError: files that were read are no longer in the landing zone; nothing was changed.
    """
    lake = config.lake
    rows = lake.rows(LANDED, filters=[("source", "=", "usage_events"), ("status", "=", "ingested")])
    held: Collection[str] = set()
    if finding.kind == "older":
        held = set(lake.dataset(BRONZE).to_table(columns=["_source_file"])["_source_file"].unique().to_pylist())
    gone = sorted(
        row["path"]
        for row in rows
        if row["path"] not in held and row["size_bytes"] and not config.landing_zone.is_file(row["path"])
    )
    if gone:
        raise CloudlakeError(
            f"{finding}, and the landing zone no longer has {len(gone)} event file(s) of it: "
            f"{', '.join(gone[:10])}{' …' if gone[10:] else ''}. Put them back into {config.landing}, or the table from "
            f"a backup into {lake.path(BRONZE)}, and run again."
        )
    if finding.kind == "files":
        lake.set_aside(BRONZE, run_id)
    if rows:
        lake.delete(LANDED, "source = 'usage_events'", {"unread": BRONZE})
    lake.storage.delete_folder(checkpoint_folder(BRONZE_JOB))
    lost = _opened_again(config, held, run_id)
    if not lost:
        return finding
    again = (
        f"{lost} refused line(s) that had been replayed into it are open again, as they were refused; "
        "cloudlake quarantine list --table usage_events shows them"
    )
    return replace(finding, what=f"{finding.what}; {again}")


def _opened_again(config: Config, held: Collection[str], run_id: str) -> int:
    """Open the refused lines that count as replayed and that bronze does not hold; what silver then takes is none again."""
    if config.lake.version(QUARANTINE) < 1:
        return 0
    done = config.lake.read_small(QUARANTINE, columns=["quarantine_id"], filters=[("status", "=", quarantine.REPLAYED)])
    lost = [one for one in done["quarantine_id"].to_pylist() if quarantine.ENTRY + one not in held]
    changes = [{"quarantine_id": one, "status": quarantine.OPEN, "resolved_at": None} for one in lost]
    config.lake.update_small(config.registry[QUARANTINE], changes, {"run_id": run_id, "opened_again": len(lost)})
    return len(lost)
