"""Settings of conf/lake.yaml and conf/streaming.yaml, and where the lake, the landing zone and conf/ are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .contracts import Registry
from .declarations import explain, load_registry, read_yaml
from .errors import ConfigurationError
from .lake import Lake
from .session import PROJECT_ROOT


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


class Schedule(_Settings):
    """The nightly run."""

    nightly: str
    keep_logs_days: int = Field(ge=1)


class LakeSettings(_Settings):
    """conf/lake.yaml."""

    paths: Paths
    parallel: int = Field(ge=1, le=32)
    snapshot_deletes_limit: float = Field(ge=0, le=1)
    definitions: Definitions
    schedule: Schedule


class EventSettings(_Settings):
    """What an event line may be."""

    folder: str
    schema_versions: dict[int, tuple[str, ...]]
    metric_units: dict[str, str]


class Trigger(_Settings):
    """How often a micro-batch starts and how much it takes."""

    interval_seconds: float = Field(gt=0)
    max_files: int = Field(ge=1)
    max_bytes: str


class StreamSettings(_Settings):
    """conf/streaming.yaml without its tables."""

    events: EventSettings
    trigger: Trigger


@dataclass(frozen=True)
class Config:
    """Everything a job is told: the folders, the settings, the contracts."""

    conf: Path
    landing: Path
    lake: Lake
    settings: LakeSettings
    stream: StreamSettings
    registry: Registry


def load_config(conf: str | None = None, lake: str | None = None, landing: str | None = None) -> Config:
    """Load conf/ and resolve the folders: argument, then CLOUDLAKE_CONF / _LAKE / _LANDING, then conf/lake.yaml.

    Raises:
        ConfigurationError: with every fault of every file.
    """
    folder = Path(conf or os.environ.get("CLOUDLAKE_CONF") or PROJECT_ROOT / "conf").resolve()
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no such conf folder; name it with --conf or CLOUDLAKE_CONF")
    faults: list[str] = []
    settings = _load(folder / "lake.yaml", LakeSettings, (), faults)
    stream = _load(folder / "streaming.yaml", StreamSettings, ("tables",), faults)
    registry = None
    try:
        registry = load_registry(folder)
    except ConfigurationError as error:
        faults.extend(fault for fault in error.faults if fault not in faults)
    if faults or settings is None or stream is None or registry is None:
        raise ConfigurationError(faults)
    lake_root = Path(lake or os.environ.get("CLOUDLAKE_LAKE") or PROJECT_ROOT / settings.paths.lake)
    landing_root = Path(landing or os.environ.get("CLOUDLAKE_LANDING") or PROJECT_ROOT / settings.paths.landing)
    return Config(folder, landing_root.resolve(), Lake(lake_root.resolve()), settings, stream, registry)


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
