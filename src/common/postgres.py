"""A connection to PostgreSQL: its address from the environment, its time-outs, its errors without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from .errors import CloudlakeError, ConfigurationError
from .receivers import SECRET
from .settings.lake import Server

if TYPE_CHECKING:
    import pyarrow as pa
    from adbc_driver_manager.dbapi import Connection

_TRANSIENT_STATES = ("08", "40", "53", "57P", "55P03")
_TRANSIENT_WORDS = (
    "connection refused", "server closed the connection", "starting up", "shutting down", "timeout expired", "reset by peer",
    "no connection to the server", "terminating connection", "timed out", "too many clients", "eof detected",
)  # fmt: skip


_EXAMPLE = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
_OF_THE_SERVER = ("connection to server", "could not translate host name", "FATAL:")
"""What a failure to connect says where the address could be read. Any other text may quote a part of it."""
READ_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""Makes all that a transaction reads the state of one moment, and lets it write nothing."""


class TransientError(CloudlakeError):
    """The server is away, busy or restarting: the same again may do."""


class _StreamError(Exception):
    """The server failed amid an answer."""


class RefusedError(CloudlakeError):
    """The server does not take a query: a table or a column is missing, a right, or it is no SQL."""


def address(settings: Server) -> str:
    """Return the address that the environment holds.

    Raises:
        ConfigurationError: the variable is not set, or holds no address; the message shows nothing of it.
    """
    name = _variable(settings)
    dsn = os.environ.get(name, "").strip()
    if not dsn:
        raise ConfigurationError(f"{name}: not set; set it to the server's address, as in {_EXAMPLE}")
    login = dsn.partition("://")[2].partition("?")[0].rpartition("@")[0]
    if "@" in login or "/" in login:  # libpq would take a part of the password for the host, and show it
        raise _unreadable(name)
    return dsn


def _variable(settings: Server) -> str:
    found = SECRET.fullmatch(settings.dsn)
    return found[1] if found else ""


def _unreadable(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name}: it can't be read as an address; write {_EXAMPLE}, and in a password %40 for @, %2F for /, %3A for :, "
        "%23 for #, %3F for ?, %25 for %, %20 for a blank"
    )


def redacted(message: str, dsn: str) -> str:
    """Return a message without the address and without the password in it, however it is written."""
    secrets = {dsn, os.environ.get("PGPASSWORD", "")}
    secrets |= set(re.findall(r"//[^:/@]*:([^@]*)@", dsn))
    secrets |= {match[0] or match[1] for match in re.findall(r"password\s*=\s*(?:'([^']*)'|([^\s&]+))", dsn)}
    for secret in sorted({form for s in secrets if s for form in (s, unquote(s), quote(s))}, key=len, reverse=True):
        message = message.replace(secret, "***")
    return message


def _with_time_outs(dsn: str, settings: Server) -> str:
    """Return the address with the time-outs of libpq that it does not say itself: a dead host must not hold us for hours."""
    wanted = {
        "application_name": "cloudlake",
        "connect_timeout": str(settings.connect_seconds),
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
    if re.match("postgres(ql)?://", dsn):  # what is there stays as it is written: libpq judges it
        unsaid = {name: value for name, value in wanted.items() if f"{name}=" not in dsn}
        login, at, rest = dsn.partition("@")
        return f"{dsn}{'&' if '?' in (rest if at else login) else '?'}{urlencode(unsaid)}"
    return " ".join([*(f"{name}={value}" for name, value in wanted.items() if f"{name}=" not in dsn), dsn])


@contextmanager
def connected(settings: Server, rights: str, *, begin: str = "") -> Iterator[Connection]:
    """Open one transaction, which ends with the block: what was not committed is undone.

    Args:
        settings: where the server is, and how long it may take.
        rights: what to do where the user lacks a right, for the error.
        begin: the statement that the transaction begins with.

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
                if begin:
                    cursor.execute(begin)
                cursor.execute(f"SET lock_timeout = '{settings.lock_seconds}s'")
                cursor.execute(f"SET statement_timeout = '{settings.statement_seconds}s'")
                cursor.execute(f"SET idle_in_transaction_session_timeout = '{settings.statement_seconds}s'")
                cursor.execute("SET TimeZone = 'UTC'")
            yield connection
    except (adbc_driver_manager.Error, _StreamError) as error:
        raise _explained(error, dsn, _variable(settings), rights) from None


def _shortened(message: str) -> str:
    """Return an error of the driver on one line, without the query and its own words around the server's."""
    return re.sub(r"^[A-Z_]+: |\[libpq\] ", "", " ".join(re.split(r"Query was:|\nLINE \d+:", message)[0].split()))[:600]


def _explained(error: Any, dsn: str, name: str, rights: str) -> CloudlakeError:
    found = _shortened(redacted(str(error), dsn))
    if "Failed to connect" in found and not any(words in found for words in _OF_THE_SERVER):
        return _unreadable(name)
    state = str(getattr(error, "sqlstate", None) or "")
    if state == "42501":
        return CloudlakeError(f"PostgreSQL: {found}; {rights}")
    if state == "57014" or "statement timeout" in found:
        return CloudlakeError(f"PostgreSQL: {found}; raise statement_seconds of that server in conf/lake.yaml, or ask for less")
    if state.startswith(_TRANSIENT_STATES) or any(word in found.lower() for word in _TRANSIENT_WORDS):
        return TransientError(f"PostgreSQL: {found}")
    return CloudlakeError(f"PostgreSQL: {found}")


def attempts(settings: Server) -> Retrying:
    """Return what does something again where the server is away or busy: so often, with growing pauses."""
    return Retrying(
        stop=stop_after_attempt(settings.attempts),
        wait=wait_exponential_jitter(initial=settings.first_pause_seconds, max=30),
        retry=retry_if_exception_type(TransientError),
        reraise=True,
    )


def quoted(name: str) -> str:
    """Return a name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def described(connection: Connection, sql: str) -> pa.Schema:
    """Return the columns that a query would find, without running it.

    Raises:
        RefusedError: the server does not take the query. The transaction has ended by it, and another has begun.
    """
    import adbc_driver_manager

    with connection.cursor() as cursor:
        try:
            return cursor.adbc_execute_schema(sql)
        except adbc_driver_manager.ProgrammingError as error:
            found = _shortened(str(error))
    connection.rollback()
    raise RefusedError(found)


def streamed(connection: Connection, sql: str) -> Iterator[pa.RecordBatch]:
    """Yield what a query finds, some megabytes at a time: the server is read no faster than the rows are taken."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        batches = cursor.fetch_record_batch()
        while True:
            try:
                batch = next(batches, None)
            except (OSError, ValueError) as error:  # what the driver says while it streams reaches us by way of Arrow
                raise _StreamError(str(error)) from None
            if batch is None:
                return
            yield batch


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
