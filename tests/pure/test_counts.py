"""Counts of micro-batches: what a backfill takes over leaves them, and sums of old ones count what their loads counted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from cloudlake.common.quality.outcomes import summed
from cloudlake.streaming.counts import restated


def counts(load: int, accepted: int, quarantined: int = 0, duplicates: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "table": "silver.usage_events", "delivery": str(load), "run_id": "r", "counted_at": datetime(2025, 8, 1, 12, load % 60, tzinfo=UTC),
        "landed": accepted + quarantined + duplicates, "accepted": accepted, "quarantined": quarantined, "duplicates": duplicates,
        "inserted": accepted, "changed": 0, "unchanged": 0, "superseded": 0, "reasons": "{}", "flags": "{}",
        "from_version": load, "to_version": load,
    } | more  # fmt: skip


def test_what_a_backfill_takes_over_leaves_the_loads_that_had_it_and_what_was_off_elsewhere_stays_off() -> None:
    rows = [counts(10, 3, 2, 1, reasons='{"a": 2}'), counts(20, 4), counts(25, 2)]
    held = [(8, 1, {"late": 1}), (15, 2, {}), (20, 1, {}), (30, 5, {"late": 5})]
    note = {"load_id": 30, "healed": [[10, ["a"], 1]], "off": 0}
    first, second = restated(rows, held, note)
    assert {name: first[name] for name in ("landed", "accepted", "inserted", "quarantined", "duplicates")} == {
        "landed": 3, "accepted": 1, "inserted": 1, "quarantined": 1, "duplicates": 1,
    }  # fmt: skip
    assert json.loads(first["reasons"]) == {"a": 1} and json.loads(first["flags"]) == {"late": 1}
    assert (second["delivery"], second["landed"], second["accepted"]) == ("20", 3, 3), "a load between counts for the next"
    assert [row["accepted"] for row in restated(rows, held, note | {"off": 2})] == [1, 3, 2]
    assert rows[0]["accepted"] == 3, "what was given stays as it is"


def test_counts_of_one_run_and_day_are_summed_under_their_newest_load() -> None:
    other_day = datetime(2025, 8, 2, tzinfo=UTC)
    rows = [
        counts(1, 2, 1, reasons='{"a": 1}', flags='{"late": 2}'), counts(2, 3, 0, 1, flags='{"late": 1, "odd": 1}'),
        counts(3, 4, run_id="s"), counts(4, 5, run_id="s", counted_at=other_day),
    ]  # fmt: skip
    found = summed(rows)
    assert [(row["delivery"], row["run_id"], row["landed"]) for row in found] == [("2", "r", 7), ("3", "s", 4), ("4", "s", 5)]
    assert (found[0]["from_version"], found[0]["to_version"], found[0]["inserted"]) == (1, 2, 5)
    assert (json.loads(found[0]["reasons"]), json.loads(found[0]["flags"])) == ({"a": 1}, {"late": 3, "odd": 1})
    assert summed(found) == found
