"""Settings of conf/lake.yaml and conf/streaming.yaml, and where the lake, the landing zone and conf/ are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from .contracts.loading import explain, load_registry, read_yaml
from .contracts.table import Registry
from .errors import ConfigurationError
from .lake.conflicts import Conflicts
from .lake.storage import placed, require_lake_root
from .lake.tables import Lake
from .project import packaged_conf, root
from .receivers import LineageSettings, Notifications, Secret
from .retention import Retention
from .usage.sums import BUCKET_MINUTES
from .usage.versions import EVENTS, Said, exponent_of, faults_of_versions


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Paths(_Settings):
    """Where the lake and the landing zone are, relative to the project."""

    lake: str
    landing: str


class Definitions(_Settings):
    """Definitions that a user may want otherwise."""

    usd_rate: Literal["delivered", "one"]
    survey_scale: Literal["0..10", "-100..100"]
    fx_suspect_share: float = Field(gt=0, lt=1)


class Times(_Settings):
    """What a time from outside may be."""

    earliest: date
    latest: date
    snapshot_ahead_hours: float = Field(ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Times:
        if self.earliest >= self.latest:
            raise ValueError(f"earliest: {self.earliest} is not before latest, {self.latest}")
        return self


class Landing(_Settings):
    """What a file that lands may be."""

    most_unpacked_mb: int = Field(ge=1)


class Schedule(_Settings):
    """The nightly run."""

    nightly: str


class Quality(_Settings):
    """How whole tables are checked, and how far they may move from their last runs before somebody is warned."""

    pandas_rows: int = Field(ge=0)
    last_runs: int = Field(ge=1)
    row_count_change: float = Field(gt=0)
    null_share_change: float = Field(gt=0)
    mean_change: float = Field(gt=0)


class PostgresSettings(_Settings):
    """Where the published tables go for BI tools, and how long a server may take."""

    dsn: Secret = "${CLOUDLAKE_POSTGRES_DSN}"
    schema_name: str = Field(default="cloudlake", alias="schema", pattern="^[a-z][a-z0-9_]{0,62}$")
    nightly: bool = False
    attempts: int = Field(default=3, ge=1, le=10)
    first_pause_seconds: float = Field(default=2, ge=0)
    connect_seconds: int = Field(default=10, ge=2)
    lock_seconds: int = Field(default=30, ge=1)
    statement_seconds: int = Field(default=1800, ge=1)


class CommitConflicts(_Settings):
    """How often a write that loses against another commit is done again, with a fresh read."""

    attempts: int = Field(ge=1, le=20)
    first_seconds: float = Field(gt=0)
    max_seconds: float = Field(gt=0)


class LakeSettings(_Settings):
    """conf/lake.yaml."""

    paths: Paths
    parallel: int = Field(ge=1, le=32)
    snapshot_deletes_limit: float = Field(ge=0, le=1)
    times: Times
    landing: Landing
    commit_conflicts: CommitConflicts
    definitions: Definitions
    quality: Quality
    schedule: Schedule
    retention: Retention = Retention()
    notifications: Notifications
    lineage: LineageSettings = LineageSettings()
    postgres: PostgresSettings = PostgresSettings()


class SaidAs(_Settings):
    """How an event version says a field: the name it has in the line, and the power of ten that brings it to its unit."""

    field: str
    times: Decimal = Decimal(1)

    @field_validator("times")
    @classmethod
    def _is_a_power_of_ten(cls, times: Decimal) -> Decimal:
        if exponent_of(times) is None:
            raise ValueError(f"{times} is no power of ten, such as 0.01 or 1000")
        return times


class EventSettings(_Settings):
    """What an event line may be."""

    folder: str
    oldest_file: AwareDatetime
    schema_versions: dict[int, tuple[str, ...]]
    renamed: dict[int, dict[str, SaidAs]] = {}
    metric_units: dict[str, str]

    def said_as(self) -> dict[int, dict[str, Said]]:
        """Return `renamed` as common.usage takes it."""
        return {
            version: {name: Said(one.field, exponent_of(one.times) or 0) for name, one in fields.items()}
            for version, fields in self.renamed.items()
        }


class Trigger(_Settings):
    """How often a micro-batch starts and how much it takes."""

    interval_seconds: float = Field(gt=0)
    max_files: int = Field(ge=1)
    max_bytes: str
    most_apart: int = Field(ge=0)


class Live(_Settings):
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


class DailyCost(_Settings):
    """A date's cost against its learned baseline: the test of gold.cost_anomalies, or a limit without history."""

    mad_factor: Decimal = Field(gt=0)
    mad_limit: Decimal = Field(gt=0)
    least_impact_usd: Decimal = Field(ge=0)
    least_impact_ratio: Decimal = Field(ge=0)
    limit_usd: Decimal = Field(gt=0)


class WindowCost(_Settings):
    """The cost within a sliding window."""

    limit_usd: Decimal = Field(gt=0)


