"""The state of a lake as plain data, and what is wrong with it, each with what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..alerts.state import alerts_state
from ..common.clock import spoken_age
from ..common.config import Config
from ..common.lake.duck import connected
from ..common.lake.locks import lock_holder
from ..common.names import JOB_RUNS, LANDED
from ..common.publication import published
from .background import stream_state
from .overdue import is_night_missing
from .record import reconciliation

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
State = dict[str, Any]
_ROWS = 1500
_ODD_FILES = """
WITH newest AS (
    FROM landed SELECT *, row_number() OVER (PARTITION BY path ORDER BY ingested_at DESC) = 1 AS is_newest_of_path)
SELECT * FROM newest WHERE (status = 'refused' AND is_newest_of_path) OR (status = 'ingested' AND drift IS NOT NULL)
ORDER BY ingested_at, path
"""


def gather(config: Config, now: datetime) -> dict[str, Any]:
    """Return the state of the lake as plain data; `problems` lists what is wrong, each with what to do."""
    rows = _newest_rows(config)
    runs = sorted(
        (row for row in rows if row["step"] in ("run", "stream")), key=lambda row: row["started_at"], reverse=True
    )
    batches = [_run(row) for row in runs if row["step"] == "run"]
    landed = _landed(config)
    publication = published(config.lake)
    found: dict[str, Any] = {
        "lake": str(config.lake.root),
        "now": now.isoformat(timespec="seconds"),
        "locks": {name: lock_holder(config.lake, name) for name in ("batch", "stream", "serving")},
        "stream": stream_state(config, now),
        "last_runs": [_run(row) for row in runs[:5]],
        "last_batch": next(iter(batches), None),
        "last_stream": next((_run(row) for row in runs if row["step"] == "stream"), None),
        "last_good_batch": next((run for run in batches if run["status"] == "done"), None) or _last_good(config),
        "cut_off": _cut_off(rows, runs, lock_holder(config.lake, "batch")),
        "publication": {
            "run_id": publication.run_id,
            "published_at": publication.published_at,
            "tables": len(publication.tables),
        },
        "freshness": [_freshness(config, name, now) for name, t in config.registry.tables.items() if t.freshness],
        "reconciliation": reconciliation(config),
        "open_quarantine": _open_quarantine(config),
        "refused_files": [{"path": r["path"], "reason": r["reason"]} for r in landed if r["status"] == "refused"],
        "alerts": alerts_state(config, now, ["open", "acknowledged"]),
        "drift": _drift(config, landed),
    }
    found["problems"] = problems(found, now)
    return found


def _run(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("run_id", "step", "status", "started_at", "seconds", "error")}


def _freshness(config: Config, table: str, now: datetime) -> dict[str, Any]:
    freshness = config.registry[table].freshness
    assert freshness is not None
    newest = config.lake.newest(table, freshness.column)
    age = (now - newest).total_seconds() / 3600 if newest else None
    return {
        "table": table,
        "newest": newest,
        "age_hours": round(age, 1) if age is not None else None,
        "max_age_hours": freshness.max_age_hours,
        "stale": age is None or age > freshness.max_age_hours,
    }


def _newest_rows(config: Config) -> list[dict[str, Any]]:
    """Return what the newest runs recorded, as far back as some dozens of batch runs."""
    least = config.lake.least_of_newest(JOB_RUNS, "run_id", _ROWS)
    columns = ["run_id", "step", "status", "started_at", "seconds", "error"]
    return [] if least is None else config.lake.rows(JOB_RUNS, columns, [("run_id", ">=", least)])


def _last_good(config: Config) -> dict[str, Any] | None:
    """Return the newest batch run that ended well, however long ago."""
    rows = config.lake.rows(JOB_RUNS, filters=[("step", "=", "run"), ("status", "=", "done")])
    return max(map(_run, rows), key=lambda run: run["started_at"], default=None)


def _open_quarantine(config: Config) -> dict[str, int]:
    tables = config.registry.layer("quarantine")
    counts = {table.short_name: config.lake.count(table.name, "status", ["open"]) for table in tables}
    return {name: count for name, count in counts.items() if count}


def _landed(config: Config) -> list[dict[str, Any]]:
    """Return the newest row of each file that was refused or whose columns are not those declared, by path."""
    if not config.lake.exists(LANDED):
        return []
    columns = ["source", "path", "status", "reason", "drift", "snapshot_at", "ingested_at", "run_id"]
    exports = [("source", "!=", "usage_events")]  # of event files, which are many, none is refused or has columns
    landed = config.lake.read_small(LANDED, columns=columns, filters=exports)
    with connected(landed=landed) as connection:
        rows: list[dict[str, Any]] = connection.sql(_ODD_FILES).to_arrow_table().to_pylist()
    return rows


def _drift(config: Config, landed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest file of each source whose columns are not those declared, and how they differ."""
    files = [row for row in landed if row["status"] == "ingested" and row["drift"]]
    newest = {row["source"]: row for row in sorted(files, key=lambda row: (row["snapshot_at"], row["ingested_at"]))}
    since = min((row["run_id"] for row in newest.values()), default=None)  # silver may have taken the file in a later run
    columns = ["started_at", "ended_at", "detail"]
    steps = config.lake.rows(JOB_RUNS, columns, [("run_id", ">=", since)]) if since is not None else []
    retyped: dict[str, list[str]] = {}
    for step in sorted(steps, key=lambda step: step["started_at"] or step["ended_at"] or EPOCH):
        for path, columns in (json.loads(step["detail"] or "{}").get("retyped") or {}).items():
            retyped[path] = sorted(columns)
    found = []
    for source, row in sorted(newest.items()):
        drift = json.loads(row["drift"]) | {"retyped": retyped.get(row["path"], [])}
        if any(drift.values()):
            found.append({"source": source, "path": row["path"], **drift})
    return found


