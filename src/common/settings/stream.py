"""Settings of conf/streaming.yaml, without its tables."""

from __future__ import annotations

import posixpath
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, field_validator, model_validator

from ..usage.sums import BUCKET_MINUTES
from ..usage.versions import Said, exponent_of
from .alerts import Alerts
from .base import Settings


class SaidAs(Settings):
    """How an event version says a field: the name it has in the line, and the power of ten that brings it to its unit."""

    field: str
    times: Decimal = Decimal(1)

    @field_validator("times")
    @classmethod
    def _is_a_power_of_ten(cls, times: Decimal) -> Decimal:
        if exponent_of(times) is None:
            raise ValueError(f"{times} is no power of ten, such as 0.01 or 1000")
        return times


def _plain_folder(text: str) -> str:
    """Bring a folder's path below the landing root to one form, "" for the root itself."""
    path = posixpath.normpath(text)
    if path.startswith(("/", "../")) or path == "..":
        raise ValueError(f"'{text}' is no folder below the landing root; write its path from there")
    return "" if path == "." else path


class EventSettings(Settings):
    """What an event line may be."""

    folder: Annotated[str, AfterValidator(_plain_folder)]
    oldest_file: AwareDatetime
    schema_versions: dict[int, tuple[str, ...]]
    renamed: dict[int, dict[str, SaidAs]] = Field(default_factory=dict)
    metric_units: dict[str, str]

    def said_as(self) -> dict[int, dict[str, Said]]:
        """Return `renamed` as common.usage takes it."""
        return {
            version: {name: Said(one.field, exponent_of(one.times) or 0) for name, one in fields.items()}
            for version, fields in self.renamed.items()
        }


class Trigger(Settings):
    """How often a micro-batch starts and how much it takes."""

    interval_seconds: float = Field(gt=0)
    max_files: int = Field(ge=1)
    max_bytes: str
    most_apart: int = Field(ge=0)


class Live(Settings):
    """What "now" means in event time, and the sliding windows over it."""

    hours: int = Field(ge=2)
    window_minutes: int = Field(gt=0)
    slide_minutes: int = Field(gt=0, multiple_of=BUCKET_MINUTES)
    refresh_seconds: float = Field(ge=0)

    @model_validator(mode="after")
    def _windows_fit(self) -> Live:
        if self.window_minutes % self.slide_minutes:
            raise ValueError(
                f"window_minutes: {self.window_minutes} is not a multiple of slide_minutes, {self.slide_minutes}"
            )
        if 2 * self.window_minutes > 60 * self.hours:
            raise ValueError(f"window_minutes: {self.window_minutes} is more than half of {self.hours} hours")
        return self


class Restart(Settings):
    """When a stream that died is started again."""

    limit: int = Field(ge=0)
    first_seconds: float = Field(gt=0)
    max_seconds: float = Field(gt=0)
    forget_after_seconds: float = Field(gt=0)


class Monitoring(Settings):
    """How the stream shows that it lives and what it does."""

    heartbeat_seconds: float = Field(gt=0)
    metrics_port: int = Field(ge=0, le=65535)


class StreamSettings(Settings):
    """conf/streaming.yaml without its tables."""

    events: EventSettings
    trigger: Trigger
    live: Live
    alerts: Alerts
    restart: Restart
    monitor: Monitoring
