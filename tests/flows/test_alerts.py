"""From an anomaly to the people who must know: alerts raised once, delivered for certain, whatever is down."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cloudlake.alerts import judging as alerts
from cloudlake.alerts import lookout as lookout_module
from cloudlake.alerts.lookout import Lookout, report_death
from cloudlake.cli.main import main
from cloudlake.common.config import Config
from cloudlake.common.errors import CloudlakeError, ConfigurationError
from cloudlake.runs.state import gather
from cloudlake.runs.stream_run import take_once as run_once
from cloudlake.serving.publication import publish
from cloudlake.streaming.recent_events import RECENT
from flow import event_line, land_events
from live_lake import NOW, ROOT, commit, event, opened, spread
from pyspark.sql import SparkSession
from receivers import Mailbox, Webhook, listening

SECRET = "s3cr3t-token"


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with listening() as hook:
        monkeypatch.setenv("CLOUDLAKE_TEST_URL", hook.url)
        monkeypatch.setenv("CLOUDLAKE_TEST_TOKEN", SECRET)
        yield hook


HOOK = {"kind": "webhook", "url": "${CLOUDLAKE_TEST_URL}", "headers": {"Authorization": "${CLOUDLAKE_TEST_TOKEN}"}}


def opened_alerts(config: Config, status: str = "open") -> dict[str, dict[str, Any]]:
    rows = config.lake.rows(alerts.ALERTS)
    return {f"{row['rule']} {row['org_id']} {row['service']}": row for row in rows if row["status"] == status}


def eventually(holds: Callable[[], bool], seconds: float = 30) -> float:
    """Wait until something holds, and return how long it took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, "it never came true"
        time.sleep(0.05)
    return time.monotonic() - started


def test_an_anomaly_in_the_stream_is_told_once_also_after_a_replay_and_later_where_a_target_was_down(
    spark: SparkSession, tmp_path: Path, webhook: Webhook
) -> None:
    on_call = Mailbox()
    config = opened(tmp_path, targets={"hook": HOOK, "mail": on_call.target, "log": {"kind": "log"}})
    day = datetime(2025, 8, 20, 10, tzinfo=UTC)
    calm = [event_line(n, timestamp=f"{day - timedelta(hours=n % 24):%Y-%m-%dT%H:%M:%SZ}") for n in range(200)]
    planted = event_line(900, cost_usd_increment=812.5, service="genai", org_id="org_p")
    bad = [event_line(n, cost_usd_increment=-5, org_id="org_n") for n in range(910, 922)]
    land_events(config.landing, "one.jsonl", [*calm, planted, *bad])
    warnings = run_once(lambda: spark, config, "r").warnings
    assert len(warnings) == 1 and "mail: no connection" in warnings[0]
    found = opened_alerts(config)
    assert set(found) == {"daily_cost org_p genai", "window_cost org_p genai", "negative_cost_burst org_n None"}
    assert found["daily_cost org_p genai"]["observed"] == Decimal("812.5")
    assert sorted(key for key, _ in webhook.told) == sorted(row["alert_id"] for row in found.values())
    assert {body["message"] for _, body in webhook.told} == {row["message"] for row in found.values()}
    assert webhook.tokens == {SECRET}
    assert config.lake.read_small(RECENT).num_rows == 201

    shutil.rmtree(config.lake.root / "checkpoints")
    land_events(config.landing, "repeat.jsonl", [planted, *calm[:5]])
    with on_call.open():
        assert run_once(lambda: spark, config, "r").warnings == []
    assert opened_alerts(config) == found, "a replay changes nothing"
    assert len(webhook.told) == 3, "who was told is not told again"
    assert len(on_call.mails) == 3, "who was down is told later"
    text = on_call.mails[0].content.decode()
    assert found["daily_cost org_p genai"]["alert_id"] in "".join(mail.content.decode() for mail in on_call.mails)
    assert "X-Idempotency-Key:" in text and "severity: " in text
    in_lake = b"".join(path.read_bytes() for path in config.lake.root.rglob("*") if path.is_file())
    assert SECRET.encode() not in in_lake and webhook.url.encode() not in in_lake


