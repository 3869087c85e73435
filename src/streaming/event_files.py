"""The event files of the landing zone: which there are, what became of them since they were read, and their lines.

A file's name is a name, whatever it holds. Spark takes `* ? [ ] { }` and a backslash in a path for a pattern, can't
open a name with a colon, and knows no name that is no UTF-8; so what is not plain is read by a link of a plain name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.lake.storage import Entry, Storage

_NOT_PLAIN = re.compile(r"[^ -~]|[*?:\\\[\]{}]")
"""What Spark does not read as it stands in a name, or not in every locale: beyond ASCII, patterns, a colon."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class EventFile:
    """A file of the landing zone as the listing shows it; `path` is relative to the landing root.

    `changed_at` is when its content, name or properties changed last: unlike `modified_at`, nobody can set it.
    """

    path: str
    size: int
    modified_at: datetime
    changed_at: datetime = _EPOCH
    sha256: str | None = None
    place: str = ""
    """Its path as the storage knows it, whatever bytes its name has."""

    def was_read_as(self, row: Mapping[str, Any]) -> bool | None:
        """Tell whether this is what a row of ops.landed_files speaks of; None where only the content can tell."""
        if row["size_bytes"] != self.size:
            return False
        if row["modified_at"] == self.modified_at and self.changed_at <= row["ingested_at"]:
            return True
        return None


def is_event_file(name: str) -> bool:
    """Tell whether a file of this name holds events: *.jsonl, not hidden, not being written."""
    return name.endswith(".jsonl") and len(name) > len(".jsonl") and name[0] not in "._"


def is_plain(name: str) -> bool:
    """Tell whether Spark reads a file of this name as it is called."""
    return _NOT_PLAIN.search(name) is None


def list_files(zone: Storage, folder: str) -> list[EventFile]:
    """Return the event files that lie directly in a folder of the landing zone; [] where there is none."""
    return [file for entry in zone.entries(folder) if is_event_file(entry.name) and (file := _file(entry))]


def look_at(zone: Storage, place: str) -> EventFile | None:
    """Return a file as it lies there now; None where there is no such file, or it is no plain file."""
    try:
        entry = zone.look(place)
    except OSError:
        return None
    return _file(entry) if entry else None


def _file(entry: Entry) -> EventFile | None:
    if entry.kind != "file":
        return None
    times = _time(entry.modified_ns), _time(entry.changed_ns)
    return EventFile(as_text(entry.path), entry.size, *times, place=entry.path)


def _time(nanoseconds: int) -> datetime:
    """Return a file's time; what no calendar holds becomes the nearest that it does."""
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return datetime(1, 1, 1, tzinfo=UTC) if nanoseconds < 0 else datetime(9999, 12, 31, tzinfo=UTC)


def as_text(place: str) -> str:
    """Return a file's path as tables have it; bytes that are no UTF-8 as \\xNN."""
    return place.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def hashed(zone: Storage, file: EventFile) -> EventFile:
    """Return a file with the SHA-256 of its content.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    with zone.open(file.place) as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return replace(file, sha256=digest.hexdigest())


def other_files(zone: Storage, folder: str) -> list[str]:
    """Return warnings about files that look like events and are not read."""
    found = [entry for entry in zone.entries(folder) if _looks_like_events(entry)]
    return [f"{zone.at(entry.path)}: {_why_not(entry.name)}" for entry in found]


def _looks_like_events(entry: Entry) -> bool:
    name = entry.name
    if name[0] in "._":
        return False
    if entry.kind == "folder":
        return name.endswith(".jsonl")
    return name.endswith(".gz") or (name.lower().endswith(".jsonl") and not is_event_file(name))


def _why_not(name: str) -> str:
    if name.endswith(".gz"):
        return "only .jsonl files are read here; unpack it, then its events are taken"
    if name.endswith(".jsonl"):
        return "it is a folder, and folders are not looked into; move its files up"
    return "the ending is written .jsonl, in small letters; rename it, then its events are taken"


@contextmanager
def text_of(spark: SparkSession, zone: Storage, files: Sequence[EventFile]) -> Iterator[DataFrame]:
    """Give the lines of exactly these files, each read once under whatever name; to be used within the block.

    The rows have `value`, `_source_file` and `_source_modified_at`.
    """
    with zone.under_plain_names([file.place for file in files], "jsonl") as names:
        sources = {
            name.rpartition("/")[2]: (file.path, file.modified_at) for name, file in zip(names, files, strict=True)
        }
        text = spark.read.option("lineSep", "\n").text(names)
        name_of = {name: path for name, (path, _) in sources.items()}
        micros = {name: str((at - _EPOCH) // timedelta(microseconds=1)) for name, (_, at) in sources.items()}
        link = F.col("_metadata.file_name")
        yield text.select(
            "value",
            _looked_up(name_of, link).alias("_source_file"),
            F.timestamp_micros(_looked_up(micros, link).cast("bigint")).alias("_source_modified_at"),
        )


def _looked_up(pairs: Mapping[str, str], key: Any) -> Any:
    return F.try_element_at(F.from_json(F.lit(json.dumps(dict(pairs))), "MAP<STRING, STRING>"), key)


def split(zone: Storage, files: Iterable[EventFile]) -> tuple[list[EventFile], dict[str, str]]:
    """Return the files that can be read, with their hashes, and by path a warning for each that can't."""
    readable, warnings = [], {}
    for file in files:
        try:
            readable.append(hashed(zone, file))
        except OSError as error:
            warnings[file.path] = (
                f"{file.path}: it can't be read ({error.strerror}), so its events are not in; mend it, then it is taken"
            )
    return readable, warnings
