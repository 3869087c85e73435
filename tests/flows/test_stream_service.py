"""The stream in the background, as operators type it: start, status, a second one refused, stop."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cloudlake.streaming.monitor import heartbeat
from flow import ROOT, cloudlake, event_line, land_events, opened

SCRIPT = str(ROOT / "scripts" / "run_streaming_pipeline.sh")
Type = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "landing").mkdir()
    return tmp_path / "lake", tmp_path / "landing"


@pytest.fixture
def type_in(place: tuple[Path, Path]) -> Iterator[Type]:
    lake, landing = place
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "CLOUDLAKE_LAKE": str(lake), "CLOUDLAKE_LANDING": str(landing)}
    environment["CLOUDLAKE_CONF"] = str(ROOT / "conf")

    def type_in(mode: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([SCRIPT, mode], env=environment, capture_output=True, text=True, check=False, timeout=400)

    yield type_in
    type_in("stop")


def test_the_stream_in_the_background_is_started_looked_at_and_stopped(
    place: tuple[Path, Path], type_in: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, landing = place
    config = opened(lake, landing)
    started = type_in("start")
    assert started.returncode == 0, started.stderr
    pid = heartbeat(config.lake)["pid"]
    assert f"process {pid}" in started.stdout and str(lake / "run" / "stream.log") in started.stdout
    for mode in ("start", "once"):
        second = type_in(mode)
        # spark-submit hands on what its Python says on standard error as standard output.
        assert second.returncode == 4 and f"process {pid}" in second.stdout + second.stderr

    land_events(landing, "a.jsonl", [*(event_line(n) for n in range(20)), event_line(1), "broken"])
    end = time.monotonic() + 90
    while heartbeat(config.lake)["landed"] < 22:
        assert time.monotonic() < end, (lake / "run" / "stream.log").read_text()
        time.sleep(0.2)
    shown = type_in("status")
    assert shown.returncode == 0
    assert "22 lines = 20 accepted + 1 quarantined + 1 duplicates" in shown.stdout and "behind by 0 file(s)" in shown.stdout

    assert cloudlake(lake, landing, "batch", "--jobs", "usage_events") == 0
    assert "left to the stream that is running" in capsys.readouterr().err
    assert cloudlake(lake, landing, "batch", "--jobs", "usage_events", "--full-reload") == 4
    assert f"process {pid}" in capsys.readouterr().err

    stopped = type_in("stop")
    assert (stopped.returncode, stopped.stdout) == (0, f"the stream has ended (process {pid})\n"), stopped.stderr
    assert type_in("stop").stdout == "no stream is running\n"
    assert (type_in("status").returncode, heartbeat(config.lake)["state"]) == (1, "stopped")
    assert sum(row["landed"] for row in config.lake.rows("ops.reconciliation")) == 22
