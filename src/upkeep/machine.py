"""What the machine must have for a lake: Java and its jars, disk, rights, a clock that is right, secrets in the environment."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from deltalake.exceptions import DeltaError

from ..common.clock import spoken_age
from ..common.config import Config
from ..common.errors import CloudlakeError
from ..common.java import what_is_wrong_with_java
from ..common.lake.storage import Storage
from ..common.lake.stores import is_remote
from ..common.names import JOB_RUNS
from ..common.publication import published
from ..common.receivers import SECRET
from .findings import Finding

LEAST_FREE_BYTES = 1 << 30
"""A batch run of a small lake writes some hundred MiB; scripts/nightly.sh refuses to start below this too."""
_CLOCK_TOLERANCE = timedelta(minutes=5)
_SETUP = "scripts/setup_environment.sh"
_NOTHING_NEW = "No answer is wrong by it, and none can be made anew"


def machine_findings(config: Config, now: datetime) -> list[Finding]:
    """Return what the machine lacks."""
    looks = (_of_java(), _of_the_disk(config), _of_rights(config), _of_the_clock(config, now), _of_secrets(config))
    return [finding for look in looks for finding in look]


def _of_java() -> Iterator[Finding]:
    wrong = what_is_wrong_with_java()
    if wrong:
        yield Finding("java", "java", wrong.removeprefix("Java: "), _NOTHING_NEW, _SETUP, stops=True)
    spark = find_spec("pyspark")
    if spark is None or spark.origin is None:
        yield Finding("spark", "pyspark", "it is not installed", _NOTHING_NEW, _SETUP, stops=True)
    elif not list(Path(spark.origin).parent.glob("jars/delta-spark*.jar")):
        yield Finding("jars", spark.origin, "the Delta jars are missing", _NOTHING_NEW, f"{_SETUP} --force", stops=True)


def _of_the_disk(config: Config) -> Iterator[Finding]:
    if is_remote(config.lake.root):
        return
    root = next(folder for folder in (config.lake.root, *config.lake.root.parents) if folder.exists())
    free = Storage(str(root)).free_bytes()
    if free is not None and free < LEAST_FREE_BYTES:
        what = f"{free / (1 << 20):,.0f} MiB are free, and a run may need {LEAST_FREE_BYTES >> 20:,} MiB"
        means = "A run that meets a full disk fails and leaves what is published as it was"
        yield Finding("disk", str(root), what, means, "cloudlake maintain")


def _of_rights(config: Config) -> Iterator[Finding]:
    lake, landing = config.lake.root, config.landing
    for folder in () if is_remote(lake) else _folders(lake):
        if not os.access(folder, os.W_OK | os.X_OK):
            line = f'chown -R "$(id -un)" {shlex.quote(str(lake))} && chmod -R u+rwX {shlex.quote(str(lake))}'
            yield Finding("rights", str(folder), "it can't be written by this user", _NOTHING_NEW, line, stops=True)
            break
    if not is_remote(landing) and landing.is_dir() and not os.access(landing, os.R_OK | os.X_OK):
        line = f"chmod -R a+rX {shlex.quote(str(landing))}"
        yield Finding("rights", str(landing), "the landing folder can't be read by this user", _NOTHING_NEW, line)


def _folders(lake: Path) -> Iterator[Path]:
    """Yield the folders that a run writes into: of layers, tables and their logs; or the nearest that is there."""
    if not lake.is_dir():
        yield next(folder for folder in lake.parents if folder.exists())
        return
    yield lake
    for layer in sorted(folder for folder in lake.iterdir() if folder.is_dir()):
        yield layer
        tables = [table for table in sorted(layer.iterdir()) if (table / "_delta_log").is_dir()]
        yield from (folder for table in tables for folder in (table, table / "_delta_log"))


def _of_the_clock(config: Config, now: datetime) -> Iterator[Finding]:
    known = []
    with suppress(DeltaError, CloudlakeError):  # damage that is found and told elsewhere
        known.append(config.lake.newest(JOB_RUNS, "started_at"))
        if published_at := published(config.lake).published_at:
            known.append(datetime.fromisoformat(published_at))
    newest = max((time for time in known if time is not None), default=None)
    if newest is not None and newest > now + _CLOCK_TOLERANCE:
        ahead = spoken_age((newest - now).total_seconds() / 3600)
        what = f"it says {now:%Y-%m-%d %H:%M}, and the lake knows of a run {ahead} later"
        means = "Snapshots may be dated wrongly, and events refused as of the future"
        yield Finding("clock", "the clock", what, means, "timedatectl set-ntp true")


def _of_secrets(config: Config) -> Iterator[Finding]:
    asked = {table.database for table in config.registry.tables.values() if table.database}
    for name in sorted(asked & config.settings.databases.keys()):
        found = SECRET.fullmatch(config.settings.databases[name].dsn)
        if found and not os.environ.get(found[1]):
            what = f"the environment variable {found[1]} is not set here"
            means = "Sources of this database can't be asked where it is not set; what they said before stays"
            yield Finding("secret", f"databases.{name}", what, means, f"export {found[1]}=…")
    for name, target in sorted(config.settings.notifications.targets.items()):
        texts = [*target.model_dump().values(), *getattr(target, "headers", {}).values()]
        named = {found[1] for text in texts if isinstance(text, str) and (found := SECRET.fullmatch(text))}
        for variable in sorted(variable for variable in named if not os.environ.get(variable)):
            what = f"the environment variable {variable} is not set here"
            means = "No answer is wrong by it; nobody is told by this target where it is not set"
            yield Finding("secret", f"notifications.targets.{name}", what, means, f"export {variable}=…")
