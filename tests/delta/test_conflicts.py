"""Commits of another program between a read and a write: done again with a fresh read, so often as conf/ says."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from cloudlake.common.config import Config, load_config
from cloudlake.common.lake.conflicts import Conflicts
from cloudlake.common.lake.small import Revision
from cloudlake.common.lake.tables import Lake
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

ALERTS = "speed.alerts"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(lake=str(tmp_path / "lake"), landing=str(tmp_path))


def lake(config: Config, attempts: int) -> Lake:
    return Lake(config.lake.root, Conflicts(attempts, 0.01, 0.02))


def come_between(config: Config, alert: str) -> None:
    """Commit as another program does, which knows no lock."""
    row = config.lake.read_small(ALERTS).slice(0, 1)
    place = row.column_names.index("alert_id")
    write_deltalake(config.lake.path(ALERTS), row.set_column(place, "alert_id", pa.array([alert])), mode="append")


def test_an_upsert_that_another_commit_overtakes_reads_again_and_loses_no_row(config: Config) -> None:
    table = config.registry[ALERTS]
    config.lake.append_small([{"alert_id": "a"}], table)
    seen: list[int] = []

    def add(kept: pa.Table) -> Revision:
        if len(seen) < 2:
            come_between(config, f"other{len(seen)}")
        seen.append(kept.num_rows)
        return Revision(pa.Table.from_pylist([{"alert_id": "b"}], kept.schema))

    lake(config, 3).revise(table, add)
    assert seen == [1, 2, 3], "each try reads afresh"
    assert set(config.lake.read_small(ALERTS)["alert_id"].to_pylist()) == {"a", "b", "other0", "other1"}


def test_a_conflict_that_lasts_ends_after_the_tries_that_are_set(config: Config) -> None:
    table = config.registry[ALERTS]
    config.lake.append_small([{"alert_id": "a"}], table)
    tries: list[int] = []

    def add(kept: pa.Table) -> Revision:
        tries.append(kept.num_rows)
        come_between(config, f"other{len(tries)}")
        return Revision(pa.Table.from_pylist([{"alert_id": "b"}], kept.schema))

    with pytest.raises(CommitFailedError, match="came between"):
        lake(config, 3).revise(table, add)
    assert len(tries) == 3 and config.lake.count(ALERTS) == 4


def test_what_fails_for_another_reason_is_not_tried_again(config: Config) -> None:
    tries = []

    def fail() -> None:
        tries.append(1)
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        config.lake.conflicts.retried(fail)
    assert tries == [1]
    assert config.lake.conflicts.attempts == config.settings.commit_conflicts.attempts


def test_a_delete_that_another_commit_overtakes_is_done_again(config: Config) -> None:
    config.lake.append_small([{"alert_id": "a"}, {"alert_id": "b"}], config.registry[ALERTS])
    stale = DeltaTable(config.lake.path(ALERTS))
    come_between(config, "a")
    handles = iter([stale, DeltaTable(config.lake.path(ALERTS))])
    lake(config, 2).conflicts.retried(lambda: next(handles).delete("alert_id = 'a'"))
    assert config.lake.read_small(ALERTS)["alert_id"].to_pylist() == ["b"]
