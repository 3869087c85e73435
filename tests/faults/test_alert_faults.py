"""Alerts through crashes and quarrels: killed between any two commits nobody is forgotten, and no decision is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cloudlake.alerts import judging as alerts
from live_lake import NOW, ROOT, commit, event, opened

LOOK = """
import sys
from pathlib import Path
from live_lake import opened
from cloudlake.alerts.lookout import look_once
look_once(opened(Path(sys.argv[1]), targets={"log": {"kind": "log"}}), "r")
"""


def look(folder: Path, crash_at: str = "") -> tuple[int, int]:
    """Look once in a process of its own; return its exit code, and how often the alert's line is in its log."""
    paths = f"{ROOT / '.typing'}:{ROOT / 'tests'}"
    environment = {**os.environ, "PYTHONPATH": paths, "CLOUDLAKE_CRASH_AT": crash_at}
    command = [sys.executable, "-c", LOOK, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.count("spent 400.00 USD")


@pytest.mark.parametrize(
    ("point", "told_before", "told_after"), [("stream_after_alerts", 0, 1), ("stream_after_delivery", 1, 1)]
)
def test_a_process_that_dies_between_an_alert_and_its_delivery_leaves_it_to_the_next(
    tmp_path: Path, point: str, told_before: int, told_after: int
) -> None:
    commit(opened(tmp_path), 1, [event(0, NOW, "400")])  # over the limit of a window, not of a day
    assert look(tmp_path, point) == (-signal.SIGKILL, told_before)
    assert look(tmp_path) == (0, told_after), "at least once, under the same key"
    assert look(tmp_path) == (0, 0)


def test_an_acknowledgement_is_never_lost_to_a_judgement_at_the_same_time(tmp_path: Path) -> None:
    config = opened(tmp_path)
    commit(config, 1, [event(0, NOW, "400")])
    alerts.judge(config, "r", NOW)
    ((alert,),) = [config.lake.rows(alerts.ALERTS)]
    stop = threading.Event()

    def judge() -> None:
        load_id = 2
        while not stop.is_set():
            commit(config, load_id, [event(load_id * 6, NOW, "0.01")])
            alerts.judge(config, "r", NOW)
            load_id += 1

    judging = threading.Thread(target=judge)
    judging.start()
    for _ in range(3):
        alerts.acknowledge(config, alert["alert_id"], datetime.now(UTC))
    stop.set()
    judging.join()
    alerts.judge(config, "r", NOW)
    (after,) = config.lake.rows(alerts.ALERTS)
    assert after["status"] == "acknowledged" and after["observed"] > alert["observed"]
