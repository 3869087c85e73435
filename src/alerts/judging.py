"""speed.alerts: what the rules find in what is served now; who is told of it; what people decide about it.

Judged without Spark on small tables, so that an alert is out within seconds of its events. The writers of speed.alerts
are here: the stream, and the commands that acknowledge. Each holds the table's lock from its read to its commit.
"""

from __future__ import annotations

import getpass
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from ..common import live
from ..common.config import Config
from ..common.contracts.schemas import arrow_schema
from ..common.errors import CloudlakeError, ConfigurationError, did_you_mean
from ..common.faults import crash_point
from ..common.lake.duck import connected
from ..common.lake.small import Revision
from ..common.names import EVENTS, RECONCILIATION
from ..common.names import REFUSED_EVENTS as QUARANTINE
from ..common.publication import published
from . import rules as alert_rules
from .notifications import DeliveryError, Notification, deliver
from .rules import AnomalyTest, DayCost, Finding, Load, Refused, WindowPeak

ALERTS = "speed.alerts"
SILENCES = "ops.alert_silences"
NOTIFICATIONS = "ops.notifications"
BASELINES = "gold.cost_anomalies"
STREAM_RESTARTED = "stream_restarted"
LOG = logging.getLogger("cloudlake.alerts")

_DAYS = """
SELECT days.org_id, days.service, days.usage_date, days.cost_usd, learned.expected_usd, learned.mad_usd
FROM days ASOF LEFT JOIN learned
    ON days.org_id = learned.org_id AND days.service = learned.service AND days.usage_date >= learned.usage_date
ORDER BY ALL
"""
_PEAKS = """
SELECT org_id, service, CAST(window_start AS DATE) AS day, max_by(window_start, (cost_usd, -epoch_us(window_start))), max(cost_usd)
FROM windows GROUP BY ALL ORDER BY ALL
"""
_RATES = "SELECT window_start, CAST(sum(events) AS BIGINT) FROM windows GROUP BY ALL"
_LOADS = """
SELECT landed, quarantined FROM counts
QUALIFY row_number() OVER (PARTITION BY delivery ORDER BY counted_at DESC) = 1
ORDER BY counted_at DESC, delivery DESC
"""
# A line that was refused for this reason was read as JSON before; others may be none, and must not be asked. One of the
# future (its date may be beyond any calendar) belongs to no window.
_NEGATIVE = """
WITH lines AS (
    SELECT CASE WHEN status = 'open' AND list_contains(reasons, 'cost_negative')
        AND NOT list_contains(reasons, 'timestamp_in_future') THEN payload END AS line FROM refused
),
said AS (
    SELECT trim(line ->> '$.org_id') AS org_id, try_cast(line ->> '$.timestamp' AS TIMESTAMPTZ) AS event_time FROM lines
)
SELECT org_id, CAST(event_time AS DATE) AS day, count(*) FROM said WHERE event_time > $since GROUP BY ALL ORDER BY ALL
"""


# --- judging --------------------------------------------------------------------------------------------------------


def judge(config: Config, run_id: str, now: datetime) -> int:
    """Bring speed.alerts to what the rules find now, in one commit; none where nothing has changed.

    Returns the number of alerts that were raised, changed or resolved.
    """
    alerts = config.stream.alerts
    asked = [name for name, _ in alerts.rules]  # a rule that is switched off finds nothing, so its alerts are resolved
    found = list(findings(config))
    return _revise(config, found, asked, run_id, now)


def findings(config: Config) -> Iterator[Finding]:
    """Yield what the rules find in what is served now: in the last hours before the newest event, and no earlier."""
    rules, settings = config.stream.alerts.rules, config.stream.live
    pins = live.pin(config)
    newest = live.newest_bucket(config, pins)
    if newest is None:
        if rules.quarantine_rate and (loads := _loads(config)):
            counted = config.lake.newest(RECONCILIATION, "counted_at")
            yield from alert_rules.quarantine_rate(loads, counted.date(), rules.quarantine_rate)
        return
    since = newest - timedelta(hours=settings.hours)
    if rules.daily_cost:
        test = AnomalyTest.of(config.registry[BASELINES].parameters)
        yield from alert_rules.daily_cost(_days(config, pins, since.date()), rules.daily_cost, test)
    windows = live.usage_windows(config, pins)
    if rules.window_cost:
        peaks = (WindowPeak(*row) for row in _query(_PEAKS, windows=windows))
        yield from alert_rules.window_cost(peaks, rules.window_cost)
    if rules.event_rate_drop:
        length = timedelta(minutes=settings.window_minutes)
        events = dict(_query(_RATES, windows=windows))
        yield from alert_rules.event_rate_drop(events, newest, length, settings.hours, rules.event_rate_drop)
    if rules.quarantine_rate:
        yield from alert_rules.quarantine_rate(_loads(config), newest.date(), rules.quarantine_rate)
    if rules.negative_cost_burst:
        yield from alert_rules.negative_cost_burst(_negative_lines(config, since), rules.negative_cost_burst)


