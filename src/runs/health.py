"""The doctor: everything that may be wrong with a lake and its machine, found before it is met, and what mends it.

The quick half looks at the logs of the tables as files; a batch run and the stream begin with it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ..batch.bronze.landed import content_hash
from ..batch.bronze.listing import find_files, shown, time_of
from ..common.clock import new_run_id, now_utc, spoken_age
from ..common.config import Config
from ..common.errors import CloudlakeError
from ..common.lake.locks import process_lock
from ..common.names import BRONZE_EVENTS, LANDED
from ..common.publication import PUBLISHED, Publication, publications, published
from ..serving import publication as publishing
from ..streaming import bronze_events, checkpoints, silver_load
from ..streaming.event_files import list_files
from ..streaming.landed import LandedFiles
from ..upkeep.damages import BATCH, MEANS, damaged_logs
from ..upkeep.findings import Finding
from ..upkeep.machine import machine_findings
from ..upkeep.processes import dead_processes
from . import trust
from .record import record_killed


def require_sound(config: Config) -> None:
    """Check that no table's log is damaged: what a batch run and the stream begin with.

    Raises:
        CloudlakeError: naming each damaged table, what it means, and the line to type.
    """
    found = damaged_logs(config, trust.watched(config), now_utc(), thorough=False)
    if found:
        raise CloudlakeError(
            "\n".join([*map(str, found), "Nothing was started. cloudlake doctor looks at everything."])
        )


def examine(config: Config, now: datetime) -> list[Finding]:
    """Return everything that is wrong, in the order in which it is best mended."""
    found = [*machine_findings(config, now), *damaged_logs(config, trust.watched(config), now, thorough=True)]
    if not config.lake.storage.is_folder():
        return [*found, *_of_the_landing_zone(config, now)]
    if any(finding.kind.startswith("log_") for finding in found):  # tables can't be compared over a damaged log
        return [*found, *dead_processes(config, lambda holder: record_killed(config, holder))]
    return [
        *found,
        *dead_processes(config, lambda holder: record_killed(config, holder)),
        *_of_books(config),
        *_of_publications(config),
        *([] if trust.unreadable_records(config) else [*_of_checkpoints(config), *_of_the_landing_zone(config, now)]),
    ]


def mend(config: Config, found: list[Finding]) -> list[str]:
    """Mend what loses nothing; return what was done.

    Raises:
        LockedError: a batch or a stream runs; a table's log is not touched under it.
    """
    mendable = [finding for finding in found if finding.mend is not None]
    if not mendable:
        return []
    run_id = new_run_id(now_utc())
    left = [finding for finding in mendable if finding.kind in ("dead_lock", "dead_pid")]
    told = [finding.mend() for finding in left if finding.mend is not None]
    rest = [finding for finding in mendable if finding not in left]
    if not rest:
        return told
    with process_lock(config.lake, "batch", run_id), process_lock(config.lake, "stream", run_id):
        return told + [finding.mend() for finding in rest if finding.mend is not None]


# --- what is compared ---------------------------------------------------------------------------------------------------


def _of_books(config: Config) -> Iterator[Finding]:
    kinds = {"removed": "table_gone", "older": "table_older", "files": "file_gone", "foreign": "foreign_rows"}
    for found in trust.compared(config, trust.watched(config), keep=False):
        yield Finding(
            kinds[found.kind], found.table, found.what, MEANS[found.table.partition(".")[0]], trust.line(config, found)
        )


def _of_publications(config: Config) -> Iterator[Finding]:
    lake = config.lake
    try:
        kept, in_force = publications(lake), published(lake).run_id
    except CloudlakeError as error:
        path = lake.storage.at(PUBLISHED)
        means = "Nothing is published until it is made anew; earlier publications can't be rolled back to"
        line = f"rm {shlex.quote(str(path))} && {BATCH} --jobs gold"
        yield Finding("publication_damaged", str(path), str(error).partition(": ")[2].partition(";")[0], means, line)
        return
    for publication in kept:
        gone = publishing.broken(lake, publication)
        if gone and publication.run_id == in_force:
            what = f"the publication in force names versions of {', '.join(gone)} that are gone"
            means = "Queries and the dashboard can't read these tables; the next run puts their newest version in force"
            yield Finding("publication_gone", f"run {publication.run_id}", what, means, BATCH)
        elif gone:
            yield _unreachable(config, publication, gone)


def _unreachable(config: Config, publication: Publication, gone: list[str]) -> Finding:
    def drop() -> str:
        publishing.forget(config.lake, publication)
        return f"publication of run {publication.run_id}: no longer kept"

    what = f"this publication of {publication.published_at[:16]} names versions of {', '.join(gone)} that are gone"
    means = "No answer is wrong by it; it can't be rolled back to"
    line = "cloudlake doctor --fix"
    return Finding("publication_kept_gone", f"run {publication.run_id}", what, means, line, mend=drop)


def _of_checkpoints(config: Config) -> Iterator[Finding]:
    """The stream's checkpoints against what they speak of: the landing zone, and the table silver is read from."""
    lake, bronze = config.lake, checkpoints.resume(config.lake, bronze_events.JOB)
    if bronze is not None and bronze.begun.get("landing") != str(config.landing):
        yield _moved(config, bronze)
    silver = checkpoints.resume(lake, silver_load.JOB)
    if silver is None or not lake.exists(BRONZE_EVENTS):
        return
    offset, newest = silver.newest_offset() or {}, lake.version(BRONZE_EVENTS)
    if int(offset.get("reservoirVersion", 0)) > newest + 1:
        what = f"it has read {BRONZE_EVENTS} up to version {offset['reservoirVersion']}, and the table ends at {newest}"
        means = (
            "New events would not be taken; begun anew, it takes each line that silver does not hold, and none twice"
        )
        yield _begin_anew(config, silver, "checkpoint_ahead", what, means)


