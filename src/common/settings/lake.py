"""Settings of conf/lake.yaml."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import Field, model_validator

from ..errors import ConfigurationError
from ..receivers import LineageSettings, Notifications, Secret, from_environment
from ..retention import Retention
from .base import Settings


class Paths(Settings):
    """Where the lake and the landing zone are, relative to the project."""

    lake: str
    landing: str


class Definitions(Settings):
    """Definitions that a user may want otherwise."""

    usd_rate: Literal["delivered", "one"]
    survey_scale: Literal["0..10", "-100..100"]
    fx_suspect_share: float = Field(gt=0, lt=1)


class Times(Settings):
    """What a time from outside may be."""

    earliest: date
    latest: date
    snapshot_ahead_hours: float = Field(ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Times:
        if self.earliest >= self.latest:
            raise ValueError(f"earliest: {self.earliest} is not before latest, {self.latest}")
        return self


class Landing(Settings):
    """What a file that lands may be."""

    most_unpacked_mb: int = Field(ge=1)


class Schedule(Settings):
    """The nightly run."""

    nightly: str


class Quality(Settings):
    """How whole tables are checked, and how far they may move from their last runs before somebody is warned."""

    pandas_rows: int = Field(ge=0)
    duckdb_rows: int = Field(ge=0)
    last_runs: int = Field(ge=1)
    row_count_change: float = Field(gt=0)
    null_share_change: float = Field(gt=0)
    mean_change: float = Field(gt=0)


class Server(Settings):
    """A PostgreSQL server: its address, by the variable of the environment that holds it, and how long it may take."""

    dsn: Secret
    attempts: int = Field(default=3, ge=1, le=10)
    first_pause_seconds: float = Field(default=2, ge=0)
    connect_seconds: int = Field(default=10, ge=2)
    lock_seconds: int = Field(default=30, ge=1)
    statement_seconds: int = Field(default=1800, ge=1)


class PostgresSettings(Server):
    """Where the published tables go for BI tools."""

    dsn: Secret = "${CLOUDLAKE_POSTGRES_DSN}"
    schema_name: str = Field(default="cloudlake", alias="schema", pattern="^[a-z][a-z0-9_]{0,62}$")
    nightly: bool = False


class StoreSettings(Settings):
    """The object store of a lake or a landing zone at s3a://bucket/path; keys that are not set are those Amazon's clients find."""

    endpoint: str = Field(default="${AWS_ENDPOINT_URL}", pattern=r"^(|https?://[A-Za-z0-9.-]+(:[0-9]+)?/?|\$\{[A-Z][A-Z0-9_]*\})$")
    region: str = Field(default="${AWS_REGION}", pattern=r"^([a-z0-9-]+|\$\{[A-Z][A-Z0-9_]*\})$")
    access_key: Secret = "${AWS_ACCESS_KEY_ID}"
    secret_key: Secret = "${AWS_SECRET_ACCESS_KEY}"
    session_token: Secret = "${AWS_SESSION_TOKEN}"
    path_style: bool = True
    attempts: int = Field(default=6, ge=1, le=20)
    timeout_seconds: float = Field(default=30, ge=1)
    lease_seconds: float = Field(default=60, ge=1)
    skew_seconds: float = Field(default=10, ge=0)

    def resolved(self) -> dict[str, Any]:
        """Return what the store is told, with what the environment holds.

        Raises:
            ConfigurationError: it has one key without the other.
        """
        told = {name: from_environment(said) if isinstance(said, str) else said for name, said in self.model_dump().items()}
        if bool(told["access_key"]) != bool(told["secret_key"]):
            lacking = self.access_key if told["secret_key"] else self.secret_key
            raise ConfigurationError(
                f"conf/lake.yaml: storage: {lacking[2:-1]} is not set in the environment, its other half is; set both, or none"
            )
        return told | {"region": told["region"] or "us-east-1", "endpoint": told["endpoint"].rstrip("/")}


class CommitConflicts(Settings):
    """How often a write that loses against another commit is done again, with a fresh read."""

    attempts: int = Field(ge=1, le=20)
    first_seconds: float = Field(gt=0)
    max_seconds: float = Field(gt=0)


class LakeSettings(Settings):
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
    databases: dict[str, Server] = Field(default_factory=dict)
    """The databases that sources of conf/bronze.yaml are asked of, by name."""
    storage: StoreSettings = StoreSettings()
