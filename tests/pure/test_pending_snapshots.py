"""Which exports of a master are told together: those that follow all that is known, each newer than the one before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cloudlake.batch.bronze.deliveries import Delivery
from cloudlake.batch.silver.history import in_batches

START = datetime(2025, 8, 1, tzinfo=UTC)


def days_of(*days: int, last: int | None = None, alone: bool = False) -> list[list[int]]:
    deliveries = [Delivery(f"{n}/users.csv", "x", "r", START + timedelta(day), 1) for n, day in enumerate(days)]
    known = None if last is None else START + timedelta(last)
    return [[(one.snapshot_at - START).days for one in batch] for batch in in_batches(deliveries, known, alone=alone)]


def test_exports_that_follow_all_that_is_known_are_told_together() -> None:
    assert days_of(1, 2, 3) == [[1, 2, 3]]
    assert days_of(4, 5, last=3) == [[4, 5]]
    assert days_of() == []


def test_an_export_that_comes_late_or_again_is_told_by_itself() -> None:
    assert days_of(1, 2, 5, 6, last=3) == [[1], [2], [5, 6]]
    assert days_of(1, 2, 2, 3, 4) == [[1, 2], [2], [3, 4]], "two exports of one time"
    assert days_of(3, 4, last=3) == [[3], [4]]


def test_where_a_missing_key_stays_in_force_each_export_is_told_by_itself() -> None:
    assert days_of(1, 2, alone=True) == [[1], [2]]
