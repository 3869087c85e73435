"""Landing → bronze.usage_events: the lines of the event files, uninterpreted, each file once.

Spark's file source remembers which paths it has read. What it would do wrong in silence is looked after here: an old
modification time hides no file, a new checkpoint skips what bronze holds, and files that can't be read, or have
grown since they were read, are reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.clock import now_utc
from ..common.config import Config
from ..common.errors import CloudlakeError, ConfigurationError
from ..common.faults import crash_point
from ..common.quality.quarantine import ENTRY
from .checkpoints import Checkpoint, begin, checkpoint_folder, resume

BRONZE = "bronze.usage_events"
JOB = "bronze_usage_events"
# A file is new if its path is: Spark's default forgets, and skips, files a week older than the newest.
_MAX_FILE_AGE = "36500d"


@dataclass(frozen=True)
class EventFile:
    """A file of the landing zone as the listing shows it; `path` is relative to the landing root."""

    path: str
    size: int
    modified_at: datetime


class BronzeQuery:
    """The query that takes event files to bronze. The caller holds the stream lock."""

    def __init__(self, session: Callable[[], SparkSession], config: Config, run_id: str) -> None:
        """Continue the checkpoint, or begin a new generation that skips what bronze holds.

        `session` gives the Spark session, when it is needed.

        Raises:
            CloudlakeError: the checkpoint belongs to another landing zone.
        """
        self._session, self.config, self.run_id = session, config, run_id
        self.folder = config.landing / config.stream.events.folder
        self.listed = self.list_files()
        self.checkpoint = self._checkpoint()
        self.failure: Exception | None = None
        self._sizes: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        """The version of bronze that holds each file that was read."""
        self._read_register()

    @property
    def spark(self) -> SparkSession:
        """The session the query runs in."""
        return self._session()

    def _checkpoint(self) -> Checkpoint:
        lake, landing = self.config.lake, str(self.config.landing)
        had_bronze = lake.exists(BRONZE)
        lake.create(self.config.registry[BRONZE])
        checkpoint = resume(lake, JOB) if had_bronze else None
        if checkpoint is None:
            held = sorted(self._files_in_bronze()) if had_bronze else []
            return begin(lake, JOB, landing=landing, held=held)
        if checkpoint.begun.get("landing") != landing:
            raise CloudlakeError(
                f"{checkpoint.folder}: this lake reads its events from {checkpoint.begun.get('landing')}, not from "
                f"{landing}. Give the other landing zone a lake of its own (--lake). If the same landing zone has "
                f"moved, delete {checkpoint_folder(lake, JOB)}: files whose relative path bronze holds are not read again."
            )
        return checkpoint

    def list_files(self) -> list[EventFile]:
        """Return the event files in the landing zone now."""
        return list_files(self.folder, self.config.landing)

    def has_work(self) -> bool:
        """Tell whether a file is new, or a micro-batch unfinished; without either the query need not start."""
        if not self.folder.is_dir():
            return False
        return self.checkpoint.has_unfinished_batch() or bool(self._not_registered())

    def stream(self) -> DataFrame:
        """Return the stream of lines with their provenance."""
        pattern = f"{self.folder}/*.jsonl"
        limit = {"maxBytesPerTrigger": str(size_in_bytes(self.config.stream.trigger.max_bytes))}
        reader = self.spark.readStream.format("text").options(lineSep="\n", maxFileAge=_MAX_FILE_AGE, **limit)
        return lines_of(reader.load(pattern), self.config.landing)

    def take(self, lines: DataFrame, batch_id: int) -> None:
        """Append a micro-batch to bronze, once, and note its files."""
        now = now_utc()
        found = {_relative(path, self.config.landing): path for path in self.checkpoint.files(batch_id)}
        held = found.keys() & set(self.checkpoint.begun.get("held", []))
        if held:
            lines = lines.where(~F.col("_source_file").isin(sorted(held)))
        files = [_stat(path, name) for name, path in found.items() if name not in held and path.exists()]
        rows = lines.withColumns({"_ingested_at": F.lit(now), "ingest_date": F.lit(now.date())})
        self._append(rows, files, now, transaction=self.checkpoint.transaction(batch_id))
        crash_point("stream_after_bronze")

    def _append(self, rows: DataFrame, files: list[EventFile], now: datetime, **options: Any) -> None:
        lake, contract = self.config.lake, self.config.registry[BRONZE]
        note = {"run_id": self.run_id, "job": JOB, "generation": self.checkpoint.generation, "files": len(files)}
        lake.append(rows.select(*contract.column_names), BRONZE, note=note, **options)
        self._register(files, now, lake.version(BRONZE))

    def _register(self, files: Iterable[EventFile], now: datetime, version: int) -> None:
        files = list(files)
        self.config.lake.append_small(
            [
                {
                    "source": "usage_events",
                    "path": file.path,
                    "size_bytes": file.size,
                    "modified_at": file.modified_at,
                    "status": "ingested",
                    "bronze_version": version,
                    "run_id": self.run_id,
                    "ingested_at": now,
                }
                for file in files
            ],
            self.config.registry["ops.landed_files"],
            {"run_id": self.run_id, "job": JOB},
        )
        self._sizes |= {file.path: file.size for file in files}
        self.versions |= {file.path: version for file in files}

    def _read_register(self) -> None:
        columns = ["source", "path", "size_bytes", "bronze_version", "ingested_at"]
        rows = self.config.lake.rows("ops.landed_files", columns=columns)
        for row in sorted(rows, key=lambda row: row["ingested_at"]):
            if row["source"] == "usage_events":
                self._sizes[row["path"]] = row["size_bytes"]
                self.versions[row["path"]] = row["bronze_version"] or 0

    def _not_registered(self) -> list[EventFile]:
        return [file for file in self.listed if file.path not in self._sizes]

    def _files_in_bronze(self) -> set[str]:
        names = self.config.lake.read(self.spark, BRONZE).select("_source_file").distinct().collect()
        return {row[0] for row in names if not row[0].startswith(ENTRY)}

    def reconcile_files(self) -> list[str]:
        """Compare the landing folder with what was read: ingest what Spark passed over, and return the warnings."""
        if not self.folder.is_dir():
            return [f"{self.folder}: there is no such folder, so no events were read"]
        if not self.listed and not self._sizes:
            return [f"{self.folder}: no .jsonl files, so no events were read", *_other_files(self.folder)]
        passed_over = self._not_registered()
        told = self._ingest_passed_over(passed_over) if passed_over else []
        return told + self.warnings(self.listed)

    def warnings(self, files: Iterable[EventFile]) -> list[str]:
        """Return what is wrong with files of the landing folder that a stream can't mend."""
        grown = [file for file in files if self._sizes.get(file.path, file.size) != file.size]
        return [
            f"{file.path}: it has {file.size} bytes and had {self._sizes[file.path]} when it was read; a stream never reads a "
            "file again. Copy it under a new name: lines that were read already count as duplicates"
            for file in grown
        ] + _other_files(self.folder)

    def _ingest_passed_over(self, files: list[EventFile]) -> list[str]:
        """Append files that lie in the folder, and that the query did not take (or took without noting it)."""
        held = self._files_in_bronze()
        now = now_utc()
        missing = [file for file in files if file.path not in held and file.size > 0]
        if missing:
            paths = [str(self.config.landing / file.path) for file in missing]
            text = self.spark.read.option("lineSep", "\n").text(paths)
            lines = lines_of(text, self.config.landing)
            rows = lines.withColumns({"_ingested_at": F.lit(now), "ingest_date": F.lit(now.date())})
            self._append(rows, missing, now)
        self._register([file for file in files if file not in missing], now, self.config.lake.version(BRONZE))
        return [f"{file.path}: Spark's file source passed it over; it was ingested apart" for file in missing]


