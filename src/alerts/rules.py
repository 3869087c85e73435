"""What is worth an alert, and what becomes of alerts: pure functions of what was observed and of the thresholds in conf/.

An alert's identity is its rule, organisation, service and date, so the same trouble found again, in a replay or by
another process, is the same alert.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from statistics import median
from typing import Any

from ..common.settings.alerts import DailyCost, EventRateDrop, NegativeCostBurst, QuarantineRate, WindowCost

_MICRO = Decimal("0.000001")
_MOST = Decimal(10**22) - _MICRO
"""What speed.alerts has room for."""
_WIDE = Context(prec=60, rounding=ROUND_HALF_UP)


@dataclass(frozen=True)
class Finding:
    """A rule that holds now: what was observed, and the threshold it crossed."""

    rule: str
    date: date
    observed: Decimal
    threshold: Decimal
    message: str
    expected: Decimal | None = None
    org_id: str | None = None
    service: str | None = None

    @property
    def alert_id(self) -> str:
        """The identity of the alert."""
        return alert_id(self.rule, self.org_id, self.service, self.date)

    def severity(self, critical_factor: Decimal) -> str:
        """Return critical where it lies critical_factor times beyond the threshold, on either side; else warning."""
        near, far = sorted((self.observed, self.threshold))
        return "critical" if far >= critical_factor * max(near, Decimal(0)) else "warning"


@dataclass(frozen=True)
class DayCost:
    """The cost of an organisation and service on a date so far, and the newest baseline known for them."""

    org_id: str
    service: str
    date: date
    cost_usd: Decimal
    expected_usd: Decimal | None = None
    mad_usd: Decimal | None = None


@dataclass(frozen=True)
class AnomalyTest:
    """When a cost is an anomaly: gold.cost_anomalies.is_anomaly, by that mart's parameters."""

    mad_factor: Decimal
    mad_limit: Decimal
    least_impact_usd: Decimal
    least_impact_ratio: Decimal

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> AnomalyTest:
        """Return the test that the parameters of gold.cost_anomalies make."""
        return cls(**{each.name: Decimal(str(parameters[each.name])) for each in fields(cls)})

    def threshold(self, expected: Decimal, mad: Decimal) -> Decimal:
        """Return the cost beyond which, or from which, a cost is an anomaly."""
        far = self.mad_limit * mad / self.mad_factor
        return expected + max(far, self.least_impact_usd, self.least_impact_ratio * expected)

    def holds(self, cost: Decimal, expected: Decimal, mad: Decimal) -> bool:
        """Tell whether a cost is an anomaly, exactly: nothing is divided."""
        impact = cost - expected
        is_far = self.mad_factor * impact > self.mad_limit * mad
        return is_far and impact >= self.least_impact_usd and impact >= self.least_impact_ratio * expected


@dataclass(frozen=True)
class WindowPeak:
    """The costliest window of an organisation and service that starts on a date."""

    org_id: str
    service: str
    date: date
    window_start: datetime
    cost_usd: Decimal


@dataclass(frozen=True)
class Load:
    """Where the lines of a micro-batch went."""

    landed: int
    quarantined: int


@dataclass(frozen=True)
class Refused:
    """Lines of an organisation, by date of event time, that were refused for one reason."""

    org_id: str | None
    date: date
    lines: int


def alert_id(rule: str, org_id: str | None, service: str | None, day: date) -> str:
    """Return sha256 of rule, organisation, service and date, in hexadecimal."""
    return hashlib.sha256(json.dumps([rule, org_id, service, day.isoformat()]).encode()).hexdigest()


# --- the rules ------------------------------------------------------------------------------------------------------


