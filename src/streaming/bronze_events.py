"""Landing → bronze.usage_events: the lines of the event files, uninterpreted, each file once.

Spark's file source remembers which paths it has seen. What it would do wrong is looked after here: an old modification
time hides no file, a new checkpoint skips what bronze holds, a file that Spark can't read by its name is read apart
(exactly once all the same), one that can't be read or has vanished does not stop the others, and files that are no
longer what was read are reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.clock import now_utc
from ..common.config import Config
from ..common.errors import CloudlakeError, ConfigurationError
from ..common.faults import crash_point
from ..common.lake.log import Transaction
from ..common.names import BRONZE_EVENTS as BRONZE
from ..common.quality.quarantine import ENTRY
from .checkpoints import Checkpoint, begin, resume
from .event_files import EventFile, is_event_file, is_plain, list_files, look_at, other_files, split, text_of
from .landed import LandedFiles

JOB = "bronze_usage_events"
# A file is new if its path is: Spark's default forgets, and skips, files a week older than the newest.
_MAX_FILE_AGE = "36500d"
_GLOB = re.compile(r"[*?\\\[\]{}]")
_CALENDAR = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


class BronzeQuery:
    """The query that takes event files to bronze. The caller holds the stream lock."""

    def __init__(self, session: Callable[[], SparkSession], config: Config, run_id: str) -> None:
        """Continue the checkpoint, or begin a new generation that skips what bronze holds.

        `session` gives the Spark session, when it is needed.

        Raises:
            CloudlakeError: the checkpoint belongs to another landing zone.
        """
        self._session, self.config, self.run_id = session, config, run_id
        self.zone, self.folder = config.landing_zone, config.stream.events.folder
        self.listed = self.list_files()
        self.checkpoint = self._checkpoint()
        self.failure: Exception | None = None
        self.landed = LandedFiles(config)
        self._unread: dict[str, str] = {}

    @property
    def versions(self) -> dict[str, int]:
        """The version of bronze that holds each file that was read."""
        return self.landed.versions

    @property
    def spark(self) -> SparkSession:
        """The session the query runs in."""
        return self._session()

    def _checkpoint(self) -> Checkpoint:
        lake, landing = self.config.lake, self.zone.root
        had_bronze = lake.exists(BRONZE)
        lake.create(self.config.registry[BRONZE])
        checkpoint = resume(lake, JOB) if had_bronze else None
        if checkpoint is None:
            held = sorted(self._files_in_bronze()) if had_bronze else []
            return begin(lake, JOB, landing=landing, held=held)
        if checkpoint.begun.get("landing") != landing:
            raise CloudlakeError(
                f"{checkpoint.place}: this lake reads its events from {checkpoint.begun.get('landing')}, not from "
                f"{landing}. Give the other landing zone a lake of its own (--lake). If the same landing zone has "
                "moved, cloudlake doctor --fix begins the checkpoint anew: what was read from there is not read again."
            )
        return checkpoint

    def list_files(self) -> list[EventFile]:
        """Return the event files in the landing zone now."""
        return list_files(self.zone, self.folder)

    def has_work(self) -> bool:
        """Tell whether a file is new, or a micro-batch unfinished; without either the query need not start."""
        if not self.zone.is_folder(self.folder):
            return False
        return self.checkpoint.has_unfinished_batch() or bool(self.landed.not_read(self.listed))

    def stream(self) -> DataFrame:
        """Return the stream of lines with their provenance.

        Spark lists the folder itself: a pattern would have it take names for patterns, and stop at one with a colon.
        """
        limit = {"maxBytesPerTrigger": str(size_in_bytes(self.config.stream.trigger.max_bytes))}
        flat = {"pathGlobFilter": "*.jsonl", "recursiveFileLookup": "true"}  # else folders beside files are a fault
        reader = self.spark.readStream.format("text").options(lineSep="\n", maxFileAge=_MAX_FILE_AGE, **limit, **flat)
        text = reader.load(_as_pattern(self.zone.at(self.folder)))
        return text.select(
            "value",
            _relative_column(F.col("_metadata.file_path"), self.zone.root).alias("_source_file"),
            F.col("_metadata.file_modification_time").alias("_source_modified_at"),
        )

    def take(self, text: DataFrame, batch_id: int) -> None:
        """Append a micro-batch to bronze, once, and note its files."""
        now = now_utc()
        paths = self.checkpoint.files(batch_id)
        files = self._wanted(paths)
        if not files:
            return
        transaction = self.checkpoint.transaction(batch_id)
        if len(files) == len(paths) and all(self._reads_plainly(file) for file in files):
            self._append(text, files, now, transaction)
        else:
            with text_of(self.spark, self.zone, files) as exact:
                self._append(exact, files, now, transaction)
        crash_point("stream_after_bronze")

    def _wanted(self, paths: Iterable[str]) -> list[EventFile]:
        """Return the files of a micro-batch that are to be read, with their hashes; the others wait, and are told."""
        held = set(self.checkpoint.begun.get("held", []))
        places = [place for path in paths if (place := self.zone.below(path)) is not None]
        mine = [place for place in places if self._is_mine(place)]
        found = [file for place in mine if (file := look_at(self.zone, place)) is not None]
        wanted = [file for file in found if file.path not in held and file.path not in self.landed]
        readable, unread = split(self.zone, wanted)
        self._unread |= unread
        return readable

    def _is_mine(self, place: str) -> bool:
        folder, _, name = place.rpartition("/")
        return folder == self.folder and is_event_file(name)

    def _reads_plainly(self, file: EventFile) -> bool:
        in_plain_folder = _GLOB.search(self.zone.at(self.folder)) is None
        return (
            in_plain_folder
            and is_plain(file.place.rpartition("/")[2])
            and _CALENDAR[0] < file.modified_at < _CALENDAR[1]
        )

    def _append(
        self, text: DataFrame, files: list[EventFile], now: datetime, transaction: Transaction | None = None
    ) -> None:
        lake, contract = self.config.lake, self.config.registry[BRONZE]
        rows = lines_of(text).withColumns({"_ingested_at": F.lit(now), "ingest_date": F.lit(now.date())})
        note = {"run_id": self.run_id, "job": JOB, "generation": self.checkpoint.generation, "files": len(files)}
        lake.append(rows.select(*contract.column_names), BRONZE, note=note, transaction=transaction)
        self.landed.note(files, now, lake.rows_since(BRONZE), self.run_id, JOB)

    def _files_in_bronze(self) -> set[str]:
        names = self.config.lake.read(self.spark, BRONZE).select("_source_file").distinct().collect()
        return {row[0] for row in names if not row[0].startswith(ENTRY)}

    def reconcile_files(self) -> list[str]:
        """Compare the landing folder with what was read: ingest what Spark passed over, and return the warnings."""
        if not self.zone.is_folder(self.folder):
            return [f"{self.zone.at(self.folder)}: there is no such folder, so no events were read"]
        if not self.listed and not len(self.landed):
            return [
                f"{self.zone.at(self.folder)}: no .jsonl files, so no events were read",
                *other_files(self.zone, self.folder),
            ]
        passed_over = self.landed.not_read(self.listed)
        told = self._ingest_passed_over(passed_over) if passed_over else []
        return told + self.warnings(self.listed)

    def warnings(self, files: Iterable[EventFile]) -> list[str]:
        """Return what is wrong with files of the landing folder that a stream can't mend."""
        files = list(files)
        changed = self.landed.changed(files, self.run_id, JOB)
        unread = [text for path, text in self._unread.items() if path not in self.landed]
        return changed + unread + self.landed.odd_times(files, now_utc()) + other_files(self.zone, self.folder)

    def _ingest_passed_over(self, files: list[EventFile]) -> list[str]:
        """Append files that lie in the folder, and that the query did not take (or took without noting it)."""
        held = self._files_in_bronze()
        now = now_utc()
        readable, unread = split(self.zone, files)
        self._unread |= unread
        missing = [file for file in readable if file.path not in held and file.size > 0]
        if missing:
            with text_of(self.spark, self.zone, missing) as text:
                self._append(text, missing, now)
        rest = [file for file in readable if file not in missing]
        self.landed.note(rest, now, self.config.lake.rows_since(BRONZE), self.run_id, JOB)
        return [f"{file.path}: Spark's file source passed it over; it was ingested apart" for file in missing]


def lines_of(text: DataFrame) -> DataFrame:
    """Bring text lines to bronze's columns: without a trailing \\r, without blank lines, with their provenance."""
    line = F.col("value")
    ends_in_cr = F.endswith(line, F.lit("\r"))
    without_cr = F.substring(line.cast("binary"), F.lit(1), F.octet_length(line) - 1).cast("string")
    is_blank = ~(F.startswith(line, F.lit("{")) | line.rlike(r"\S"))
    raw = F.when(ends_in_cr, without_cr).otherwise(line).alias("raw")
    return text.where(~is_blank).select(raw, "_source_file", "_source_modified_at")


def _relative_column(uri: Column, landing: str) -> Column:
    """Return a file's path relative to the landing root; Spark gives it as a URI, where + stands for itself."""
    decoded = F.when(F.contains(uri, F.lit("%")), F.url_decode(F.replace(uri, F.lit("+"), F.lit("%2B")))).otherwise(uri)
    return F.substring_index(decoded, f"{landing}/", -1)


def _as_pattern(folder: str) -> str:
    """Return the pattern that only this folder matches."""
    return _GLOB.sub(r"\\\g<0>", folder)


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
