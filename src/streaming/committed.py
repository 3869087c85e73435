"""What the notes of earlier commits say of the loads of events: which were, which was the last, which is complete."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from ..common.errors import CloudlakeError
from ..common.lake.tables import Lake
from ..common.names import BRONZE_EVENTS as BRONZE
from ..common.names import EVENTS as SILVER
from ..common.names import RECONCILIATION
from .counts import newest_of_each


def note_of(lake: Lake, load_id: int) -> dict[str, Any]:
    """Return the note of the commit that put a load into silver."""
    for commit in lake.newest_first(SILVER):
        if commit.note.get("load_id") == load_id:
            return commit.note
    raise CloudlakeError(f"{SILVER}: no commit speaks of load_id {load_id}, though Delta knows its transaction")


def made_anew(note: Mapping[str, Any]) -> bool:
    """Tell whether a load took the place of events of loads before it: of all (a reload), or of some dates (a backfill).

    It brings no increments: what is served stays until marts that were built from it are published.
    """
    return bool(note.get("reload") or note.get("backfill"))


def require_lines(lake: Lake, since: date | None = None) -> None:
    """Check that bronze has every line that was counted: what silver is made anew from.

    Args:
        lake: the lake.
        since: the first date of the events that are made anew. Their lines came no earlier than the day before.

    Raises:
        CloudlakeError: it has not.
    """
    rows = newest_of_each(lake)
    seen = max((row["to_version"] for row in rows if row["to_version"] is not None), default=-1)
    counted = sum(row["landed"] for row in rows)
    lost = counted - lake.count(BRONZE) + lake.rows_appended(BRONZE, seen)
    if lost <= 0:
        return
    first = min(lake.partition_values(BRONZE, "ingest_date"), default=None) if lake.exists(BRONZE) else None
    if since is not None and first is not None and date.fromisoformat(first) < since:
        return
    held = f"holds lines from {first} on" if first else "holds no line"
    raise CloudlakeError(
        f"{BRONZE} lacks {lost:,} line(s) that {SILVER} was made from: it {held} (retention.bronze in conf/lake.yaml lets "
        "older ones go), so silver can't be made anew from it; nothing was changed. "
        + ("Later dates can: cloudlake backfill" if first else "Put the table back from a copy of the lake")
    )


def newest_note(lake: Lake, table: str) -> dict[str, Any]:
    """Return the note of the newest load that a table's log speaks of, {} where it speaks of none."""
    # load_ids grow with the commits
    return next((commit.note for commit in lake.newest_first(table) if "load_id" in commit.note), {})


def largest_load_id(lake: Lake) -> int | None:
    """Return the largest load_id that silver holds, None where it is empty."""
    largest = lake.newest(SILVER, "load_id")
    return None if largest is None else int(largest)


def last_accepted(lake: Lake) -> int:
    """Return the largest load that was counted and brought events, 0 where none did."""
    note = newest_note(lake, RECONCILIATION)
    if note.get("counts", {}).get("accepted"):
        return int(note["load_id"])
    rows = lake.rows(RECONCILIATION, ["delivery"], [("table", "=", SILVER), ("accepted", ">", 0)])
    return max((int(row["delivery"]) for row in rows), default=0)


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
