"""A line that makes a micro-batch fail each time is kept apart and the rest goes on; a fault of all lines is nobody's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cloudlake.alerts.judging import findings
from cloudlake.common.clock import now_utc
from cloudlake.common.config import Config, load_config
from cloudlake.common.quality import quarantine
from cloudlake.runs.background import stream_state
from cloudlake.streaming import reentry, silver_events
from cloudlake.streaming.pipeline import reload_events, run_once
from flow import ROOT, event_line, land_events
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

RULE = "      value_missing: {level: warn, when: value IS NULL,"


def opened(root: Path, rule: str | None) -> Config:
    """The lake under a conf/ whose additional rule of silver.usage_events is this expression."""
    conf = root / "conf"
    shutil.rmtree(conf, ignore_errors=True)
    shutil.copytree(ROOT / "conf", conf)
    silver = conf / "silver.yaml"
    text = silver.read_text(encoding="utf-8")
    assert RULE in text
    if rule is not None:
        added = f'      odd_ratio: {{level: warn, when: "{rule}", description: A ratio that is odd}}\n'
        silver.write_text(text.replace(RULE, added + RULE), encoding="utf-8")
    (root / "landing").mkdir(exist_ok=True)
    return load_config(str(conf), str(root / "lake"), str(root / "landing"))


def kept(config: Config) -> dict[str, tuple[list[str], str]]:
    rows = config.lake.rows("quarantine.usage_events")
    return {row["payload"]: (row["reasons"], row["status"]) for row in rows}


def assert_every_line_is_accounted_for(config: Config) -> None:
    counts = {row["delivery"]: row for row in config.lake.rows("ops.reconciliation")}.values()
    landed, accepted, quarantined, duplicates = (
        sum(row[name] for row in counts) for name in ("landed", "accepted", "quarantined", "duplicates")
    )
    assert landed == config.lake.count("bronze.usage_events") == accepted + quarantined + duplicates
    assert accepted == config.lake.count("silver.usage_events")
    assert quarantined == config.lake.count("quarantine.usage_events")


def test_lines_that_make_the_step_fail_are_kept_apart_through_crashes_and_return_when_it_is_mended(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [event_line(500, value=13), event_line(501, value=13.0, org_id="org_y")]
    before_time = event_line(502, timestamp="0001-01-01T00:00:00+14:00")  # a date that Python has not
    after_time = event_line(503, timestamp="9999-12-31T23:59:59-14:00", cost_usd_increment=-1)
    lines = [*(event_line(number) for number in range(60)), *bad, bad[0], before_time, after_time, "broken"]
    land_events(tmp_path / "landing", "a.jsonl", lines)
    config = opened(tmp_path, "1 / (value - 13) > 100")

    def crash_point(name: str) -> None:
        if name == "stream_after_quarantine":
            raise InterruptedError(name)

    monkeypatch.setattr(silver_events, "crash_point", crash_point)
    with pytest.raises(InterruptedError):
        run_once(lambda: spark, config, "dies")
    monkeypatch.undo()
    done = run_once(lambda: spark, config, "run")
    assert (done.landed, done.accepted, done.quarantined, done.duplicates) == (66, 60, 5, 1)
    failed = (["step_failed"], "open")
    refused = {before_time: (["timestamp_too_old"], "open"), "broken": (["malformed_json"], "open")}
    refused[after_time] = (["cost_negative", "timestamp_in_future"], "open")
    assert kept(config) == refused | dict.fromkeys(bad, failed)
    assert list(findings(config)) == [], "a date beyond any calendar stops no alert"
    assert_every_line_is_accounted_for(config)
    said = "\n".join(stream_state(config, now_utc())["warnings"])
    assert "2 line(s) made silver.usage_events fail" in said and "replay --reason step_failed" in said

    assert any("2 line(s) made silver.usage_events fail; they are kept apart" in text for text in done.warnings)

    again = reload_events(lambda: spark, config, "reload")
    assert any("2 line(s) made" in text and "DIVIDE_BY_ZERO" in text for text in again.warnings)
    assert (again.landed, again.accepted, again.quarantined, again.duplicates) == (66, 60, 5, 1)
    assert kept(config) == refused | dict.fromkeys(bad, failed)

    waiting = {
        row["quarantine_id"]: row["payload"] for row in quarantine.open_rows(config.lake, "quarantine.usage_events")
    }
    waiting = {one: line for one, line in waiting.items() if 'value": 13' in line}
    assert len(waiting) == 2
    found = reentry.replay(spark, config, waiting, now=now_utc(), run_id="still wrong")
    assert found == {one: ["step_failed"] for one in waiting}
    mended = opened(tmp_path, "value = 14")
    assert reentry.replay(spark, mended, waiting, now=now_utc(), run_id="mended") == {}
    assert config.lake.count("silver.usage_events") == 62
    assert {status for line, (_, status) in kept(mended).items() if 'value": 13' in line} == {"replayed"}


def test_a_fault_of_all_lines_stops_the_stream_and_keeps_none_apart(spark: SparkSession, tmp_path: Path) -> None:
    config = opened(tmp_path, "1 / (length(org_id) - 5) > 100")
    few = config.stream.model_copy(update={"trigger": config.stream.trigger.model_copy(update={"most_apart": 3})})
    config = Config(config.conf, config.landing, config.lake, config.settings, few, config.registry)
    land_events(tmp_path / "landing", "a.jsonl", [event_line(number) for number in range(40)])
    with pytest.raises(PySparkException, match="DIVIDE_BY_ZERO"):
        run_once(lambda: spark, config, "run")
    for table in ("silver.usage_events", "quarantine.usage_events", "ops.reconciliation"):
        assert config.lake.count(table) == 0
    mended = opened(tmp_path, None)
    assert run_once(lambda: spark, mended, "mended").accepted == 40
