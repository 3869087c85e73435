"""Where a lake and its landing zone lie: the one way to their files, and their paths as each engine wants them.

`Storage` is the one on a disk (a folder, or a file:// address); objects.py has the one in an object store. `storage_at` there gives the
one that a full path leads to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError
from . import stores

_NOT_FOR_RUST = re.compile(r"[\[\]|^\\#?\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
"""What delta-rs does not find again in a local path: it makes the path a host's name and an address's path, and decodes it.
Behind # or ? it reads tables, but of their history nothing, without a word: the notes of our commits would be lost."""

_ADDRESS_IN_A_STORE = re.compile(r"s3a?://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9._=-]+)*)/*")
"""Names that every engine takes for the same: some encode the others, some do not."""

_LONGEST_NAME, _LONGEST_PATH = 255, 4095
_BELOW_THE_ROOT = 320
"""Room for what lies below a lake's root: table, partition, data file, and the scratch names of their writers."""


@dataclass(frozen=True)
class Entry:
    """A file or a folder as a look at it shows it.

    `changed_ns` is when its content, name or properties changed last: unlike `modified_ns`, nobody can set it.
    `version` tells this content from any other that the name has had.
    """

    path: str
    """Its place below the root, parts joined by /."""
    size: int
    modified_ns: int
    changed_ns: int
    kind: Literal["file", "folder", "other"]
    version: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def modified_seconds(self) -> float:
        """When it was modified, in seconds since 1970."""
        seconds, rest = divmod(self.modified_ns, 10**9)
        return seconds + 1e-9 * rest


