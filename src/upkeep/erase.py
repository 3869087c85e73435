"""A person taken out of the lake: rows, history, memory, refusals, old files, log entries, reports; and the proof of it.

Marts hold sums and no persons: they stay as they are. What of the person is in the landing zone is named, not touched.

The order makes a crash harmless: first the record (by keyed hashes, from then on landing can't bring the person back),
last bronze, which says what addresses the person had. Begun and not done, it goes on where it was.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from ..common import erasure
from ..common.config import Config
from ..common.contracts.derived import memory_name
from ..common.errors import CloudlakeError, ConfigurationError
from ..common.faults import crash_point
from ..common.lake import pruning
from ..common.lake.duck import connected, literal_path, text_of
from ..common.lake.entries import log_of
from ..common.lake.log import data_files, has_deletion_vectors, last_note
from ..common.lake.opening import open_table
from ..common.lake.small import noted, table_lock
from ..common.lake.storage import for_sql
from ..common.lake.stores import is_remote
from ..common.lake.tables import committing
from ..common.scd2.memory import last_applied
from . import traces

BRONZE, SILVER, REFUSED = "bronze.users", "silver.users", "quarantine.users"
MEMORY = memory_name(SILVER)
_LEAST = 5
"""A text that is shorter is looked for nowhere: it would be found everywhere."""
_TRIMMED = r"regexp_replace(user_id, '^\s+|\s+$', '', 'g')"


@dataclass
class Erasure:
    """What was found of a person, what was done, and where something is left."""

    rows: dict[str, int] = field(default_factory=dict)
    """Table → rows of the person."""
    files: int = 0
    """Old data files and log entries that went."""
    masked: list[str] = field(default_factory=list)
    """Files beside the tables in which an address was written over."""
    left: list[str] = field(default_factory=list)
    """Files of the lake that still hold an address; [] when all is well."""
    landing: list[str] = field(default_factory=list)
    """Files of the landing zone that hold the person: a person has to see to them."""
    was_erased: bool = False


@dataclass(frozen=True)
class _Person:
    """What the lake knows of a person: SQL conditions by table, without an address, and addresses."""

    user: str
    addresses: frozenset[str]
    rows: Mapping[str, int]
    where: Mapping[str, str]
    deliveries: Counter[str]


def erase(
    config: Config, user: str, session: Callable[[], SparkSession], now: datetime, run_id: str, *, dry_run: bool = False
) -> Erasure:
    """Take a person out of the lake; the caller holds the batch lock.

    Args:
        config: the lake and the landing zone.
        user: the person's user_id.
        session: gives a Spark session, for tables whose rows are deleted within files.
        now: the time.
        run_id: the run.
        dry_run: only say what is there.

    Raises:
        ConfigurationError: nobody of that id is known, or the lake or the landing zone is in an object store.
    """
    _require_a_disk(config)
    erasure.erased_in(config)  # by this key, and no other
    person, known = _find(config, user), config.lake.rows(erasure.ERASURES)
    if not person.rows and not known:
        raise _nobody(config, user)
    secret = b"" if dry_run and not known else erasure.secret_of(config, make=not dry_run)
    row = erasure.erasure_row(secret, user, person.addresses, person.deliveries, "begun", run_id=run_id, at=now)
    past = [one["status"] for one in known if one["erasure_id"] == row["erasure_id"]]
    is_open = past.count("begun") > past.count("done")
    if not person.rows and not past:
        raise _nobody(config, user)
    found = Erasure(dict(person.rows), was_erased=bool(past) and not is_open and not person.rows)
    if not dry_run and not found.was_erased:
        if not is_open:
            config.lake.append_small([row], config.registry[erasure.ERASURES], {"run_id": run_id})
        crash_point("erase_after_record")
        _take_out_everywhere(config, person, session, run_id, found)
    found.left = _holding(config, person)
    found.landing = _in_landing(config, person)
    if not dry_run and not found.was_erased and not found.left:
        done = row | {"status": "done", "deliveries": "{}"}
        config.lake.append_small([done], config.registry[erasure.ERASURES], {"run_id": run_id})
    return found


def _require_a_disk(config: Config) -> None:
    for root in (config.lake.root, config.landing):
        if is_remote(root):
            raise ConfigurationError(
                f"{root}: a person is erased from a lake and a landing zone on a disk only, so far: every file is looked through, and "
                "a bucket may keep versions of what was deleted. Nothing was changed"
            )


def _nobody(config: Config, user: str) -> ConfigurationError:
    return ConfigurationError(f"--user {user}: nobody of that id is known in {config.lake.root}; nothing was changed")


def _take_out_everywhere(
    config: Config, person: _Person, session: Callable[[], SparkSession], run_id: str, found: Erasure
) -> None:
    for name in (SILVER, MEMORY, REFUSED, BRONZE):
        if name == BRONZE:
            _sweep(config, person, found)
        if config.lake.exists(name):
            _take_out(config, name, person, session, run_id)
            crash_point(f"erase_within_{name}")
            found.files += _only_newest(config.lake.path(name), name, run_id)


# --- what is known of the person ----------------------------------------------------------------------------------


def _find(config: Config, user: str) -> _Person:
    lake = config.lake
    addresses: set[str] = set()
    rows: dict[str, int] = {}
    where: dict[str, str] = {}
    deliveries: Counter[str] = Counter()
    for name in (SILVER, MEMORY):
        found = _select(config, name, "user_id = $user", user=user) if lake.exists(name) else []
        if found:
            rows[name], where[name] = len(found), f"user_id = {text_of(user)}"
            addresses |= _addresses(row["email"] for row in found)
    if lake.exists(REFUSED):
        refused = [row for row in lake.rows(REFUSED, ["quarantine_id", "payload"]) if _is_of(row["payload"], user)]
        addresses |= {one for row in refused for one in erasure.addresses_in(row["payload"])}
    if lake.exists(BRONZE):
        own = _select(config, BRONZE, f"{_TRIMMED} = $user", user=user)
        addresses |= _addresses(row.get("email") for row in own)
        lines = _select(config, BRONZE, "_corrupt_record IS NOT NULL")
        own += [
            row for row in lines if row not in own and addresses & set(erasure.addresses_in(row["_corrupt_record"]))
        ]
        if own:
            rows[BRONZE], where[BRONZE] = len(own), _of_bronze(own)
            deliveries.update("@".join((r["_source_file"], r["_source_sha256"], r["_run_id"])) for r in own)
    if lake.exists(REFUSED):
        ids = [
            row["quarantine_id"]
            for row in lake.rows(REFUSED, ["quarantine_id", "payload"])
            if _is_of(row["payload"], user) or addresses & set(erasure.addresses_in(row["payload"] or ""))
        ]
        if ids:
            rows[REFUSED], where[REFUSED] = len(ids), f"quarantine_id IN ({', '.join(map(text_of, ids))})"
    return _Person(user, frozenset(addresses), rows, where, deliveries)


def _select(config: Config, name: str, condition: str, **given: str) -> list[dict[str, Any]]:
    """Return the rows of a table that satisfy a condition, from its files: Arrow compares no text that delta-rs has changed."""
    files = [literal_path(file) for file in data_files(open_table(config.lake.path(name)), config.lake.path(name))]
    if not files:
        return []
    with connected() as connection:
        connection.read_parquet(files, union_by_name=True).create_view("rows")
        found = connection.sql(f"SELECT * FROM rows WHERE {condition}", params=given or None)
        rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
    return rows


def _addresses(texts: Iterable[str | None]) -> set[str]:
    """Return the addresses among cells of an address column, and cells that are none but mean one."""
    cells = {text.strip().lower() for text in texts if text and "@" in text}
    return {cell for cell in cells if len(cell) >= _LEAST} | {
        one for cell in cells for one in erasure.addresses_in(cell)
    }


def _is_of(payload: str | None, user: str) -> bool:
    try:
        content = json.loads(payload or "null")
    except ValueError:
        return False
    return isinstance(content, dict) and str(content.get("user_id") or "").strip() == user


def _of_bronze(rows: list[dict[str, Any]]) -> str:
    keys = sorted({row["user_id"] for row in rows if row["user_id"] is not None})
    lines = sorted({row["_corrupt_record"] for row in rows if row["_corrupt_record"] is not None})
    parts = [f"user_id IN ({', '.join(map(text_of, keys))})"] if keys else []
    parts += [f"_corrupt_record IN ({', '.join(map(text_of, lines))})"] if lines else []
    return " OR ".join(parts)


# --- out of tables ------------------------------------------------------------------------------------------------


def _take_out(config: Config, name: str, person: _Person, session: Callable[[], SparkSession], run_id: str) -> None:
    """Delete the person's rows of a table in one commit; its entry in the log goes with the old files."""
    if name not in person.where:
        return
    path = config.lake.path(name)
    note = _carried(path, name) | {"run_id": run_id}
    if has_deletion_vectors(open_table(path, without_files=True)):
        with committing(session(), path, note):
            session().sql(f"DELETE FROM {for_sql(path)} WHERE {person.where[name]}")
            session().sql(f"REORG TABLE {for_sql(path)} APPLY (PURGE)")
    else:
        config.lake.delete(name, person.where[name], note)