def daily_cost(days: Iterable[DayCost], rule: DailyCost, test: AnomalyTest) -> Iterator[Finding]:
    """Find dates that cost far more than their baseline, by the test of gold; without one, more than a fixed limit."""
    for day in days:
        what = f"{day.org_id} spent {day.cost_usd:,.2f} USD on {day.service} on {day.date}"
        where = {"org_id": day.org_id, "service": day.service}
        if day.expected_usd is None or day.mad_usd is None:
            if day.cost_usd > rule.limit_usd:
                message = f"{what}; without a baseline the limit is {rule.limit_usd:,.2f} USD"
                yield Finding("daily_cost", day.date, day.cost_usd, rule.limit_usd, message, None, **where)
            continue
        expected = day.expected_usd
        if test.holds(day.cost_usd, expected, day.mad_usd):
            threshold = test.threshold(expected, day.mad_usd)
            message = f"{what}; {expected:,.2f} USD is usual"
            yield Finding("daily_cost", day.date, day.cost_usd, threshold, message, expected, **where)


def window_cost(peaks: Iterable[WindowPeak], rule: WindowCost) -> Iterator[Finding]:
    """Find sliding windows that cost more than a fixed limit."""
    for peak in peaks:
        if peak.cost_usd > rule.limit_usd:
            message = (
                f"{peak.org_id} spent {peak.cost_usd:,.2f} USD on {peak.service} in the window from "
                f"{peak.window_start:%Y-%m-%d %H:%M}; the limit is {rule.limit_usd:,.2f} USD"
            )
            yield Finding(
                "window_cost",
                peak.date,
                peak.cost_usd,
                rule.limit_usd,
                message,
                org_id=peak.org_id,
                service=peak.service,
            )


