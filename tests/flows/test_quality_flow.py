"""Quality on the command line: lines that a new schema version lets in, and an expectation that stops a publication."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cloudlake.common.config import Config
from cloudlake.common.lake.locks import process_lock
from flow import ROOT, assert_the_law_holds, cloudlake, deliver, event_line, land_events, opened, versions
from pyspark.sql import SparkSession

NEW = [event_line(n, schema_version=3, org_id="org_new") for n in range(4)]
REPLAY = ("quarantine", "replay", "--table", "usage_events", "--reason", "schema_version_unknown")


@pytest.fixture(scope="module")
def config(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Config:
    landing, lake = tmp_path_factory.mktemp("landing"), tmp_path_factory.mktemp("lake")
    deliver(landing, seed=23, orgs=8, days=2, events=20, files=1)
    land_events(landing, "new.jsonl", NEW)
    assert cloudlake(lake, landing, "batch") == 0
    return opened(lake, landing)


def changed(tmp_path: Path, file: str, old: str, new: str) -> str:
    conf = Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))
    text = (conf / file).read_text()
    assert old in text
    (conf / file).write_text(text.replace(old, new, 1))
    return str(conf)


def test_lines_of_a_version_that_conf_has_learnt_enter_silver_gold_and_the_served_view_once(
    spark: SparkSession, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, landing = config.lake.root, config.landing
    waiting = {row["payload"]: row["quarantine_id"] for row in config.lake.rows("quarantine.usage_events")}
    assert cloudlake(lake, landing, "quarantine", "discard", waiting[NEW[3]], "--reason", "a test account") == 0
    with process_lock(config.lake, "stream", "a stream"):
        assert cloudlake(lake, landing, *REPLAY) == 4, "it waits for the stream"
    third = "    3: [event_id, timestamp, org_id, resource_id, service, region, metric, value, unit, cost_usd_increment]\n  metric_units"
    conf = changed(tmp_path, "streaming.yaml", "  metric_units", third)
    assert cloudlake(lake, landing, *REPLAY, "--conf", conf) == 0
    assert "3 row(s) replayed" in capsys.readouterr().out
    entered = {row["event_id"] for row in config.lake.rows("silver.usage_events") if row["org_id"] == "org_new"}
    assert entered == {f"extra_{n:06d}" for n in range(3)}, "all but the one that was discarded"
    for table in ("gold.usage_daily", "serving.org_daily_usage"):
        assert sum(row["events"] for row in config.lake.rows(table) if row["org_id"] == "org_new") == 3, table
    assert_the_law_holds(spark, config)
    before = versions(config)
    assert cloudlake(lake, landing, *REPLAY, "--conf", conf) == 0
    assert "nothing to replay" in capsys.readouterr().out and versions(config) == before


def test_an_expectation_that_breaks_stops_the_publication_until_a_person_accepts_it(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, landing = config.lake.root, config.landing
    published = (lake / "published.json").read_bytes()
    old = 'level: fail, at_most: 0, description: "Cost and number of events, less those of silver"'
    conf = changed(tmp_path, "gold.yaml", old, old.replace("at_most: 0", "at_most: -1"))
    job = ("batch", "--jobs", "usage_daily", "--conf", conf)
    assert cloudlake(lake, landing, *job) == 3
    said = capsys.readouterr().err
    assert "gold.usage_daily: total_as_in_inputs" in said and "Nothing of it is visible" in said
    assert (lake / "published.json").read_bytes() == published
    run = next(row["run_id"] for row in config.lake.rows("ops.gates") if row["rule"] == "total_as_in_inputs")
    reason = ("--rule", "total_as_in_inputs", "--reason", "the bound is wrong")
    assert cloudlake(lake, landing, "gate", "accept", "--run", run, *reason) == 0
    assert cloudlake(lake, landing, *job) == 0
    assert (lake / "published.json").read_bytes() != published
    results = [row for row in config.lake.rows("ops.quality_results") if row["table"] == "gold.usage_daily"]
    statuses = {row["status"] for row in results if row["rule"] == "total_as_in_inputs"}
    assert statuses == {"passed", "failed", "accepted"}
    assert (lake / "quality" / "index.html").exists()