def _carried(path: str, name: str) -> dict[str, Any]:
    """Return what later notes must still say: which telling a history has taken. What bronze's commits held is said once."""
    if name == BRONZE:
        return {}
    note = last_note(path)
    return note | ({"told": told} if name == SILVER and (told := last_applied(path)) >= 0 else {})


def _only_newest(path: str, name: str, run_id: str) -> int:
    """Leave of a table its newest version alone: no file, no statistics and no condition of before; returns what went."""
    with table_lock(path):
        schema = pa.schema(open_table(path, without_files=True).schema().to_arrow())
        note = _carried(path, name) | {"run_id": run_id, "erased": True}
        write_deltalake(path, schema.empty_table(), mode="append", commit_properties=noted(note))
        open_table(path).create_checkpoint()
    pruned = pruning.find_all_but_newest(path)
    pruning.let_go(path, pruned)
    for file in log_of(path).glob("*.tmp"):
        file.unlink(missing_ok=True)
    return len(pruned.files) + len(pruned.entries)


# --- everywhere else ----------------------------------------------------------------------------------------------


def _sweep(config: Config, person: _Person, found: Erasure) -> None:
    """Take the addresses out of what is no table of persons: copies put aside, old versions, logs, reports, pages."""
    if not person.addresses:
        return
    wanted = traces.pattern_of(person.addresses)
    root = config.lake.root
    own = {Path(config.lake.path(name)) for name in (BRONZE, SILVER, MEMORY, REFUSED)}
    for folder in sorted(_tables_below(root) - own):
        if not any(traces.holds(file, wanted) for file in traces.files_below(folder)):
            continue
        if folder.is_relative_to(root / "aside"):
            shutil.rmtree(folder)
            found.masked.append(str(folder.relative_to(root)))
        else:
            found.files += _out_of_another_table(str(folder), wanted)
    tables = _tables_below(root)
    for file in _files_of_the_lake(config):
        if not any(file.is_relative_to(table) for table in tables) and traces.holds(file, wanted):
            traces.mask(file, wanted)
            found.masked.append(str(file.relative_to(root)))