def event_rate_drop(
    events: Mapping[datetime, int], newest: datetime, length: timedelta, hours: int, rule: EventRateDrop
) -> Iterator[Finding]:
    """Find that the newest window that has ended holds far fewer events than the windows before it.

    Args:
        events: number of events by window_start; a window that is missing holds none.
        newest: the start of the newest bucket with events; windows that end by then have ended.
        length: of a window.
        hours: how far back the windows before reach; those before the first event do not count.
        rule: the thresholds.
    """
    starts = [newest - length * n for n in range(1, timedelta(hours=hours) // length + 1)]
    first = min(events, default=newest)
    before = [events.get(start, 0) for start in starts[1:] if start >= first]
    if len(before) < rule.least_windows or median(before) < rule.least_events:
        return
    seen, usual = events.get(starts[0], 0), Decimal(median(before))
    if seen < rule.least_share * usual:
        message = (
            f"{seen} events from {starts[0]:%Y-%m-%d %H:%M} to {newest:%H:%M}, all organisations; {usual:g} are usual"
        )
        yield Finding(
            "event_rate_drop", starts[0].date(), Decimal(seen), rule.least_share * usual, message, expected=usual
        )


def quarantine_rate(loads: Sequence[Load], day: date, rule: QuarantineRate) -> Iterator[Finding]:
    """Find that the share of refused lines has risen.

    Args:
        loads: the micro-batches, newest first. The newest of them that hold least_lines together are judged.
        day: the date the alert is about.
        rule: the thresholds.
    """
    lines = refused = taken = 0
    for load in loads:
        if lines >= rule.least_lines:
            break
        lines, refused, taken = lines + load.landed, refused + load.quarantined, taken + 1
    if lines < rule.least_lines:
        return
    rate = Decimal(refused) / lines
    lines_before = sum(load.landed for load in loads[taken:])
    what = f"{refused} of the newest {lines} lines ({100 * rate:.1f} %) were refused"
    if lines_before >= rule.least_lines:
        usual = Decimal(sum(load.quarantined for load in loads[taken:])) / lines_before
        threshold = max(rule.least_rate, rule.rise * usual)
        if rate >= threshold:
            message = f"{what}; {100 * usual:.1f} % are usual"
            yield Finding("quarantine_rate", day, rate, threshold, message, expected=usual)
    elif rate > rule.limit_rate:
        message = f"{what}; the limit is {100 * rule.limit_rate:g} %"
        yield Finding("quarantine_rate", day, rate, rule.limit_rate, message)


def negative_cost_burst(refused: Iterable[Refused], rule: NegativeCostBurst) -> Iterator[Finding]:
    """Find organisations that send many lines with a negative cost."""
    for group in refused:
        if group.lines >= rule.least_lines:
            message = f"{group.lines} lines of {group.org_id} on {group.date} have a negative cost and were refused"
            least = Decimal(rule.least_lines)
            yield Finding("negative_cost_burst", group.date, Decimal(group.lines), least, message, org_id=group.org_id)


# --- what becomes of alerts -----------------------------------------------------------------------------------------


def settle(
    known: Iterable[Mapping[str, Any]],
    findings: Iterable[Finding],
    judged: Iterable[str],
    *,
    critical_factor: Decimal,
    targets: Sequence[str],
    now: datetime,
) -> list[dict[str, Any]]:
    """Return the rows of speed.alerts that change.

    A finding opens its alert, or brings what was observed up to date on one that is open or acknowledged. An alert
    that is found no more is resolved. One that is found again after that opens again, and is not told again: who
    was told knows it by its id.

    Args:
        known: the alerts there are.
        findings: what the rules find now.
        judged: the rules that were asked; alerts of others are left alone.
        critical_factor: how far beyond its threshold a finding is critical.
        targets: whom to tell of a new alert.
        now: the time.
    """
    before = {row["alert_id"]: dict(row) for row in known}
    found = {finding.alert_id: finding for finding in findings}
    changed = []
    for identity, finding in found.items():
        old = before.get(identity)
        row = old or _raised(identity, finding, list(targets), now)
        if old is not None and old["status"] == "resolved":
            row = row | {
                "status": "open",
                "raised_at": now,
                "resolved_at": None,
                "acknowledged_at": None,
                "acknowledged_by": None,
            }
        row = row | _observed(finding, critical_factor)
        if row != old:
            changed.append(row)
    asked = set(judged)
    for identity, old in before.items():
        if identity not in found and old["rule"] in asked and old["status"] != "resolved":
            changed.append(old | {"status": "resolved", "resolved_at": now})
    return changed


def _raised(identity: str, finding: Finding, targets: list[str], now: datetime) -> dict[str, Any]:
    return {
        "alert_id": identity,
        "rule": finding.rule,
        "org_id": finding.org_id,
        "service": finding.service,
        "date": finding.date,
        "status": "open",
        "targets": targets,
        "raised_at": now,
        "resolved_at": None,
        "acknowledged_at": None,
        "acknowledged_by": None,
    }


def _observed(finding: Finding, critical_factor: Decimal) -> dict[str, Any]:
    expected = finding.expected
    return {
        "observed": _money(finding.observed),
        "expected": None if expected is None else _money(expected),
        "threshold": _money(finding.threshold),
        "severity": finding.severity(critical_factor),
        "message": finding.message,
    }


def _money(number: Decimal) -> Decimal:
    return max(-_MOST, min(number, _MOST)).quantize(_MICRO, context=_WIDE)


def is_silenced(alert: Mapping[str, Any], silences: Iterable[Mapping[str, Any]], at: datetime) -> bool:
    """Tell whether a silence covers an alert at a time."""
    return any(_covers(silence, alert) and silence["at"] <= at < silence["until"] for silence in silences)


def _covers(silence: Mapping[str, Any], alert: Mapping[str, Any]) -> bool:
    if silence["alert_id"] is not None:
        return bool(silence["alert_id"] == alert["alert_id"])
    is_same_org = silence["org_id"] is None or silence["org_id"] == alert["org_id"]
    return bool(silence["rule"] == alert["rule"]) and is_same_org


def undelivered(
    alerts: Iterable[Mapping[str, Any]],
    delivered: set[tuple[str, str]],
    silences: Sequence[Mapping[str, Any]],
    now: datetime,
) -> list[tuple[Mapping[str, Any], str]]:
    """Return what is still to be told, oldest first: an alert, and a target that it names and that has not taken it.

    Nobody is told of an alert that somebody has acknowledged, that is silenced, or that was resolved in silence. One
    that was resolved while its target was down is told nevertheless.
    """
    pending = []
    for alert in sorted(alerts, key=lambda alert: (alert["raised_at"], alert["alert_id"])):
        moment = alert["resolved_at"] if alert["status"] == "resolved" else now
        if alert["status"] == "acknowledged" or is_silenced(alert, silences, moment):
            continue
        pending += [
            (alert, target) for target in alert["targets"] or () if (alert["alert_id"], target) not in delivered
        ]
    return pending
