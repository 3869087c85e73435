"""What one landing zone shall look like: its size, its calendar and the rate of each kind of dirt."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

LAST_DAY = date(2025, 8, 31)
MOST_DAYS = 3650

# Injected into usage events; a rate is a share of all lines. Kind -> (default rate, what it is).
EVENT_DIRT: dict[str, tuple[float, str]] = {
    "duplicate_events": (0.01, "a line repeated to the byte"),
    "conflicting_events": (0.001, "an event_id told again on its date with other content"),
    "malformed_lines": (0.001, "glued objects, arrays, repeated keys, single quotes, trailing text"),
    "truncated_lines": (0.0005, "lines that end in the middle"),
    "nan_values": (0.0005, "a bare NaN, which is not JSON"),
    "unknown_versions": (0.0005, "schema_version 3 or 99"),
    "unparseable_values": (0.001, "value 'abc' or '5d', cost 'n/a', timestamp without offset ..."),
    "missing_fields": (0.0005, "a required field null, empty or absent"),
    "negative_values": (0.0005, "value below 0"),
    "contradicting_units": (0.0005, "the unit of another metric"),
    "future_timestamps": (0.0005, "events of the year 2099"),
    "event_spellings": (0.02, "service and region as 'US_East', 'us east', ' GENAI '"),
    "unknown_event_orgs": (0.001, "an organisation nobody knows"),
    "unknown_event_resources": (0.001, "a resource nobody knows"),
}

# Injected into the CSV files; a rate is a share of the rows of each file it applies to.
CSV_DIRT: dict[str, tuple[float, str]] = {
    "duplicate_rows": (0.005, "a row repeated within its file"),
    "conflicting_rows": (0.0025, "a key told twice with different content (pairs)"),
    "short_rows": (0.003, "a row with fewer cells than its header"),
    "broken_rules": (0.005, "unknown role, rate 0, month 2025-06-15, no created_at ..."),
    "unknown_orgs": (0.005, "a row of an organisation nobody knows"),
    "bad_emails": (0.01, "users: not an e-mail address"),
    "bad_tags": (0.005, "resources: tags_json that is no JSON"),
    "missing_values": (0.005, "users without active, organisations without signup_date"),
    "row_spellings": (0.03, "role, severity, service, region, plan, status in other spellings"),
}

DEFAULT_RATES = {kind: rate for kind, (rate, _) in (EVENT_DIRT | CSV_DIRT).items()}


@dataclass(frozen=True)
class Options:
    """The size of the delivery and its dirt; equal options and seed give equal bytes."""

    seed: int = 7
    days: int = 60
    orgs: int = 80
    events_per_day: int = 720
    files: int = 120
    snapshots: int = 0
    rates: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_RATES))

    @property
    def lines(self) -> int:
        """How many lines of usage events are written, injected ones included."""
        return self.days * self.events_per_day

    @property
    def first_day(self) -> date:
        """The first day with events."""
        return LAST_DAY - timedelta(days=self.days - 1)

    @property
    def last_day(self) -> date:
        """The last day with events."""
        return LAST_DAY

    @property
    def first_day_of_version_2(self) -> date:
        """The day on which schema version 2 begins: after a quarter of the days (2025-07-18 of 60)."""
        return self.first_day + timedelta(days=self.days // 4)

    @property
    def flat_snapshot_at(self) -> datetime:
        """When the flat files were exported: the midnight after the last day, their modification time."""
        return datetime.combine(LAST_DAY + timedelta(days=1), time(), tzinfo=UTC)

    @property
    def snapshot_days(self) -> list[date]:
        """The days of the dated exports, oldest first; the newest is the last day."""
        return [LAST_DAY - timedelta(days=back) for back in reversed(range(self.snapshots))]

    @property
    def months(self) -> list[date]:
        """The billed months: from the one before the first event to that of the last."""
        month = (self.first_day.replace(day=1) - timedelta(days=1)).replace(day=1)
        months = []
        while month <= LAST_DAY:
            months.append(month)
            month = (month + timedelta(days=31)).replace(day=1)
        return months

    def count(self, kind: str, rows: int) -> int:
        """How many of `rows` get this kind of dirt, rounded half up."""
        return int(self.rates[kind] * rows + 0.5)


def faults(options: Options) -> list[str]:
    """Everything that is wrong with the options, each with what would do; empty if they can be met."""
    found = [
        f"--{name} must be at least 1, not {number}"
        for name, number in (
            ("days", options.days),
            ("orgs", options.orgs),
            ("events-per-day", options.events_per_day),
            ("files", options.files),
        )
        if number < 1
    ]
    if options.days > MOST_DAYS:
        found.append(f"--days must be at most {MOST_DAYS}, not {options.days}")
    if options.seed < 0:
        found.append(f"--seed must be 0 or more, not {options.seed}")
    if not 0 <= options.snapshots <= MOST_DAYS:
        found.append(f"--snapshots must be between 0 and {MOST_DAYS}, not {options.snapshots}")
    if not found and options.files > options.lines:
        found.append(f"--files must be at most {options.lines}, the lines of events, not {options.files}")
    return found + _rate_faults(options.rates)


def _rate_faults(rates: dict[str, float]) -> list[str]:
    """Rates outside 0 ... 0.5, and rates that together leave no room for clean rows."""
    found = [
        f"--rate {kind}={rate} must be between 0 and 0.5"
        for kind, rate in rates.items()
        if not 0 <= rate <= 0.5
    ]
    for name, dirt in (("usage events", EVENT_DIRT), ("CSV rows", CSV_DIRT)):
        # A copy needs its original beside it, so it takes two rows.
        twice = ("duplicate_events", "conflicting_events", "duplicate_rows", "conflicting_rows")
        total = sum(rates[kind] * (2 if kind in twice else 1) for kind in dirt)
        if total > 0.9:
            found.append(f"the --rate values of {name} add up to {total:g} (copies count twice); at most 0.9")
    return found