def _tables_below(root: Path) -> set[Path]:
    return {log.parent for log in root.rglob("_delta_log") if log.is_dir()}


def _out_of_another_table(path: str, wanted: re.Pattern[bytes]) -> int:
    """Let the old versions of a table go, where only they hold an address; one that its rows hold is told at the end."""
    pruned = pruning.find_all_but_newest(path)
    files = tuple(file for file in pruned.files if traces.holds(file, wanted))
    entries = pruned.entries if any(traces.holds(file, wanted) for file in pruned.entries) else ()
    pruning.let_go(path, pruning.Pruned(files, entries))
    return len(files) + len(entries)


def _holding(config: Config, person: _Person) -> list[str]:
    """Return the files of the lake that hold an address of the person."""
    if not person.addresses:
        return []
    wanted, root = traces.pattern_of(person.addresses), config.lake.root
    return [str(file.relative_to(root)) for file in _files_of_the_lake(config) if traces.holds(file, wanted)]


def _files_of_the_lake(config: Config) -> list[Path]:
    """Return every file of the lake; the landing zone may lie within it, and is its owners' own."""
    return [file for file in traces.files_below(config.lake.root) if not file.is_relative_to(config.landing)]


def _in_landing(config: Config, person: _Person) -> list[str]:
    """Return the files of the landing zone that name the person, by an address or by key."""
    if not config.landing.is_dir():
        return []
    key = re.compile(rb"(?<![\w-])" + re.escape(person.user.encode()) + rb"(?![\w-])")
    wanted = [traces.pattern_of(person.addresses)] if person.addresses else []
    named = [file for file in traces.files_below(config.landing) if any(traces.holds(file, p) for p in [*wanted, key])]
    return [str(file.relative_to(config.landing)) for file in named]


def require_gone(found: Erasure, config: Config) -> None:
    """Check that nothing is left.

    Raises:
        CloudlakeError: naming each file that still holds an address.
    """
    if found.left:
        raise CloudlakeError(
            f"an address of the person is still in {len(found.left)} file(s) of {config.lake.root}: {', '.join(found.left[:20])}. "
            "Rows of another person, or lines of another source, hold it: take it out where they come from, then erase again"
        )
