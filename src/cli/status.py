"""What an operator asks at 3 a.m.: what runs, what is stale, what is wrong, and what to type."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from ..common.config import Config
from ..common.lake.locks import lock_holder
from ..common.publication import published
from . import alerts as alerts_page
from . import stream as stream_service
from . import tables as console

PUBLICATION_MAX_AGE_HOURS = 36.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def gather(config: Config, now: datetime) -> dict[str, Any]:
    """Return the state of the lake as plain data; `problems` lists what is wrong, each with what to do."""
    rows = config.lake.rows("ops.job_runs")
    runs = sorted(
        (row for row in rows if row["step"] in ("run", "stream")), key=lambda row: row["started_at"], reverse=True
    )
    publication = published(config.lake)
    found: dict[str, Any] = {
        "lake": str(config.lake.root),
        "now": now.isoformat(timespec="seconds"),
        "locks": {name: lock_holder(config.lake, name) for name in ("batch", "stream", "serving")},
        "stream": stream_service.gather(config, now),
        "last_runs": [_run(row) for row in runs[:5]],
        "publication": {
            "run_id": publication.run_id,
            "published_at": publication.published_at,
            "tables": len(publication.tables),
        },
        "freshness": [_freshness(config, name, now) for name, t in config.registry.tables.items() if t.freshness],
        "reconciliation": console.reconciliation(config),
        "open_quarantine": _open_quarantine(config),
        "refused_files": _refused_files(config),
        "alerts": alerts_page.gather(config, now, ["open", "acknowledged"]),
        "drift": _drift(config, rows),
    }
    found["problems"] = list(_problems(found, rows, now))
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


def _open_quarantine(config: Config) -> dict[str, int]:
    counts = {}
    for table in config.registry.layer("quarantine"):
        rows = config.lake.rows(table.name, ["status"])
        counts[table.short_name] = sum(row["status"] == "open" for row in rows)
    return {name: count for name, count in counts.items() if count}


def _refused_files(config: Config) -> list[dict[str, str]]:
    newest: dict[str, dict[str, Any]] = {}
    for row in sorted(config.lake.rows("ops.landed_files"), key=lambda row: row["ingested_at"]):
        newest[row["path"]] = row
    return [{"path": path, "reason": row["reason"]} for path, row in newest.items() if row["status"] == "refused"]


def _drift(config: Config, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest file of each source whose columns are not those declared, and how they differ."""
    files = [row for row in config.lake.rows("ops.landed_files") if row["status"] == "ingested" and row["drift"]]
    newest = {row["source"]: row for row in sorted(files, key=lambda row: (row["snapshot_at"], row["ingested_at"]))}
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


def _problems(found: dict[str, Any], rows: list[dict[str, Any]], now: datetime) -> Any:
    batches = [run for run in found["last_runs"] if run["step"] == "run"]
    if not batches:
        yield "no batch run has ended on this lake yet: scripts/run_batch_pipeline.sh"
    elif batches[0]["status"] == "failed":
        yield f"the last batch run {batches[0]['run_id']} failed: {batches[0]['error']}. Mend it and run scripts/run_batch_pipeline.sh"
    ended = {row["run_id"] for row in rows if row["step"] in ("run", "stream")}
    holder = found["locks"]["batch"] or {}
    begun = sorted({row["run_id"] for row in rows} - ended - {holder.get("run_id")})
    if begun and (not batches or begun[-1] > batches[0]["run_id"]):
        yield f"run {begun[-1]} was cut off before its end; scripts/run_batch_pipeline.sh goes on where it stopped"
    if found["stream"]["problem"]:
        yield found["stream"]["problem"]
    published_at = found["publication"]["published_at"]
    if published_at:
        age = (now - datetime.fromisoformat(published_at).astimezone(UTC)).total_seconds() / 3600
        last_ok = next((run for run in batches if run["status"] == "done"), None)
        ran = (now - last_ok["started_at"]).total_seconds() / 3600 if last_ok else age
        if min(age, ran) > PUBLICATION_MAX_AGE_HOURS:
            yield f"the publication is {age:.0f} h old: scripts/run_batch_pipeline.sh, and scripts/setup_cron.sh status"
    else:
        yield "nothing is published yet: scripts/run_batch_pipeline.sh"
    for row in found["freshness"]:
        if row["stale"]:
            what = (
                "holds nothing"
                if row["age_hours"] is None
                else f"ends {row['age_hours']:,.0f} h ago (limit {row['max_age_hours']:g} h)"
            )
            yield f"{row['table']} {what}: check that the feed still delivers, then scripts/run_streaming_pipeline.sh once"
    for row in found["reconciliation"]:
        if not row["holds"]:
            yield f"{row['table']}: landed is not accepted + quarantined + duplicates; do not trust this table, run --full-reload"
    untold = [row for row in found["alerts"] if row["still_to_tell"]]
    if untold:
        targets = ", ".join(sorted({target for row in untold for target in row["still_to_tell"]}))
        yield f"{len(untold)} alert(s) could not be delivered to {targets}: cloudlake alerts resend says why"
    for file in found["refused_files"]:
        yield f"{file['path']} was refused: {file['reason']}; deliver it again corrected"


