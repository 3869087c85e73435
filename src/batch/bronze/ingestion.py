"""CSV exports → bronze, uninterpreted: find what is new in the landing zone, check that it can be read, append it.

A file is ingested once for each content it has had. The commit of the bronze table carries the list of files it
holds, and `ops.landed_files` is written from that, so a crash between the two leaves nothing ingested twice.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.errors import CloudlakeError, ConfigurationError
from ...common.faults import crash_point
from ...common.session import Sessions
from ...common.steps import Expected, StepResult

_DATED = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class LandedFile:
    """A file of the landing zone with one content: what identifies a delivery."""

    source: str
    path: str
    sha256: str
    size_bytes: int
    modified_at: datetime
    snapshot_at: datetime
    header: tuple[str, ...] = ()
    reason: str = ""


def find_files(landing: Path, table: Table) -> list[Path]:
    """Return the deliveries of a source, oldest folder first: dated ones, then the flat file."""
    if not landing.is_dir():
        raise ConfigurationError(
            f"{landing}: there is no such landing folder; name it with --landing, or make one with "
            f"scripts/generate_landing_data.py --out {landing}"
        )
    folders = sorted(f for f in landing.iterdir() if f.is_dir() and _is_date(f.name))
    names = [str(table.file), f"{table.file}.gz"]
    return [folder / name for folder in [*folders, landing] for name in names if (folder / name).is_file()]


def _is_date(name: str) -> bool:
    try:
        return bool(_DATED.fullmatch(name)) and bool(datetime.strptime(name, "%Y-%m-%d"))
    except ValueError:
        return False


def inspect(path: Path, landing: Path, table: Table, snapshot_at: datetime | None) -> LandedFile:
    """Hash a file and read its header; `reason` says why the file can't be taken, where it can't.

    The snapshot time is the date of a dated folder at 00:00 UTC, else `snapshot_at`, else the modification time.
    """
    stat = path.stat()
    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
    dated = datetime.strptime(path.parent.name, "%Y-%m-%d").replace(tzinfo=UTC) if path.parent != landing else None
    digest = hashlib.sha256()
    with path.open("rb") as content:
        for chunk in iter(lambda: content.read(1 << 20), b""):
            digest.update(chunk)
    header, reason = read_header(path, table)
    return LandedFile(
        table.short_name,
        path.relative_to(landing).as_posix(),
        digest.hexdigest(),
        stat.st_size,
        modified,
        dated or snapshot_at or modified,
        header,
        reason,
    )


def read_header(path: Path, table: Table) -> tuple[tuple[str, ...], str]:
    """Return a CSV file's column names, and why it can't be taken ("" where it can)."""
    keys = [name for name, column in table.columns.items() if column.required]
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as content:
            first = _first_record(content)
            if path.suffix == ".gz":
                while content.read(1 << 20):  # a cut or damaged archive shows only when it is read to its end
                    pass
    except (OSError, EOFError, zlib.error) as error:
        return (), f"the file can't be read: {error}"
    if not first.strip():
        return (), "the file is empty; an export has at least a header"
    try:
        names = next(csv.reader(io.StringIO(first.decode("utf-8-sig")), strict=True))
    except (csv.Error, UnicodeDecodeError, StopIteration) as error:
        return (), f"the header can't be read: {error}"
    header = tuple(name.strip() for name in names)
    missing = [key for key in keys if key not in header]
    doubled = sorted({name for name in header if header.count(name) > 1})
    if missing:
        return header, f"key column missing: {', '.join(missing)} (found: {', '.join(header)})"
    if doubled:
        return header, f"column named twice: {', '.join(doubled)}"
    return header, ""


def _first_record(content: Any) -> bytes:
    """Return the first line, with the lines that follow while a quote stands open."""
    record = b""
    for line in content:
        record += line
        if record.count(b'"') % 2 == 0 or len(record) > 1 << 20:
            break
    return record


def read_csv(spark: SparkSession, landing: Path, file: LandedFile) -> DataFrame:
    """Read one file as its own header names its columns: every cell STRING, empty cells NULL."""
    fields = [StructField(name, StringType()) for name in (*file.header, "_corrupt_record")]
    return (
        spark.read.schema(StructType(fields))
        .option("header", True)
        .option("multiLine", True)
        .option("quote", '"')
        .option("escape", '"')
        .option("mode", "PERMISSIVE")
        .option("columnNameOfCorruptRecord", "_corrupt_record")
        .option("encoding", "UTF-8")
        .option("maxCharsPerColumn", -1)
        .csv((landing / file.path).as_uri())
    )


def stamped(rows: DataFrame, file: LandedFile, now: datetime, run_id: str) -> DataFrame:
    """Add the provenance columns of bronze."""
    return rows.withColumns(
        {
            "_source_file": F.lit(file.path),
            "_source_sha256": F.lit(file.sha256),
            "_source_modified_at": F.lit(file.modified_at),
            "_snapshot_at": F.lit(file.snapshot_at),
            "_ingested_at": F.lit(now),
            "_run_id": F.lit(run_id),
        }
    )


def drift_of(file: LandedFile, table: Table) -> dict[str, list[str]]:
    """Return the columns a file has beyond its contract and those it lacks."""
    declared = [name for name in table.columns if not name.startswith("_")]
    return {
        "new": [name for name in file.header if name not in declared],
        "missing": [name for name in declared if name not in file.header],
    }


def registry_rows(config: Config, table: Table) -> list[dict[str, Any]]:
    """Return what ops.landed_files knows of a source, first healing what a crash kept from it.

    Bronze commits name their files, so files that bronze holds and the registry does not are noted here.
    """
    registry = config.registry["ops.landed_files"]
    rows = [row for row in config.lake.rows(registry.name) if row["source"] == table.short_name]
    noted = max((row["bronze_version"] for row in rows if row["bronze_version"] is not None), default=-1)
    lost: list[dict[str, Any]] = []
    for commit in config.lake.commits(table.name, after=noted):
        lost.extend({**row, "bronze_version": commit.version} for row in map(_revived, commit.note.get("files", [])))
    config.lake.append_small(lost, registry, {"healed": table.name})
    return rows + lost


def _revived(row: dict[str, Any]) -> dict[str, Any]:
    times = ("modified_at", "snapshot_at", "ingested_at")
    return {key: datetime.fromisoformat(value) if key in times else value for key, value in row.items()}


def require_deliveries(config: Config, tables: Iterable[Table]) -> None:
    """Check, before anything starts, that each source has been delivered at least once in a form that can be read.

    Raises:
        CloudlakeError: naming every source that has not.
    """
    known = {row["source"] for row in config.lake.rows("ops.landed_files") if row["status"] == "ingested"}
    faults = []
    for table in tables:
        if table.short_name in known:
            continue
        found = [inspect(path, config.landing, table, None) for path in find_files(config.landing, table)]
        if not found:
            faults.append(f"{config.landing / str(table.file)}: missing, and no dated folder holds one either")
        elif all(file.reason for file in found):
            faults.extend(f"{config.landing / file.path}: {file.reason}" for file in found)
    if faults:
        remedy = "Put the exports there, or name another landing folder with --landing. Nothing was started."
        raise CloudlakeError("\n".join([*faults, remedy]))


def new_files(config: Config, table: Table, snapshot_at: datetime | None) -> list[LandedFile]:
    """Return the files whose content differs from the one their path last had.

    Raises:
        ConfigurationError: the landing folder is missing.
    """
    known = registry_rows(config, table)
    last = {row["path"]: row["sha256"] for row in sorted(known, key=lambda row: row["ingested_at"])}
    found = [inspect(path, config.landing, table, snapshot_at) for path in find_files(config.landing, table)]
    return [file for file in found if last.get(file.path) != file.sha256]


def ingest(
    sessions: Sessions,
    config: Config,
    table: Table,
    *,
    now: datetime,
    run_id: str,
    snapshot_at: datetime | None = None,
) -> StepResult:
    """Append every new file of one source to its bronze table, in one commit, and note it in ops.landed_files.

    A file that can't be taken is noted as refused and named in the result's fault; the other files go on.
    """
    files = new_files(config, table, snapshot_at)
    if not files:
        return StepResult(skipped=True, message="nothing new")
    spark = sessions()
    good, bad = [f for f in files if not f.reason], [f for f in files if f.reason]
    config.lake.create(table)
    notes = [_note(file, table, now, run_id) for file in files]
    rows_in = 0
    if good:
        counters = {file.path: Observation(f"landed_{number}") for number, file in enumerate(good)}
        frames = [
            stamped(read_csv(spark, config.landing, file), file, now, run_id).observe(
                counters[file.path], F.count(F.lit(1)).alias("rows")
            )
            for file in good
        ]
        rows = reduce(lambda left, right: left.unionByName(right, allowMissingColumns=True), frames)
        names = [*rows.columns, *(n for n in table.column_names if n not in rows.columns)]
        rows = rows.select(*(F.col(n) if n in rows.columns else F.lit(None).cast("string").alias(n) for n in names))
        ingested = [note for note in notes if note["status"] == "ingested"]
        config.lake.append(rows, table.name, note={"run_id": run_id, "files": ingested}, add_columns=True)
        crash_point("after_bronze_write")
        commit = config.lake.commits(table.name)[-1]
        for note in ingested:
            note |= {"bronze_version": commit.version, "rows": counters[note["path"]].get["rows"]}
        rows_in = sum(note["rows"] for note in ingested)
    config.lake.append_small(notes, config.registry["ops.landed_files"], {"run_id": run_id})
    return StepResult(
        rows_in,
        rows_in,
        message=_drift_message(good, table),
        fault=_refusal(bad) if bad else "",
        detail={"files": [file.path for file in good], "refused": [file.path for file in bad]},
    )


def _note(file: LandedFile, table: Table, now: datetime, run_id: str) -> dict[str, Any]:
    fields = {k: v for k, v in asdict(file).items() if k not in ("header", "reason")}
    return fields | {
        "status": "refused" if file.reason else "ingested",
        "reason": file.reason or None,
        "drift": json.dumps(drift_of(file, table)),
        "rows": None,
        "bronze_version": None,
        "run_id": run_id,
        "ingested_at": now,
    }


def _refusal(bad: Sequence[LandedFile]) -> str:
    named = "; ".join(f"{file.path}: {file.reason}" for file in bad)
    return f"{named}. Refused; deliver it again corrected, and the next run takes it."


def _drift_message(files: Iterable[LandedFile], table: Table) -> str:
    new: set[str] = set()
    missing: set[str] = set()
    for file in files:
        drift = drift_of(file, table)
        new |= set(drift["new"])
        missing |= set(drift["missing"])
    parts = [f"new column {', '.join(sorted(new))}"] if new else []
    parts += [f"missing column {', '.join(sorted(missing))}"] if missing else []
    return "; ".join(parts)


def describe(config: Config, table: Table, snapshot_at: datetime | None, expected: Expected) -> str:
    """Say what a run would ingest, without writing anything; what it would change is added to `expected`."""
    rows = config.lake.rows("ops.landed_files")
    last = {row["path"]: row["sha256"] for row in sorted(rows, key=lambda row: row["ingested_at"])}
    found = [inspect(path, config.landing, table, snapshot_at) for path in find_files(config.landing, table)]
    new = [file for file in found if last.get(file.path) != file.sha256]
    refused = "".join(f"; refuses {file.path}: {file.reason}" for file in new if file.reason)
    good = [file for file in new if not file.reason]
    if not good:
        return f"skips it: nothing new{refused}" if found else f"fails: {table.file} is missing in {config.landing}"
    expected[table.name] = None
    size = sum(file.size_bytes for file in good)
    return f"ingests {len(good)} file(s), {size:,} bytes: {', '.join(file.path for file in good[:5])}{' …' if good[5:] else ''}{refused}"