@dataclass(frozen=True)
class Storage:
    """The files below one folder. Paths are relative to it, their parts joined by /; "" is the root itself.

    What can't be read or written raises OSError, as files do.
    """

    root: str

    def at(self, path: str = "") -> str:
        """Return the full path, as messages and engines have it."""
        return f"{self.root.rstrip('/')}/{path}" if path else self.root

    def below(self, place: str) -> str | None:
        """Return the path of a full path, None where it does not lie below the root."""
        start = f"{self.root.rstrip('/')}/"
        return place.removeprefix(start) if place.startswith(start) else None

    # --- looking ---

    def look(self, path: str = "") -> Entry | None:
        """Return a file or folder as it is now; None where there is none."""
        try:
            return _entry(path, os.stat(self.at(path)))
        except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a name that no file can have
            return None

    def is_file(self, path: str) -> bool:
        """Tell whether a file lies there."""
        found = self.look(path)
        return found is not None and found.kind == "file"

    def is_folder(self, path: str = "") -> bool:
        """Tell whether a folder lies there."""
        found = self.look(path)
        return found is not None and found.kind == "folder"

    def entries(self, path: str = "") -> list[Entry]:
        """Return what lies directly in a folder, by name; [] where there is no such folder."""
        try:
            names = sorted(os.listdir(self.at(path)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        paths = [f"{path}/{name}" if path else name for name in names]
        return [self._look_in_list(each) for each in paths]

    def _look_in_list(self, path: str) -> Entry:
        with suppress(OSError):
            found = self.look(path)
            if found is not None:
                return found
        return Entry(path, 0, 0, 0, "other", "")  # a link that leads nowhere, a file that is gone by now

    def lacking(self, places: Iterable[str]) -> list[str]:
        """Return those of some full paths below the root at which no file lies."""
        return [place for place in places if not Storage(place).is_file("")]

    def free_bytes(self) -> int | None:
        """Return the room that is left; None where that can't be told."""
        try:
            return shutil.disk_usage(self.root).free
        except OSError:
            return None

    # --- reading ---

    def open(self, path: str) -> BinaryIO:
        """Open a file to be read; to be closed by the caller."""
        return open(self.at(path), "rb")

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        with self.open(path) as file:
            return file.read()

    def read_state(self, path: str) -> dict[str, Any]:
        """Return what a small JSON file says; {} where it is missing or damaged."""
        try:
            content = json.loads(self.read(path))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    # --- writing ---

    def require_writable(self) -> None:
        """Check that the root can be made and written.

        Raises:
            ConfigurationError: it can't.
        """
        try:
            probe = f".probe-{os.getpid()}"
            self.replace(probe, b"")
            self.delete(probe)
        except OSError as error:
            raise ConfigurationError(
                f"{self.root}: the lake folder can't be written ({error.strerror}); check its owner and rights, "
                "or name another with --lake"
            ) from None

    def make_folder(self, path: str = "") -> None:
        """Make a folder and those above it, where there is none."""
        os.makedirs(self.at(path), exist_ok=True)

    def put_new(self, path: str, content: bytes) -> bool:
        """Write a file where there is none; tells whether it did. Of several who try at once one does."""
        scratch = self._scratch(path, content, durable=True)
        try:
            os.link(scratch, self.at(path))
        except FileExistsError:
            return False
        finally:
            os.unlink(scratch)
        return True

    def replace(self, path: str, content: bytes, *, durable: bool = True) -> None:
        """Write a file at once: a reader sees the old content or the new one, never a part.

        `durable`: whether it has to be there after a power failure as well; what a next run finds out anew has not.
        """
        scratch = self._scratch(path, content, durable)
        try:
            os.replace(scratch, self.at(path))
        except OSError:
            os.unlink(scratch)
            raise

    def replace_seen(self, path: str, content: bytes, seen: str) -> bool:
        """Replace a file that still has the version that was seen ("": there was none); tells whether it had, which a lock sees to."""
        self.replace(path, content)
        return True

    def keep_state(self, path: str, content: Mapping[str, Any], *, durable: bool = True) -> None:
        """Write a small JSON file at once, as `replace` does."""
        self.replace(path, json.dumps(content, indent=1, sort_keys=True).encode(), durable=durable)

    def _scratch(self, path: str, content: bytes, durable: bool) -> str:
        folder, _, name = path.rpartition("/")
        self.make_folder(folder)
        scratch = self.at(f"{folder}/.{name}.{os.getpid()}.draft".lstrip("/"))
        try:
            with open(scratch, "wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                os.unlink(scratch)
            raise
        return scratch

    def open_log(self, path: str, limit: int | None = None) -> BinaryIO:
        """Open a file to be appended to, to be closed by the caller; a longer one than `limit` bytes becomes <path>.1."""
        self.make_folder(path.rpartition("/")[0])
        found = self.look(path)
        if found is not None and limit is not None and found.size > limit:
            os.replace(self.at(path), self.at(f"{path}.1"))
        return open(self.at(path), "ab")

    def rename(self, old: str, new: str) -> None:
        """Move a file or a folder to a new name, where nothing lies yet."""
        self.make_folder(new.rpartition("/")[0])
        os.rename(self.at(old), self.at(new))

    def delete(self, path: str) -> None:
        """Delete a file; nothing where there is none."""
        with suppress(FileNotFoundError):
            os.unlink(self.at(path))

    def delete_folder(self, path: str) -> None:
        """Delete a folder with all that is in it, as far as that can be done."""
        shutil.rmtree(self.at(path), ignore_errors=True)

    # --- for Spark ---

    @contextmanager
    def under_plain_names(self, paths: Sequence[str], ending: str) -> Iterator[list[str]]:
        """Give files other names for the length of a block, in which no engine sees a pattern; in the same order.

        The full names end in 0.<ending>, 1.<ending> and so on.
        """
        with tempfile.TemporaryDirectory(prefix="cloudlake-") as folder:
            names = [f"{folder}/{number}.{ending}" for number in range(len(paths))]
            for name, path in zip(names, paths, strict=True):
                os.symlink(self.at(path), name)
            yield names


def _entry(path: str, found: os.stat_result) -> Entry:
    is_file, is_folder = stat.S_ISREG(found.st_mode), stat.S_ISDIR(found.st_mode)
    return Entry(
        path,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        "file" if is_file else "folder" if is_folder else "other",
        f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}",
    )


def root_at(address: str, option: str) -> Path:
    """Return the full path of a lake or of a landing zone.

    Args:
        address: as people write it: a folder, file:///folder, s3a://bucket/path or s3://bucket/path.
        option: the option that gives it, for the error.

    Raises:
        ConfigurationError: the address is of a kind that is not known.
    """
    parts = urlsplit(address) if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", address) else None
    if parts is None:
        return Path(address).resolve()
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path)).resolve()
    if parts.scheme in ("s3a", "s3"):
        return _in_a_store(address, option)
    what = (
        "a lake on HDFS was not tried, and delta-rs, which writes the small tables, knows none"
        if parts.scheme == "hdfs"
        else f"{parts.scheme}:// is not known here"
    )
    raise ConfigurationError(
        f"{option} {address}: only a folder, a file:///… or an s3a://bucket/… address can be used; {what}"
    )


