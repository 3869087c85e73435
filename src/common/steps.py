"""What a step of a run reports, and what a dry run expects to change."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from datetime import date
from typing import Any


@dataclass
class StepResult:
    """What a step did: rows read, written and refused, and a line for the summary where there is something to say."""

    rows_in: int = 0
    rows_out: int = 0
    quarantined: int = 0
    duplicates: int = 0
    skipped: bool = False
    bytes_written: int = 0
    message: str = ""
    fault: str = ""
    """Something was refused that a person must mend; the step counts as failed, and what depends on it goes on."""
    detail: dict[str, Any] = field(default_factory=dict)


Expected = dict[str, Set[date] | None]
"""Tables that a run is expected to change, with the days concerned (None: any)."""
