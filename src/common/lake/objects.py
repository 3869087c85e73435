"""The files below an address in an object store, in the words of `Storage`.

An object appears whole or not at all, and every listing shows it at once; so a replace needs no draft and no rename. What
must be done by one of several who try at once is a PUT on a condition, which the store decides. There are no folders: one
is there where an object lies below it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, cast

from ..errors import ConfigurationError, StoreError
from . import stores
from .storage import Entry, Storage

_MARK = ".folder"
_SPOOL = 64 << 20
"""A larger object is read by way of a temporary file."""
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z -]+)")


@dataclass(frozen=True)
class ObjectStorage(Storage):
    """The objects below one address, s3a://bucket/path."""

    def _key(self, path: str) -> str:
        """Return an object's key: what follows the bucket in its full path."""
        return self.at(path).removeprefix(stores.SCHEME).partition("/")[2]

    @property
    def _bucket(self) -> Any:
        return stores.bucket(self.root.removeprefix(stores.SCHEME).partition("/")[0])

    # --- looking ---

    def look(self, path: str = "") -> Entry | None:
        """Return an object or a folder as it is now; None where there is none."""
        if path and (found := self._head(path)) is not None:
            return found
        return Entry(path, 0, 0, 0, "folder", "") if self.is_folder(path) else None

    def _head(self, path: str) -> Entry | None:
        import obstore

        try:
            with _told_as_files_are(self.at(path)):
                return _entry(path, obstore.head(self._bucket, self._key(path)))
        except FileNotFoundError:
            return None

    def is_file(self, path: str) -> bool:
        """Tell whether an object lies there."""
        return self._head(path) is not None

    def is_folder(self, path: str = "") -> bool:
        """Tell whether an object lies below it."""
        import obstore

        with _told_as_files_are(self.at(path)):
            return any(len(batch) for batch in obstore.list(self._bucket, self._prefix(path), chunk_size=1))

    def _prefix(self, path: str) -> str | None:
        return self._key(path) or None

    def entries(self, path: str = "") -> list[Entry]:
        """Return what lies directly in a folder, by name; [] where there is no such folder."""
        import obstore

        with _told_as_files_are(self.at(path)):
            found = obstore.list_with_delimiter(self._bucket, self._prefix(path))
        start = f"{path}/" if path else ""
        objects = [one for one in found["objects"] if one["path"] != self._key(path)]  # not the folder's own mark
        files = [_entry(f"{start}{one['path'].rpartition('/')[2]}", one) for one in objects]
        files = [entry for entry in files if self._is_no_mark(entry)]
        names = {f"{start}{place.rpartition('/')[2]}" for place in found["common_prefixes"]}
        names |= {f"{start}{one['path'].rpartition('/')[2]}" for one in objects} - {entry.path for entry in files}
        return sorted([*files, *(Entry(name, 0, 0, 0, "folder", "") for name in names)], key=lambda entry: entry.name)

    def walk(self, path: str = "") -> Iterator[Entry]:
        """Yield every object below a folder."""
        import obstore

        skipped = len(self._key("")) + 1 if self._key("") else 0
        with _told_as_files_are(self.at(path)):
            for batch in obstore.list(self._bucket, self._prefix(path)):
                found = (_entry(one["path"][skipped:], one) for one in batch)
                yield from filter(self._is_no_mark, found)

    def lacking(self, places: Iterable[str]) -> list[str]:
        """Return those of some full paths below the root at which no object lies, from one listing."""
        wanted = list(places)
        present = {self.at(entry.path) for entry in self.walk()} if wanted else set()
        return [place for place in wanted if place not in present]

    def _is_no_mark(self, entry: Entry) -> bool:
        """Tell whether an object is more than the empty one, its name ending in /, with which Hadoop and others mark a folder."""
        return entry.size > 0 or self.is_file(entry.path)

    def free_bytes(self) -> int | None:
        """Return None: a store has no end."""
        return None

    # --- reading ---

    def open(self, path: str) -> BinaryIO:
        """Open an object to be read; to be closed by the caller."""
        import obstore

        spool = tempfile.SpooledTemporaryFile(_SPOOL)  # noqa: SIM115 (the caller closes it)
        try:
            with _told_as_files_are(self.at(path)):
                for chunk in obstore.get(self._bucket, self._key(path)).stream():
                    spool.write(bytes(chunk))
        except BaseException:
            spool.close()
            raise
        spool.seek(0)
        return cast(BinaryIO, spool)

    def read(self, path: str) -> bytes:
        """Return the content of an object."""
        return self.read_versioned(path)[0]

    def read_state(self, path: str) -> dict[str, Any]:
        """Return what a small JSON object says; {} where it is missing or damaged. A store that is away is no missing object."""
        try:
            content = json.loads(self.read(path))
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def read_versioned(self, path: str) -> tuple[bytes, str]:
        """Return the content of an object and its version."""
        import obstore

        with _told_as_files_are(self.at(path)):
            found = obstore.get(self._bucket, self._key(path))
            return bytes(found.bytes()), str(found.meta["e_tag"])

    # --- writing ---

    def require_writable(self) -> None:
        """Check that the store takes objects, and that it decides between two who write one at once.

        Raises:
            ConfigurationError: it does not.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            decides = self.put_new(probe, b"one") and not self.put_new(probe, b"two")
            self.delete(probe)
        except (StoreError, OSError) as error:
            found = error.strerror if isinstance(error, OSError) else str(error).removeprefix(f"{self.at(probe)}: ")
            raise ConfigurationError(
                f"{self.root}: the lake can't be written ({found}); check the address, and storage: in conf/lake.yaml "
                "(endpoint, keys), or name another lake with --lake"
            ) from None
        if not decides:
            raise ConfigurationError(
                f"{self.root}: the store writes over an object that is there, although told not to (If-None-Match): two "
                "programs that commit at once would lose rows without an error. Use a store that knows conditional writes"
            )

    def make_folder(self, path: str = "") -> None:
        """See to it that a folder is found, where nothing lies in it yet."""
        if not self.is_folder(path):
            self.replace(f"{path}/{_MARK}".lstrip("/"), b"")

    def put_new(self, path: str, content: bytes) -> bool:
        """Write an object where there is none; tells whether it did. Of several who try at once one does."""
        return self.put_if(path, content, None) is not None

    def put_if(self, path: str, content: bytes, version: str | None) -> str | None:
        """Write an object that has a version still, where None: that is not there; return its new version, None where not.

        A write of ours whose answer was lost, and that was tried again, is found to be ours by its content.
        """
        import obstore

        mode: Any = "create" if version is None else {"e_tag": version}
        try:
            with _told_as_files_are(self.at(path)):
                put = obstore.put(self._bucket, self._key(path), content, mode=mode, use_multipart=False)
                return str(put["e_tag"])
        except (FileExistsError, FileNotFoundError) as error:
            if version is None and isinstance(error, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, "there is no such bucket", self.at(path)) from None
            with suppress(FileNotFoundError):
                found, current = self.read_versioned(path)
                return current if found == content and content else None
            return None

    def replace(self, path: str, content: bytes, *, durable: bool = True) -> None:
        """Write an object: a reader sees the old content or the new one, never a part."""
        import obstore

        with _told_as_files_are(self.at(path)):
            obstore.put(self._bucket, self._key(path), content)

    def replace_seen(self, path: str, content: bytes, seen: str) -> bool:
        """Replace an object that still has the version that was seen ("": there was none); tells whether it had."""
        return self.put_if(path, content, seen or None) is not None

    def open_log(self, path: str, limit: int | None = None) -> BinaryIO:
        """Open an object to be appended to: what is written goes there when it is closed, by whoever opened it."""
        return _Appended(self, path)

    def rename(self, old: str, new: str) -> None:
        """Move an object, or all that lie below a folder, to a new name: first copied, then deleted."""
        import obstore

        moved = [self._key(old)] if self.is_file(old) else [self._key(entry.path) for entry in self.walk(old)]
        if not moved:
            raise FileNotFoundError(errno.ENOENT, "no such object", self.at(old))
        with _told_as_files_are(self.at(old)):
            for key in moved:
                obstore.copy(self._bucket, key, self._key(new) + key.removeprefix(self._key(old)))
            obstore.delete(self._bucket, moved)

    def delete(self, path: str) -> None:
        """Delete an object; nothing where there is none."""
        import obstore

        with suppress(FileNotFoundError), _told_as_files_are(self.at(path)):
            obstore.delete(self._bucket, self._key(path))

    def delete_folder(self, path: str) -> None:
        """Delete all objects below a folder, as far as that can be done."""
        import obstore

        with suppress(StoreError):
            keys = [self._key(entry.path) for entry in self.walk(path)]
            with _told_as_files_are(self.at(path)):
                for first in range(0, len(keys), 1000):
                    obstore.delete(self._bucket, keys[first : first + 1000])

    # --- for Spark ---

    @contextmanager
    def under_plain_names(self, paths: Sequence[str], ending: str) -> Iterator[list[str]]:
        """Give objects other names for the length of a block, by copies within the store that every executor reaches."""
        import obstore

        folder = f".plain-{uuid.uuid4().hex}"
        names = [f"{folder}/{number}.{ending}" for number in range(len(paths))]
        try:
            for name, path in zip(names, paths, strict=True):
                with _told_as_files_are(self.at(path)):
                    obstore.copy(self._bucket, self._key(path), self._key(name))
            yield [self.at(name) for name in names]
        finally:
            self.delete_folder(folder)


class _Appended(BytesIO):
    """A log that is put in the store when it is closed, behind what the store has of it."""

    def __init__(self, storage: ObjectStorage, path: str) -> None:
        super().__init__()
        self._storage, self._path = storage, path

    def close(self) -> None:
        """Put what was written in the store."""
        if self.closed:
            return
        written = self.getvalue()
        super().close()
        try:
            before = self._storage.read(self._path)
        except FileNotFoundError:
            before = b""
        self._storage.replace(self._path, before + written)


def _entry(path: str, found: Any) -> Entry:
    # To the second: a store tells more in a listing than in a look at one object.
    modified = int(found["last_modified"].timestamp()) * 10**9
    return Entry(path, int(found["size"]), modified, modified, "file", str(found["e_tag"]))


@contextmanager
def _told_as_files_are(address: str) -> Iterator[None]:
    """Raise what the store says as a file system would, with the address and without a word of the request's keys.

    Raises:
        StoreError: it did not answer or refused: a file that can't be read is not one that is missing, or damaged.
    """
    from obstore import exceptions

    try:
        yield
    except (exceptions.NotFoundError, FileNotFoundError):
        raise FileNotFoundError(errno.ENOENT, "no such object", address) from None
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
        raise FileExistsError(errno.EEXIST, "another was first", address) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
        raise StoreError(f"{address}: the store refuses the keys of storage: in conf/lake.yaml") from None
    except exceptions.BaseError as error:
        raise StoreError(f"{address}: {_what_the_store_said(str(error))}") from None


def _what_the_store_said(text: str) -> str:
    status = _STATUS.search(text)
    tries = stores.current().attempts
    if status is not None:
        return f"the store answers {status[1].strip()}, after {tries} tries at most"
    if "NoSuchBucket" in text:
        return "there is no such bucket"
    return f"the store can't be reached or breaks off, after {tries} tries at most; is storage.endpoint right?"


def storage_at(root: str | os.PathLike[str]) -> Storage:
    """Return the files below a full path: of a folder, or s3a://bucket/path."""
    return ObjectStorage(str(root)) if stores.is_remote(root) else Storage(str(root))


def folder_mark(storage: Storage, path: str) -> str | None:
    """Return a hash of the names and versions of all objects below a folder; None on a disk, whose folders have times."""
    if not isinstance(storage, ObjectStorage):
        return None
    listed = sorted(
        f"{entry.path} {entry.version}" for entry in storage.walk(path) if "/_delta_log/" not in f"/{entry.path}"
    )
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]
