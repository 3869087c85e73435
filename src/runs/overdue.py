"""What is overdue by the clock: a feed that has gone silent, a night without a run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ..alerts.run_news import News
from ..common.clock import spoken_age

PUBLICATION_MAX_AGE_HOURS = 36.0
BATCH, STREAM = "scripts/run_batch_pipeline.sh", "scripts/run_streaming_pipeline.sh"


def is_night_missing(found: Mapping[str, Any], now: datetime) -> bool:
    """Tell whether no batch run has ended well for so long that one must have been missed."""
    published_at = found["publication"]["published_at"]
    if not published_at:
        return False
    ages = [now - datetime.fromisoformat(published_at).astimezone(UTC)]
    if found["last_good_batch"]:
        ages.append(now - found["last_good_batch"]["started_at"])
    return min(ages) > timedelta(hours=PUBLICATION_MAX_AGE_HOURS)


def overdue(found: Mapping[str, Any], now: datetime) -> list[News]:
    """Return what is overdue in a state of the lake (`state.gather`), as news; the key of each tells its episode."""
    news = []
    for row in found["freshness"]:
        if row["stale"] and row["newest"] is not None:
            due = row["newest"] + timedelta(hours=row["max_age_hours"])
            what = f"{row['table']} is overdue: it ends {spoken_age(row['age_hours'])} ago (limit {row['max_age_hours']:g} h)"
            news.append(
                News(f"overdue:{row['table']}:{row['newest'].isoformat()}", "overdue", what, due, "", f"{STREAM} once")
            )
    if is_night_missing(found, now):
        published_at = found["publication"]["published_at"]
        since = datetime.fromisoformat(published_at)
        age = spoken_age((now - since).total_seconds() / 3600)
        what = f"the nightly run is overdue: what is published is {age} old"
        news.append(News(f"overdue:the nightly run:{published_at}", "overdue", what, since, "", BATCH))
    return news
