"""Counts what was written: rows and what is to become of each of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .options import Options

NAME = "manifest.json"


@dataclass
class Tally:
    """The truth about a source or one delivery of it; rows = accepted + duplicates + quarantined."""

    files: int = 0
    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)

    def accept(self, flags: Iterable[str] = ()) -> None:
        """A row that is accepted, with its flags."""
        self.rows += 1
        self.accepted += 1
        self.flags.update(flags)

    def repeat(self) -> None:
        """A row that repeats another one."""
        self.rows += 1
        self.duplicates += 1

    def refuse(self, reason: str) -> None:
        """A row that is quarantined."""
        self.rows += 1
        self.quarantined += 1
        self.reasons[reason] += 1

    def add(self, other: Tally) -> None:
        """All counts of another tally on top."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)

    def entry(self) -> dict[str, Any]:
        """As it stands in the manifest; what nothing was counted for is left out of the inner mappings."""
        return {
            name: dict(sorted(count.items())) if isinstance(count, dict) else count
            for name, count in vars(self).items()  # asdict would count a Counter's pairs
        }


def write(folder: Path, options: Options, sources: dict[str, Any]) -> None:
    """Write the manifest: the generator's options and the truth about each source."""
    settings = asdict(options)
    manifest = {
        "generator": {"seed": settings.pop("seed"), "options": settings},
        "first_day": options.first_day.isoformat(),
        "last_day": options.last_day.isoformat(),
        "flat_snapshot_at": options.flat_snapshot_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "note": (
            "Injected rows are within the number of rows asked for, not on top. Of two lines that share "
            "an event_id and differ, one is accepted and one quarantined, in whatever order they arrive. "
            "flags count accepted rows only."
        ),
        "sources": sources,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=False) + "\n"
    (folder / NAME).write_text(text, encoding="utf-8")