def _moved(config: Config, bronze: checkpoints.Checkpoint) -> Finding:
    before = bronze.begun.get("landing")
    what = f"this lake reads its events from {before}, not from {config.landing}"
    means = "The stream refuses to start; no answer is wrong by it"
    known = [path for path in LandedFiles(config).versions if config.landing_zone.look(path)]
    if known:
        what += f", where {len(known)} of the files it has read lie now: the landing zone has moved"
        return _begin_anew(config, bronze, "landing_moved", what, means)
    line = f"{BATCH} --lake {shlex.quote(str(config.lake.root))} --landing {shlex.quote(str(before))}"
    return Finding("landing_other", bronze.place, what, means, line)


def _begin_anew(config: Config, checkpoint: checkpoints.Checkpoint, kind: str, what: str, means: str) -> Finding:
    storage, aside = config.lake.storage, f"aside/checkpoint-{checkpoint.job}-{checkpoint.generation}"

    def move() -> str:
        storage.rename(checkpoint.folder, aside)
        return f"checkpoint of {checkpoint.job}: moved to {storage.at(aside)}; the stream begins a new one"

    line = f"cloudlake doctor --fix && {BATCH}"
    return Finding(kind, checkpoint.place, what, means, line, mend=move)


def _of_the_landing_zone(config: Config, now: datetime) -> Iterator[Finding]:
    landing = config.landing
    if not config.landing_zone.is_folder():
        line = f"{BATCH} --lake {shlex.quote(str(config.lake.root))} --landing DIR"
        means = "Nothing new comes in; what is published stays as it is"
        yield Finding("landing_gone", str(landing), "there is no such landing folder", means, line)
        return
    exports = [
        file for table in config.registry.layer("bronze") if table.is_source for file in _unread_exports(config, table.name)
    ]
    files = LandedFiles(config).not_read(list_files(config.landing_zone, config.stream.events.folder))
    waiting = [*exports, *((file.path, file.modified_at) for file in files)]
    if waiting:
        path, since = min(waiting, key=lambda file: file[1])
        age = spoken_age(max(0.0, (now - since).total_seconds() / 3600))
        what = f"{len(waiting)} file(s) have landed that the lake has not read, such as {path}, {age} old"
        means = "Answers lack them; a lake that was put back from an older copy takes them as it took them before"
        yield Finding("landing_unread", str(landing), what, means, BATCH)


def _unread_exports(config: Config, name: str) -> Iterator[tuple[str, datetime]]:
    """Yield the exports with a content that their path has never had; it is hashed only where size and time leave a doubt."""
    table, lake = config.registry[name], config.lake
    columns = ["path", "sha256", "size_bytes", "modified_at"]
    known: dict[str, list[dict[str, Any]]] = {}
    if lake.exists(LANDED):
        for row in lake.read_small(LANDED, columns=columns, filters=[("source", "=", table.short_name)]).to_pylist():
            known.setdefault(row["path"], []).append(row)
    for path in find_files(config.landing_zone, table):
        entry = config.landing_zone.look(path)
        if entry is None:
            continue
        modified, relative = time_of(entry.modified_seconds), shown(path)
        as_long = [row for row in known.get(relative, []) if row["size_bytes"] == entry.size]
        if any(row["modified_at"] == modified for row in as_long):
            continue
        content = content_hash(path, config.landing_zone.read(path)) if as_long else ""
        if content not in {row["sha256"] for row in as_long}:
            yield relative, modified
