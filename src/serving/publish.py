"""Publication: which version of each gold table readers see, changed for all tables at once by one atomic replace."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.config import Config
from ..common.errors import CloudlakeError
from ..common.faults import crash_point
from ..common.lake import Lake
from ..common.runs import StepResult, now_utc


@dataclass(frozen=True)
class Publication:
    """What is in force: table → version, load_id and run, and the run that published it."""

    run_id: str
    published_at: str
    tables: dict[str, dict[str, Any]]

    def version(self, table: str) -> int | None:
        """Return the published version of a table, None where it has none."""
        entry = self.tables.get(table)
        return int(entry["version"]) if entry else None

    def load_id(self, table: str) -> int:
        """Return the largest load_id of silver.usage_events that the published table has seen, 0 where it has none."""
        entry = self.tables.get(table)
        return int(entry["load_id"]) if entry else 0


def _file(lake: Lake) -> Path:
    return lake.root / "published.json"


def published(lake: Lake) -> Publication:
    """Return the publication in force, an empty one where nothing has been published yet.

    Raises:
        CloudlakeError: published.json is damaged.
    """
    path = _file(lake)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Publication(content["run_id"], content["published_at"], content["tables"])
    except FileNotFoundError:
        return Publication("", "", {})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise CloudlakeError(
            f"{path}: damaged ({error}); run scripts/run_batch_pipeline.sh --jobs gold to publish anew"
        ) from None


def publish(config: Config, run_id: str) -> StepResult:
    """Put the newest version of every gold table in force, in one atomic replace; a no-op where nothing changed."""
    tables: dict[str, dict[str, Any]] = {}
    for table in config.registry.layer("gold"):
        if config.lake.exists(table.name):
            note = config.lake.last_note(table.name)
            tables[table.name] = {
                "version": config.lake.version(table.name),
                "load_id": note.get("load_id", 0),
                "run_id": note.get("run_id"),
                "as_of": note.get("as_of"),
            }
    if published(config.lake).tables == tables:
        return StepResult(skipped=True, message="nothing new to publish")
    crash_point("before_publish")
    content = {"run_id": run_id, "published_at": now_utc().isoformat(timespec="seconds"), "tables": tables}
    _replace(_file(config.lake), json.dumps(content, indent=2, sort_keys=True))
    crash_point("after_publish")
    return StepResult(rows_out=len(tables), message=f"{len(tables)} tables in force")


def _replace(path: Path, text: str) -> None:
    scratch = path.with_suffix(".tmp")
    with scratch.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(scratch, path)
