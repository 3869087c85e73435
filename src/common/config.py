"""What a job is told: where the lake, the landing zone and conf/ are, and what conf/ says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .contracts.loading import explain, load_registry, read_yaml
from .contracts.table import Registry
from .errors import ConfigurationError, did_you_mean
from .lake.conflicts import Conflicts
from .lake.objects import storage_at
from .lake.storage import Storage, placed, require_lake_root, root_at
from .lake.stores import Store, is_remote, use
from .lake.tables import Lake
from .names import EVENTS
from .project import packaged_conf, root
from .settings.lake import LakeSettings
from .settings.stream import StreamSettings
from .usage.versions import faults_of_versions


@dataclass(frozen=True)
class Config:
    """Everything a job is told: the folders, the settings, the contracts."""

    conf: Path
    landing: Path
    lake: Lake
    settings: LakeSettings
    stream: StreamSettings
    registry: Registry
    run_dir: Path | None = None
    """Where what belongs to one process of this machine is kept, where somebody named a folder."""

    @property
    def run_folder(self) -> Storage:
        """The files of one process of this machine, such as the log of a stream: beside the lake, or where that is in a store,
        in the user's folder for such state.
        """
        if self.run_dir is not None:
            return Storage(str(self.run_dir.resolve()))
        if not is_remote(self.lake.root):
            return Storage(self.lake.storage.at("run"))
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return Storage(str(state / "cloudlake" / re.sub(r"\W+", "-", str(self.lake.root))))

    @property
    def landing_zone(self) -> Storage:
        """The files of the landing zone."""
        return storage_at(self.landing)


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
    run_dir: str | None = None,
) -> Config:
    """Load conf/ and resolve the folders: argument, then CLOUDLAKE_CONF / _LAKE / _LANDING / _RUN_DIR, then conf/lake.yaml.

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
    if settings is not None and registry is not None:
        faults.extend(_faults_of_databases(settings, registry))
    if faults or settings is None or stream is None or registry is None:
        raise ConfigurationError(faults)
    lake_address = lake or os.environ.get("CLOUDLAKE_LAKE") or str(root() / settings.paths.lake)
    lake_root = root_at(lake_address, "--lake")
    conflicts = Conflicts(**settings.commit_conflicts.model_dump())
    landing_address = landing or os.environ.get("CLOUDLAKE_LANDING") or str(root() / settings.paths.landing)
    landing_root = root_at(landing_address, "--landing")
    if is_remote(lake_root) or is_remote(landing_root):
        use(Store(**settings.storage.resolved()))
    if tell is not None and (elsewhere := placed(lake_root)) != lake_root:
        tell(f"{lake_root} has a name under which delta-rs finds no tables, so it is a link; the lake itself lies in {elsewhere}")
        lake_root = elsewhere
    require_lake_root(lake_root)
    own = run_dir or os.environ.get("CLOUDLAKE_RUN_DIR")
    kept = registry.kept(settings.retention.history_days)
    return Config(folder, landing_root, Lake(lake_root, conflicts), settings, stream, kept, Path(own) if own else None)


def _faults_of_databases(settings: LakeSettings, registry: Registry) -> Iterator[str]:
    for table in registry.tables.values():
        if table.database is not None and table.database not in settings.databases:
            known = did_you_mean(table.database, settings.databases) or "; write databases: {NAME: {dsn: ${VARIABLE}}} there"
            yield f"conf/bronze.yaml: {table.short_name}.database: '{table.database}' is none of the databases of conf/lake.yaml{known}"


def require_landing(config: Config) -> None:
    """Check that the landing folder exists.

    Raises:
        ConfigurationError: it does not.
    """
    if not config.landing_zone.is_folder():
        raise ConfigurationError(
            f"{config.landing}: there is no such landing folder; name it with --landing, or make one with "
            f"scripts/generate_landing_data.py --out {config.landing}"
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
