"""The connection to PostgreSQL: its address from the environment, its time-outs, its errors without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from ...common.config import SECRET, PostgresSettings
from ...common.errors import CloudlakeError, ConfigurationError

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

_TRANSIENT_STATES = ("08", "40", "53", "57P", "55P03")
_TRANSIENT_WORDS = (
    "connection refused", "server closed the connection", "starting up", "shutting down", "timeout expired", "reset by peer",
    "no connection to the server", "terminating connection", "timed out", "too many clients", "eof detected",
)  # fmt: skip


class TransientError(CloudlakeError):
    """The server is away, busy or restarting: the same again may do."""


def address(settings: PostgresSettings) -> str:
    """Return the address that the environment holds.

    Raises:
        ConfigurationError: the variable is not set.
    """
    found = SECRET.fullmatch(settings.dsn)
    name = found[1] if found else ""
    dsn = os.environ.get(name, "")
    if not dsn.strip():
        raise ConfigurationError(
            f"{name}: not set; set it to the server's address, as in postgresql://USER:PASSWORD@HOST:5432/DATABASE"
        )
    return dsn.strip()


def redacted(message: str, dsn: str) -> str:
    """Return a message without the address and without the password in it, however it is written."""
    secrets = {dsn}
    secrets |= set(re.findall(r"//[^:/@]*:([^@]*)@", dsn))
    secrets |= {match[0] or match[1] for match in re.findall(r"password\s*=\s*(?:'([^']*)'|([^\s&]+))", dsn)}
    for secret in sorted({form for s in secrets if s for form in (s, unquote(s), quote(s))}, key=len, reverse=True):
        message = message.replace(secret, "***")
    return message


def _with_time_outs(dsn: str, settings: PostgresSettings) -> str:
    """Return the address with the time-outs of libpq that it does not say itself: a dead host must not hold us for hours."""
    wanted = {
        "application_name": "cloudlake",
        "connect_timeout": str(settings.connect_seconds),
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
    if re.match("postgres(ql)?://", dsn):
        parts = urlsplit(dsn)
        return urlunsplit(parts._replace(query=urlencode({**wanted, **dict(parse_qsl(parts.query))}, quote_via=quote)))
    return " ".join([*(f"{name}={value}" for name, value in wanted.items() if f"{name}=" not in dsn), dsn])


@contextmanager
def connected(settings: PostgresSettings) -> Iterator[Connection]:
    """Open one transaction, which ends with the block: what was not committed is undone.

    Raises:
        CloudlakeError: the server can't be reached, or refuses; `TransientError` where trying again may do.
        ConfigurationError: the address or the driver is missing.
    """
    dsn = address(settings)
    try:
        import adbc_driver_manager
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise ConfigurationError(
            "PostgreSQL: its driver is not installed; run .venv/bin/pip install -e '.[postgres]'"
        ) from None
    try:
        with dbapi.connect(_with_time_outs(dsn, settings)) as connection:
            with connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = '{settings.lock_seconds}s'")
                cursor.execute(f"SET statement_timeout = '{settings.statement_seconds}s'")
                cursor.execute(f"SET idle_in_transaction_session_timeout = '{settings.statement_seconds}s'")
                cursor.execute("SET TimeZone = 'UTC'")
            yield connection
    except adbc_driver_manager.Error as error:
        raise _explained(error, dsn) from None


def _explained(error: Any, dsn: str) -> CloudlakeError:
    told = redacted(str(error), dsn)
    state = str(getattr(error, "sqlstate", None) or "")
    found = " ".join(told.split())[:600]
    if state.startswith(_TRANSIENT_STATES) or any(word in found.lower() for word in _TRANSIENT_WORDS):
        return TransientError(f"PostgreSQL: {found}")
    return CloudlakeError(f"PostgreSQL: {found}")


def rows(connection: Connection, sql: str) -> list[tuple[Any, ...]]:
    """Return what a query finds."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [tuple(row) for row in cursor.fetchall()]


def execute(connection: Connection, statements: list[str]) -> int:
    """Run statements in their order; returns how many rows the last one wrote, -1 where the server does not say."""
    written = -1
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            written = cursor.rowcount
    return written
