"""What the notes of earlier commits say of the loads of events: which were, which was the last, which is complete."""

from __future__ import annotations

from typing import Any

from ..common.errors import CloudlakeError
from ..common.lake.tables import Lake
from ..common.names import BRONZE_EVENTS as BRONZE
from ..common.names import EVENTS as SILVER
from ..common.names import RECONCILIATION


def note_of(lake: Lake, load_id: int) -> dict[str, Any]:
    """Return the note of the commit that put a load into silver."""
    for commit in lake.newest_first(SILVER):
        if commit.note.get("load_id") == load_id:
            return commit.note
    raise CloudlakeError(f"{SILVER}: no commit speaks of load_id {load_id}, though Delta knows its transaction")


def newest_note(lake: Lake, table: str) -> dict[str, Any]:
    """Return the note of the newest load that a table's log speaks of, {} where it speaks of none."""
    # load_ids grow with the commits
    return next((commit.note for commit in lake.newest_first(table) if "load_id" in commit.note), {})


def largest_load_id(lake: Lake) -> int | None:
    """Return the largest load_id that silver holds, None where it is empty."""
    largest = lake.newest(SILVER, "load_id")
    return None if largest is None else int(largest)


def last_counted(lake: Lake) -> dict[str, Any]:
    """Return the note of the newest count; from its row, where the log no longer goes back to its commit."""
    note = newest_note(lake, RECONCILIATION)
    if note:
        return note
    rows = lake.read_small(RECONCILIATION, filters=[("table", "=", SILVER)]).to_pylist()
    if not rows:
        return note
    newest = max(rows, key=lambda row: int(row["delivery"]))
    position = {"version": newest["to_version"] + 1, "index": -1}
    return {"load_id": int(newest["delivery"]), "source": lake.table_id(BRONZE), "next": position}
