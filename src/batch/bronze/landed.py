"""A delivery in the landing zone: what identifies it, when it speaks of, and what it holds or why it can't be taken."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.settings.lake import Times
from .exports import Export, read_export
from .listing import shown, time_of
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
    export: Export | None = None
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


def identify(
    config: Config, table: Table, path: str, snapshot_at: datetime | None, now: datetime
) -> tuple[LandedFile, bytes]:
    """Return a file as far as it is known unread, with its bytes; `reason` where it can't be dated or opened."""
    zone = config.landing_zone
    try:
        entry, content, reason = zone.look(path), zone.read(path), ""
    except OSError as error:
        entry, content, reason = None, b"", f"the file can't be read: {error.strerror}"
    modified = time_of(entry.modified_seconds) if entry else now
    at, undated = snapshot_time(path, modified, snapshot_at, config.settings.times, now)
    file = LandedFile(
        table.short_name,
        shown(path),
        hashlib.sha256(content).hexdigest(),
        len(content),
        modified,
        at,
        reason or undated,
    )
    return file, content


def most_unpacked(config: Config) -> int:
    """Return the bytes that a packed file may hold."""
    return config.settings.landing.most_unpacked_mb << 20


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
    file: LandedFile, content: bytes, table: Table, held: Iterable[str], most_bytes: int, kinds: Mapping[str, str]
) -> LandedFile:
    """Return a file with what it holds, or with the reason why it can't be taken."""
    if file.reason:
        return file
    try:
        plain = unpacked(content, most_bytes) if file.path.endswith(".gz") else content
        plain = within(plain, most_bytes) if is_workbook(str(table.file)) else plain
        return replace(file, export=read_export(plain, table, list(held), kinds))
    except FileRefusedError as error:
        return replace(file, reason=str(error))
    except (OSError, EOFError, zlib.error) as error:  # a cut or damaged archive
        return replace(file, reason=f"the file can't be read: {error}")
