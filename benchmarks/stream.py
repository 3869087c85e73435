"""How fast the stream is, beside a yardstick measured back to back; how fresh the answer; whether memory stays flat.

(a) Events landing → bronze → silver, quarantine and increments: the default delivery cold (a fresh process) and warm,
then two million, as a ratio to benchmarks/yardstick.py before and after. (b) The stream as a service under a steady
load: seconds from a file's landing to the live read of the served answer that holds it, after a minute in which Java
warms up (told apart, then by quarters of the time), memory (what is alive on Java's heap, and the whole process tree),
and the data files of each table; with `maintain` beside it, where asked. Prints a summary and writes
benchmarks/results/stream.json. Compare ratios, not seconds.

    .venv/bin/python benchmarks/stream.py [--landing DIR] [--events-per-day 36000] [--seconds 240] [--only throughput|steady]
    .venv/bin/python benchmarks/stream.py --only steady --seconds 1200 --maintain-every 300     # two hours: 7200 and 1800
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from processes import family, resident_gib
from yardstick import yardstick

ROOT = Path(__file__).resolve().parents[1]
EVENTS_PER_SECOND = 500
WARM_UP_SECONDS = 60
QUERIES = ("bronze_usage_events", "silver_usage_events")


def generate(out: Path, *options: str) -> Path:
    command = [sys.executable, str(ROOT / "scripts" / "generate_landing_data.py"), "--out", str(out), *options]
    subprocess.run(command, check=True, capture_output=True)
    return out


def stream(landing: Path, lake: Path, spark: Any) -> dict[str, Any]:
    """Run the stream once on a fresh lake; wall seconds of each query, and of a run with nothing new."""
    from cloudlake.common.config import load_config
    from cloudlake.streaming import pipeline as streaming_pipeline

    config = load_config(lake=str(lake), landing=str(landing))
    seconds: dict[str, float] = {}
    to_end = streaming_pipeline._run_to_end

    def timed(job: Any) -> None:
        started = time.monotonic()
        to_end(job)
        seconds[job.checkpoint.job] = time.monotonic() - started

    streaming_pipeline._run_to_end = timed
    try:
        done = streaming_pipeline.run_once(lambda: spark, config, "benchmark")
    finally:
        streaming_pipeline._run_to_end = to_end
    again = streaming_pipeline.run_once(lambda: spark, config, "benchmark")
    return {"events": done.landed, "seconds": done.seconds, **seconds, "nothing_new": again.seconds}


def throughput(small: Path, large: Path, scratch: Path) -> dict[str, Any]:
    from cloudlake.common.session import start_session

    before = yardstick(large, scratch / "yardstick.parquet")
    spark = start_session("benchmark")
    cold = stream(small, scratch / "cold", spark)
    warm = stream(small, scratch / "warm", spark)
    many = stream(large, scratch / "many", spark)
    spark.stop()
    after = yardstick(large, scratch / "yardstick.parquet")
    duck = (before + after) / 2
    return {"default_cold": cold, "default_warm": warm, "two_million": many, "duckdb": [before, after],
            "ratio": sum(many[query] for query in QUERIES) / duck}  # fmt: skip


STREAMED = ("bronze.usage_events", "silver.usage_events", "speed.usage_increments", "ops.landed_files", "ops.reconciliation")


def steady(scratch: Path, seconds: int, maintain_every: int | None) -> dict[str, Any]:
    """Let a producer land a file of 500 events each second; each carries an organisation of its own to be looked for."""
    from cloudlake.common.config import load_config
    from cloudlake.serving import live_org_daily_usage
    from deltalake import DeltaTable

    landing, lake = scratch / "steady", scratch / "steady_lake"
    folder = landing / "usage_events_stream"
    folder.mkdir(parents=True)
    config = load_config(lake=str(lake), landing=str(landing))
    command = [str(ROOT / "scripts" / "run_streaming_pipeline.sh"), "run", "--lake", str(lake), "--landing", str(landing)]
    with (scratch / "steady.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    landed: dict[str, float] = {}
    delays: dict[str, float] = {}
    memory: list[float] = []
    quarters: list[dict[str, Any]] = []
    upkeep: list[subprocess.Popen[bytes]] = []
    try:
        _wait_until_running(lake, scratch / "steady.log")
        started = time.monotonic()
        while (now := time.monotonic() - started) < seconds + 30 and (now < seconds or landed):
            number = len(delays) + len(landed)
            if now < seconds and now >= number:
                landed[f"probe_{number:05d}"] = _land(folder, number)
            seen = {row["org_id"] for row in live_org_daily_usage(config).to_pylist()} if landed else set()
            at = time.monotonic()
            delays |= {org: at - landed.pop(org) for org in sorted(landed) if org in seen}
            memory.append(resident_gib(process.pid))
            if maintain_every and at - started >= maintain_every * (len(upkeep) + 1):
                upkeep.append(_maintain(command[2:], scratch / "maintain.log"))
            if len(quarters) < 4 and at - started >= (len(quarters) + 1) * seconds / 4 - 2:
                files = {table: len(DeltaTable(config.lake.path(table)).file_uris()) for table in STREAMED}
                quarters.append({"heap_gib": _alive_on_the_heap(process.pid), "files": files, "probes": len(delays)})
            time.sleep(0.5)  # reading all the time would take a core from the stream
    finally:
        subprocess.run([command[0], "stop", *command[2:]], check=False, capture_output=True)
        process.wait(120)
    if any(one.wait(600) for one in upkeep):
        sys.exit(f"maintain failed:\n{(scratch / 'maintain.log').read_text()}")
    if landed or not delays:
        sys.exit(f"{len(landed)} file(s) never reached the live read; see the stream's log:\n{(scratch / 'steady.log').read_text()}")
    in_order = [delays[org] for org in sorted(delays)]
    begin = WARM_UP_SECONDS
    for quarter in quarters:
        quarter["delay"] = _ranked(in_order[begin : quarter["probes"]]) if quarter["probes"] > begin else None
        begin = max(begin, quarter["probes"])
    return {
        "files": len(delays), "events_per_second": EVENTS_PER_SECOND, "first_minute": _ranked(in_order[:WARM_UP_SECONDS]),
        "after_it": _ranked(in_order[WARM_UP_SECONDS:] or in_order),
        "quarters": quarters, "maintained": len(upkeep), "peak_gib_of_all_processes": max(memory),
    }  # fmt: skip


def _maintain(where: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("a") as out:
        return subprocess.Popen([str(ROOT / ".venv/bin/cloudlake"), "maintain", *where], stdout=out, stderr=out)


def _ranked(delays: list[float]) -> dict[str, float]:
    ranked = sorted(delays)
    return {"p50": statistics.median(ranked), "p95": ranked[int(0.95 * (len(ranked) - 1))], "max": ranked[-1]}


def _alive_on_the_heap(pid: int) -> float | None:
    """GiB of the objects that are reachable in the Java process; None where the JDK's tools are not installed.

    The least of three looks: a micro-batch at hand has its rows in memory, and what a look finds unreachable of Spark's
    blocks goes after it.
    """
    looks = [gib for _ in range(3) if (gib := _reachable(pid)) is not None]
    return min(looks, default=None)


def _reachable(pid: int) -> float | None:
    for member in family(pid):
        if member.name() == "java" and shutil.which("jcmd"):
            told = subprocess.run(["jcmd", str(member.pid), "GC.class_histogram"], capture_output=True, text=True, check=False)
            total = [line.split() for line in told.stdout.splitlines() if line.startswith("Total")]
            time.sleep(0.5)
            return int(total[0][2]) / 2**30 if total else None
    return None


def _wait_until_running(lake: Path, log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end:
        state = lake / "run" / "stream.json"
        if state.exists() and json.loads(state.read_text())["state"] == "running":
            return
        time.sleep(0.2)
    sys.exit(f"the stream did not start:\n{log.read_text()}")


def _land(folder: Path, number: int) -> float:
    day = time.strftime("%Y-%m-%d")
    lines = [
        json.dumps({
            "event_id": f"evt_{number:06d}_{n:04d}", "timestamp": f"{day}T00:{n % 60:02d}:{number % 60:02d}Z",
            "org_id": f"probe_{number:05d}" if n == 0 else f"org_{n % 80}", "resource_id": f"res_{n}", "service": "compute",
            "region": "us-east", "metric": "cpu_hours", "value": n / 7, "unit": "hours", "cost_usd_increment": n / 100,
            "schema_version": 2, "carbon_kg": 0.01,
        })
        for n in range(EVENTS_PER_SECOND)
    ]  # fmt: skip
    draft = folder / f".{number:06d}.tmp"
    draft.write_text("\n".join(lines) + "\n")
    draft.replace(folder / f"{number:06d}.jsonl")
    return time.monotonic()


def show_throughput(found: dict[str, Any]) -> None:
    for name in ("default_cold", "default_warm", "two_million"):
        row = found[name]
        seconds = sum(row[query] for query in QUERIES)
        print(f"{name:14} {row['events']:>9,} events {seconds:7.1f} s {row['events'] / seconds:>9,.0f} events/s"
              f"   bronze {row['bronze_usage_events']:6.1f} s   silver and increments {row['silver_usage_events']:6.1f} s"
              f"   with alerts and live tables {row['seconds']:6.1f} s"
              f"   again, nothing new {row['nothing_new']:.2f} s")  # fmt: skip
    print(f"DuckDB, JSONL to typed columns to Parquet: {found['duckdb'][0]:.1f} s before, {found['duckdb'][1]:.1f} s after; "
          f"the stream takes {found['ratio']:.1f} times as long")  # fmt: skip


def show_steady(found: dict[str, Any]) -> None:
    print(f"{found['events_per_second']} events a second, {found['files']} files, from landing to the live read:")
    for name, part in (("in the first minute", "first_minute"), ("after it", "after_it")):
        told = found[part]
        print(f"  {name:20} p50 {told['p50']:.1f} s, p95 {told['p95']:.1f} s, at most {told['max']:.1f} s")
    for number, quarter in enumerate(found["quarters"], 1):
        heap, delay = quarter["heap_gib"], quarter["delay"]
        files = ", ".join(f"{table} {count}" for table, count in quarter["files"].items())
        alive, late = "?" if heap is None else f"{heap:.2f}", "?" if delay is None else f"{delay['p95']:.1f}"
        print(f"  quarter {number}: p95 {late} s, alive on Java's heap {alive} GiB, data files: {files}")
    print(f"all processes together at most {found['peak_gib_of_all_processes']:.2f} GiB; maintain ran {found['maintained']} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landing", type=Path, help="a large landing zone that is there already")
    parser.add_argument("--events-per-day", type=int, default=36_000, help="of the 60 days, where one is generated")
    parser.add_argument("--seconds", type=int, default=240, help="how long the steady load lasts")
    parser.add_argument("--only", choices=["throughput", "steady"], help="one of the two measurements")
    parser.add_argument("--maintain-every", type=int, metavar="SECONDS", help="run cloudlake maintain beside the steady load")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / ".typing"))
    os.environ["PYTHONPATH"] = str(ROOT / ".typing")  # the code beside this file, whatever is installed
    found: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}}
    with tempfile.TemporaryDirectory(prefix="cloudlake-bench-") as folder:
        scratch = Path(folder)
        if arguments.only != "steady":
            size = ["--events-per-day", str(arguments.events_per_day), "--files", "400"]
            large = arguments.landing or generate(scratch / "large", *size)
            found |= throughput(generate(scratch / "small"), large, scratch)
            show_throughput(found)
        if arguments.only != "throughput":
            found["steady"] = steady(scratch, arguments.seconds, arguments.maintain_every)
            show_steady(found["steady"])
    results = ROOT / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "stream.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
