"""Damaged logs of the lake's tables, with what each means and what mends it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime

from ..common.config import Config
from ..common.lake.damage import Damage, log_damage, set_files_aside
from .findings import Finding

BATCH = "scripts/run_batch_pipeline.sh"
MEANS = {
    "bronze": "What landed may be missing from every answer until it is read again",
    "silver": "Answers lack rows, or can't be made, until it is made anew from bronze",
    "quarantine": "Refused rows may be missing from what cloudlake quarantine show and replay find",
    "gold": "What is published may lack rows, or can't be read, until it is made anew from silver",
    "speed": "Answers of this minute may be wrong until it is made anew from silver",
    "serving": "Served answers may be wrong until they are made anew from gold",
    "ops": "What the platform recorded of itself has a hole; no answer is wrong by it",
}
"""Layer → what damage to one of its tables means for the answers."""
KINDS = {"last_entry": "log_entry", "entry": "log_broken", "gap": "log_gap", "checkpoint": "log_checkpoint"}


def damaged_logs(config: Config, tables: Iterable[str], now: datetime, *, thorough: bool) -> list[Finding]:
    """Return a finding for each table whose log is damaged."""
    found = (log_damage(config.lake, table, thorough=thorough) for table in tables)
    return [_finding(config, damage, f"{now:%Y%m%dT%H%M%SZ}") for damage in found if damage is not None]


def _finding(config: Config, damage: Damage, stamp: str) -> Finding:
    lake, layer = config.lake, damage.table.partition(".")[0]
    if not damage.is_mendable:
        path, aside = lake.path(damage.table), lake.storage.at("aside")
        away = shlex.join(["mkdir", "-p", aside]) + " && " + shlex.join(["mv", path, f"{aside}/{damage.table}-{stamp}"])
        line = f"{away} && {BATCH}"
        means = f"{MEANS[layer]}; no version after it can be trusted, so the table is made anew"
        return Finding(KINDS[damage.kind], damage.table, damage.what, means, line, stops=True)

    def mend() -> str:
        aside = set_files_aside(lake, damage, stamp)
        return f"{damage.table}: {', '.join(damage.files)} moved to {aside}"

    if damage.kind == "checkpoint":
        means = "No answer is wrong by it: the entries before it are all there; readers may fail"
        return Finding(KINDS[damage.kind], damage.table, damage.what, means, "cloudlake doctor --fix", True, mend)
    means = f"{MEANS[layer]}: the rows of that commit are lost, and its run is repeated"
    line = f"cloudlake doctor --fix && {BATCH}"
    return Finding(KINDS[damage.kind], damage.table, damage.what, means, line, True, mend)