def lines_of(text: DataFrame, landing: Path) -> DataFrame:
    """Bring text lines to bronze's columns: without a trailing \\r, without blank lines, with their provenance."""
    line = F.col("value")
    ends_in_cr = F.endswith(line, F.lit("\r"))
    without_cr = F.substring(line.cast("binary"), F.lit(1), F.octet_length(line) - 1).cast("string")
    is_blank = ~(F.startswith(line, F.lit("{")) | line.rlike(r"\S"))
    return text.where(~is_blank).select(
        F.when(ends_in_cr, without_cr).otherwise(line).alias("raw"),
        _relative_column(F.col("_metadata.file_path"), landing).alias("_source_file"),
        F.col("_metadata.file_modification_time").alias("_source_modified_at"),
    )


def _relative_column(uri: Column, landing: Path) -> Column:
    """Return a file's path relative to the landing root; Spark gives it as a URI, where + stands for itself."""
    decoded = F.when(F.contains(uri, F.lit("%")), F.url_decode(F.replace(uri, F.lit("+"), F.lit("%2B")))).otherwise(uri)
    return F.substring_index(decoded, f"{landing}/", -1)


def _relative(path: Path, landing: Path) -> str:
    return str(path).removeprefix(f"{landing}/")


def _stat(path: Path, name: str) -> EventFile:
    stat = path.stat()
    return EventFile(name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))


def size_in_bytes(text: str) -> int:
    """Return the number of bytes that a size like 512k, 64m or 1g stands for.

    Raises:
        ConfigurationError: the text is no size.
    """
    found = re.fullmatch(r"\s*(\d+)\s*([kmgt]?)b?\s*", text.lower())
    if found is None:
        raise ConfigurationError(
            f"conf/streaming.yaml: trigger.max_bytes: '{text}' is not a size; write 512k, 64m or 1g"
        )
    return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[found[2]]


def list_files(folder: Path, landing: Path) -> list[EventFile]:
    """Return the event files that may be read: *.jsonl, not hidden, not being written."""
    if not folder.is_dir():
        return []
    found = (path for path in sorted(folder.iterdir()) if path.suffix == ".jsonl" and path.name[0] not in "._")
    return [_stat(path, _relative(path, landing)) for path in found if path.is_file()]


def _other_files(folder: Path) -> list[str]:
    """Return warnings about files that look like events and are not read."""
    return [
        f"{path}: only .jsonl files are read here; unpack it, then its events are taken"
        for path in sorted(folder.glob("*.gz"))
    ]
