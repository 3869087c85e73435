"""The object store that a process talks to: what conf/lake.yaml says of it, and that in the words of each engine.

One address for all: `s3a://bucket/path`, as Spark has it; delta-rs knows it too, Arrow and DuckDB get file systems for it.
A process has one store, whatever its buckets; who has read conf/ names it, once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any

from ..errors import CloudlakeError, ConfigurationError

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import SparkSession

SCHEME = "s3a://"
LOG_STORE = "cloudlake.ConditionalLogStore"
_SET_UP = "scripts/setup_environment.sh --s3"


@dataclass(frozen=True)
class Store:
    """Where a store is, how to get in, and how patient to be; an empty text means what Amazon's own clients find."""

    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = ""
    session_token: str = ""
    path_style: bool = True
    attempts: int = 6
    timeout_seconds: float = 30
    lease_seconds: float = 60
    skew_seconds: float = 10

    def __repr__(self) -> str:
        return f"Store({self.endpoint or 'AWS'}, {self.region})"  # never the keys: this may come into a trace

    @property
    def is_plain(self) -> bool:
        """Whether what goes there is not encrypted on its way."""
        return self.endpoint.startswith("http://")

    def options(self) -> dict[str, str]:
        """Return the options of delta-rs and of obstore, which both read with Rust's object_store."""
        told = {
            "endpoint": self.endpoint,
            "region": self.region,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
            "session_token": self.session_token,
            "virtual_hosted_style_request": "false" if self.path_style else "true",
        }
        return {f"aws_{name}": value for name, value in told.items() if value}

    def for_rust(self) -> dict[str, str]:
        """Return the options of delta-rs."""
        seconds = f"{self.timeout_seconds:g}s"
        return self.options() | {
            "aws_allow_http": str(self.is_plain).lower(),
            "aws_conditional_put": "etag",
            "timeout": seconds,
            "connect_timeout": seconds,
            "max_retries": str(self.attempts - 1),
            "retry_timeout": f"{self.timeout_seconds * self.attempts:g}s",
        }

    def for_hadoop(self) -> dict[str, str]:
        """Return the settings of Hadoop's S3A."""
        milliseconds = str(int(self.timeout_seconds * 1000))
        told = {
            "endpoint": self.endpoint,
            "endpoint.region": self.region,
            "access.key": self.access_key,
            "secret.key": self.secret_key,
            "session.token": self.session_token,
            "path.style.access": str(self.path_style).lower(),
            "connection.ssl.enabled": str(not self.is_plain).lower(),
            "attempts.maximum": str(self.attempts),
            "retry.limit": str(self.attempts),
            "retry.throttle.limit": str(self.attempts),
            "connection.establish.timeout": milliseconds,
            "connection.timeout": milliseconds,
            "connection.request.timeout": milliseconds,
        }
        return {f"fs.s3a.{name}": value for name, value in told.items() if value}

    def for_arrow(self) -> Any:
        """Return Arrow's file system; a path is bucket/path there."""
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

        return S3FileSystem(
            access_key=self.access_key or None,
            secret_key=self.secret_key or None,
            session_token=self.session_token or None,
            region=self.region,
            endpoint_override=self.endpoint.partition("://")[2] or None,
            scheme="http" if self.is_plain else "https",
            force_virtual_addressing=not self.path_style,
            request_timeout=self.timeout_seconds,
            connect_timeout=self.timeout_seconds,
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=self.attempts),
        )


_named: list[Store] = []


def use(store: Store) -> None:
    """Name the store of this process."""
    if _named != [store]:
        _named[:] = [store]
        for cached in (bucket, arrow, _for_duckdb):
            cached.cache_clear()


def leave() -> None:
    """Name no store any more."""
    _named.clear()


def current() -> Store:
    """Return the store of this process.

    Raises:
        CloudlakeError: none has been named.
    """
    if not _named:
        raise CloudlakeError(
            f"{SCHEME}…: no store has been named; load conf/ first (cloudlake.common.config.load_config)"
        )
    return _named[0]


