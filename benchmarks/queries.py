"""How long the named queries take: the whole command, and in this process with a reader opened for each question.

Over a lake that is there, or one of the product's own run over a generated delivery (`--events-per-day 36000` is two
million events, minutes). Prints a table and writes benchmarks/results/queries.json. Wanted: a command in 1 s, p95 in
100 ms; these machines are noisy, so the load is told as well.

    .venv/bin/python benchmarks/queries.py [--lake DIR | --events-per-day N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloudlake.common.config import Config, load_config
from cloudlake.serving.queries import answer, open_reader

ROOT = Path(__file__).resolve().parents[1]
NAMED = (
    "daily-costs", "top-services", "critical-tickets", "monthly-revenue", "genai-tokens", "customer", "anomalies", "at-risk",
)  # fmt: skip


def build(folder: Path, events_per_day: int) -> Path:
    """Generate a delivery and run the pipeline over it."""
    landing, lake = folder / "landing", folder / "lake"
    generator = [sys.executable, "scripts/generate_landing_data.py", "--out", str(landing)]
    pipeline = ["scripts/run_batch_pipeline.sh", "--landing", str(landing), "--lake", str(lake)]
    for line in ([*generator, "--events-per-day", str(events_per_day)], pipeline):
        subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return lake


def milliseconds(times: int, work: Callable[[], Any]) -> list[float]:
    """Return how long each of some repetitions took."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - started))
    return taken


def measured(config: Config, name: str, org: str, takes_org: bool) -> dict[str, Any]:
    """Return the times of one query."""

    def ask() -> None:
        with open_reader(config) as reader:
            answer(reader, name, {"org": org} if "org" in reader.declarations[name].filters else {})

    command = [sys.executable, "-m", "cloudlake.cli", "query", name, "--lake", str(config.lake.root), "--format", "csv"]
    command += ["--org", org] if takes_org else []
    inside = milliseconds(40, ask)
    whole = milliseconds(5, lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT))
    return {
        "query": name,
        "p50_ms": statistics.median(inside),
        "p95_ms": statistics.quantiles(inside, n=20)[-1],
        "command_ms": statistics.median(whole),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", help="a lake that has been published")
    parser.add_argument("--events-per-day", type=int, default=720)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        lake = Path(options.lake) if options.lake else build(Path(scratch), options.events_per_day)
        config = load_config(lake=str(lake))
        with open_reader(config) as reader:
            org = answer(reader, "daily-costs").rows()[0]["org_id"]
            takes_org = {name: "org" in reader.declarations[name].filters for name in NAMED}
            usage = reader.run("SELECT sum(events) AS n FROM gold.org_daily_usage_by_service")["n"].to_pylist()[0]
        results = [measured(config, name, org, takes_org[name]) for name in NAMED]
    told = {"events": int(usage), "load": os.getloadavg()[0], "cores": os.cpu_count(), "results": results}
    print(f"{told['events']:,} events, load {told['load']:.1f} on {told['cores']} cores")
    for row in results:
        print(
            f"{row['query']:18} p50 {row['p50_ms']:6.0f} ms  p95 {row['p95_ms']:6.0f} ms  command {row['command_ms']:6.0f} ms"
        )
    target = ROOT / "benchmarks" / "results" / "queries.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