def test_a_running_stream_alerts_within_seconds_and_a_dead_target_does_not_hold_it_up(
    tmp_path: Path, webhook: Webhook, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.answer = 503
    monkeypatch.setattr(lookout_module, "_WELL_AFTER_SECONDS", 0.0)
    config = opened(tmp_path, targets={"hook": HOOK}, attempts=3)
    commit(config, 1, spread(60, hours=24))
    report_death(config, "silver_usage_events", 2, "no space left")
    with Lookout(config, "r") as lookout:
        eventually(lambda: config.lake.exists(RECENT))
        commit(config, 2, [event(500, NOW, "900", org_id="org_p")])
        assert eventually(lambda: "window_cost org_p genai" in opened_alerts(config)) < 10
        eventually(lambda: bool(lookout.faults))
        assert "hook: it answers 503" in lookout.faults[0] and SECRET not in caplog.text
        webhook.answer = 200
        eventually(lambda: len(webhook.told) == 3)
        assert "stream_restarted None silver_usage_events" in opened_alerts(config, "resolved"), "it runs well again"
        commit(config, 3, [event(501, NOW + timedelta(days=3), "1")])
        eventually(lambda: not opened_alerts(config))
        started = time.monotonic()
    assert time.monotonic() - started < 8
    assert len(opened_alerts(config, "resolved")) == 3, "the day and the window have left the last hours"
    assert config.lake.read_small(RECENT).num_rows == 1, "recent events are brought to the end before the stream ends"


def test_a_date_is_judged_by_the_newest_baseline_that_is_in_force(tmp_path: Path) -> None:
    config = opened(tmp_path)
    table = config.registry[alerts.BASELINES]

    def learn(days_ago: int, expected: str, service: str = "genai") -> None:
        baseline = {"expected_usd": Decimal(expected), "mad_usd": Decimal(1)}
        day = (NOW - timedelta(days=days_ago)).date()
        config.lake.append_small([{"org_id": "org_0", "service": service, "usage_date": day} | baseline], table)

    def found() -> dict[str, dict[str, Any]]:
        alerts.judge(config, "r", NOW)
        return opened_alerts(config)

    commit(config, 1, [event(0, NOW, "150"), event(3, NOW, "150"), event(0, NOW - timedelta(days=2), "150")])
    learn(3, "10")
    assert found() == {}, "what is not in force is not known, and 150 is below the limit"
    publish(config, "r")
    alert = found()["daily_cost org_0 genai"]
    assert (alert["expected"], alert["threshold"], alert["date"]) == (Decimal(10), Decimal(30), NOW.date())
    assert alert["severity"] == "critical" and len(found()) == 1, "nothing is known of the other service"
    learn(1, "80")
    learn(-1, "10")
    publish(config, "r")
    assert found() == {}, "70 above 80 is no anomaly; what was learned after the date does not count"


def test_what_people_decide_holds_and_is_shown(
    tmp_path: Path, webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    config = opened(tmp_path, targets={"hook": HOOK})
    where = ["--lake", str(config.lake.root), "--conf", str(ROOT / "conf")]

    def said(*arguments: str, code: int = 0) -> str:
        assert main(["alerts", arguments[0], *where, *arguments[1:]]) == code
        shown = capsys.readouterr()
        return " ".join((shown.out + shown.err).split())

    assert said("list") == "no open alerts"
    assert said("resend") == "nothing is still to be told"
    commit(config, 1, [event(n, NOW, "900", org_id=org) for n, org in ((0, "org_[bold]"), (1, "org_b\n"))])
    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert "there is no such rule; did you mean 'window_cost'" in said(
        "silence", "--rule", "window_costs", "--until", later, code=2
    )
    assert "is past" in said("silence", "--rule", "window_cost", "--until", "2020-01-01", code=2)
    assert "goes with --rule" in said("silence", "abc", "--org", "o", "--until", later, code=2)
    assert "silenced until" in said("silence", "--rule", "window_cost", "--until", later)
    alerts.judge(config, "r", datetime.now(UTC))
    assert alerts.tell(config, datetime.now(UTC)) == []
    assert len(webhook.told) == 2, "the windows are silenced"
    found = opened_alerts(config)
    shown = said("list")
    assert shown.count("daily_cost") == 2 and shown.count("silenced") == 2 and "org_[bold]" in shown
    daily = found["daily_cost org_[bold] genai"]["alert_id"]
    assert "no alert has" in said("ack", "zzz", code=2)
    assert f"acknowledged: {daily[:12]}" in said("ack", daily[:10])
    alerts.judge(config, "r", datetime.now(UTC))
    assert opened_alerts(config, "acknowledged")["daily_cost org_[bold] genai"]["acknowledged_by"]
    assert len(json.loads(said("list", "--status", "open", "--json"))) == 3
    assert "alerts and live" not in said("list")
    state = gather(config, datetime.now(UTC))
    assert len(state["alerts"]) == 4 and not any("delivered" in problem for problem in state["problems"])
    alerts.raise_restart(config, "silver_usage_events", 1, "the query died and was restarted", NOW)
    alerts.judge(config, "r", NOW)
    assert "stream_restarted None silver_usage_events" in opened_alerts(config)
    assert len(gather(config, datetime.now(UTC))["alerts"]) == 5
    assert list(alerts.resend(config, daily, datetime.now(UTC))) == [(daily, "hook", "")]
    assert [key for key, _ in webhook.told].count(daily) == 2, "sent again where that is asked for, under the same key"
    alerts.settle_restart(config, NOW)
    assert "stream_restarted None silver_usage_events" in opened_alerts(config, "resolved")


def test_a_missing_secret_or_a_refusal_is_told_clearly_and_keeps_the_alert(
    tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = opened(tmp_path, targets={"hook": HOOK})
    alerts.raise_restart(config, "silver_usage_events", 1, "the query died", NOW)
    monkeypatch.delenv("CLOUDLAKE_TEST_TOKEN")
    missing = "targets.hook.headers.Authorization: the environment variable CLOUDLAKE_TEST_TOKEN is not set"
    assert missing in alerts.tell(config, NOW)[0]
    assert missing in alerts.tell(config, NOW)[0]
    assert len(config.lake.rows(alerts.NOTIFICATIONS)) == 1, "the same fault is noted once"
    monkeypatch.setenv("CLOUDLAKE_TEST_TOKEN", SECRET)
    webhook.answer = 404
    assert "refuses the notification with 404" in alerts.tell(config, NOW)[0]
    webhook.answer = 200
    assert alerts.tell(config, NOW) == [] and len(webhook.told) == 1
    assert alerts.pending(config, NOW) == []
    assert isinstance(ConfigurationError(""), CloudlakeError)
