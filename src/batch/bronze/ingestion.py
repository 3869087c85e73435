"""CSV exports → bronze, uninterpreted: find what is new in the landing zone, read it, append it.

A file is ingested once for each content it has had. The commit of the bronze table carries the list of files it
holds, and `ops.landed_files` is written from that, so a crash between the two leaves nothing ingested twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from ...common.config import Config, require_landing
from ...common.contracts.table import Table
from ...common.erasure import NOBODY, REASON, Erased, erased_in
from ...common.errors import CloudlakeError
from ...common.faults import crash_point
from ...common.names import LANDED
from ...common.steps import Expected, StepResult
from .dialects import kinds_of
from .landed import LandedFile, identify, most_unpacked, opened
from .listing import find_files, passed_over

_REMEDY = "Refused; deliver it again corrected, and the next run takes it."
_FEW = 20
"""So many new columns are named in a message; ops.landed_files has them all."""


def drift_of(file: LandedFile, table: Table) -> dict[str, Any]:
    """Return the columns a file has beyond its contract and those it lacks, and what else was odd about it."""
    declared = [name for name in table.columns if not name.startswith("_")]
    columns = file.export.columns if file.export else []
    drift: dict[str, Any] = {
        "new": [name for name in columns if name not in declared],
        "missing": [name for name in declared if name not in columns] if file.export else [],
    }
    if file.export and file.export.renamed:
        drift["renamed"] = dict(file.export.renamed)
    if file.export and file.export.not_text:
        drift |= {"not_text": file.export.not_text, "encoding": table.dialect.encoding}
    if file.export and file.export.is_open_ended:
        drift["open_ended"] = True
    if table.dialect.read_as:
        drift["read_as"] = table.dialect.read_as
    return drift


def registry_rows(config: Config, table: Table) -> list[dict[str, Any]]:
    """Return what ops.landed_files knows of a source, first healing what a crash kept from it.

    Bronze commits name their files, so files that bronze holds and the registry does not are noted here.
    """
    registry = config.registry[LANDED]
    rows = config.lake.rows(registry.name, filters=[("source", "=", table.short_name)])
    noted = max((row["bronze_version"] for row in rows if row["bronze_version"] is not None), default=-1)
    lost: list[dict[str, Any]] = []
    for commit in config.lake.commits(table.name, after=noted):
        lost.extend({**row, "bronze_version": commit.version} for row in map(_revived, commit.note.get("files", [])))
    config.lake.append_small(lost, registry, {"healed": table.name})
    return rows + lost


def _revived(row: dict[str, Any]) -> dict[str, Any]:
    times = ("modified_at", "snapshot_at", "ingested_at")
    return {key: datetime.fromisoformat(value) if key in times else value for key, value in row.items()}


def require_deliveries(config: Config, tables: Iterable[Table], snapshot_at: datetime | None, now: datetime) -> None:
    """Check, before anything starts, that each source has been delivered at least once.

    Raises:
        CloudlakeError: naming every source that has not, and what of the others can't be read.
    """
    ingested = config.lake.rows(LANDED, ["source"], [("status", "=", "ingested")])
    known = {row["source"] for row in ingested}
    missing: list[str] = []
    unreadable: list[str] = []
    for table in tables:
        if table.short_name in known:
            continue
        found = [file for file, _ in _examined(config, table, [], snapshot_at, now)]
        if not found:
            missing.append(f"{config.landing_zone.at(str(table.file))}: missing, and no dated folder holds one either")
        elif all(file.reason for file in found):
            unreadable.extend(f"{config.landing_zone.at(file.path)}: {file.reason}" for file in found)
    if missing:
        remedy = "Put the exports there, or name another landing folder with --landing. Nothing was started."
        raise CloudlakeError("\n".join([*missing, *unreadable, remedy]))


def new_files(
    config: Config, table: Table, known: Sequence[Mapping[str, Any]], snapshot_at: datetime | None, now: datetime
) -> list[LandedFile]:
    """Return the files whose content differs from the one their path last had, and refused ones judged otherwise now.

    A file of which rows were no text is new again when its source declares another encoding, any file when it declares
    another form of numbers, dates or delimiters.

    Args:
        known: the rows of ops.landed_files of this source.

    Raises:
        ConfigurationError: the landing folder is missing.
    """
    return [file for file, is_new in _examined(config, table, known, snapshot_at, now) if is_new]


def _examined(
    config: Config, table: Table, known: Sequence[Mapping[str, Any]], snapshot_at: datetime | None, now: datetime
) -> list[tuple[LandedFile, bool]]:
    """Return each file that lies there, opened where it may be new, and whether it is."""
    last = {row["path"]: row for row in sorted(known, key=lambda row: row["ingested_at"])}
    held = config.lake.column_names(table.name)
    found = []
    require_landing(config)
    for path in find_files(config.landing_zone, table):
        file, content = identify(config, table, path, snapshot_at, now)
        before = last.get(file.path)
        if before is not None and before["sha256"] == file.sha256 and not _may_differ_now(before, table):
            found.append((file, False))
            continue
        file = opened(file, content, table, held, most_unpacked(config), kinds_of(config.registry, table))
        same = before is not None and (before["sha256"], before["reason"] or "") == (file.sha256, file.reason)
        found.append((file, not (same and file.reason)))
    return found


def _may_differ_now(before: Mapping[str, Any], table: Table) -> bool:
    """Tell whether a file that was seen with this content may be taken otherwise today."""
    drift = json.loads(before["drift"] or "{}")
    encoding, read_as = drift.get("encoding"), drift.get("read_as", "")
    return (
        before["status"] == "refused"
        or encoding not in (None, table.dialect.encoding)
        or read_as != table.dialect.read_as
    )


def ingest(
    config: Config, table: Table, *, now: datetime, run_id: str, snapshot_at: datetime | None = None
) -> StepResult:
    """Append every new file of one source to its bronze table, in one commit, and note it in ops.landed_files.

    A file that can't be taken is noted as refused and named in the result's fault; the other files go on.

    Raises:
        CloudlakeError: every file is refused and none was ever taken, so nothing can be made of the source.
    """
    known = registry_rows(config, table)
    files = new_files(config, table, known, snapshot_at, now)
    if not files:
        _require_one(table, known)
        return StepResult(skipped=True, message="; ".join(["nothing new", *passed_over(config.landing_zone, table)]))
    good, bad = [f for f in files if not f.reason], [f for f in files if f.reason]
    config.lake.create(table)
    erased = erased_in(config, table.short_name)
    notes = [_note(file, table, now, run_id, erased) for file in files]
    if good:
        parts = [stamped(file, now, run_id, erased) for file in good]
        rows = pa.concat_tables(parts, promote_options="default")
        ingested = [note for note in notes if note["status"] == "ingested"]
        config.lake.append_widening(rows, table, note={"run_id": run_id, "files": ingested})
        crash_point("after_bronze_write")
        version = config.lake.version(table.name)
        for note in ingested:
            note["bronze_version"] = version
    config.lake.append_small(notes, config.registry[LANDED], {"run_id": run_id})
    if not good:
        _require_one(table, [*known, *notes])
    landed = sum(note["rows"] or 0 for note in notes)
    return StepResult(
        landed,
        landed,
        message="; ".join(filter(None, [remarks(good, table), *passed_over(config.landing_zone, table)])),
        fault=_refusal(bad) if bad else "",
        detail={"files": [file.path for file in good], "refused": [file.path for file in bad]},
    )


def _require_one(table: Table, known: Sequence[Mapping[str, Any]]) -> None:
    """Stop where all that a source ever delivered was refused: nothing can be made of it."""
    if known and not any(row["status"] == "ingested" for row in known):
        named = "; ".join(sorted({f"{row['path']}: {row['reason']}" for row in known}))
        raise CloudlakeError(f"{table.short_name} has no delivery that could be taken. {named}. {_REMEDY}")


def stamped(file: LandedFile, now: datetime, run_id: str, erased: Erased = NOBODY) -> pa.Table:
    """Return a file's rows with the provenance columns of bronze, without those of erased persons."""
    assert file.export is not None
    rows, _ = erased.split(file.export.rows)
    moment = pa.timestamp("us", "UTC")
    provenance = {
        "_source_file": pa.scalar(file.path),
        "_source_sha256": pa.scalar(file.sha256),
        "_source_modified_at": pa.scalar(file.modified_at, moment),
        "_snapshot_at": pa.scalar(file.snapshot_at, moment),
        "_ingested_at": pa.scalar(now, moment),
        "_run_id": pa.scalar(run_id),
    }
    for name, value in provenance.items():
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return rows