def show(found: dict[str, Any]) -> None:
    """Print the state for people: problems first."""
    out = Console()
    if not out.is_terminal:
        out = Console(width=160)
    out.print(f"[bold]cloudlake[/] {found['lake']}  {found['now']}", highlight=False)
    for problem in found["problems"]:
        out.print(f"[bold red]![/] {problem}", highlight=False)
    if not found["problems"]:
        out.print("[green]Nothing is wrong.[/]")
    for name, holder in found["locks"].items():
        if holder is not None:
            out.print(
                f"{name} is running: process {holder.get('pid')}, run {holder.get('run_id')}, since {holder.get('since')}"
            )
    for line in stream_service.lines(found["stream"]):
        out.print(line, highlight=False)
    publication = found["publication"]
    if publication["run_id"]:
        out.print(
            f"In force: {publication['tables']} gold tables of run {publication['run_id']}, published {publication['published_at']}"
        )
    runs = Grid("run", "what", "status", "started", "seconds", title="Last runs", title_justify="left")
    for row in found["last_runs"]:
        what = "batch" if row["step"] == "run" else row["step"]
        style = console.STYLES.get(row["status"], "")
        runs.add_row(
            row["run_id"],
            what,
            f"[{style}]{row['status']}[/]",
            f"{row['started_at']:%Y-%m-%d %H:%M:%S}",
            f"{row['seconds']:.1f}",
        )
    fresh = Grid("table", "newest", "age, h", "limit, h", "fresh", title="Freshness", title_justify="left")
    for row in found["freshness"]:
        mark = "[bold red]no[/]" if row["stale"] else "[green]yes[/]"
        fresh.add_row(
            row["table"], str(row["newest"] or ""), f"{row['age_hours'] or 0:,.1f}", f"{row['max_age_hours']:g}", mark
        )
    console.print_grids(runs, fresh, console.reconciliation_grid(found["reconciliation"], "Where every record went"))
    if found["alerts"]:
        console.print_grids(alerts_page.grid(found["alerts"]))
    for row in found["drift"]:
        parts = [f"{kind} {', '.join(row[kind])}" for kind in ("new", "missing", "retyped") if row[kind]]
        parts += [f"'{delivered}' kept as {name}" for delivered, name in row.get("renamed", {}).items()]
        parts += [f"{row['not_text']} row(s) hold what is no {row['encoding']} text"] if row.get("not_text") else []
        out.print(f"Columns of {row['path']} differ from conf/: {'; '.join(parts)}", highlight=False)
    if found["open_quarantine"]:
        counts = ", ".join(f"{name} {count}" for name, count in found["open_quarantine"].items())
        out.print(f"Open in quarantine: {counts}", highlight=False)
