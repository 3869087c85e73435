"""What every settings type has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A part of conf/: immutable, and with no other names than those declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)
