"""How fast the stream is, beside a yardstick measured back to back.

Two million events landing → bronze → silver, quarantine and increments, cold (a fresh process) and warm (after a small
delivery, as a stream that has been running is); and DuckDB parsing the same JSONL and writing it as Parquet, before
and after. Prints a table and writes benchmarks/results/stream.json. Compare ratios, not seconds: machines are noisy.

    .venv/bin/python benchmarks/stream.py [--landing DIR] [--events-per-day 33334]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

ROOT = Path(__file__).resolve().parents[1]
FIELDS = ("event_id", "timestamp", "org_id", "resource_id", "service", "region", "metric", "value", "unit",
          "cost_usd_increment", "schema_version", "carbon_kg", "genai_tokens")  # fmt: skip


def yardstick(landing: Path, out: Path) -> float:
    """Seconds that DuckDB takes to parse the events' JSON and write them as Parquet."""
    columns = ", ".join(f"{name}: 'VARCHAR'" for name in FIELDS)
    started = time.monotonic()
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * FROM read_json('{landing}/usage_events_stream/*.jsonl', format='newline_delimited', "
            f"ignore_errors=true, columns={{{columns}}})) TO '{out}' (FORMAT parquet)"
        )
    return time.monotonic() - started


def generate(out: Path, *options: str) -> Path:
    command = [sys.executable, str(ROOT / "scripts" / "generate_landing_data.py"), "--out", str(out), *options]
    subprocess.run(command, check=True, capture_output=True)
    return out


def stream(landing: Path, lake: Path, spark: Any) -> dict[str, Any]:
    """Run the stream once on a fresh lake; wall seconds of each query."""
    from cloudlake.common.config import load_config
    from cloudlake.streaming import streaming_pipeline

    config = load_config(lake=str(lake), landing=str(landing))
    seconds: dict[str, float] = {}
    to_end = streaming_pipeline._run_to_end

    def timed(job: Any) -> None:
        started = time.monotonic()
        to_end(job)
        seconds[job.checkpoint.job] = time.monotonic() - started

    streaming_pipeline._run_to_end = timed
    try:
        done = streaming_pipeline.run_once(spark, config, "benchmark")
    finally:
        streaming_pipeline._run_to_end = to_end
    again = streaming_pipeline.run_once(spark, config, "benchmark")
    return {"events": done.landed, "seconds": done.seconds, **seconds, "nothing_new": again.seconds}


def measure(small: Path, large: Path, scratch: Path) -> dict[str, Any]:
    from cloudlake.common.session import start_session

    before = yardstick(large, scratch / "before.parquet")
    spark = start_session("benchmark")
    cold = stream(small, scratch / "cold", spark)
    warm = stream(small, scratch / "warm", spark)
    many = stream(large, scratch / "many", spark)
    spark.stop()
    after = yardstick(large, scratch / "after.parquet")
    duck = (before + after) / 2
    return {"default_cold": cold, "default_warm": warm, "two_million": many, "duckdb": [before, after],
            "ratio": many["seconds"] / duck}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--landing", type=Path, help="a large landing zone that is there already")
    parser.add_argument("--events-per-day", type=int, default=33_334, help="of the 60 days, where one is generated")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / ".typing"))
    with tempfile.TemporaryDirectory(prefix="cloudlake-bench-") as folder:
        scratch = Path(folder)
        small = generate(scratch / "small")
        size = ["--events-per-day", str(arguments.events_per_day), "--files", "400"]
        large = arguments.landing or generate(scratch / "large", *size)
        found = measure(small, large, scratch)
    found["machine"] = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    for name in ("default_cold", "default_warm", "two_million"):
        row = found[name]
        rate = row["events"] / row["seconds"]
        print(f"{name:14} {row['events']:>9,} events {row['seconds']:7.1f} s {rate:>9,.0f} events/s"
              f"   bronze {row['bronze_usage_events']:6.1f} s   silver and increments {row['silver_usage_events']:6.1f} s"
              f"   again, nothing new {row['nothing_new']:.2f} s")  # fmt: skip
    print(f"DuckDB, JSONL to Parquet: {found['duckdb'][0]:.1f} s before, {found['duckdb'][1]:.1f} s after; "
          f"the stream takes {found['ratio']:.1f} times as long")  # fmt: skip
    results = ROOT / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "stream.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
