"""What is known of alerts, for people: who has taken one on, whether it is silenced, who is still to be told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..common.config import Config
from . import judging
from .rules import is_silenced


def alerts_state(config: Config, now: datetime, statuses: Sequence[str]) -> list[dict[str, Any]]:
    """Return the alerts of some statuses, the gravest and newest first, with their silence and who is still to be told."""
    waiting: dict[str, list[str]] = {}
    for alert, target in judging.pending(config, now):
        waiting.setdefault(alert["alert_id"], []).append(target)
    silences = config.lake.rows(judging.SILENCES)
    found = [
        row
        | {
            "silenced": is_silenced(row, silences, now),
            "still_to_tell": waiting.get(row["alert_id"], []),
        }
        for row in config.lake.rows(judging.ALERTS)
        if row["status"] in statuses
    ]
    return sorted(found, key=lambda row: (row["severity"], -row["raised_at"].timestamp(), row["alert_id"]))
