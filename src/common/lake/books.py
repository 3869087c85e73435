"""What the books say of a table, compared with the table: is it there, is it as new, are its rows of our own commits?

Every commit of ours carries a note (`userMetadata`); one that changes rows without a note was made by another program.
`<lake>/ops/books.json` keeps a mark for each table: how far its log has been looked through. It is a memory aid only:
where it is lost, the whole log is looked through. A table that is as its mark says costs two looks into its folder.

What other programs did is counted net, file by file: a RESTORE to the version before takes it back.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from deltalake.exceptions import DeltaError

from ..errors import CloudlakeError
from .entries import actions_of, changes_rows, has_entry, info_in, read_entry
from .log import data_files, is_hidden
from .objects import folder_mark, storage_at
from .opening import is_table, open_table
from .small import table_lock
from .stores import is_remote, root_path
from .tables import Lake

_PLACE = "ops/books.json"

CLEARED = "cleared"
"""The note of a commit of ours that takes every row away, whoever wrote it."""


@dataclass(frozen=True)
class Mark:
    """How far a table's log has been looked through: the version, a hash of its entry, and how the folders stood."""

    version: int = -1
    entry: str = ""
    folders: str = ""


NEW = Mark()
"""The mark of a table that is made anew: its whole log is its own."""


@dataclass(frozen=True)
class Finding:
    """A table that is not what the books say."""

    table: str
    kind: Literal["removed", "older", "files", "foreign"]
    what: str
    good: int = -1
    """The newest version before another program's first commit, -1 where there is none."""

    def __str__(self) -> str:
        return f"{self.table}: {self.what}"


@dataclass
class Books:
    """The marks of a lake's tables."""

    lake: Lake
    marks: dict[str, Mark] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the marks are kept."""
        return root_path(self.lake.storage.at(_PLACE))

    @classmethod
    def of(cls, lake: Lake) -> Books:
        """Read the marks; none where they are lost or damaged."""
        try:
            return cls(lake, {name: Mark(**mark) for name, mark in lake.storage.read_state(_PLACE).items()})
        except TypeError:  # a mark of another form
            return cls(lake)

    def keep(self, marks: Mapping[str, Mark]) -> None:
        """Write some tables' marks in one atomic replace, beside those that others keep meanwhile."""
        with table_lock(self.path):
            known = Books.of(self.lake).marks
            self.marks = {**known, **marks}
            if self.marks != known:
                content = {name: asdict(mark) for name, mark in self.marks.items()}
                self.lake.storage.keep_state(_PLACE, content, durable=False)

    def compare(self, tables: Iterable[str], *, keep: bool = True) -> list[Finding]:
        """Return what is not as the books say, and move the marks of the other tables on to their newest version.

        `keep`: whether the marks are written; a reader may not be allowed to.
        """
        found, marks = [], {}
        for name in tables:
            mark = self.marks.get(name)
            try:
                finding, seen = _look(self.lake, name, mark)
            except (DeltaError, ValueError) as error:
                raise CloudlakeError(
                    f"{name}: its log can't be read: {error}. Put {self.lake.path(name)} back from a backup, or move it "
                    "away and run again: it is made anew"
                ) from error
            if finding is not None:
                found.append(finding)
            elif seen != mark:
                marks[name] = seen
        if marks and keep:
            self.keep(marks)
        return found


def require_own(lake: Lake, tables: Iterable[str], remedy: str, *, keep: bool = True) -> None:
    """Check that tables hold what the books say, and nothing that another program wrote.

    Raises:
        CloudlakeError: naming each table that does not, what was found, and the remedy.
    """
    found = Books.of(lake).compare(tables, keep=keep)
    if found:
        raise CloudlakeError("\n".join([*map(str, found), remedy]))


def restore_line(lake: Lake, finding: Finding) -> str:
    """Return the line that takes a table back to the version before another program's first commit."""
    path = lake.path(finding.table)
    code = f"from deltalake import DeltaTable; DeltaTable({path!r}).restore({finding.good})"
    if is_remote(path):  # the keys of the store come from conf/, and stand in no line
        code = (
            f"from cloudlake.common import config; config.load_config(lake={str(lake.root)!r}); "
            f"from cloudlake.common.lake.opening import open_table; open_table({path!r}).restore({finding.good})"
        )
    return shlex.join([sys.executable, "-c", code])


# --- one table ---------------------------------------------------------------------------------------------------


def _look(lake: Lake, name: str, mark: Mark | None) -> tuple[Finding | None, Mark]:
    """Compare a table with its mark; return what is wrong, or else the mark it gets."""
    path = lake.path(name)
    known = mark or NEW
    if known.version >= 0 and _entry(path, known.version) == known.entry and not has_entry(path, known.version + 1):
        if _folders(path) == known.folders:
            return None, known
        return _with_files(name, path, known)
    if not is_table(path):
        if known.version < 0:
            return None, NEW
        return Finding(name, "removed", f"the table is gone; the books know it at version {known.version}"), known
    newest = open_table(path).version()
    if newest < known.version:
        what = (
            f"the table is at version {newest}, the books know version {known.version}: it was put back, or made anew"
        )
        return Finding(name, "older", what), known
    if known.version >= 0 and has_entry(path, known.version) and _entry(path, known.version) != known.entry:
        what = f"its version {known.version} is not the one the books know: the table was put back, or made anew"
        return _foreign(name, path, -1, newest) or Finding(name, "older", what), known
    foreign = _foreign(name, path, known.version, newest)
    if foreign is not None:
        return foreign, known
    return _with_files(name, path, Mark(newest, _entry(path, newest)))


