"""An export in its place: written beside the old one and put there in one step, so that a crash leaves the old one whole."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...common.errors import ConfigurationError, LockedError
from ...common.faults import crash_point

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
_ASIDE, _BEFORE = ".{name}.new", ".{name}.before"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` to write into; where the block ends well, it takes the target's place.

    One process writes at a time. What a crash left behind is removed, and put back where the target was under way.

    Raises:
        ConfigurationError: the folder can't be written.
        LockedError: another export is being written there.
    """
    folder = target.parent
    aside, before = (folder / form.format(name=target.name) for form in (_ASIDE, _BEFORE))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _not_writable(folder, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if before.exists() and not target.exists():
            before.rename(target)
        for left in (aside, before):
            shutil.rmtree(left, ignore_errors=True)
        aside.mkdir()
        try:
            yield aside
            _settle(aside)
            crash_point("before_focus_rename")
            _exchange(aside, target, before)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            if target.exists():
                shutil.rmtree(before, ignore_errors=True)
    except BlockingIOError:
        raise LockedError(f"{folder}: another export is being written there; wait for it") from None
    except PermissionError as error:
        raise _not_writable(folder, error) from None
    finally:
        os.close(lock)


def _not_writable(folder: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"--out: {folder} can't be written ({error.strerror}); check its owner and rights, or name another folder"
    )


def _settle(folder: Path) -> None:
    """Bring every file to the disk before its folder takes its place."""
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _exchange(aside: Path, target: Path, before: Path) -> None:
    """Put a folder in another's place: in one step where the file system knows how, else in two that can be repaired."""
    if not target.exists():
        aside.rename(target)
        return
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None and rename(_HERE, os.fsencode(aside), _HERE, os.fsencode(target), _EXCHANGE) == 0:
        return
    failed = ctypes.get_errno()
    if rename is not None and failed not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise OSError(failed, os.strerror(failed), str(target))
    target.rename(before)
    crash_point("between_focus_renames")
    aside.rename(target)
