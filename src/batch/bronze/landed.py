"""A delivery in the landing zone: what identifies it, when it speaks of, and what it holds or why it can't be taken."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ...common.config import Config, require_landing
from ...common.contracts.table import Table
from ...common.settings.lake import Times
from .dialects import kinds_of
from .exports import Export, read_export
from .extracts import Extract, hash_of, is_extract, read_extract
from .listing import find_files, shown, time_of
from .scanning import FileRefusedError
from .sheets import is_workbook, within

_DATED = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class LandedFile:
    """A file of the landing zone with one content: what identifies a delivery."""

    source: str
    path: str
    sha256: str
    size_bytes: int
    modified_at: datetime
    snapshot_at: datetime | None
    """None where the file can't be dated."""
    reason: str = ""
    """Why it can't be taken, where it can't."""
    export: Export | Extract | None = None
    """What it holds, where it can be taken."""


def snapshot_time(
    path: str, modified: datetime, given: datetime | None, times: Times, now: datetime
) -> tuple[datetime | None, str]:
    """Return the time that an export speaks of, or why none can be told.

    It is the date of its dated folder at 00:00 UTC, else the one given, else its modification time.
    """
    folder = path.rpartition("/")[0]
    if not folder:
        at, source = given or modified, "--snapshot-at" if given else "its modification time"
    else:
        source = f"its folder {shown(folder)}"
        try:
            at = datetime.strptime(folder, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            return None, f"{source} is no date; name the folder YYYY-MM-DD"
        if not _DATED.fullmatch(folder):
            return None, f"{source} is no date; name the folder YYYY-MM-DD"
    if at.date() < times.earliest:
        return None, f"{source} dates it before {times.earliest} (times.earliest in conf/lake.yaml)"
    if at > now + timedelta(hours=times.snapshot_ahead_hours):
        ahead = f"more than {times.snapshot_ahead_hours:g} h ahead of the clock"
        return None, f"{source} dates it {ahead} (times.snapshot_ahead_hours in conf/lake.yaml)"
    return at, ""


_UNREAD = ""
"""The hash of a file that could not be opened: nobody knows what it holds, so it is not what its path held last."""


def content_hash(path: str, content: bytes) -> str:
    """Return what the content of a delivery is known by."""
    return hash_of(content) if is_extract(path) else hashlib.sha256(content).hexdigest()


def identify(
    config: Config, table: Table, path: str, snapshot_at: datetime | None, now: datetime
) -> tuple[LandedFile, bytes]:
    """Return a file as far as it is known unread, with its bytes; `reason` where it can't be dated or opened."""
    zone = config.landing_zone
    try:
        entry, content, reason = zone.look(path), zone.read(path), ""
    except OSError as error:
        entry, content, reason = None, None, f"the file can't be read: {error.strerror}"
    modified = time_of(entry.modified_seconds) if entry else now
    at, undated = snapshot_time(path, modified, snapshot_at, config.settings.times, now)
    file = LandedFile(
        table.short_name,
        shown(path),
        _UNREAD if content is None else content_hash(path, content),
        len(content or b""),
        modified,
        at,
        reason or undated,
    )
    return file, content or b""


def unpacked(content: bytes, most_bytes: int) -> bytes:
    """Return what a gzip archive holds.

    Raises:
        FileRefusedError: it holds more than `most_bytes`; no more than that is ever unpacked.
        OSError, EOFError, zlib.error: it is cut or damaged.
    """
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as archive:
        plain = archive.read(most_bytes + 1)
        if len(plain) > most_bytes:
            raise FileRefusedError(
                f"its {len(content):,} bytes unpack to more than {most_bytes:,} (landing.most_unpacked_mb in conf/lake.yaml); "
                "raise that if the file is right, and the memory suffices for several times as much"
            )
    return plain


def opened(
    config: Config, file: LandedFile, path: str, content: bytes, table: Table, held: Collection[str]
) -> LandedFile:
    """Return a file with what it holds, or with the reason why it can't be taken.

    Args:
        config: the landing zone and its limits.
        file: as far as it is known unread.
        path: where it lies.
        content: its bytes.
        table: the source.
        held: the columns that the source's bronze table has.
    """
    if file.reason:
        return file
    try:
        if is_extract(path):
            return replace(file, export=read_extract(config.landing_zone, path, content, table, held))
        most_bytes = config.settings.landing.most_unpacked_mb << 20
        plain = unpacked(content, most_bytes) if file.path.endswith(".gz") else content
        plain = within(plain, most_bytes) if is_workbook(str(table.file)) else plain
        return replace(file, export=read_export(plain, table, held, kinds_of(config.registry, table)))
    except FileRefusedError as error:
        return replace(file, reason=str(error))
    except (OSError, EOFError, zlib.error) as error:  # a cut or damaged archive
        return replace(file, reason=f"the file can't be read: {error}")


def examined(
    config: Config, table: Table, known: Sequence[Mapping[str, Any]], snapshot_at: datetime | None, now: datetime
) -> list[tuple[LandedFile, bool]]:
    """Return each file that lies there, opened where it may be new, and whether it is."""
    in_order = sorted(known, key=lambda row: row["ingested_at"])
    told = {row["path"]: row for row in in_order}
    last = {row["path"]: row for row in in_order if row["sha256"] != _UNREAD}
    held = config.lake.column_names(table.name)
    found = []
    require_landing(config)
    for path in find_files(config.landing_zone, table):
        file, content = identify(config, table, path, snapshot_at, now)
        before = last.get(file.path)
        if before is not None and before["sha256"] == file.sha256 and not _may_differ_now(before, table):
            found.append((file, False))
            continue
        file = opened(config, file, path, content, table, held)
        before = told.get(file.path)
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