def _cut_off(
    rows: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]], holder: Mapping[str, Any] | None
) -> str | None:
    """Return the newest run that began steps, never ended, is not running, and was followed by no batch that ended."""
    ended = {row["run_id"] for row in runs}
    begun = sorted({row["run_id"] for row in rows} - ended - {(holder or {}).get("run_id")})
    last = next((run["run_id"] for run in runs if run["step"] == "run"), None)
    return begun[-1] if begun and (last is None or begun[-1] > last) else None


def problems(found: State, now: datetime) -> list[str]:
    """Return what is wrong with a state, in the order that people should look, each with what to do."""
    looks = (_of_runs, _of_the_stream, _of_the_publication, _of_freshness, _of_reconciliation, _of_alerts, _of_files)
    return [problem for look in looks for problem in look(found, now)]


def _of_runs(found: State, now: datetime) -> Iterator[str]:
    last = found["last_batch"]
    if last is None:
        yield "no batch run has ended on this lake yet: scripts/run_batch_pipeline.sh"
    elif last["status"] == "failed":
        yield f"the last batch run {last['run_id']} failed: {last['error']}. Mend it and run scripts/run_batch_pipeline.sh"
    if found["cut_off"]:
        yield f"run {found['cut_off']} was cut off before its end; scripts/run_batch_pipeline.sh goes on where it stopped"


def _of_the_stream(found: State, now: datetime) -> Iterator[str]:
    last = found["last_stream"]
    if found["stream"]["problem"]:
        yield found["stream"]["problem"]
    elif last is not None and last["status"] == "failed" and not found["locks"]["stream"]:
        yield f"the last stream run {last['run_id']} failed: {last['error']}. Mend it, then scripts/run_streaming_pipeline.sh once"


def _of_the_publication(found: State, now: datetime) -> Iterator[str]:
    published_at = found["publication"]["published_at"]
    if not published_at:
        yield "nothing is published yet: scripts/run_batch_pipeline.sh"
        return
    age = (now - datetime.fromisoformat(published_at).astimezone(UTC)).total_seconds() / 3600
    if is_night_missing(found, now):
        yield f"the publication is {spoken_age(age)} old: scripts/run_batch_pipeline.sh, and scripts/setup_cron.sh status"


def _of_freshness(found: State, now: datetime) -> Iterator[str]:
    for row in found["freshness"]:
        if row["stale"]:
            limit = f"limit {row['max_age_hours']:g} h"
            what = "holds nothing" if row["age_hours"] is None else f"ends {spoken_age(row['age_hours'])} ago ({limit})"
            yield f"{row['table']} {what}: check that the feed still delivers, then scripts/run_streaming_pipeline.sh once"


def _of_reconciliation(found: State, now: datetime) -> Iterator[str]:
    for row in found["reconciliation"]:
        if not row["holds"]:
            yield f"{row['table']}: landed is not accepted + quarantined + duplicates; do not trust this table, run --full-reload"


def _of_alerts(found: State, now: datetime) -> Iterator[str]:
    untold = [row for row in found["alerts"] if row["still_to_tell"]]
    if untold:
        targets = ", ".join(sorted({target for row in untold for target in row["still_to_tell"]}))
        yield f"{len(untold)} alert(s) could not be delivered to {targets}: cloudlake alerts resend says why"


def _of_files(found: State, now: datetime) -> Iterator[str]:
    for file in found["refused_files"]:
        yield f"{file['path']} was refused: {file['reason']}; deliver it again corrected"
