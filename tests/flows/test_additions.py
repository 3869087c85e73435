"""What is added by declarations and at most one function: a source, a mart on it, an event version in other words."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from cloudlake.batch.silver.subjects import SUBJECTS, Subject
from cloudlake.common.config import load_config
from flow import ROOT, cloudlake, event_line, land_events
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from table_by_table import ORGS, org

BRONZE = """
  devices:
    description: Exports of the devices, as they arrived.
    grain: One row for each row of each ingested file
    key: []
    file: devices.csv
    history: {kind: append}
    columns:
      device_id: {description: Device, required: true}
      resource_id: {description: Resource it is part of}
      serial: {description: Serial number}
      <<: *provenance
"""
SILVER = """
  devices:
    description: The devices that resources are made of.
    grain: One row for each device
    key: [device_id]
    inputs: [bronze.devices, silver.resources]
    history: {kind: upsert}
    reference: {resource_id: silver.resources.resource_id}
    brings: {resource_state: resource_id.state}
    columns:
      device_id: {required: true, description: Device}
      resource_id: {required: true, description: Resource it is part of}
      serial: {description: "Serial number, upper case"}
      <<: [*quality, *provenance]
    rules:
      of_a_dead_resource: {level: warn, when: resource_state = 'terminated', description: The resource is no more}
"""
GOLD = """
  devices_by_org:
    description: How many devices an organisation has.
    grain: One row for each organisation
    key: [org_id]
    inputs: {devices: silver.devices, resources: silver.resources}
    mart: {function: "test_additions:devices_by_org"}
    history: {kind: replace}
    parameters: {least_devices: 1}
    columns:
      org_id: {required: true, description: Organisation}
      devices: {type: bigint, description: Number of devices}
      of_dead_resources: {type: bigint, description: Devices whose resource is no more}
"""
RESOURCES = "resource_id,org_id,service,region,created_at,state,tags_json\n"
DEVICES = "device_id,resource_id,serial\nd1,r1,ab\nd2,r1,cd\nd3,r2,ef\nd4,nowhere,gh\n"


def devices(rows: DataFrame) -> DataFrame:
    """The one function of the new source."""
    return rows.withColumn("serial", F.upper("serial"))


def devices_by_org(devices: DataFrame, resources: DataFrame, *, least_devices: int) -> DataFrame:
    """The one function of the new mart."""
    owners = resources.where("is_current").select("resource_id", "org_id")
    dead = F.array_contains("quality_flags", "of_a_dead_resource").cast("bigint")
    counts = devices.join(owners, "resource_id").groupBy("org_id")
    return counts.agg(F.count("*").alias("devices"), F.sum(dead).alias("of_dead_resources")).where(
        F.col("devices") >= least_devices
    )


def add(conf: Path, name: str, text: str) -> None:
    """Put the declaration of a table before the others of its layer."""
    path = conf / name
    path.write_text(path.read_text(encoding="utf-8").replace("\ntables:\n", f"\ntables:{text}", 1), encoding="utf-8")


@pytest.mark.usefixtures("spark")
def test_a_source_a_mart_and_an_event_version_are_declarations_and_one_function_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark: SparkSession
) -> None:
    conf, landing, lake = tmp_path / "conf", tmp_path / "landing", tmp_path / "lake"
    shutil.copytree(ROOT / "conf", conf)
    add(conf, "bronze.yaml", BRONZE)
    add(conf, "silver.yaml", SILVER)
    add(conf, "gold.yaml", GOLD)
    streaming = (conf / "streaming.yaml").read_text(encoding="utf-8")
    third = "    3: [event_id, timestamp, org_id, resource_id, service, region, metric, amount, unit, cost_cents]\n  metric_units"
    renamed = "  renamed: {3: {cost_usd_increment: {field: cost_cents, times: 0.01}, value: {field: amount}}}"
    streaming = streaming.replace("  metric_units", third, 1).replace("  renamed: {}", renamed, 1)
    (conf / "streaming.yaml").write_text(streaming, encoding="utf-8")
    monkeypatch.setitem(SUBJECTS, "silver.devices", Subject(devices))

    (landing / "2025-08-01").mkdir(parents=True)
    exports = {
        "customers_orgs": ORGS + org("o1") + org("o2"),
        "resources": RESOURCES + "r1,o1,compute,us-east,2024-02-01,running,\nr2,o1,compute,us-east,2024-02-01,terminated,\n",
        "devices": DEVICES,
    }
    for name, text in exports.items():
        (landing / "2025-08-01" / f"{name}.csv").write_text(text, encoding="utf-8")
    second = event_line(1, org_id="o1", cost_usd_increment=0.25)
    said = json.loads(event_line(2, org_id="o1")) | {"schema_version": 3, "cost_cents": 12.5, "amount": 7}
    land_events(landing, "a.jsonl", [second, json.dumps({k: v for k, v in said.items() if k not in ("value", "cost_usd_increment")})])

    jobs = ("customers_orgs", "resources", "devices", "usage_events", "usage_daily", "devices_by_org")
    assert cloudlake(lake, landing, "batch", "--conf", str(conf), "--jobs", *jobs) == 0

    config = load_config(str(conf), str(lake), str(landing))
    assert config.lake.rows("gold.devices_by_org") == [{"org_id": "o1", "devices": 3, "of_dead_resources": 1}]
    kept = {row["device_id"]: (row["serial"], row["quality_flags"]) for row in config.lake.rows("silver.devices")}
    assert kept == {"d1": ("AB", []), "d2": ("CD", []), "d3": ("EF", ["of_a_dead_resource"])}
    (refused,) = config.lake.rows("quarantine.devices")
    assert refused["reasons"] == ["resource_id_unknown"]
    costs = {row["schema_version"]: (row["cost_usd"], row["value"]) for row in config.lake.rows("silver.usage_events")}
    assert costs[3] == (Decimal("0.125"), Decimal(7)) and costs[2][0] == Decimal("0.25")
    assert sum(row["cost_usd"] for row in config.lake.rows("gold.usage_daily")) == Decimal("0.375")