def _in_a_store(address: str, option: str) -> Path:
    found = _ADDRESS_IN_A_STORE.fullmatch(address)
    if found is None:
        raise ConfigurationError(
            f"{option} {address}: write s3a://bucket/path, in letters, digits and the signs . _ - = of ASCII; keys and ports have "
            "no place in it, they stand under storage: in conf/lake.yaml"
        )
    return stores.root_path(f"{stores.SCHEME}{found[1]}")


def require_lake_root(root: Path) -> None:
    """Check that every engine can read and write tables under a folder of that name.

    Raises:
        ConfigurationError: one of them would take the name for another; nothing has been written yet.
    """
    if stores.is_remote(root):
        return
    remedy = "give the lake another folder with --lake or CLOUDLAKE_LAKE"
    try:
        str(root).encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{str(root)!r}: the name is no UTF-8, which Java and delta-rs need; {remedy}"
        ) from None
    found = sorted({match[0] for match in _NOT_FOR_RUST.finditer(str(root))})
    if found:
        signs = ", ".join(sign if sign.isprintable() else repr(sign) for sign in found)
        raise ConfigurationError(
            f"{str(root)!r}: the lake can't lie there: delta-rs does not find tables again under a name with {signs} "
            f"(blanks, a single %, braces, quotes and letters beyond ASCII are fine); {remedy}"
        )
    if any(len(part.encode()) > _LONGEST_NAME for part in root.parts):
        raise ConfigurationError(f"{root}: a folder's name is longer than {_LONGEST_NAME} bytes; {remedy}")
    if len(str(root).encode()) > _LONGEST_PATH - _BELOW_THE_ROOT:
        raise ConfigurationError(
            f"{root}: with {len(str(root).encode())} bytes the path leaves no room for the tables' files; {remedy}"
        )


def placed(root: Path) -> Path:
    """Return where a lake that is to be made at `root` lies: there, or where its name would not do, behind a link.

    delta-rs follows links before it makes an address of a path. So such a lake gets a folder of a plain name, in the
    nearest folder above that has one, and `root` becomes a link to it: every engine, ours or another's, then finds the
    same tables by either name. A folder that holds something already is left alone, and so is the top of the file system.

    Args:
        root: an absolute path without links.
    """
    if stores.is_remote(root):
        return root
    nearest = next((folder for folder in root.parents if not _NOT_FOR_RUST.search(str(folder))), root)
    if not _NOT_FOR_RUST.search(str(root)) or nearest == nearest.parent:
        return root
    try:
        present = next(folder for folder in root.parents if folder.exists())
        nearest = min(nearest, present, key=lambda folder: len(folder.parts))
        if nearest.stat().st_dev != present.stat().st_dev:  # another disk than the one that was named
            return root
        root.parent.mkdir(parents=True, exist_ok=True)
        if root.exists():
            root.rmdir()
        place = _made(nearest, f"cloudlake-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}")
        root.symlink_to(place)
    except OSError:
        return root
    return place


def _made(folder: Path, name: str) -> Path:
    """Make a new folder: what a lake left whose link was removed is not taken for the new one."""
    for number in count(1):
        place = folder / (name if number == 1 else f"{name}-{number}")
        try:
            place.mkdir()
        except FileExistsError:
            continue
        return place
    raise AssertionError


def full_path(path: str) -> str:
    """Return the full path of a table, which Spark asks for where it creates one."""
    return path if "://" in path else os.path.abspath(path)


def local_file(table: str, uri: str) -> str:
    """Return the path of a table's data file, which delta-rs names with the table's own folder encoded as in an address."""
    depth = table.count("/") + 1
    return "/".join([table, *uri.split("/")[depth:]])


def for_sql(path: str) -> str:
    """Return a table's path as Spark SQL names it."""
    return f"delta.`{path.replace('`', '``')}`"
