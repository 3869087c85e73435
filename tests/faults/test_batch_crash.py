"""A batch run killed between any two commits, then run again, leaves the tables of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from flow import ROOT, cloudlake, deliver, opened
from oracle import assert_same
from pyspark.sql import SparkSession

JOBS = ["--jobs", "customers_orgs", "billing_monthly", "revenue_by_org_month"]
POINTS = ["after_bronze_write", "after_silver_write", "after_gold_write"]


def run_and_die(lake: Path, landing: Path, point: str) -> None:
    command = [
        sys.executable,
        "-m",
        "cloudlake.cli.main",
        "batch",
        "--lake",
        str(lake),
        "--landing",
        str(landing),
        "--parallel",
        "1",
        *JOBS,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "CLOUDLAKE_CRASH_AT": point}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, f"{point} was not reached:\n{done.stderr}"


def test_a_killed_run_goes_on_where_it_stopped_and_counts_nothing_twice(spark: SparkSession, tmp_path: Path) -> None:
    landing, killed, clean = tmp_path / "landing", tmp_path / "killed", tmp_path / "clean"
    deliver(landing, seed=9, orgs=40, days=2, events=5, files=1)
    for point in POINTS:
        run_and_die(killed, landing, point)
    assert cloudlake(killed, landing, "batch", *JOBS) == 0
    assert cloudlake(clean, landing, "batch", *JOBS) == 0
    one, other = opened(killed, landing), opened(clean, landing)
    keys = {
        "silver.customers_orgs": ["org_id", "effective_from"],
        "silver.billing_monthly": ["invoice_id"],
        "quarantine.billing_monthly": ["quarantine_id"],
        "gold.revenue_by_org_month": ["org_id", "month"],
    }
    for table, key in keys.items():
        left = [name for name in one.registry[table].column_names if name not in ("quarantined_at", "run_id")]
        assert_same(one.lake.read_small(table, columns=left), other.lake.read_small(table, columns=left), key, table)
    for table in ("bronze.customers_orgs", "bronze.billing_monthly"):
        assert one.lake.read_small(table).num_rows == other.lake.read_small(table).num_rows, "a file is ingested once"
    assert len(one.lake.rows("ops.landed_files")) == len(other.lake.rows("ops.landed_files"))