def raise_restart(config: Config, query: str, restarts: int, message: str, now: datetime) -> None:
    """Raise the alert that a query of the stream died and was restarted; the same query and date is the same alert.

    The rules do not resolve it; `settle_restart` does. `lookout.report_death` raises it and tells people.
    """
    finding = Finding(STREAM_RESTARTED, now.date(), Decimal(restarts), Decimal(1), message, service=query)
    _revise(config, [finding], (), "", now)


def settle_restart(config: Config, now: datetime) -> None:
    """Resolve the alerts about restarts: the queries have been running well again."""
    _revise(config, [], (STREAM_RESTARTED,), "", now)


def _revise(config: Config, found: Sequence[Finding], judged: Sequence[str], run_id: str, now: datetime) -> int:
    table, notifications = config.registry[ALERTS], config.settings.notifications

    def changes(kept: pa.Table) -> Revision:
        rows = alert_rules.settle(
            kept.to_pylist(),
            found,
            judged,
            critical_factor=config.stream.alerts.critical_factor,
            targets=sorted(notifications.targets),
            now=now,
        )
        return Revision(pa.Table.from_pylist(rows, schema=arrow_schema(table)))

    changed = config.lake.revise(table, changes, {"run_id": run_id}).changed.num_rows
    crash_point("stream_after_alerts")
    return int(changed)


# --- what the rules observe -----------------------------------------------------------------------------------------


def _query(sql: str, parameters: Mapping[str, Any] | None = None, **views: pa.Table) -> list[Any]:
    with connected(**views) as connection:
        return connection.execute(sql, parameters).fetchall()


def _days(config: Config, pins: live.LivePins, since: date) -> Iterator[DayCost]:
    """Yield what is served of the dates from `since`, each beside the newest baseline that was learned up to it."""
    days = live.org_daily_usage(config, pins, since)
    version = published(config.lake).version(BASELINES)
    learned = live.read_pinned(config, BASELINES, -1 if version is None else version)
    for row in _query(_DAYS, days=days, learned=learned):
        yield DayCost(*row)


def _loads(config: Config) -> list[Load]:
    """Return where the lines of the micro-batches of the last day of counting went, newest first."""
    lake = config.lake
    newest = lake.newest(RECONCILIATION, "counted_at")
    if newest is None:
        return []
    only = [("table", "=", EVENTS), ("counted_at", ">", newest - timedelta(days=1))]
    counts = lake.read_small(RECONCILIATION, columns=["delivery", "counted_at", "landed", "quarantined"], filters=only)
    return [Load(*row) for row in _query(_LOADS, counts=counts)]


def _negative_lines(config: Config, since: datetime) -> list[Refused]:
    """Count the refused lines with a negative cost and an event time after `since`, by organisation and date."""
    if not config.lake.exists(QUARANTINE):
        return []
    # An event lies at most an hour after its ingestion, so what was refused earlier is too old.
    arrived: list[tuple[str, str, Any]] = [("quarantined_at", ">", since - timedelta(hours=1))]
    refused = config.lake.read_small(QUARANTINE, columns=["payload", "reasons", "status"], filters=arrived)
    return [Refused(*row) for row in _query(_NEGATIVE, {"since": since}, refused=refused)]


# --- telling people -------------------------------------------------------------------------------------------------


def tell(config: Config, now: datetime) -> list[str]:
    """Deliver what is still to be told; return what went wrong, a line for each target that is down.

    A target that fails is left for the next time, with everything that is still to be told it.
    """
    faults: dict[str, str] = {}
    for alert, target in pending(config, now):
        if target not in faults:
            try:
                _deliver(config, alert, target, now)
            except CloudlakeError as error:
                faults[target] = str(error)
    return list(faults.values())


def pending(config: Config, now: datetime) -> list[tuple[Mapping[str, Any], str]]:
    """Return what is still to be told: alert and target, oldest first; targets that conf/ no longer has are left out."""
    alerts = config.lake.rows(ALERTS)
    if not alerts:
        return []
    only = [("alert_id", "in", [row["alert_id"] for row in alerts]), ("status", "=", "delivered")]
    delivered = {
        (row["alert_id"], row["target"]) for row in config.lake.rows(NOTIFICATIONS, ["alert_id", "target"], only)
    }
    found = alert_rules.undelivered(alerts, delivered, config.lake.rows(SILENCES), now)
    return [(alert, target) for alert, target in found if target in config.settings.notifications.targets]


