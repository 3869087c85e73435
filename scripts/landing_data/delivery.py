"""Writes one landing zone: the CSV deliveries, the files of events, and the manifest."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import manifest
from .csv_dirt import DUPLICATE, Landed, soiled
from .draws import stream
from .event_dirt import DirtyEvents
from .evolution import states
from .manifest import Tally
from .masters import Population, populate
from .options import Options
from .records import billing_monthly, marketing_touches, nps_surveys, support_tickets
from .rules import Surroundings, flags, usd_medians
from .sources import MASTERS, SOURCES, Row, planned_dirt

EVENTS = "usage_events_stream"


class OccupiedError(Exception):
    """The folder holds landing files that this program did not write."""


def write(folder: Path, options: Options, force: bool = False) -> dict[str, Any]:
    """Write the landing zone into `folder` and return the manifest's sources.

    An earlier delivery of this program in the folder is replaced. Raises OccupiedError where other landing
    files lie there and `force` is false, OSError where the folder cannot be written.
    """
    (folder / EVENTS).mkdir(parents=True, exist_ok=True)
    _clear(folder, force)
    population = populate(options)
    totals = {name: Tally() for name in SOURCES}
    deliveries: dict[str, dict[str, Any]] = {name: {} for name in SOURCES}
    for path, rows, snapshot_at in _deliveries(options, population):
        name = Path(path).stem
        landed = _soiled(name, rows, snapshot_at, options, population)
        _write_csv(folder / path, name, landed, snapshot_at)
        tally = _counted(name, landed, snapshot_at, population)
        totals[name].add(tally)
        shown_at = f"{snapshot_at:%Y-%m-%dT%H:%M:%SZ}"
        deliveries[name][path] = {"snapshot_at": shown_at} | tally.entry()
    entries = {name: totals[name].entry() | {"deliveries": deliveries[name]} for name in SOURCES}
    entries["usage_events"] = _write_events(folder / EVENTS, options, population).entry()
    manifest.write(folder, options, entries)
    return entries


def _deliveries(options: Options, population: Population) -> Iterator[tuple[str, list[Row], datetime]]:
    """Each CSV file: its path in the landing zone, its rows, and the time that its export shows."""
    days = options.snapshot_days
    for nth, masters in enumerate(states(options, population)):
        is_dated = nth < len(days)
        shown_at = datetime.combine(days[nth], time(), tzinfo=UTC) if is_dated else options.flat_snapshot_at
        folder = f"{days[nth]}/" if is_dated else ""
        for name in MASTERS:
            yield f"{folder}{name}.csv", masters[name], shown_at
    known = population.known_orgs
    for records in (billing_monthly, support_tickets, marketing_touches, nps_surveys):
        yield f"{records.__name__}.csv", records(options, known), options.flat_snapshot_at


def _soiled(
    name: str, rows: list[Row], snapshot_at: datetime, options: Options, population: Population
) -> list[Landed]:
    """The rows of one file with their dirt; of what others refer to, nothing is refused."""
    apart = {"customers_orgs": population.bystander_orgs, "resources": population.bystander_resources}
    refusable, key = apart.get(name), SOURCES[name].key[0]
    return soiled(
        stream(options.seed, f"dirt of {name} at {snapshot_at}"),
        rows,
        SOURCES[name],
        planned_dirt(name, options),
        may_refuse=lambda row: refusable is None or row[key] in refusable,
    )


def _write_csv(path: Path, name: str, landed: list[Landed], snapshot_at: datetime) -> None:
    """Write one CSV file; its modification time is the time of the export."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SOURCES[name].columns)
        writer.writerows(row.cells for row in landed)
    os.utime(path, (snapshot_at.timestamp(), snapshot_at.timestamp()))


def _counted(name: str, landed: list[Landed], snapshot_at: datetime, population: Population) -> Tally:
    """What becomes of each row of one file."""
    around = Surroundings(snapshot_at, population.signup_dates)
    if name == "billing_monthly":
        around = replace(around, usd_medians=usd_medians(row.meant for row in landed if row.fate is None))
    tally = Tally(files=1)
    for row in landed:
        if row.fate is None:
            tally.accept(flags(name, row.meant, around))
        elif row.fate == DUPLICATE:
            tally.repeat()
        else:
            tally.refuse(row.fate)
        if row.kind is not None:
            tally.injected[row.kind] += 1
    return tally


def _write_events(folder: Path, options: Options, population: Population) -> Tally:
    """Write the files of events one after the other, each under its name only when it is whole."""
    events, tally = DirtyEvents(options, population.known_resources), Tally(files=options.files)
    bounds = [options.lines * nth // options.files for nth in range(options.files + 1)]
    for nth, (first, last) in enumerate(pairwise(bounds)):
        growing = folder / f".{_event_file(nth)}.tmp"
        with growing.open("w", encoding="utf-8", newline="") as file:
            for line in events.lines(first, last):
                file.write(line.text + "\n")
                if line.fate is None:
                    tally.accept(line.flags)
                elif line.fate == DUPLICATE:
                    tally.repeat()
                else:
                    tally.refuse(line.fate)
                if line.kind is not None:
                    tally.injected[line.kind] += 1
                if line.counted is not None:
                    tally.counted[line.counted] += 1
        growing.replace(folder / _event_file(nth))
    return tally


def _event_file(nth: int) -> str:
    """The name of the n-th file of events."""
    return f"part-{nth:05d}.jsonl"


def _clear(folder: Path, force: bool) -> None:
    """Remove what the manifest in the folder lists; without one, refuse a folder that holds landing files."""
    try:
        listed = json.loads((folder / manifest.NAME).read_text(encoding="utf-8"))
        paths = [path for source in SOURCES for path in listed["sources"][source]["deliveries"]]
        parts = int(listed["sources"]["usage_events"]["files"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        found = [
            path for name in SOURCES for depth in ("", "*/") for path in folder.glob(f"{depth}{name}.csv")
        ]
        found += [path for path in (folder / manifest.NAME, *folder.glob(f"{EVENTS}/*")) if path.exists()]
        if found and not force:
            raise OccupiedError(f"{found[0]} was not written by this program") from None
        return
    for path in paths:
        # A manifest may have been edited: never reach outside of the landing zone.
        if Path(path).stem in SOURCES and len(Path(path).parts) <= 2 and ".." not in Path(path).parts:
            (folder / path).unlink(missing_ok=True)
            if (folder / path).parent != folder and not any((folder / path).parent.iterdir()):
                (folder / path).parent.rmdir()
    for nth in range(parts):
        (folder / EVENTS / _event_file(nth)).unlink(missing_ok=True)
