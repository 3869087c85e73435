"""What lies in the landing zone, before any run: new, taken already, refused and why, or of no source at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from ..batch.bronze import ingestion
from ..batch.bronze.asking import Answer
from ..batch.bronze.extracts import folders_of_rows, is_of_rows
from ..batch.bronze.listing import find_files, folders_in, shown
from ..batch.bronze.sources import Sources
from ..common.config import Config, require_landing
from ..common.contracts.table import Table
from ..common.errors import did_you_mean
from ..common.lake.storage import Entry
from ..streaming.dry_run import pending_files
from ..streaming.event_files import list_files, other_files
from ..streaming.landed import LandedFiles

WRONG = ("refused", "missing", "ignored", "waiting")
"""States that somebody must do something about, or a run will not see what was meant for it."""


@dataclass(frozen=True)
class Lying:
    """A file of the landing zone, the event files of one state, or a source without any."""

    source: str
    """The source it belongs to; empty where none takes it."""
    path: str
    """Relative to the landing root."""
    state: str
    """new, taken, refused (as a whole), waiting (for the rest of its set), ignored (no source takes it), or missing (nothing was
    ever delivered)."""
    rows: int | None = None
    """Its records, of event files their lines; None where it is not opened, because nothing in it is new."""
    speaks_of: datetime | None = None
    """The snapshot time of an export."""
    told: str = ""
    """Why it is refused or ignored, or what is odd about it."""


def landing_state(
    config: Config, snapshot_at: datetime | None, now: datetime, business_date: date | None = None
) -> list[Lying]:
    """Return what lies in the landing zone, and what databases say, by source; then what no source takes. Nothing is written.

    A file is judged as a whole, and its records as far as they can be told apart; whether a record's values are right is
    judged by the rules of silver, in a run.

    Raises:
        ConfigurationError: the landing folder is missing.
    """
    require_landing(config)
    tables = [table for table in config.registry.layer("bronze") if table.is_source]
    sources = Sources(config, now, snapshot_at, business_date, keep=False)
    found = [lying for table in tables for lying in _exports(config, table, sources, snapshot_at, now)]
    return [*found, *_events(config), *_of_no_source(config, tables)]


def _exports(
    config: Config, table: Table, sources: Sources, snapshot_at: datetime | None, now: datetime
) -> Iterator[Lying]:
    files, was_taken = ingestion.looked_at(config, table, snapshot_at, now)
    answer = sources.answer(table)
    if answer is not None:
        yield _answered(table, answer, sources)
    elif not files and not was_taken:
        yield Lying(
            table.short_name, str(table.file), "missing", told="nothing was ever delivered; a run needs it once"
        )
    for file, is_new in files:
        lacking = sources.lacking(table, file.path.rpartition("/")[0]) if is_new and not file.reason else ""
        odd = [lacking, ingestion.remarks([file], table)] if file.export else []
        unfit = file.export.unfit if file.export else 0
        odd += [f"{unfit} row(s) that do not fit the header or are no text go to quarantine"] if unfit else []
        yield Lying(
            table.short_name,
            file.path,
            "refused" if file.reason else "waiting" if lacking else "new" if is_new else "taken",
            file.export.row_count if file.export else None,
            file.snapshot_at,
            file.reason or "; ".join(filter(None, odd)),
        )


def _answered(table: Table, answer: Answer, sources: Sources) -> Lying:
    """Return what a database says of a source, as if it lay there."""
    place = f"{table.origin}, asked for {answer.day}"
    if answer.fault:
        return Lying(table.short_name, place, "refused", told=answer.fault)
    lacking = sources.lacking(table, str(answer.day)) if answer.is_new else ""
    state = "waiting" if lacking else "new" if answer.is_new else "taken"
    told = [lacking, ingestion.differing(answer.columns, table)]
    speaks_of = datetime.combine(answer.day, time(), UTC)
    return Lying(table.short_name, place, state, answer.rows, speaks_of, "; ".join(filter(None, told)))


def _events(config: Config) -> Iterator[Lying]:
    zone, folder = config.landing_zone, config.stream.events.folder
    files = list_files(zone, folder)
    new = pending_files(config)
    if new:
        lines = sum(zone.read(file.place).count(b"\n") for file in new)
        yield Lying("usage_events", f"{folder}: {len(new):,} file(s)", "new", lines)
    if len(files) > len(new):
        replaced = LandedFiles(config).changed(files)
        yield Lying("usage_events", f"{folder}: {len(files) - len(new):,} file(s)", "taken", told="; ".join(replaced))
    if not files:
        yield Lying("usage_events", folder, "missing", told="no *.jsonl file lies there")
    for told in other_files(zone, folder):
        place, _, why = (zone.below(told) or told).partition(": ")
        yield Lying("usage_events", place, "ignored", told=why)


def _of_no_source(config: Config, tables: list[Table]) -> Iterator[Lying]:
    """Yield what a person put there and nobody reads: files by another name, folders that are no date."""
    names = {f"{table.file}{packed}" for table in tables if table.file for packed in ("", ".gz")}
    extracts = [path for table in tables if table.query for path in find_files(config.landing_zone, table)]
    read = {*extracts, *folders_of_rows(config.landing_zone, extracts)}
    zone = config.landing_zone
    *dated, _ = folders_in(zone)
    lying = [entry for folder in folders_in(zone) for entry in zone.entries(folder)]
    for entry in sorted(lying, key=lambda entry: entry.path.split("/")):
        if entry.name[0] in "._" or entry.name == "manifest.json" or entry.name in names or entry.path in {*dated, *read}:
            continue
        if entry.kind == "folder" and entry.path == config.stream.events.folder:
            continue
        yield Lying("", shown(entry.path), "ignored", told=_unread(entry, names))


def _unread(place: Entry, names: set[str]) -> str:
    if place.kind == "folder" and is_of_rows(place.name):
        return "rows of a query whose answer never came whole, or is no longer there; nothing reads them, and they can be deleted"
    if place.kind == "folder":
        return "its name is no date, so nothing in it is read; folders of exports are named YYYY-MM-DD"
    return f"no source is delivered under this name{did_you_mean(place.name, names)}"
