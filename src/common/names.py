"""The tables that code speaks of by name; every other is found by its contract."""

from __future__ import annotations

BRONZE_EVENTS = "bronze.usage_events"
EVENTS = "silver.usage_events"
REFUSED_EVENTS = "quarantine.usage_events"
INCREMENTS = "speed.usage_increments"
LANDED = "ops.landed_files"
RECONCILIATION = "ops.reconciliation"
JOB_RUNS = "ops.job_runs"
RESULTS = "ops.quality_results"
