"""What a lake costs after thousands of micro-batches: before `maintain`, after it, and again after a fifth more of them.

Lands small files of event lines, takes each as a micro-batch of its own, and has the marts of usage published after the
first. Prints for each state, beside a fresh lake that took the same lines in few micro-batches: files and log entries of
the stream's tables, rows of the records of them, and the seconds of `cloudlake status` and `cloudlake runs`, of a stream
with nothing new (its start) and with one new file, of a batch run with nothing new (in this process, after Python and Java
have started; the median of --rounds), and of a live read (the 95th of a hundred). The aim: after `maintain` each within 1.5 ×
of the fresh lake's. Writes benchmarks/results/microbatches.json.

    .venv/bin/python benchmarks/microbatches.py                          # 300 micro-batches, some minutes
    .venv/bin/python benchmarks/microbatches.py --micro-batches 5000     # hours
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("SPARK_CONF_DIR", str(ROOT / "conf"))
os.environ.setdefault("PYTHONPATH", str(ROOT / ".typing"))
sys.path.insert(0, str(ROOT / ".typing"))

from cloudlake.cli.main import main as cloudlake  # noqa: E402
from cloudlake.common.clock import now_utc  # noqa: E402
from cloudlake.common.config import Config, load_config  # noqa: E402
from cloudlake.common.lake.pruning import entries_of  # noqa: E402
from cloudlake.runs.stream_run import run_stream, take_once  # noqa: E402
from cloudlake.runs.upkeep_run import unread_versions  # noqa: E402
from cloudlake.serving import live_org_daily_usage  # noqa: E402
from cloudlake.upkeep.maintain import maintain  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

TABLES = (
    "bronze.usage_events",
    "silver.usage_events",
    "speed.usage_increments",
    "ops.reconciliation",
    "ops.landed_files",
)
MARTS = ("usage_events", "usage_daily", "org_daily_usage_by_service", "serving.org_daily_usage")
LINES = 20
FRESH = 5
"""So many micro-batches has the fresh lake."""
STREAM_COMMANDS = {"stream, nothing new": False, "stream, one new file": True}


def lines(number: int, now: datetime) -> str:
    """Return the lines of one file: events of the last hours, some of them late by a day."""
    rows = [
        {
            "event_id": f"evt_{number}_{n}", "timestamp": f"{now - timedelta(minutes=n * 7, days=n % 10 == 0):%Y-%m-%dT%H:%M:%SZ}",
            "org_id": f"org_{n % 7}", "resource_id": None, "service": "compute", "region": "us-east", "metric": "cpu_hours",
            "value": n, "unit": "hours", "cost_usd_increment": n / 100, "schema_version": 1,
        }
        for n in range(LINES)
    ]  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in rows)


class Bench:
    """A lake, the files that have landed for it, and how it is run."""

    def __init__(self, folder: Path, spark: SparkSession) -> None:
        self.folder, self.spark, self.landed = folder, spark, 0
        (folder / "landing" / "usage_events_stream").mkdir(parents=True)
        self.config = load_config(str(ROOT / "conf"), str(folder / "lake"), str(folder / "landing"))
        self.runs = 0

    def land(self, files: int) -> None:
        """Put files into the landing zone."""
        now = now_utc()
        for number in range(self.landed, self.landed + files):
            path = self.folder / "landing" / "usage_events_stream" / f"{number:06d}.jsonl"
            path.write_text(lines(number, now))
        self.landed += files

    def take(self, files: int, *, one_by_one: bool = True) -> float:
        """Land files and take them, each in a micro-batch of its own or all in one; returns the seconds."""
        self.land(files)
        config = self._one_by_one() if one_by_one else self.config
        started = time.monotonic()
        done = run_stream(config, lambda _, config, run: take_once(lambda: self.spark, config, run))
        assert (done.landed, done.micro_batches) == (files * LINES, files if one_by_one else 1), done
        return time.monotonic() - started

    def _one_by_one(self) -> Config:
        """Return the settings by which every file, and every commit of bronze, is more than a micro-batch may take."""
        trigger = self.config.stream.trigger.model_copy(update={"max_files": 1, "max_bytes": "1k"})
        return replace(self.config, stream=self.config.stream.model_copy(update={"trigger": trigger}))

    def command(self, *words: str) -> float:
        """Return the seconds of a command, without those in which Python and Java start."""
        folders = ["--lake", str(self.config.lake.root), "--landing", str(self.config.landing)]
        told = io.StringIO()
        started = time.monotonic()
        with redirect_stdout(told), redirect_stderr(told):
            code = cloudlake([words[0], *folders, *words[1:]])
        assert code == 0, told.getvalue()
        return time.monotonic() - started

    def upkeep(self) -> float:
        """Keep every table in order as if the hours that are kept of live tables had gone by; returns the seconds."""
        started = time.monotonic()
        time.sleep(1.1)
        now = now_utc() + timedelta(hours=self.config.settings.retention.live_hours, seconds=-1)
        done = maintain(self.config, lambda: self.spark, now, unread=unread_versions(self.config))
        assert not done.faults, done.faults
        return time.monotonic() - started

    def measured(self, rounds: int) -> dict[str, float]:
        """Return what the lake has and costs now."""
        lake = self.config.lake
        found: dict[str, float] = {}
        for name in TABLES:
            found[f"files of {name}"] = lake.file_count(name)
            found[f"log entries of {name}"] = len(entries_of(lake.path(name)))
        for name in TABLES[3:]:
            found[f"rows of {name}"] = lake.count(name)
        for words in (["status", "--json"], ["runs"]):
            found[f"{words[0]}, s"] = statistics.median(self.command(*words) for _ in range(rounds))
        for name, has_new in STREAM_COMMANDS.items():
            found[f"{name}, s"] = statistics.median(self._stream(has_new) for _ in range(rounds))
        self.command("batch", "--jobs", *MARTS)
        found["batch, nothing new, s"] = statistics.median(
            self.command("batch", "--jobs", *MARTS) for _ in range(rounds)
        )
        found["live read, p95, ms"] = 1000 * self._read()
        return found

    def _stream(self, has_new: bool) -> float:
        if has_new:
            self.land(1)
        return self.command("stream", "once")

    def _read(self) -> float:
        seconds = []
        for _ in range(100):
            started = time.monotonic()
            live_org_daily_usage(self.config)
            seconds.append(time.monotonic() - started)
        return sorted(seconds)[94]


def main() -> None:
    """Build both lakes, measure each state and print them side by side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--micro-batches", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3, help="how often each command is measured")
    options = parser.parse_args()
    from cloudlake.common.session import start_session

    folder = Path(tempfile.mkdtemp(prefix="microbatches-"))
    try:
        told = states(folder, start_session("cloudlake-microbatches"), options.micro_batches, options.rounds)
    finally:
        shutil.rmtree(folder)
    show(told)
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "microbatches.json").write_text(json.dumps(told, indent=1) + "\n")


