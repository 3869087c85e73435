"""A copy that is made while a lake is written speaks of nothing that it lacks. Real tables, no Spark."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cloudlake.common.config import load_config
from cloudlake.common.lake.books import Books
from cloudlake.serving import live_org_daily_usage
from flow import ROOT
from live_lake import commit, opened, spread, write_masters

COPY = [sys.executable, str(ROOT / "scripts" / "copy_lake.py")]
TABLES = ("silver.usage_events", "speed.usage_increments")


def test_a_copy_of_a_lake_that_is_written_is_a_whole_lake_that_was_cut_off(tmp_path: Path) -> None:
    config = opened(tmp_path)
    write_masters(config, spread(1, 1)[0]["event_time"])
    commit(config, 1, spread(6, 24))
    ended = threading.Event()

    def stream() -> None:
        for load in range(2, 400):
            is_last = ended.is_set()  # so that one begins after the last copy, however slow the writer is
            commit(config, load, spread(3, 24))
            if is_last:
                return

    writer = threading.Thread(target=stream)
    writer.start()
    try:
        for number in range(3):
            subprocess.run([*COPY, tmp_path / "lake", tmp_path / f"copy{number}"], check=True, capture_output=True)
    finally:
        ended.set()
        writer.join()
    newest = config.lake.newest("silver.usage_events", "load_id")
    for number in range(3):
        copy = load_config(str(ROOT / "conf"), str(tmp_path / f"copy{number}"), str(config.landing))
        assert Books.of(copy.lake).compare(copy.registry.tables) == [], "no file that a log names is missing"
        events, increments = (copy.lake.read_small(name) for name in TABLES)
        loads = [set(rows["load_id"].to_pylist()) for rows in (events, increments)]
        assert loads[1] <= loads[0] and loads[0] == set(range(1, max(loads[0]) + 1)), "increments of no load that silver lacks"
        assert max(loads[0]) < newest, "it was copied in the middle"
        assert sum(live_org_daily_usage(copy)["events"].to_pylist()) == sum(increments["events"].to_pylist())


def test_a_copy_replaces_nothing(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "lake").mkdir(exist_ok=True)
    (tmp_path / "copy").mkdir()
    refused = subprocess.run([*COPY, tmp_path / "lake", tmp_path / "copy"], check=False, capture_output=True, text=True)
    assert refused.returncode == 1 and "it is there already" in refused.stderr
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([*COPY, tmp_path / "no lake", tmp_path / "other"], check=True, capture_output=True)
