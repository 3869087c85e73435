"""How long a lake keeps what: one section of conf/lake.yaml, checked against itself when it is loaded."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

FOR_EVER = 36_500
"""The days that a table promises where 0 says for ever."""


class Retention(BaseModel):
    """The section `retention`: days, 0 for ever, where nothing else is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bronze: int = Field(default=0, ge=0)
    """Event lines that silver has taken. A reload needs them, and is refused where they are gone."""
    quarantine: int = Field(default=365, ge=0)
    """Refused rows that were replayed or discarded, since then; open ones stay."""
    ops: int = Field(default=90, ge=0)
    loads: int = Field(default=7, ge=0)
    """Counts of single micro-batches; older ones are summed by run and day."""
    reports: int = Field(default=90, ge=0)
    logs: int = Field(default=30, ge=0)
    publications: int = Field(default=30, ge=1)
    """A number: publications before the one in force that can be rolled back to."""
    time_travel: int = Field(default=30, ge=0)
    live_hours: int = Field(default=2, ge=1)
    """Hours: of tables that are written every few seconds, and whose every state nobody asks for."""

    @model_validator(mode="after")
    def _agree(self) -> Retention:
        faults = []
        if self.time_travel and self.time_travel < self.publications:
            faults.append(
                f"time_travel: {self.time_travel} days are shorter than the {self.publications} publications that are kept, "
                f"one a night; write at least {self.publications}, or keep fewer publications"
            )
        if self.time_travel and self.live_hours > 24 * self.time_travel:
            faults.append(f"live_hours: {self.live_hours} hours are longer than time_travel, {self.time_travel} days")
        if self.ops and self.reports and self.ops < self.reports:
            faults.append(
                f"ops: {self.ops} days are shorter than reports, {self.reports}: reports would speak of runs that "
                "ops.job_runs no longer knows"
            )
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def history_days(self) -> int:
        """The days that every version of a table can be read."""
        return self.time_travel or FOR_EVER
