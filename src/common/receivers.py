"""Settings of who is told what: the targets of notifications, the receiver of lineage; addresses and secrets among them."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


SECRET = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
"""How a setting names the variable of the environment that holds it."""


def _not_in_the_file(text: str) -> str:
    if SECRET.fullmatch(text) is None:
        raise ValueError("a secret has no place in this file; write ${NAME} and set that environment variable")
    return text


def is_safe_address(url: str) -> bool:
    """Tell whether nobody on the way can read what is sent there: HTTPS, or HTTP to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_here = host == "localhost" or (
            re.fullmatch(r"[0-9.]+|.*:.*", host) is not None and ip_address(host).is_loopback
        )
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_here))


def _address(text: str) -> str:
    if SECRET.fullmatch(text) is None and not is_safe_address(text):
        raise ValueError(
            "write https://…, http://127.0.0.1…, or ${NAME} for a variable of the environment that holds it"
        )
    return text


Secret = Annotated[str, AfterValidator(_not_in_the_file)]


class LogTarget(_Settings):
    """Notifications as lines of the log."""

    kind: Literal["log"]


class WebhookTarget(_Settings):
    """Notifications by HTTP POST. An address that holds a secret stands as ${NAME}; so does every header's value."""

    kind: Literal["webhook"]
    url: Annotated[str, AfterValidator(_address)]
    headers: dict[str, Secret] = {}


class EmailTarget(_Settings):
    """Notifications by SMTP; the password stands as ${NAME}."""

    kind: Literal["email"]
    host: str
    port: int = Field(default=25, ge=1, le=65535)
    starttls: bool = False
    user: str | None = None
    password: Secret | None = None
    sender: str
    recipients: tuple[str, ...] = Field(min_length=1)


Target = Annotated[LogTarget | WebhookTarget | EmailTarget, Field(discriminator="kind")]


class Notifications(_Settings):
    """Where alerts go, and how stubbornly."""

    attempts: int = Field(ge=1, le=10)
    timeout_seconds: float = Field(gt=0, le=60)
    resend_seconds: float = Field(gt=0)
    targets: dict[str, Target] = {}


class LineageSettings(_Settings):
    """Where the OpenLineage events of runs go."""

    file: bool = True
    url: Annotated[str, AfterValidator(_address)] | None = None
    headers: dict[str, Secret] = {}
    timeout_seconds: float = Field(default=5, gt=0, le=60)

    @property
    def address(self) -> str:
        """The receiver's address, from the environment where it stands as ${NAME}; "" where there is none, or no safe one."""
        url = from_environment(self.url or "")
        return url if is_safe_address(url) else ""

    def headers_resolved(self) -> dict[str, str]:
        """Return the headers with what the environment holds."""
        return {name: from_environment(value) for name, value in self.headers.items()}


def from_environment(text: str) -> str:
    """Return a setting, from the environment where it stands as ${NAME}; "" where that is not set."""
    found = SECRET.fullmatch(text)
    return os.environ.get(found[1], "") if found else text
