"""What something was made from, and where records went."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from cloudlake.cli import quality
from cloudlake.common.lake.provenance import MadeFrom, Pins, fingerprint
from cloudlake.common.quality.outcomes import Outcomes, reconciliation_row


def test_the_same_inputs_made_the_same_way_leave_nothing_to_do_and_any_other_do() -> None:
    made_from = MadeFrom({"silver.a": 3, "silver.b": -1}, {"fingerprint": "f", "hours": 24})
    note = json.loads(json.dumps({**made_from.note, "run_id": "r"}))  # as a commit has it
    assert made_from.holds(note)
    for other in (
        MadeFrom({"silver.a": 4, "silver.b": -1}, made_from.beside),
        MadeFrom({"silver.a": 3}, made_from.beside),
        MadeFrom(made_from.inputs, {"fingerprint": "g", "hours": 24}),
        MadeFrom(made_from.inputs, {"fingerprint": "f", "hours": 25}),
    ):
        assert not other.holds(note)
    assert not made_from.holds({})


def test_pins_say_which_versions_and_change_their_text_with_any() -> None:
    pins = Pins({"gold.b": -1, "gold.a": 2})
    assert (pins["gold.a"], pins["gold.b"]) == (2, -1) and str(pins) == "gold.a@2 gold.b@-1"


def test_a_fingerprint_is_short_and_another_for_another_text() -> None:
    assert len(fingerprint("a")) == 16 and fingerprint("a", "b") == fingerprint("ab") != fingerprint("a", "c")


def test_every_record_is_accepted_refused_or_a_repeat() -> None:
    whole = Outcomes(10, 5, 3, 2)
    assert whole.hold
    assert not Outcomes(10, 5, 3, 1).hold and not Outcomes(9, 5, 3, 2).hold and not Outcomes(10, 5, 5, 2).hold
    whole.add(Outcomes(4, 3, 1, 0, {"r": 1}))
    assert (whole.landed, whole.accepted, whole.quarantined, whole.duplicates, whole.reasons) == (14, 8, 4, 2, {})


def test_the_row_of_a_delivery_has_its_splits_and_that_of_a_load_its_versions() -> None:
    now, went = datetime(2025, 8, 31, tzinfo=UTC), Outcomes(6, 3, 2, 1, {"b": 1, "a": 2}, {"late": 1})
    row = reconciliation_row("silver.users", "d", "r", now, went, splits={"inserted": 2, "unchanged": 1})
    assert row == {
        "table": "silver.users", "delivery": "d", "run_id": "r", "counted_at": now, "landed": 6, "accepted": 3,
        "quarantined": 2, "duplicates": 1, "inserted": 2, "changed": 0, "unchanged": 1, "superseded": 0,
        "reasons": '{"a": 2, "b": 1}', "flags": '{"late": 1}', "from_version": None, "to_version": None,
    }  # fmt: skip
    load = reconciliation_row("silver.usage_events", "7", "r", now, went, splits={"inserted": 3}, versions=(4, 6))
    assert (load["from_version"], load["to_version"], load["inserted"]) == (4, 6, 3)


def test_quality_shows_the_worst_first_and_no_rate_where_there_are_no_rows() -> None:
    rule: dict[str, Any] = {"level": "warn", "rows": 5, "trend": [], "description": "d"}
    shown = quality._rules(
        [
            rule | {"table": "silver.a", "rule": "good", "pass_rate": 1.0},
            rule | {"table": "silver.b", "rule": "none", "pass_rate": None},
            rule | {"table": "silver.c", "rule": "bad", "pass_rate": 0.25},
        ],
        True,
    )
    assert [list(column.cells) for column in shown.columns[:5]][1] == ["bad", "good", "none"]
    assert list(shown.columns[0].cells) == ["c", "a", "b"] and list(shown.columns[4].cells) == ["25.00%", "100.00%", ""]
    broken: dict[str, Any] = {
        "level": "fail", "observed": 1.0, "expected": "0", "trend": [], "detail": None, "table": "gold.a", "rule": "r",
    }  # fmt: skip
    whole = quality._whole_tables([broken | {"status": "passed"}, broken | {"status": "failed", "table": "gold.z"}], True)
    assert list(whole.columns[0].cells) == ["gold.z", "gold.a"], "broken ones first"
