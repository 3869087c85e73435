"""Settings: what is worth an alert."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from .base import Settings


class DailyCost(Settings):
    """A date's cost against its learned baseline: the test of gold.cost_anomalies, or, without history, a limit."""

    limit_usd: Decimal = Field(gt=0)


class WindowCost(Settings):
    """The cost within a sliding window."""

    limit_usd: Decimal = Field(gt=0)


class EventRateDrop(Settings):
    """The events of a window against the windows before it."""

    least_share: Decimal = Field(gt=0, lt=1)
    least_events: int = Field(ge=1)
    least_windows: int = Field(ge=1)


class QuarantineRate(Settings):
    """The share of refused lines against that of the lines before."""

    least_lines: int = Field(ge=1)
    rise: Decimal = Field(ge=1)
    least_rate: Decimal = Field(gt=0, le=1)
    limit_rate: Decimal = Field(gt=0, le=1)


class NegativeCostBurst(Settings):
    """Refused lines with a negative cost."""

    least_lines: int = Field(ge=1)


class AlertRules(Settings):
    """The rules by name; one that is not listed is off."""

    daily_cost: DailyCost | None = None
    window_cost: WindowCost | None = None
    event_rate_drop: EventRateDrop | None = None
    quarantine_rate: QuarantineRate | None = None
    negative_cost_burst: NegativeCostBurst | None = None


class Alerts(Settings):
    """What is worth an alert."""

    critical_factor: Decimal = Field(gt=1)
    rules: AlertRules
