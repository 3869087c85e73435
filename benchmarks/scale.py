"""What grows with what: the same pipeline on deliveries of 0.1, 1, 10 … million events.

For each size: the first batch (landing → bronze → silver → gold → served) on an empty lake, one more day of 720 events, and
a run with nothing new. Of each: wall time, CPU time and peak memory, of Spark's driver and of its executors apart; of the
lake: files, bytes and entries of the logs, by layer; of the batch: seconds by kind of step. Prints tables, writes
benchmarks/results/scale.json after each size. Seconds of a machine that others use say little; CPU seconds say more.

    .venv/bin/python benchmarks/scale.py [--millions 0.1 1 10] [--cluster] [--scratch DIR]

With --cluster the runs go to a master and two workers on loopback, so that the driver's memory is told from the executors'.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from beside import Lake
from processes import family
from run import ROOT

DAYS = 60
EVENTS_A_FILE = 20_000
CLUSTER = ("scripts/local_cluster.sh",)
LAYERS = ("bronze", "silver", "quarantine", "gold", "speed", "serving", "ops", "checkpoints")
MB = 1e6


@dataclass
class Peaks:
    """The most memory, in GiB, that processes took, by what they are; and the CPU seconds of those that are no children."""

    gib: dict[str, float] = field(default_factory=lambda: {"java": 0.0, "python": 0.0, "executors": 0.0, "all": 0.0})
    cpu: dict[int, float] = field(default_factory=dict)

    def look(self, driver: int, workers: list[int]) -> None:
        """Look once."""
        now = dict.fromkeys(self.gib, 0.0)
        for pid in (driver, *workers):
            for member in family(pid):
                with contextlib.suppress(psutil.Error):
                    name = "executors" if pid in workers else "java" if member.name() == "java" else "python"
                    size = member.memory_full_info().pss / 2**30  # what processes share is counted once
                    now[name] += size
                    now["all"] += size
                    times = member.cpu_times()
                    self.cpu[member.pid] = times.user + times.system
        self.gib = {name: max(self.gib[name], size) for name, size in now.items()}


@dataclass
class Ran:
    """A command that has ended."""

    seconds: float
    cpu_seconds: float
    """Of every process that took part, executors too; of the last moments of a process up to 0.2 s are not seen."""
    gib: dict[str, float]


class Spark:
    """Where Spark runs: on this machine as one process, or as a cluster on it."""

    def __init__(self, scratch: Path, is_cluster: bool, memory: str) -> None:
        self.folder = scratch / "cluster" if is_cluster else None
        self.options: list[str] = []
        if self.folder is not None:
            said = self._cluster("start", "--memory", memory)
            self.options = ["--master", re.findall(r"spark://\S+", said)[0], "--spark-conf", f"spark.executor.memory={memory}"]

    def _cluster(self, *arguments: str) -> str:
        command = [*CLUSTER, *arguments, "--dir", str(self.folder)]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    def workers(self) -> list[int]:
        files = sorted(self.folder.glob("worker-*.pid")) if self.folder else []
        return [int(file.read_text().split()[0]) for file in files]

    def run(self, *command: str) -> Ran:
        """Run a command of the project and watch its processes."""
        workers, peaks, started = self.workers(), Peaks(), time.monotonic()
        before = _cpu_of(workers)
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen([*command, *self.options], cwd=ROOT, stdout=said, stderr=said)
            ended = threading.Event()

            def watch() -> None:
                while not ended.wait(0.2):
                    peaks.look(process.pid, workers)

            watcher = threading.Thread(target=watch)
            watcher.start()
            code = process.wait()
            ended.set()
            watcher.join()
            if code:
                said.seek(0)
                sys.exit(f"{' '.join(command)} ended with {code}:\n{said.read().decode()[-4000:]}")
        used = sum(peaks.cpu.values()) - sum(before.get(pid, 0.0) for pid in peaks.cpu)
        return Ran(time.monotonic() - started, used, peaks.gib)

    def stop(self) -> None:
        if self.folder is not None:
            self._cluster("stop")


def _cpu_of(pids: list[int]) -> dict[int, float]:
    found = {}
    for pid in pids:
        times = psutil.Process(pid).cpu_times()
        found[pid] = times.user + times.system
    return found


def weighed(lake: Path) -> dict[str, dict[str, float]]:
    """Return, by layer, how many data files, entries of Delta logs and megabytes there are."""
    found = {layer: {"files": 0.0, "log entries": 0.0, "MB": 0.0} for layer in LAYERS}
    for layer, counts in found.items():
        for path in (lake / layer).rglob("*"):
            if path.is_file():
                counts["log entries" if "_delta_log" in path.parts else "files"] += 1
                counts["MB"] += path.stat().st_size / MB
    return found


def seconds_by_kind(lake: Path) -> dict[str, float]:
    """Return the seconds of a lake's newest run, by layer of its steps; steps run side by side, so they add up to more."""
    report = json.loads(max((lake / "reports").glob("*.json"), key=lambda path: path.name).read_text())
    found: dict[str, float] = defaultdict(float)
    for step in report["steps"]:
        name = "stream" if step["step"] == "silver.usage_events" else step["step"].partition(".")[0]
        found[name] += step["seconds"] or 0.0
    return dict(found)