def _entry(path: str, version: int) -> str:
    try:
        return hashlib.sha256(read_entry(path, version)).hexdigest()[:16]
    except OSError:
        return ""


def _folders(path: str) -> str:
    """Return a hash of when each of the table's folders last gained or lost a file; in a store, of what lies there."""
    in_a_store = folder_mark(storage_at(path), "")
    if in_a_store is not None:
        return in_a_store
    times = []
    for folder, folders, _ in os.walk(path):
        folders[:] = [name for name in folders if not is_hidden(name)]
        times.append((os.path.relpath(folder, path), os.stat(folder).st_mtime_ns))
    return hashlib.sha256(json.dumps(sorted(times)).encode()).hexdigest()[:16]


def _with_files(name: str, path: str, mark: Mark) -> tuple[Finding | None, Mark]:
    folders = _folders(path)  # before the look: a file that goes meanwhile is seen the next time
    gone = storage_at(path).lacking(data_files(open_table(path), path))
    if gone:
        what = (
            f"{len(gone)} data file(s) of version {mark.version} are gone, such as {gone[0].removeprefix(path + '/')}"
        )
        return Finding(name, "files", what), mark
    return None, Mark(mark.version, mark.entry, folders)


# --- what other programs did -------------------------------------------------------------------------------------


def _foreign(name: str, path: str, after: int, newest: int) -> Finding | None:
    """Say what is left of other programs' commits after a version; None where nothing is."""
    first = next((v for v in _versions(path, after, newest) if _is_foreign(path, v)), None)
    if first is None or _is_as_before(path, first, newest):
        return None
    added: dict[str, dict[str, Any]] = {}
    taken: dict[str, dict[str, Any]] = {}
    named: list[str] = []
    for version in _versions(path, first - 1, newest):
        actions = actions_of(path, version)
        info = info_in(actions)
        if not _is_foreign(path, version):
            if _takes_all(info):
                added, taken, named = {}, {}, []
            continue
        named.append(f"version {version} ({info.get('operation', 'unknown operation')})")
        for action in actions:
            if "remove" in action and added.pop(_file(action["remove"]), None) is None:
                taken[_file(action["remove"])] = action["remove"]
        for action in actions:
            if "add" in action and taken.pop(_file(action["add"]), None) is None:
                added[_file(action["add"])] = action["add"]
    if not added and not taken:
        return None
    rows = sum(json.loads(add.get("stats") or "{}").get("numRecords", 0) for add in added.values())
    did = [f"{rows:,} row(s) in {len(added)} file(s) written"] if added else []
    did += [f"{len(taken)} file(s) taken away"] if taken else []
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    what = f"another program changed the table: {', '.join(named[:3])}{more}: {', '.join(did)}"
    return Finding(name, "foreign", what, first - 1)


def _versions(path: str, after: int, newest: int) -> Iterator[int]:
    return (version for version in range(after + 1, newest + 1) if has_entry(path, version))


def _is_foreign(path: str, version: int) -> bool:
    """Tell whether a commit changes rows and carries no note of ours."""
    is_noted = b'"userMetadata"' in read_entry(path, version)
    return not is_noted and changes_rows(path, version)


def _file(action: Mapping[str, Any]) -> str:
    vector = action.get("deletionVector") or {}
    return f"{action['path']} {vector.get('pathOrInlineDv', '')}"


def _takes_all(info: Mapping[str, Any]) -> bool:
    """Tell whether a commit of ours left nothing of what was there before it."""
    note = json.loads(info.get("userMetadata") or "{}")
    parameters = info.get("operationParameters") or {}
    is_overwrite = str(parameters.get("mode", "")).lower() == "overwrite"
    is_whole = str(parameters.get("predicate") or "[]") in ("[]", "null")
    return CLEARED in note or (is_overwrite and is_whole and "revises" not in note)


def _is_as_before(path: str, first: int, newest: int) -> bool:
    """Tell whether the table holds the files that it held before another program's first commit (RESTORE).

    Where a compaction lies between, the files before it are as good: they held the same rows.
    """
    if not all(_is_foreign(path, v) or not changes_rows(path, v) for v in _versions(path, first - 1, newest)):
        return False
    now = set(open_table(path, version=newest).file_uris())
    for version in range(first - 1, -1, -1):
        try:
            if set(open_table(path, version=version).file_uris()) == now:
                return True
        except DeltaError:
            return False
        if not has_entry(path, version) or changes_rows(path, version):
            return False
    return False
