"""How long the platform takes, beside a yardstick measured in the same run.

(a) the default delivery from an empty lake, with and without the checks of its quality, (b) a run with nothing new,
(c) two million events landing → silver and increments → gold → served, with DuckDB parsing the same JSONL and writing
it as Parquet back to back. Prints a table and writes benchmarks/results/run.json. These machines are noisy: compare
ratios, not seconds.

    .venv/bin/python benchmarks/run.py [--events-per-day 36000] [--skip-large]
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import yaml
from processes import resident_gib
from yardstick import yardstick

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Measured:
    what: str
    seconds: float
    peak_gib: float
    ratio: float | None = None
    cpu_seconds: float = 0.0
    """Of the whole process tree, so that what else the machine does matters less."""


def run(what: str, *command: str, checkout: Path = ROOT) -> tuple[Measured, str]:
    """Run a command of the project; wall time, CPU time and the peak memory of its whole process tree."""
    started, before = time.monotonic(), _cpu_of_children()
    process = subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, resident_gib(process.pid))
        time.sleep(0.2)
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Measured(what, time.monotonic() - started, peak, cpu_seconds=_cpu_of_children() - before), output


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def generate(out: Path, *extra: str) -> None:
    subprocess.run(
        [sys.executable, "scripts/generate_landing_data.py", "--out", str(out), *extra],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def small(scratch: Path) -> list[Measured]:
    landing, lake = scratch / "landing", scratch / "lake"
    generate(landing)
    where = ("--landing", str(landing), "--lake", str(lake))
    first, _ = run("(a) default delivery, empty lake", "scripts/run_batch_pipeline.sh", *where)
    again, _ = run("(b) nothing new", "scripts/run_batch_pipeline.sh", *where)
    return [first, again, without_quality(scratch, landing, first)]


def without_quality(scratch: Path, landing: Path, with_it: Measured) -> Measured:
    """The same delivery with a conf that has no rules and no expectations, less the seconds of its audit.

    Counting where each record went can't be turned off, and is in both. Says what quality adds to the run.
    """
    conf, lake = Path(shutil.copytree(ROOT / "conf", scratch / "conf")), scratch / "lake_without"
    for file in ("silver.yaml", "gold.yaml"):
        content = yaml.safe_load((conf / file).read_text())
        for table in content["tables"].values():
            table.pop("rules", None)
            table.pop("expectations", None)
        (conf / file).write_text(yaml.safe_dump(content, sort_keys=False))
    where = ("--landing", str(landing), "--lake", str(lake), "--conf", str(conf))
    bare, _ = run("(a) without rules and audit", "scripts/run_batch_pipeline.sh", *where)
    report = json.loads(next((lake / "reports").glob("*.json")).read_text())
    bare.seconds -= next(step["seconds"] for step in report["steps"] if step["step"] == "quality")
    bare.what += f"; quality adds {with_it.seconds / bare.seconds - 1:.0%}"
    return bare


def large(scratch: Path, events_per_day: int) -> list[Measured]:
    landing, lake = scratch / "large", scratch / "large_lake"
    generate(landing, "--events-per-day", str(events_per_day))
    where = ("--landing", str(landing), "--lake", str(lake))
    duck = yardstick(landing, scratch / "yardstick.parquet")
    stream, said = run("(c) landing → silver and increments", "scripts/run_streaming_pipeline.sh", "once", *where)
    found = re.search(r"([\d,]+) lines landed .* ([\d.]+) s$", said, re.MULTILINE)
    if found is None:
        sys.exit(f"the stream did not say what it did:\n{said}")
    lines, stream.seconds = int(found[1].replace(",", "")), float(found[2])
    duck = min(duck, yardstick(landing, scratch / "yardstick.parquet"))
    stream.what += f", {lines:,} events"
    stream.ratio = stream.seconds / duck
    gold, _ = run("(c) silver → gold → served", "scripts/run_batch_pipeline.sh", *where, "--jobs", "usage_daily",
                  "org_daily_usage_by_service", "serving")  # fmt: skip
    return [Measured("    yardstick: DuckDB, JSONL → typed columns → Parquet", duck, 0.0), stream, gold]


def show(rows: list[Measured], file: str) -> None:
    """Print the measurements as a table, and keep them under results/."""
    machine = f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}"
    print(
        f"| what ({machine}) | seconds | CPU seconds | peak memory, GiB | ratio |\n| --- | ---: | ---: | ---: | ---: |"
    )
    for row in rows:
        ratio = f"{row.ratio:.1f}" if row.ratio else ""
        memory = f"{row.peak_gib:.1f}" if row.peak_gib else ""
        cpu = f"{row.cpu_seconds:.1f}" if row.cpu_seconds else ""
        print(f"| {row.what.strip()} | {row.seconds:.1f} | {cpu} | {memory} | {ratio} |")
    results = ROOT / "benchmarks" / "results" / file
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps({"machine": machine, "measured": [asdict(row) for row in rows]}, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events-per-day", type=int, default=36000)
    parser.add_argument("--skip-large", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloudlake-bench-") as scratch:
        rows = small(Path(scratch))
        if not options.skip_large:
            rows += large(Path(scratch), options.events_per_day)
    show(rows, "run.json")


if __name__ == "__main__":
    main()
