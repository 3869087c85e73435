"""What is asked at every start does not grow with a lake's age: numbers come from the newest commits, or from statistics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cloudlake.common.config import Config, load_config
from cloudlake.common.lake.log import newest_first
from cloudlake.runs.record import reconciliation
from cloudlake.runs.state import gather
from deltalake import DeltaTable

AT = datetime(2025, 8, 31, 2, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "landing").mkdir()
    return load_config(lake=str(tmp_path / "lake"), landing=str(tmp_path / "landing"))


def test_the_newest_note_is_read_from_the_newest_entries_however_long_the_log_is(config: Config) -> None:
    gates, lake = config.registry["ops.gates"], config.lake
    for number in range(6):
        lake.append_small([{"run_id": f"r{number}"}], gates, {"number": number})
    path = Path(lake.path(gates.name))
    DeltaTable(str(path)).optimize.compact()  # leaves no note
    newest = lake.version(gates.name)
    DeltaTable(str(path)).create_checkpoint()
    for version in range(4):
        (path / "_delta_log" / f"{version:020d}.json").unlink()
    assert lake.last_note(gates.name) == {"number": 5}
    assert lake.last_note(gates.name, newest - 2) == {"number": 4}
    assert lake.last_note(gates.name, 2) == {}, "entries that the log no longer has"
    assert [commit.version for commit in newest_first(path)] == list(range(newest, 3, -1))
    commits = lake.newest_first(gates.name)
    assert next(commits).operation == "OPTIMIZE"
    (path / "_delta_log" / f"{newest - 1:020d}.json").write_text("not read unless it is asked for")
    assert lake.bytes_added("ops.landed_files", -1) == 0


def test_totals_count_each_delivery_once_with_its_newest_row(config: Config) -> None:
    table = config.registry["ops.reconciliation"]

    def row(delivery: str, run_id: str, hours: int, landed: int, accepted: int, reasons: str) -> dict[str, object]:
        return {
            "table": "silver.users", "delivery": delivery, "run_id": run_id, "counted_at": AT + timedelta(hours=hours),
            "landed": landed, "accepted": accepted, "quarantined": landed - accepted, "duplicates": 0, "reasons": reasons,
        }  # fmt: skip

    config.lake.append_small(
        [row("a", "r1", 0, 9, 9, "{}"), row("a", "r2", 1, 10, 8, '{"x": 2}'), row("b", "r2", 1, 5, 3, '{"x": 2}'),
         row("c", "r1", 0, 4, 3, '{"y": 1}')], table,
    )  # fmt: skip
    (whole,) = reconciliation(config)
    assert (whole["landed"], whole["accepted"], whole["reasons"], whole["holds"]) == (19, 14, {"x": 4, "y": 1}, True)
    (of_run,) = reconciliation(config, "r1")
    assert (of_run["landed"], of_run["reasons"]) == (4, {"y": 1}), "what a later run counted anew is that run's"


def test_status_finds_the_last_good_run_and_odd_files_among_many_rows(config: Config) -> None:
    runs, landed = config.registry["ops.job_runs"], config.registry["ops.landed_files"]

    def step(number: int, status: str, name: str = "run", detail: str = "{}") -> dict[str, object]:
        at = AT + timedelta(hours=number)
        return {
            "run_id": f"{number:04d}",
            "step": name,
            "status": status,
            "started_at": at,
            "ended_at": at,
            "seconds": 1.0,
            "detail": detail,
        }

    retyped = '{"retyped": {"users.csv": ["age"]}}'
    config.lake.append_small([step(0, "done"), step(0, "done", "silver.users", retyped)], runs)
    config.lake.append_small([step(n, "failed") for n in range(1, 1600)], runs)
    file = {"source": "users", "snapshot_at": AT, "run_id": "0000"}
    config.lake.append_small(
        [
            file | {"path": "users.csv", "status": "ingested", "drift": '{"new": ["age"], "missing": []}', "ingested_at": AT},
            file | {"path": "old.csv", "status": "refused", "reason": "empty", "ingested_at": AT},
            file | {"path": "old.csv", "status": "ingested", "ingested_at": AT + timedelta(hours=1)},
            file | {"path": "bad.csv", "status": "refused", "reason": "empty", "ingested_at": AT},
        ],
        landed,
    )  # fmt: skip
    found = gather(config, AT + timedelta(days=90))
    assert found["last_batch"]["run_id"] == "1599" and found["last_good_batch"]["run_id"] == "0000"
    assert [row["path"] for row in found["refused_files"]] == ["bad.csv"]
    assert found["drift"] == [
        {"source": "users", "path": "users.csv", "new": ["age"], "missing": [], "retyped": ["age"]}
    ]
