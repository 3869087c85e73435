"""The alert rules on rows made by hand, and what becomes of alerts; no Spark."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cloudlake.alerts import rules as alert_rules
from cloudlake.alerts.rules import (
    AnomalyTest,
    DayCost,
    Finding,
    Load,
    Refused,
    WindowPeak,
    alert_id,
    settle,
    undelivered,
)
from cloudlake.common.config import load_config
from cloudlake.common.receivers import Notifications
from cloudlake.common.settings.stream import Live

ROOT = Path(__file__).resolve().parents[2]
CONFIG = load_config(str(ROOT / "conf"))
RULES = CONFIG.stream.alerts.rules
TEST = AnomalyTest.of(CONFIG.registry["gold.cost_anomalies"].parameters)
DAY = date(2025, 8, 31)
NOON = datetime(2025, 8, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "slide", "fault"),
    [(60, 20, "multiple of 15"), (60, 45, "not a multiple of slide_minutes"), (780, 15, "more than half of 24 hours")],
)
def test_windows_that_do_not_fit_are_refused(window: int, slide: int, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Live(hours=24, window_minutes=window, slide_minutes=slide, refresh_seconds=1)


def test_a_secret_that_stands_in_the_file_is_refused() -> None:
    mail = {"kind": "email", "host": "h", "sender": "a@x.org", "recipients": ["b@x.org"], "password": "hunter2"}
    hook = {"kind": "webhook", "url": "https://x.org", "headers": {"Authorization": "Bearer 123"}}
    for target in (mail, hook):
        with pytest.raises(ValueError, match="a secret has no place in this file"):
            Notifications.model_validate(
                {"attempts": 1, "timeout_seconds": 1, "resend_seconds": 1, "targets": {"t": target}}
            )


def usd(text: str) -> Decimal:
    return Decimal(text)


@pytest.mark.parametrize(
    ("cost", "expected", "mad", "is_found"),
    [
        ("30", "10", "0.01", True),  # exactly twice as much again, and more than 10 above
        ("29.999999", "10", "0.01", False),
        ("12", "2", "0.01", True),  # exactly 10 above
        ("11.999999", "2", "0.01", False),
        ("70", "10", "6.745", False),  # 0.6745 × 60 = 6 × 6.745: not more
        ("70.01", "10", "6.745", True),
        ("-5", "-20", "0.01", True),  # a credit that shrank by 15
        ("500", None, None, False),  # without history: a fixed limit
        ("500.000001", None, None, True),
        ("500.000001", "10", None, True),  # half a baseline is none
    ],
)
def test_a_date_is_judged_as_gold_judges_it_or_by_a_fixed_limit(
    cost: str, expected: str | None, mad: str | None, is_found: bool
) -> None:
    day = DayCost("o", "genai", DAY, usd(cost), usd(expected) if expected else None, usd(mad) if mad else None)
    found = list(alert_rules.daily_cost([day], RULES.daily_cost, TEST))
    assert bool(found) is is_found
    if found:
        assert (found[0].org_id, found[0].service, found[0].date) == ("o", "genai", DAY)
        assert found[0].observed == usd(cost) >= found[0].threshold


def test_a_window_over_its_limit_is_found() -> None:
    peaks = [WindowPeak("o", service, DAY, NOON, usd(cost)) for service, cost in (("genai", "250.01"), ("compute", "250"))]
    assert [f.service for f in alert_rules.window_cost(peaks, RULES.window_cost)] == ["genai"]


def windows(*counts: int) -> dict[datetime, int]:
    """Events of the hours before noon, the newest first."""
    return {NOON - timedelta(hours=n + 1): count for n, count in enumerate(counts) if count}


@pytest.mark.parametrize(
    ("events", "is_found"),
    [
        (windows(9, *[40] * 8), True),
        (windows(10, *[40] * 8), False),  # a quarter, and no less
        (windows(0, *[40] * 8), True),
        (windows(0, *[40] * 5), False),  # too short a past
        (windows(0, *[19] * 8), False),  # too thin a past
        (windows(0, *[40, 0] * 5), True),  # gaps count as no events
        (windows(0, *[0, 0, 40] * 3), False),
        ({}, False),
    ],
)
def test_a_drop_of_the_event_rate_is_found(events: dict[datetime, int], is_found: bool) -> None:
    found = list(alert_rules.event_rate_drop(events, NOON, timedelta(hours=1), 24, RULES.event_rate_drop))
    assert bool(found) is is_found


@pytest.mark.parametrize(
    ("loads", "is_found"),
    [
        ([Load(500, 30), Load(10_000, 100)], True),
        ([Load(500, 24), Load(10_000, 100)], False),  # more than thrice the usual, yet little
        ([Load(500, 60), Load(10_000, 500)], False),  # twice the usual
        ([Load(100, 30), Load(400, 0), Load(10_000, 100)], True),  # the newest 500 lines together
        ([Load(100, 100), Load(399, 0)], False),  # too few lines to tell
        ([Load(500, 60), Load(500, 5)], True),  # exactly as many lines before as it takes: thrice the usual
        ([Load(500, 60), Load(499, 5)], False),  # one less: the fixed limit
        ([Load(1000, 201)], True),  # nothing before: a fixed limit
        ([Load(1000, 200), Load(499, 0)], False),
    ],
)
def test_a_rise_of_the_quarantine_rate_is_found(loads: list[Load], is_found: bool) -> None:
    assert bool(list(alert_rules.quarantine_rate(loads, DAY, RULES.quarantine_rate))) is is_found


def test_a_burst_of_negative_costs_is_found() -> None:
    refused = [Refused("many", DAY, 10), Refused("few", DAY, 9), Refused(None, DAY, 11)]
    found = alert_rules.negative_cost_burst(refused, RULES.negative_cost_burst)
    assert [finding.org_id for finding in found] == ["many", None]


def finding(observed: str = "30", service: str = "genai", rule: str = "daily_cost") -> Finding:
    return Finding(rule, DAY, usd(observed), usd("30"), "text", usd("10"), "o", service)


def settled(known: list[dict[str, Any]], *found: Finding, now: datetime = NOON) -> list[dict[str, Any]]:
    """The alerts after a judgement of daily_cost."""
    factor = Decimal(3)
    changed = settle(known, found, ["daily_cost"], critical_factor=factor, targets=["log"], now=now)
    return list(({row["alert_id"]: row for row in known} | {row["alert_id"]: row for row in changed}).values())


def test_the_same_trouble_is_the_same_alert_and_changes_nothing_when_found_again() -> None:
    known = settled([], finding(), finding(service="compute"))
    assert {row["alert_id"] for row in known} == {alert_id("daily_cost", "o", s, DAY) for s in ("genai", "compute")}
    assert [row["status"] for row in known] == ["open", "open"] and known[0]["targets"] == ["log"]
    again = settle(
        known, [finding(), finding(service="compute")], ["daily_cost"], critical_factor=Decimal(3), targets=[], now=NOON
    )
    assert again == []


def test_alerts_rise_are_resolved_and_open_again_while_what_people_decided_stays() -> None:
    later = NOON + timedelta(hours=1)
    (alert,) = settled([], finding())
    assert alert["severity"] == "warning"
    alert |= {"status": "acknowledged", "acknowledged_by": "me", "acknowledged_at": NOON}
    (alert,) = settled([alert], finding("90"), now=later)
    assert (alert["status"], alert["severity"], alert["raised_at"]) == ("acknowledged", "critical", NOON)
    (alert,) = settled([alert], now=later)
    assert (alert["status"], alert["resolved_at"], alert["acknowledged_by"]) == ("resolved", later, "me")
    assert settled([alert], now=later) == [alert]
    again = later + timedelta(hours=1)
    (alert,) = settled([alert], finding(), now=again)
    assert (alert["status"], alert["resolved_at"], alert["acknowledged_by"]) == ("open", None, None)
    assert alert["raised_at"] == again, "it was raised again then"
    (other,) = settled(settled([], finding(rule="stream_restarted")))
    assert other["status"] == "open", "who was not asked has not said that all is well"


def test_nobody_is_told_twice_nor_of_what_is_silenced_or_taken_on() -> None:
    def told(*silences: dict[str, Any], delivered: bool = False, **changes: Any) -> list[str]:
        (alert,) = settled([], finding())
        alert = alert | {"targets": ["log", "mail"]} | changes
        done = {(alert["alert_id"], "log")} if delivered else set()
        return [target for _, target in undelivered([alert], done, silences, NOON)]

    rule = {"alert_id": None, "rule": "daily_cost", "org_id": None, "at": NOON, "until": NOON + timedelta(hours=1)}
    late = NOON + timedelta(hours=2)
    assert told() == ["log", "mail"]
    assert told(delivered=True) == ["mail"]
    assert told(rule) == [] == told(rule | {"org_id": "o"}) == told(status="acknowledged")
    assert told(rule | {"org_id": "p"}) == told(rule | {"rule": "window_cost"}) == ["log", "mail"]
    assert told(rule | {"until": NOON}) == ["log", "mail"], "the silence is over"
    assert told(rule | {"alert_id": alert_id("daily_cost", "o", "genai", DAY), "rule": None}) == []
    assert told(status="resolved", resolved_at=NOON) == ["log", "mail"], "it was resolved while a target was down"
    assert told(rule, status="resolved", resolved_at=NOON) == [], "it came and went in silence"
    assert told(rule, status="resolved", resolved_at=late) == ["log", "mail"]


def test_the_alert_raised_first_is_told_first() -> None:
    alerts = settled([], finding(), finding(service="compute"), finding(service="storage"))
    first = dict(max(alerts, key=lambda row: row["alert_id"])) | {"raised_at": NOON - timedelta(seconds=1)}
    others = [row for row in alerts if row["alert_id"] != first["alert_id"]]
    in_order = [first, *sorted(others, key=lambda row: row["alert_id"])]
    for told in ([first, *others], [*others[::-1], first]):
        assert [alert["alert_id"] for alert, _ in undelivered(told, set(), [], NOON)] == [row["alert_id"] for row in in_order]


def test_an_amount_without_room_is_told_as_the_most_there_is_room_for() -> None:
    huge = Decimal("9999999999999999999999.999999")
    (alert,) = settled([], Finding("daily_cost", DAY, 2 * huge, -3 * huge, "text", huge / 7, "o", "genai"))
    assert (alert["observed"], alert["threshold"]) == (huge, -huge)
