"""How long the named queries take: the whole command, and in this process with a reader opened for each question.

Over lakes that are there, or over the product's own run on generated deliveries (`--events-per-day 36000` is two million
events, minutes). Prints a table and writes benchmarks/results/queries.json. Promised: the whole command in 1 s, p95 in
process 100 ms. Machines are noisy, so the processor's time and the load stand beside the clock's, and two yardsticks are
measured back to back: of a command, Python that imports DuckDB and Arrow; in process, a new DuckDB that sums the table of
daily costs by service from its files.

    .venv/bin/python benchmarks/queries.py [--lake DIR …] [--events-per-day N …] [--times N]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
from cloudlake.common.config import Config, load_config
from cloudlake.common.lake.log import stored
from cloudlake.common.live import BATCH_VIEW
from cloudlake.common.publication import published
from cloudlake.serving.queries import answer, open_reader

ROOT = Path(__file__).resolve().parents[1]
NAMED = (
    "daily-costs", "top-services", "critical-tickets", "monthly-revenue", "genai-tokens", "customer", "anomalies", "at-risk",
    "invoice-gap",
)  # fmt: skip
BARE = [sys.executable, "-c", "import duckdb, pyarrow"]
TABLE = BATCH_VIEW
"""What the yardstick in process sums."""


def build(folder: Path, events_per_day: int) -> Path:
    """Generate a delivery and run the pipeline over it."""
    landing, lake = folder / f"landing-{events_per_day}", folder / f"lake-{events_per_day}"
    generator = [sys.executable, "scripts/generate_landing_data.py", "--out", str(landing)]
    pipeline = ["scripts/run_batch_pipeline.sh", "--landing", str(landing), "--lake", str(lake)]
    for line in ([*generator, "--events-per-day", str(events_per_day)], pipeline):
        subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return lake


def processor_seconds(who: int) -> float:
    """Return the processor's time so far, of this process or of its children, user and system."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def taken(times: int, work: Callable[[], Any], who: int) -> tuple[list[float], list[float]]:
    """Return how long each of some repetitions took: milliseconds by the clock, and of the processor."""
    wall, processor = [], []
    for _ in range(times):
        at, used = time.perf_counter(), processor_seconds(who)
        work()
        wall.append(1000 * (time.perf_counter() - at))
        processor.append(1000 * (processor_seconds(who) - used))
    return wall, processor


def run(line: list[str]) -> None:
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def measured(config: Config, name: str, org: str, times: int) -> dict[str, Any]:
    """Return the times of one query, each a number of times the yardstick measured beside it."""
    with open_reader(config) as reader:
        takes_org = "org" in reader.declarations[name].filters
    files, _ = stored(config.lake.path(TABLE), published(config.lake).tables[TABLE]["version"])

    def ask() -> None:
        with open_reader(config) as reader:
            answer(reader, name, {"org": org} if takes_org else {})

    def plain() -> None:
        with duckdb.connect() as connection:
            connection.read_parquet(list(files)).aggregate("service, sum(cost_usd)", "service").fetchall()

    command = [str(Path(sys.executable).with_name("cloudlake")), "query", name, "--lake", str(config.lake.root)]
    command += ["--format", "csv", *(["--org", org] if takes_org else [])]
    ask()
    inside, processor = taken(4 * times, ask, resource.RUSAGE_SELF)
    _, beside = taken(times, plain, resource.RUSAGE_SELF)
    whole, used = taken(times, lambda: run(command), resource.RUSAGE_CHILDREN)
    _, bare = taken(times, lambda: run(BARE), resource.RUSAGE_CHILDREN)
    return {
        "query": name,
        "p50_ms": statistics.median(inside),
        "p95_ms": statistics.quantiles(inside, n=20)[-1],
        "cpu_ms": statistics.median(processor),
        "x_duckdb": statistics.median(processor) / statistics.median(beside),
        "command_ms": statistics.median(whole),
        "command_fastest_ms": min(whole),
        "command_cpu_ms": statistics.median(used),
        "x_imports": statistics.median(used) / statistics.median(bare),
    }


def lakes(options: argparse.Namespace, scratch: Path) -> Iterator[Path]:
    """Yield the lakes that were named, and those that are built here."""
    yield from map(Path, options.lake or [])
    for number in options.events_per_day or ([] if options.lake else [720]):
        yield build(scratch, number)


def over(lake: Path, times: int) -> dict[str, Any]:
    """Measure every query over a lake."""
    config = load_config(lake=str(lake))
    with open_reader(config) as reader:
        org = answer(reader, "daily-costs").rows()[0]["org_id"]
        events = reader.run(f"SELECT sum(events) AS n FROM {TABLE}")["n"].to_pylist()[0]
    before = os.getloadavg()[0]
    results = [measured(config, name, org, times) for name in NAMED]
    load = [before, os.getloadavg()[0]]
    print(f"\n{int(events):,} events; load {load[0]:.1f} to {load[1]:.1f} on {os.cpu_count()} cores")
    print(f"{'':17} in process: p50, p95, cpu ms, × DuckDB   command: median, fastest, cpu ms, × imports")
    for row in results:
        inside = f"{row['p50_ms']:6.0f} {row['p95_ms']:6.0f} {row['cpu_ms']:6.0f} {row['x_duckdb']:6.1f}"
        whole = f"{row['command_ms']:6.0f} {row['command_fastest_ms']:6.0f} {row['command_cpu_ms']:6.0f} {row['x_imports']:6.1f}"
        print(f"{row['query']:17} {inside:>42}   {whole:>45}")
    return {"events": int(events), "load": load, "cores": os.cpu_count(), "results": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", action="append", help="a lake that has been published; may be repeated")
    parser.add_argument(
        "--events-per-day", type=int, action="append", help="build one of 60 such days; may be repeated"
    )
    parser.add_argument("--times", type=int, default=10, help="repetitions of a command; in process four times as many")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        told = [over(lake, options.times) for lake in lakes(options, Path(scratch))]
    target = ROOT / "benchmarks" / "results" / "queries.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