def states(folder: Path, spark: SparkSession, micro_batches: int, rounds: int) -> dict[str, Any]:
    """Return state → what it has and costs, and how long each part took."""
    took: dict[str, float] = {}
    fresh, lake = Bench(folder / "fresh", spark), Bench(folder / "many", spark)
    for _ in range(FRESH):
        fresh.take(-(-micro_batches // FRESH), one_by_one=False)
    told: dict[str, Any] = {"micro-batches": micro_batches, "fresh": fresh.measured(rounds)}
    took["first micro-batches"] = lake.take(micro_batches)
    told["before"] = lake.measured(rounds)
    before = live_org_daily_usage(lake.config)
    took["maintain"] = lake.upkeep()
    assert live_org_daily_usage(lake.config).equals(before), "maintain has changed what is served"
    told["after maintain"] = lake.measured(rounds)
    took["a fifth more"] = lake.take(micro_batches // 5)
    told["a fifth more"] = lake.measured(rounds)
    took["maintain again"] = lake.upkeep()
    told["and maintain"] = lake.measured(rounds)
    events = lake.config.lake.count("silver.usage_events")
    assert events == lake.landed * LINES, f"{events} events of {lake.landed * LINES} lines"
    spark.stop()
    return told | {"took": took}


def show(told: dict[str, Any]) -> None:
    """Print the states side by side."""
    names = [name for name in told if isinstance(told[name], dict) and name != "took"]
    print(f"{told['micro-batches']} micro-batches\n{'':44}" + "".join(f"{name:>16}" for name in names))
    for what in told["fresh"]:
        form = "{:16.2f}" if what.endswith(", s") else "{:16,.0f}"
        print(f"{what:44}" + "".join(form.format(told[name][what]) for name in names))
    print("; ".join(f"{name}: {seconds:,.0f} s" for name, seconds in told["took"].items()))


if __name__ == "__main__":
    main()
