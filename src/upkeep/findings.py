"""What is wrong with a lake: each finding says what, where, what it means for the answers, and the line to type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

KINDS = frozenset(
    {
        "java", "spark", "jars", "disk", "rights", "clock", "secret",
        "log_entry", "log_broken", "log_gap", "log_checkpoint",
        "table_gone", "table_older", "file_gone", "foreign_rows",
        "publication_damaged", "publication_gone", "publication_kept_gone",
        "checkpoint_ahead", "landing_moved", "landing_other", "landing_gone", "landing_unread",
        "dead_lock", "dead_pid",
    }
)  # fmt: skip
"""Every kind of damage; docs/runbook.md has an entry for each."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    """One of KINDS."""
    where: str
    what: str
    means: str
    """What it means for the answers."""
    line: str
    """What to type."""
    stops: bool = False
    """Whether a batch and the stream refuse to start over it."""
    mend: Callable[[], str] | None = field(default=None, compare=False, repr=False)
    """Mends it and says what was done; loses nothing, may be done again. None where a person must decide."""

    def __post_init__(self) -> None:
        """Check that the kind is one that the runbook explains."""
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind}: no such kind of finding")

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.means}. Type: {self.line}"
