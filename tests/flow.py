"""What the flow tests share: a small dirty delivery, the command line in this process, and readings of the lake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from cloudlake.batch.gold import usage_marts
from cloudlake.cli.main import main
from cloudlake.common.config import Config, load_config
from cloudlake.common.contracts.schemas import spark_schema
from cloudlake.serving import live_org_daily_usage
from oracle import assert_same
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

ROOT = Path(__file__).resolve().parents[1]
DIRT = {
    "duplicate_events": 0.02, "conflicting_events": 0.01, "malformed_lines": 0.01, "truncated_lines": 0.005, "nan_values": 0.005,
    "unknown_versions": 0.005, "unparseable_values": 0.01, "missing_fields": 0.01, "negative_values": 0.005,
    "contradicting_units": 0.005, "future_timestamps": 0.005, "event_spellings": 0.05, "unknown_event_orgs": 0.01,
    "duplicate_rows": 0.02, "conflicting_rows": 0.02, "short_rows": 0.02, "broken_rules": 0.03, "unknown_orgs": 0.02,
    "bad_emails": 0.05, "bad_tags": 0.05, "missing_values": 0.05, "row_spellings": 0.1,
}  # fmt: skip
SERVED_KEY = ["org_id", "usage_date", "service"]


def deliver(
    out: Path, seed: int, *, orgs: int = 24, days: int = 20, events: int = 60, files: int = 6, **extra: Any
) -> dict[str, Any]:
    """Write a small landing zone full of dirt and return its manifest."""
    command = [sys.executable, str(ROOT / "scripts" / "generate_landing_data.py"), "--out", str(out), "--seed", str(seed),
               "--orgs", str(orgs), "--days", str(days), "--events-per-day", str(events), "--files", str(files)]  # fmt: skip
    for kind, share in DIRT.items():
        command += ["--rate", f"{kind}={share}"]
    for name, value in extra.items():
        command += [f"--{name}", str(value)]
    subprocess.run(command, check=True, capture_output=True)
    return dict(json.loads((out / "manifest.json").read_text()))


def cloudlake(lake: Path, landing: Path, *arguments: str) -> int:
    """Run a command as the scripts do, in this process and on its Spark session."""
    return main([arguments[0], "--lake", str(lake), "--landing", str(landing), *arguments[1:]])


def opened(lake: Path, landing: Path) -> Config:
    return load_config(str(ROOT / "conf"), str(lake), str(landing))


@contextmanager
def given_back(config: Config) -> Iterator[None]:
    """Give a lake back after a block as it was before."""
    saved = config.lake.root.with_name("saved")
    shutil.copytree(config.lake.root, saved)
    yield
    shutil.rmtree(config.lake.root)
    saved.rename(config.lake.root)


def versions(config: Config) -> dict[str, int]:
    """The version of every table but the record of the runs themselves."""
    return {name: config.lake.version(name) for name in config.registry.tables if name != "ops.job_runs"}


def business_columns(config: Config, table: str, expected: pa.Table) -> pa.Table:
    """The stored rows, the current ones of a history, in the columns that are expected."""
    rows = config.lake.read_small(table)
    if "is_current" in rows.column_names:
        rows = rows.filter(pa.compute.field("is_current"))
    return rows.select(expected.column_names)


def rebuilt_from_silver(spark: SparkSession, config: Config) -> pa.Table:
    """gold.org_daily_usage_by_service as silver has it now, computed anew."""
    events = config.lake.read(spark, "silver.usage_events")
    mart = usage_marts.org_daily_usage_by_service(usage_marts.usage_daily(events))
    schema = spark_schema(config.registry["gold.org_daily_usage_by_service"])
    return mart.select(*(F.col(f.name).cast(f.dataType).alias(f.name) for f in schema.fields)).toArrow()


def assert_the_law_holds(spark: SparkSession, config: Config) -> None:
    """The served table, and the live read, equal gold rebuilt from silver now."""
    expected = rebuilt_from_silver(spark, config)
    assert expected.num_rows > 0
    served = config.lake.read_small("serving.org_daily_usage")
    assert_same(served.drop_columns(["speed_events"]), expected, SERVED_KEY, "serving.org_daily_usage")
    assert_same(live_org_daily_usage(config), served, SERVED_KEY, "the live read")


def event_line(number: int, **fields: Any) -> str:
    """A plain event of version 2, for tests that stream a few more."""
    event = {
        "event_id": f"extra_{number:06d}", "timestamp": "2025-08-20T10:00:00Z", "org_id": "org_x", "resource_id": None,
        "service": "compute", "region": "us-east", "metric": "cpu_hours", "value": 1.5, "unit": "hours",
        "cost_usd_increment": 0.25, "schema_version": 2, "carbon_kg": 0.01,
    } | fields  # fmt: skip
    return json.dumps(event)


def land_events(landing: Path, name: str, lines: list[str]) -> None:
    """Put a file of events into the landing zone in one step, as a careful producer does."""
    folder = landing / "usage_events_stream"
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{name}.tmp"
    scratch.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(scratch, folder / name)


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something is so; fails where it is not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.1)


def files_with(root: Path, *texts: str) -> list[str]:
    """The files in which one of some texts stands, in whatever letters: to the byte, or as a packed value."""
    found = []
    for file in root.rglob("*"):
        if file.is_file():
            content = file.read_bytes().lower()
            if file.suffix == ".parquet":
                content += repr(pq.ParquetFile(file).read().to_pylist()).lower().encode()
            if any(text.lower().encode() in content for text in texts):
                found.append(str(file.relative_to(root)))
    return found