def _deliver(config: Config, alert: Mapping[str, Any], target: str, now: datetime) -> None:
    """Deliver one alert to one target and note it; a crash in between delivers it again, under the same key."""
    told = ("rule", "org_id", "service", "date", "observed", "expected", "threshold", "severity", "status", "message")
    facts = {name: alert[name] for name in told} | {"raised_at": alert["raised_at"].isoformat()}
    subject = f"{alert['severity']}: {alert['message']}"
    note = {"alert_id": alert["alert_id"], "target": target, "at": now}
    try:
        deliver(Notification(alert["alert_id"], subject, facts), target, config.settings.notifications)
    except (DeliveryError, ConfigurationError) as error:
        last = _newest_fault(config, alert["alert_id"], target)
        if last != str(error):
            config.lake.append_small([note | {"status": "failed", "error": str(error)}], config.registry[NOTIFICATIONS])
        raise
    crash_point("stream_after_delivery")
    config.lake.append_small([note | {"status": "delivered"}], config.registry[NOTIFICATIONS])


def _newest_fault(config: Config, alert_id: str, target: str) -> str | None:
    rows = config.lake.rows(NOTIFICATIONS, filters=[("alert_id", "=", alert_id), ("target", "=", target)])
    return max(rows, key=lambda row: row["at"])["error"] if rows else None


# --- what people decide ---------------------------------------------------------------------------------------------


def acknowledge(config: Config, identity: str, now: datetime) -> dict[str, Any]:
    """Note that somebody takes an alert on: it stays so while the trouble lasts, and nobody else is told.

    Raises:
        ConfigurationError: no open alert has this id.
    """
    alert = named(config, identity)
    if alert["status"] == "resolved":
        raise ConfigurationError(f"{alert['alert_id'][:12]}: the alert is resolved; there is nothing to acknowledge")
    taken = {"status": "acknowledged", "acknowledged_at": now, "acknowledged_by": getpass.getuser()}
    table = config.registry[ALERTS]

    def changes(kept: pa.Table) -> Revision:
        rows = [row | taken for row in kept.to_pylist() if row["alert_id"] == alert["alert_id"]]
        still_open = [row for row in rows if row["resolved_at"] is None]
        return Revision(pa.Table.from_pylist(still_open, schema=arrow_schema(table)))

    config.lake.revise(table, changes, {"acknowledged_by": taken["acknowledged_by"]})
    return alert | taken


def silence(
    config: Config, identity: str | None, rule: str | None, org_id: str | None, until: datetime, now: datetime
) -> dict[str, Any]:
    """Tell nobody of an alert, or of a rule's alerts (of one organisation), until a time.

    Raises:
        ConfigurationError: there is no such alert or rule, or the time is past.
    """
    known = [*type(config.stream.alerts.rules).model_fields, STREAM_RESTARTED]
    if rule is not None and rule not in known:
        raise ConfigurationError(f"--rule {rule}: there is no such rule{did_you_mean(rule, known)}")
    if org_id is not None and rule is None:
        raise ConfigurationError(f"--org {org_id}: goes with --rule; an alert's id already names its organisation")
    if until <= now:
        raise ConfigurationError(
            f"--until {until:%Y-%m-%dT%H:%M:%SZ} is past; name a time after {now:%Y-%m-%dT%H:%M:%SZ}"
        )
    row = {
        "silence_id": secrets.token_hex(6),
        "alert_id": named(config, identity)["alert_id"] if identity else None,
        "rule": rule,
        "org_id": org_id,
        "until": until,
        "created_by": getpass.getuser(),
        "at": now,
    }
    config.lake.append_small([row], config.registry[SILENCES])
    return row


def resend(config: Config, identity: str | None, now: datetime) -> Iterator[tuple[str, str, str]]:
    """Tell every target of one alert again, or, without an id, deliver what is still to be told.

    Yields the alert's id, the target, and what went wrong ("" where it was delivered).
    """
    targets = sorted(config.settings.notifications.targets)
    again = [(named(config, identity), target) for target in targets] if identity else pending(config, now)
    for alert, target in again:
        try:
            _deliver(config, alert, target, now)
        except CloudlakeError as error:
            yield alert["alert_id"], target, str(error)
        else:
            yield alert["alert_id"], target, ""


def named(config: Config, identity: str) -> dict[str, Any]:
    """Return the alert whose id begins with a text.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    found = [row for row in config.lake.rows(ALERTS) if row["alert_id"].startswith(identity.lower())]
    if len(found) != 1:
        what = "no alert has" if not found else f"{len(found)} alerts have"
        raise ConfigurationError(f"{identity}: {what} an id that begins so; cloudlake alerts list shows them")
    return found[0]
