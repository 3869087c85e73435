"""`cloudlake alerts`: what is wrong now, who has taken it on, who could not be told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table as Grid

from ..alerts import judging as alerts
from ..alerts.rules import is_silenced
from ..common.config import Config
from .tables import print_grids

_SHOWN = 12
"""Characters of an id that are shown; any beginning that is unique will do where an id is asked for."""


def gather(config: Config, now: datetime, statuses: Sequence[str]) -> list[dict[str, Any]]:
    """Return the alerts of some statuses, the gravest and newest first, with their silence and who is still to be told."""
    waiting: dict[str, list[str]] = {}
    for alert, target in alerts.pending(config, now):
        waiting.setdefault(alert["alert_id"], []).append(target)
    silences = config.lake.rows(alerts.SILENCES)
    found = [
        row
        | {
            "silenced": is_silenced(row, silences, now),
            "still_to_tell": waiting.get(row["alert_id"], []),
        }
        for row in config.lake.rows(alerts.ALERTS)
        if row["status"] in statuses
    ]
    return sorted(found, key=lambda row: (row["severity"], -row["raised_at"].timestamp(), row["alert_id"]))


def show(config: Config, status: str | None, as_json: bool, now: datetime) -> int:
    """Print the alerts of a status, or those that are not resolved."""
    found = gather(config, now, [status] if status else ["open", "acknowledged"])
    if as_json:
        print(json.dumps(found, indent=2, default=str))
        return 0
    if not found:
        print(f"no {status or 'open'} alerts")
        return 0
    print_grids(grid(found))
    down = sorted({target for row in found for target in row["still_to_tell"]})
    if down:
        print(f"still to be told: {', '.join(down)}; cloudlake alerts resend delivers now and says what is wrong")
    return 0


def grid(rows: Iterable[Mapping[str, Any]]) -> Grid:
    """Return the table of alerts."""
    table = Grid("id", "severity", "status", "rule", "what", "raised", title="Alerts", title_justify="left")
    for column in table.columns[:4]:
        column.no_wrap = True
    for row in rows:
        color = "bold red" if row["severity"] == "critical" else "yellow"
        status = row["status"] + (f" by {row['acknowledged_by']}" if row["acknowledged_by"] else "")
        status += ", silenced" if row["silenced"] else ""
        table.add_row(
            row["alert_id"][:_SHOWN],
            f"[{color}]{row['severity']}[/]",
            escape(status),
            row["rule"],
            escape(row["message"]),
            f"{row['raised_at']:%Y-%m-%d %H:%M:%S}",
        )
    return table


def acknowledge(config: Config, identity: str, now: datetime) -> int:
    """Take an alert on."""
    alert = alerts.acknowledge(config, identity, now)
    print(f"acknowledged: {alert['alert_id'][:_SHOWN]} {alert['message']}")
    return 0


def silence(
    config: Config, identity: str | None, rule: str | None, org_id: str | None, until: datetime, now: datetime
) -> int:
    """Tell nobody for a while."""
    row = alerts.silence(config, identity, rule, org_id, until, now)
    what = row["alert_id"][:_SHOWN] if row["alert_id"] else row["rule"] + (f" of {org_id}" if org_id else "")
    print(f"silenced until {row['until']:%Y-%m-%dT%H:%M:%SZ}: {what}")
    return 0


def resend(config: Config, identity: str | None, now: datetime) -> int:
    """Deliver again, or what is still to be told, and return 1 where a target did not take it."""
    failed = 0
    done = 0
    for alert_id, target, fault in alerts.resend(config, identity, now):
        failed, done = failed + bool(fault), done + 1
        print(f"{alert_id[:_SHOWN]} → {target}: {fault or 'delivered'}")
    if not done:
        print("nothing is still to be told")
    return 1 if failed else 0
