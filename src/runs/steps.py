"""A step of a run, and the record of how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ..common.steps import Expected, StepResult


@dataclass(frozen=True)
class Step:
    """One node of a run: the table it makes, the steps it needs, and what it does."""

    name: str
    needs: tuple[str, ...]
    """Steps that must not have failed."""
    run: Callable[[], StepResult]
    plan: Callable[[Expected], str] = lambda expected: "runs"
    """Says what the step would do, without doing it, and notes what it would change."""
    waits: tuple[str, ...] = ()
    """Steps that must have ended, however they ended."""
    closing: bool = False
    """Runs only where no step of the run has failed."""


@dataclass
class StepRecord:
    """How a step of a run ended."""

    step: str
    status: str
    started_at: datetime | None
    ended_at: datetime | None
    result: StepResult
    error: str = ""
    exit_code: int = 0
    failure: BaseException | None = None
    cpu_seconds: float = 0.0
    blocks: bool = True
    """Whether what needs the step is kept from running by its failure."""

    @property
    def seconds(self) -> float:
        """Wall time."""
        if self.started_at is None or self.ended_at is None:
            return 0.0
        return (self.ended_at - self.started_at).total_seconds()
