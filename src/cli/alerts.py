"""`cloudlake alerts`: what is wrong now, who has taken it on, who could not be told."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .arguments import Commands, Parser, add_command, add_verbs, moment
from .typed import typed

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from ..common.config import Config

EXAMPLES = """examples:
  cloudlake alerts list                                         what is not resolved
  cloudlake alerts list --status resolved --json
  cloudlake alerts ack 3f9a2c
  cloudlake alerts silence --rule window_cost --org org_1a2b --until 2025-08-31T18:00:00Z
  cloudlake alerts resend                                       deliver what was kept while a target was down
"""
_SHOWN = 12
"""Characters of an id that are shown; any beginning that is unique will do where an id is asked for."""


def register(commands: Commands[Parser]) -> None:
    """Add the command and its actions."""
    alerts = add_command(
        commands, "alerts", "What is wrong now: list it, take it on, silence it, tell people again.", EXAMPLES
    )
    actions = add_verbs(alerts, "action")
    listed = add_command(actions, "list", "The alerts that are not resolved, the gravest first.", within=True)
    listed.add_argument("--status", choices=["open", "acknowledged", "resolved"], help="only these")
    listed.add_argument("--json", action="store_true", help="as JSON")
    listed.set_defaults(run=_list)
    ack = add_command(
        actions, "ack", "Take an alert on: nobody else is told, and it stays so while the trouble lasts.", within=True
    )
    ack.add_argument("id", metavar="ID", help="the alert's id, or its beginning")
    ack.set_defaults(run=_acknowledge)
    silence = add_command(
        actions, "silence", "Tell nobody of an alert, or of a rule's alerts, until a time.", within=True
    )
    what = silence.add_mutually_exclusive_group(required=True)
    what.add_argument("id", nargs="?", metavar="ID", help="the alert's id, or its beginning")
    what.add_argument("--rule", metavar="R", help="every alert of a rule of conf/streaming.yaml")
    silence.add_argument("--org", metavar="O", help="with --rule: only those of one organisation")
    silence.add_argument("--until", type=moment, required=True, metavar="TIME", help="such as 2025-08-31T18:00:00Z")
    silence.set_defaults(run=_silence)
    resend = add_command(
        actions, "resend", "Tell every target of one alert again; without ID, deliver what was kept.", within=True
    )
    resend.add_argument("id", nargs="?", metavar="ID", help="the alert's id, or its beginning")
    resend.set_defaults(run=_resend)


def _list(config: Config, arguments: Namespace) -> int:
    """Print the alerts of a status, or those that are not resolved."""
    from ..alerts.state import alerts_state
    from ..common.clock import now_utc
    from .tables import print_grids

    status = arguments.status
    found = alerts_state(config, now_utc(), [status] if status else ["open", "acknowledged"])
    if arguments.json:
        print(json.dumps(found, indent=2, default=str))
        return 0
    if not found:
        print(f"no {status or 'open'} alerts")
        return 0
    print_grids(alerts_grid(found))
    down = sorted({target for row in found for target in row["still_to_tell"]})
    if down:
        said = f"still to be told: {', '.join(down)}; cloudlake alerts resend delivers now and says what is wrong"
        print(typed(said, arguments))
    return 0


def alerts_grid(rows: Iterable[Mapping[str, Any]]) -> Grid:
    """Return the table of alerts."""
    from rich.markup import escape

    from .tables import grid

    table = grid("Alerts", "id", "severity", "status", "rule", "what", "raised")
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


def _acknowledge(config: Config, arguments: Namespace) -> int:
    """Take an alert on."""
    from ..alerts.judging import acknowledge
    from ..common.clock import now_utc

    alert = acknowledge(config, arguments.id, now_utc())
    print(f"acknowledged: {alert['alert_id'][:_SHOWN]} {alert['message']}")
    return 0


def _silence(config: Config, arguments: Namespace) -> int:
    """Tell nobody for a while."""
    from ..alerts.judging import silence
    from ..common.clock import now_utc

    org_id = arguments.org
    row = silence(config, arguments.id, arguments.rule, org_id, arguments.until, now_utc())
    what = row["alert_id"][:_SHOWN] if row["alert_id"] else row["rule"] + (f" of {org_id}" if org_id else "")
    print(f"silenced until {row['until']:%Y-%m-%dT%H:%M:%SZ}: {what}")
    return 0


def _resend(config: Config, arguments: Namespace) -> int:
    """Deliver again, or what is still to be told, and return 1 where a target did not take it."""
    from ..alerts.judging import resend
    from ..common.clock import now_utc

    failed = 0
    done = 0
    for alert_id, target, fault in resend(config, arguments.id, now_utc()):
        failed, done = failed + bool(fault), done + 1
        print(f"{alert_id[:_SHOWN]} → {target}: {fault or 'delivered'}")
    if not done:
        print("nothing is still to be told")
    return 1 if failed else 0
