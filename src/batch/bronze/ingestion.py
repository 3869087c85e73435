"""Exports → bronze, uninterpreted: find what is new in the landing zone, read it, append it.

A file, or what a query said of a date, is ingested once for each content it has had. The commit of the bronze table carries
the list of files it holds, and `ops.landed_files` is written from that, so a crash between the two leaves nothing ingested
twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.erasure import NOBODY, REASON, Erased, erased_in
from ...common.errors import CloudlakeError
from ...common.faults import crash_point
from ...common.names import LANDED
from ...common.steps import Expected, StepResult
from .landed import LandedFile, examined
from .listing import passed_over
from .sources import Sources, business_date_of

_REMEDY = "Refused; deliver it again corrected, and the next run takes it."
_MOMENT = pa.timestamp("us", "UTC")
_PROVENANCE = pa.schema(
    [
        ("_source_file", pa.string()),
        ("_source_sha256", pa.string()),
        ("_source_modified_at", _MOMENT),
        ("_snapshot_at", _MOMENT),
        ("_ingested_at", _MOMENT),
        ("_run_id", pa.string()),
    ]
)
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
        if table.short_name in known or table.query is not None:  # a database is asked within the run
            continue
        found = [file for file, _ in examined(config, table, [], snapshot_at, now)]
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
    return [file for file, is_new in examined(config, table, known, snapshot_at, now) if is_new]


def ingest(
    config: Config,
    table: Table,
    *,
    now: datetime,
    run_id: str,
    snapshot_at: datetime | None = None,
    sources: Sources | None = None,
) -> StepResult:
    """Append every new delivery of one source to its bronze table, in one commit, and note it in ops.landed_files.

    A source that is a query is asked first. A delivery that can't be taken is noted as refused and named in the result's
    fault, one whose set is not complete waits; the others go on.

    Args:
        config: the lake, the landing zone and the contracts.
        table: the source.
        now: the time.
        run_id: the run.
        snapshot_at: the time that flat exports speak of.
        sources: what the run has asked and judged already; of a run of its own where there is none.

    Raises:
        CloudlakeError: nothing can be taken and nothing ever was, so nothing can be made of the source.
    """
    sources = sources or Sources(config, now, snapshot_at)
    answer = sources.answer(table)
    known = registry_rows(config, table)
    files, waiting = sources.ready(table, new_files(config, table, known, snapshot_at, now))
    faults = [*([answer.fault] if answer else []), *waiting]
    if not files:
        _require_one(table, known, faults)
        message = "; ".join(["nothing new", *passed_over(config.landing_zone, table)])
        return StepResult(skipped=True, message=message, fault="; ".join(filter(None, faults)))
    good, bad = [f for f in files if not f.reason], [f for f in files if f.reason]
    config.lake.create(table)
    erased = erased_in(config, table.short_name)
    notes = [_note(file, table, now, run_id, erased) for file in files]
    if good:
        rows = bronze_rows([(file, now, run_id) for file in good], erased)
        ingested = [note for note in notes if note["status"] == "ingested"]
        config.lake.append_widening(rows, table, note={"run_id": run_id, "files": ingested})
        crash_point("after_bronze_write")
        version = config.lake.version(table.name)
        for note in ingested:
            note["bronze_version"] = version
    config.lake.append_small(notes, config.registry[LANDED], {"run_id": run_id})
    if not good:
        _require_one(table, [*known, *notes], faults)
    landed = sum(note["rows"] or 0 for note in notes)
    return StepResult(
        landed,
        landed,
        message="; ".join(filter(None, [remarks(good, table), *passed_over(config.landing_zone, table)])),
        fault="; ".join(filter(None, [*faults, _refusal(bad) if bad else ""])),
        detail={"files": [file.path for file in good], "refused": [file.path for file in bad]},
    )


def _require_one(table: Table, known: Sequence[Mapping[str, Any]], faults: Sequence[str]) -> None:
    """Stop where nothing of all that a source ever delivered could be taken: nothing can be made of it."""
    refused = sorted({f"{row['path']}: {row['reason']}" for row in known})
    named = [*filter(None, faults), *([f"{'; '.join(refused)}. {_REMEDY}"] if refused else [])]
    if named and not any(row["status"] == "ingested" for row in known):
        raise CloudlakeError(f"{table.short_name} has no delivery that could be taken. {'; '.join(named)}")


def bronze_rows(
    files: Sequence[tuple[LandedFile, datetime, str]], erased: Erased = NOBODY
) -> pa.RecordBatchReader:
    """Return the rows of some files, each taken at a time by a run, as bronze has them: read as they are written.

    They have the provenance columns of bronze, and those of erased persons are not among them.
    """
    schemas = []
    for file, _, _ in files:
        assert file.export is not None
        schemas.append(pa.schema([*((name, pa.string()) for name in [*file.export.columns, "_corrupt_record"]), *_PROVENANCE]))
    schema = pa.unify_schemas(schemas)
    return pa.RecordBatchReader.from_batches(schema, _batches(files, erased, schema))


def _batches(
    files: Sequence[tuple[LandedFile, datetime, str]], erased: Erased, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    for file, taken_at, run_id in files:
        assert file.export is not None
        told = [file.path, file.sha256, file.modified_at, file.snapshot_at, taken_at, run_id]
        provenance = {one.name: pa.scalar(value, one.type) for one, value in zip(_PROVENANCE, told, strict=True)}
        for table in file.export.tables():
            rows, _ = erased.split(table)
            columns = [
                rows[one.name]
                if one.name in rows.column_names
                else pa.repeat(provenance.get(one.name, pa.scalar(None, one.type)), rows.num_rows)
                for one in schema
            ]
            yield from pa.table(columns, schema=schema).to_batches()


def _note(file: LandedFile, table: Table, now: datetime, run_id: str, erased: Erased) -> dict[str, Any]:
    refused = sum(erased.split(rows)[1] for rows in file.export.tables()) if file.export and erased.users else 0
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
        "rows": file.export.row_count if file.export else None,
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
    parts = _named(new, missing)
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


def differing(columns: Sequence[str], table: Table) -> str:
    """Say how the columns of a delivery differ from its contract."""
    declared = [name for name in table.columns if not name.startswith("_")]
    return "; ".join(_named([n for n in columns if n not in declared], [n for n in declared if n not in columns]))


def _named(new: Sequence[str], missing: Sequence[str]) -> list[str]:
    more = f" and {len(new) - _FEW} more" if len(new) > _FEW else ""
    parts = [f"new column {', '.join(new[:_FEW])}{more}"] if new else []
    return parts + ([f"missing column {', '.join(missing)}"] if missing else [])


def looked_at(
    config: Config, table: Table, snapshot_at: datetime | None, now: datetime
) -> tuple[list[tuple[LandedFile, bool]], bool]:
    """Return each delivery of a source, opened where it may be new, and whether it is; and whether one was ever taken."""
    known = config.lake.rows(LANDED, filters=[("source", "=", table.short_name)])
    return examined(config, table, known, snapshot_at, now), any(row["status"] == "ingested" for row in known)


def describe(
    config: Config,
    table: Table,
    snapshot_at: datetime | None,
    expected: Expected,
    now: datetime,
    business_date: date | None = None,
) -> str:
    """Say what a run would ingest, without writing anything; what it would change is added to `expected`."""
    found, _ = looked_at(config, table, snapshot_at, now)
    if table.query is not None:
        expected[table.name] = None
        waiting = [file.path for file, is_new in found if is_new]
        also = f", and ingests {', '.join(waiting)}" if waiting else ""
        day = business_date_of(business_date, now)
        return f"asks database {table.database} for {day}{also}; cloudlake landing check asks it now"
    new = [file for file, is_new in found if is_new]
    refused = "".join(f"; refuses {file.path}: {file.reason}" for file in new if file.reason)
    good = [file for file in new if not file.reason]
    if not good:
        return f"skips it: nothing new{refused}" if found else f"fails: {table.file} is missing in {config.landing}"
    expected[table.name] = None
    size = sum(file.size_bytes for file in good)
    return f"ingests {len(good)} file(s), {size:,} bytes: {', '.join(file.path for file in good[:5])}{' …' if good[5:] else ''}{refused}"