def _note(file: LandedFile, table: Table, now: datetime, run_id: str, erased: Erased) -> dict[str, Any]:
    refused = erased.split(file.export.rows)[1] if file.export else 0
    return {
        "source": file.source,
        "path": file.path,
        "sha256": file.sha256,
        "size_bytes": file.size_bytes,
        "modified_at": file.modified_at,
        "snapshot_at": file.snapshot_at,
        "status": "refused" if file.reason else "ingested",
        "reason": file.reason or None,
        "drift": json.dumps(drift_of(file, table) | ({REASON: refused} if refused else {})),
        "rows": file.export.rows.num_rows if file.export else None,
        "bronze_version": None,
        "run_id": run_id,
        "ingested_at": now,
    }


def _refusal(bad: Sequence[LandedFile]) -> str:
    named = "; ".join(f"{file.path}: {file.reason}" for file in bad)
    return f"{named}. {_REMEDY}"


def remarks(files: Iterable[LandedFile], table: Table) -> str:
    """Say how files differ from their contract, and which rows of them are no text."""
    files = list(files)
    drifts = [drift_of(file, table) for file in files]
    new = sorted({name for drift in drifts for name in drift["new"]})
    missing = sorted({name for drift in drifts for name in drift["missing"]})
    renamed = sorted({item for drift in drifts for item in drift.get("renamed", {}).items()})
    more = f" and {len(new) - _FEW} more" if len(new) > _FEW else ""
    parts = [f"new column {', '.join(new[:_FEW])}{more}"] if new else []
    parts += [f"missing column {', '.join(missing)}"] if missing else []
    parts += [f"'{delivered}' is kept as {name}" for delivered, name in renamed]
    parts += [
        f"{file.path}: {file.export.not_text} row(s) hold what is no text, the first in {file.export.where}"
        for file in files
        if file.export and file.export.not_text
    ]
    parts += [
        f"{file.path}: its last line has no line end; was the file cut there, then that row's last cell is not whole"
        for file in files
        if file.export and file.export.is_open_ended
    ]
    return "; ".join(parts)


def looked_at(
    config: Config, table: Table, snapshot_at: datetime | None, now: datetime
) -> tuple[list[tuple[LandedFile, bool]], bool]:
    """Return each delivery of a source, opened where it may be new, and whether it is; and whether one was ever taken."""
    known = config.lake.rows(LANDED, filters=[("source", "=", table.short_name)])
    return _examined(config, table, known, snapshot_at, now), any(row["status"] == "ingested" for row in known)


def describe(config: Config, table: Table, snapshot_at: datetime | None, expected: Expected, now: datetime) -> str:
    """Say what a run would ingest, without writing anything; what it would change is added to `expected`."""
    found, _ = looked_at(config, table, snapshot_at, now)
    new = [file for file, is_new in found if is_new]
    refused = "".join(f"; refuses {file.path}: {file.reason}" for file in new if file.reason)
    good = [file for file in new if not file.reason]
    if not good:
        return f"skips it: nothing new{refused}" if found else f"fails: {table.file} is missing in {config.landing}"
    expected[table.name] = None
    size = sum(file.size_bytes for file in good)
    return f"ingests {len(good)} file(s), {size:,} bytes: {', '.join(file.path for file in good[:5])}{' …' if good[5:] else ''}{refused}"