def is_in_use() -> bool:
    """Tell whether this process has a lake or a landing zone in a store."""
    return bool(_named)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Tell whether a full path leads into a store."""
    return str(path).startswith(SCHEME)


def rust_options(path: str | os.PathLike[str]) -> dict[str, str] | None:
    """Return the options with which delta-rs opens the table at `path`; None on a disk."""
    return current().for_rust() if is_remote(path) else None


@cache
def bucket(name: str) -> Any:
    """Return a bucket as obstore has it."""
    try:
        from obstore.store import S3Store
    except ImportError:
        raise ConfigurationError(
            f"{SCHEME}{name}: Python lacks obstore for a lake in an object store; type {_SET_UP}"
        ) from None
    store = current()
    config: Any = store.options()
    timeout = timedelta(seconds=store.timeout_seconds)
    return S3Store(
        name,
        config=config,
        client_options={"allow_http": store.is_plain, "timeout": timeout, "connect_timeout": timeout},
        retry_config={"max_retries": store.attempts - 1, "retry_timeout": timeout * store.attempts},
    )


@cache
def arrow() -> Any:
    """Return the store as Arrow has it."""
    return current().for_arrow()


def arrow_folder(path: str) -> Any:
    """Return a folder, of a disk or of the store, as a file system of Arrow."""
    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

    if is_remote(path):
        return SubTreeFileSystem(path.removeprefix(SCHEME), arrow())
    return SubTreeFileSystem(path, LocalFileSystem())


@cache
def _for_duckdb() -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper

    class OfTheStore(ArrowFSWrapper):  # type: ignore[misc]  # fsspec has no types
        protocol = "s3a"
        cachable = False

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(path).removeprefix(SCHEME)

    return OfTheStore(arrow())


def teach(connection: duckdb.DuckDBPyConnection) -> None:
    """Have a connection of DuckDB read the files of the store by their addresses."""
    if is_in_use() and not connection.filesystem_is_registered(_for_duckdb().protocol):
        connection.register_filesystem(_for_duckdb())


def tell_spark(session: SparkSession) -> None:
    """Have Spark read and write in the store. Keys go to it within the process: on a command line others would see them.

    Raises:
        ConfigurationError: Spark lacks the jars, or would write Delta's log with a log store that loses commits.
    """
    if not is_in_use():
        return
    context: Any = session.sparkContext
    chosen = context.getConf().get("spark.delta.logStore.s3a.impl") or "Delta's own log store"
    if chosen != LOG_STORE:
        raise ConfigurationError(
            f"spark.delta.logStore.s3a.impl: found {chosen}, under which two programs that commit at once lose rows without "
            f"an error; a lake in a store needs {LOG_STORE}, as conf/spark-defaults.conf says"
        )
    try:
        for name in ("org.apache.hadoop.fs.s3a.S3AFileSystem", LOG_STORE):
            context._jvm.org.apache.spark.util.Utils.classForName(name, True, False)
    except Exception as error:
        if "ClassNotFoundException" not in str(error) and "NoClassDefFoundError" not in str(error):
            raise
        raise ConfigurationError(
            f"Spark lacks {name} for a lake or a landing zone in a store; type {_SET_UP}"
        ) from None
    settings: Mapping[str, str] = current().for_hadoop()
    for key, value in settings.items():
        context._jsc.hadoopConfiguration().set(key, value)


class StorePath(PosixPath):
    """The root of a lake or of a landing zone in a store, where a disk's would be a Path: a name, that leads to no disk.

    What takes it for a folder of this machine fails with a clear line instead of looking at another place.
    """

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def __fspath__(self) -> str:
        raise CloudlakeError(f"{self}: it lies in an object store, and this needs a folder on a disk so far")


def root_path(address: str) -> Path:
    """Return the root of a lake or of a landing zone, as messages and engines have it."""
    return StorePath(address) if is_remote(address) else Path(address)