class EventRateDrop(_Settings):
    """The events of a window against the windows before it."""

    least_share: Decimal = Field(gt=0, lt=1)
    least_events: int = Field(ge=1)
    least_windows: int = Field(ge=1)


class QuarantineRate(_Settings):
    """The share of refused lines against that of the lines before."""

    least_lines: int = Field(ge=1)
    rise: Decimal = Field(ge=1)
    least_rate: Decimal = Field(gt=0, le=1)
    limit_rate: Decimal = Field(gt=0, le=1)


class NegativeCostBurst(_Settings):
    """Refused lines with a negative cost."""

    least_lines: int = Field(ge=1)


class AlertRules(_Settings):
    """The rules by name; one that is not listed is off."""

    daily_cost: DailyCost | None = None
    window_cost: WindowCost | None = None
    event_rate_drop: EventRateDrop | None = None
    quarantine_rate: QuarantineRate | None = None
    negative_cost_burst: NegativeCostBurst | None = None


class Alerts(_Settings):
    """What is worth an alert."""

    critical_factor: Decimal = Field(gt=1)
    rules: AlertRules


class Restart(_Settings):
    """When a stream that died is started again."""

    limit: int = Field(ge=0)
    first_seconds: float = Field(gt=0)
    max_seconds: float = Field(gt=0)
    forget_after_seconds: float = Field(gt=0)


class Monitoring(_Settings):
    """How the stream shows that it lives and what it does."""

    heartbeat_seconds: float = Field(gt=0)
    metrics_port: int = Field(ge=0, le=65535)


class StreamSettings(_Settings):
    """conf/streaming.yaml without its tables."""

    events: EventSettings
    trigger: Trigger
    live: Live
    alerts: Alerts
    restart: Restart
    monitor: Monitoring


@dataclass(frozen=True)
class Config:
    """Everything a job is told: the folders, the settings, the contracts."""

    conf: Path
    landing: Path
    lake: Lake
    settings: LakeSettings
    stream: StreamSettings
    registry: Registry


def conf_folder(conf: str | None = None) -> Path:
    """Return where the declarations are: the argument, then CLOUDLAKE_CONF, then those the code carries.

    Raises:
        ConfigurationError: there is no such folder.
    """
    folder = Path(conf or os.environ.get("CLOUDLAKE_CONF") or packaged_conf()).resolve()
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no such conf folder; name it with --conf or CLOUDLAKE_CONF")
    return folder


def load_config(
    conf: str | None = None,
    lake: str | None = None,
    landing: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> Config:
    """Load conf/ and resolve the folders: argument, then CLOUDLAKE_CONF / _LAKE / _LANDING, then conf/lake.yaml.

    With `tell`, a lake may be made: where its folder's name would not do, it is put behind a link, and that is told.

    Raises:
        ConfigurationError: with every fault of every file.
    """
    folder = conf_folder(conf)
    faults: list[str] = []
    settings = _load(folder / "lake.yaml", LakeSettings, (), faults)
    stream = _load(folder / "streaming.yaml", StreamSettings, ("tables",), faults)
    registry = None
    try:
        registry = load_registry(folder)
    except ConfigurationError as error:
        faults.extend(fault for fault in error.faults if fault not in faults)
    if stream is not None and registry is not None and EVENTS in registry.tables:
        events = stream.events
        found = faults_of_versions(registry[EVENTS], events.schema_versions, events.said_as())
        faults.extend(f"conf/streaming.yaml: {fault}" for fault in found)
    if faults or settings is None or stream is None or registry is None:
        raise ConfigurationError(faults)
    lake_root = Path(lake or os.environ.get("CLOUDLAKE_LAKE") or root() / settings.paths.lake)
    conflicts = Conflicts(**settings.commit_conflicts.model_dump())
    landing_root = Path(landing or os.environ.get("CLOUDLAKE_LANDING") or root() / settings.paths.landing)
    place = lake_root.resolve()
    if tell is not None and (elsewhere := placed(place)) != place:
        tell(f"{place} has a name under which delta-rs finds no tables, so it is a link; the lake itself lies in {elsewhere}")
        place = elsewhere
    require_lake_root(place)
    lake_at = Lake(place, conflicts)
    kept = registry.kept(settings.retention.history_days)
    return Config(folder, landing_root.resolve(), lake_at, settings, stream, kept)


def require_landing(landing: Path) -> None:
    """Check that the landing folder exists.

    Raises:
        ConfigurationError: it does not.
    """
    if not landing.is_dir():
        raise ConfigurationError(
            f"{landing}: there is no such landing folder; name it with --landing, or make one with "
            f"scripts/generate_landing_data.py --out {landing}"
        )


def _load(path: Path, model: type[Any], besides: tuple[str, ...], faults: list[str]) -> Any:
    try:
        content = read_yaml(path)
        body = {key: value for key, value in (content or {}).items() if key not in besides and not key.startswith("x-")}
        return model.model_validate(body)
    except ConfigurationError as error:
        faults.extend(error.faults)
    except ValidationError as error:
        faults.extend(explain(error, f"conf/{path.name}", model))
    return None