def measured(spark: Spark, scratch: Path, millions: float, runs: list[str]) -> Iterator[dict[str, Any]]:
    """Measure one size; yields what is known after each run, so that what was measured stays where a longer one is cut off."""
    events = round(millions * 1e6)
    files = max(10, events // EVENTS_A_FILE)
    lake = Lake(ROOT, scratch, "--days", str(DAYS), "--events-per-day", str(events // DAYS), "--files", str(files))
    batch = ("scripts/run_batch_pipeline.sh", "--landing", str(lake.landing), "--lake", str(lake.lake))
    size = sum(path.stat().st_size for path in lake.landing.rglob("*") if path.is_file()) / MB
    found: dict[str, Any] = {"events": events, "landing MB": size, "first": asdict(spark.run(*batch))}
    found |= {"steps": seconds_by_kind(lake.lake), "lake": weighed(lake.lake)}
    yield found
    if "day" in runs:
        lake.add_day(1)
        spark.run(*batch)  # it settles the files of the first build
        lake.add_day(2)
        found["day"] = asdict(spark.run(*batch))
        found["steps of the day"] = seconds_by_kind(lake.lake)
        yield found
    if "nothing" in runs:
        found["nothing"] = asdict(spark.run(*batch))
        yield found


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{' ---: |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def show(sizes: list[dict[str, Any]]) -> None:
    """Print what was measured."""
    runs = [("first", "first batch"), ("day", "one more day of 720 events"), ("nothing", "nothing new")]
    rows = []
    for size in sizes:
        for name, what in ((name, what) for name, what in runs if name in size):
            ran = size[name]
            each = f"{ran['cpu_seconds'] / size['events'] * 1e6:,.0f}" if name == "first" else ""
            memory = [f"{ran['gib'][part]:.1f}" for part in ("java", "python", "executors", "all")]
            rows.append([f"{size['events']:,}", what, f"{ran['seconds']:,.0f}", f"{ran['cpu_seconds']:,.0f}", each, *memory])
    table("Runs", ["events", "run", "seconds", "CPU s", "CPU µs an event", "driver's Java, GiB", "its Python", "executors",
                   "all"], rows)  # fmt: skip
    names = sorted({name for size in sizes for name in size["steps"]})
    for kind, what in (("steps", "first batch"), ("steps of the day", "one more day")):
        having = [size for size in sizes if kind in size]
        rows = [[name, *(f"{size[kind].get(name, 0):,.1f}" for size in having)] for name in names]
        if having:
            table(f"Seconds by kind of step, {what}", ["", *(f"{size['events']:,}" for size in having)], rows)
    rows = [["landing", *(f"{size['landing MB']:,.1f} MB" for size in sizes)]]
    for layer in LAYERS:
        found = [size["lake"][layer] for size in sizes]
        rows.append([layer, *(f"{one['files']:,.0f} + {one['log entries']:,.0f}, {one['MB']:,.1f} MB" for one in found)])
    table("The lake after the first batch: data files + log entries, size", ["", *(f"{size['events']:,}" for size in sizes)], rows)


@contextlib.contextmanager
def scratch_in(parent: Path | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cloudlake-scale-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="+", default=[0.1, 1.0, 10.0], metavar="N", help="sizes, in million events")
    parser.add_argument("--runs", nargs="*", choices=["day", "nothing"], default=["day", "nothing"], help="after the first batch")
    parser.add_argument("--cluster", action="store_true", help="on a master and two workers of this machine")
    parser.add_argument("--executor-memory", default="2g", metavar="SIZE", help="of each of the two executors; default 2g")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where there is room: ten times the events' size")
    options = parser.parse_args()
    results = ROOT / "benchmarks" / "results" / f"scale{'-cluster' if options.cluster else ''}.json"
    results.parent.mkdir(exist_ok=True)
    machine = f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}"
    sizes: list[dict[str, Any]] = []
    with scratch_in(options.scratch) as scratch:
        spark = Spark(scratch, options.cluster, options.executor_memory)
        try:
            for millions in options.millions:
                sizes.append({})
                with scratch_in(scratch) as folder:
                    for found in measured(spark, folder, millions, options.runs):
                        sizes[-1] = found
                        results.write_text(json.dumps({"machine": machine, "load": psutil.getloadavg(), "sizes": sizes}, indent=2))
                        print(f"\n{machine}; load {psutil.getloadavg()[0]:.1f}", flush=True)
                        show(sizes)
        finally:
            spark.stop()


if __name__ == "__main__":
    main()
