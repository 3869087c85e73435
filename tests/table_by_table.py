"""A lake that is brought up to date table by table, without the rest of a batch run: for tests of single steps."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cloudlake.batch.bronze import ingestion as bronze_ingestion
from cloudlake.batch.silver import transformation as silver_transformation
from cloudlake.common.clock import now_utc
from cloudlake.common.config import Config
from cloudlake.common.steps import StepResult
from cloudlake.runs.record import reconciliation
from flow import opened
from pyspark.sql import SparkSession

ORGS = "org_id,org_name,industry,hq_region,plan_tier,is_enterprise,signup_date,sales_rep,lifecycle_stage,marketing_source,nps_score\n"


def org(name: str) -> str:
    return f"{name},Name of {name},retail,us-east,pro,False,2024-01-01,rep_a,active,ads,10\n"


class TableByTable:
    """A landing zone and a lake of their own."""

    def __init__(self, root: Path, spark: SparkSession) -> None:
        self.landing, self.spark = root / "landing", spark
        self.landing.mkdir()
        self.config: Config = opened(root / "lake", self.landing)

    def deliver(self, day: str, **files: str | bytes) -> None:
        (self.landing / day).mkdir(exist_ok=True)
        for name, content in files.items():
            path = self.landing / day / f"{name}.csv"
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def ingest(self, name: str) -> StepResult:
        now, table = now_utc(), self.config.registry[f"bronze.{name}"]
        return bronze_ingestion.ingest(self.config, table, now=now, run_id=f"r{now:%H%M%S%f}")

    def transform(self, name: str, **options: Any) -> StepResult:
        table = self.config.registry[f"silver.{name}"]
        return silver_transformation.transform(lambda: self.spark, self.config, table, now=now_utc(), run_id="r", **options)  # type: ignore[arg-type,return-value]

    def run(self, *tables: str, replayed: Collection[str] = ()) -> dict[str, StepResult]:
        done = {}
        for name in tables:
            self.ingest(name)
            done[name] = self.transform(name, replayed=replayed)
        return done

    def refused(self, table: str) -> dict[str, dict[str, Any]]:
        """The refused rows by their key."""
        rows = self.config.lake.rows(f"quarantine.{table}")
        key = self.config.registry[f"silver.{table}"].key[0]
        return {json.loads(row["payload"]).get(key): row for row in rows}

    def counts(self, table: str) -> tuple[int, int, int]:
        """Landed, accepted and quarantined rows of a table."""
        row = next(row for row in reconciliation(self.config) if row["table"] == f"silver.{table}")
        assert row["holds"]
        return row["landed"], row["accepted"], row["quarantined"]
