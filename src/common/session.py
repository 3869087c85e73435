"""The one place that starts Spark. Settings come from conf/spark-defaults.conf and from nowhere else."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import TYPE_CHECKING

from . import java
from .errors import CloudlakeError
from .project import packaged_conf

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Sessions:
    """Sessions of one Spark application, which starts when the first is asked for: a run with nothing to do needs none.

    Each call gives a session of its own, so that steps side by side do not share settings.
    """

    def __init__(self, app_name: str) -> None:
        self._app_name = app_name
        self._lock = threading.Lock()
        self._first: SparkSession | None = None

    def __call__(self) -> SparkSession:
        """Return a new session."""
        with self._lock:
            if self._first is None:
                self._first = start_session(self._app_name)
            return self._first.newSession()

    def cpu_seconds(self) -> float:
        """Return the CPU time that the application, Python and JVM, has used so far."""
        import psutil

        own = psutil.Process()
        parent = own.parent()
        started_by_submit = [parent] if parent is not None and parent.name() == "java" else []
        total = 0.0
        for process in [own, *started_by_submit, *own.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.Error:  # it has ended meanwhile
                continue
            total += times.user + times.system
        return total


def start_session(app_name: str = "cloudlake") -> SparkSession:
    """Start Spark, or join the application that spark-submit has started.

    Raises:
        CloudlakeError: it did not start; the message says why, and what to do.
    """
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_CONF_DIR", str(packaged_conf()))
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ["TZ"] = "UTC"
    os.environ.update(java.surroundings(os.environ))
    try:
        java.name_the_user()
        session = SparkSession.builder.appName(app_name).getOrCreate()
    except Exception as error:
        raise CloudlakeError(f"Spark did not start: {java.why_not_started(error)}") from error
    session.sparkContext.setLogLevel("ERROR")
    gc.freeze()  # what is loaded by now stays; to look for garbage among it would take a tenth of a second, each time
    return session


def let_go() -> None:
    """Let Java forget what Python no longer uses: plans, and the tables that their joins had in memory.

    Python's proxy of a Java object is a circle once a method of it was called (py4j keeps the bound method), so only the
    search for garbage ends it, and with it Java's object. Left alone, that search goes by the number of Python's
    objects, which are few while Java's heap fills: 0.4 GB within a minute of small joins. Called where a piece of work
    that comes again and again has ended; takes some ten milliseconds.
    """
    gc.collect()
