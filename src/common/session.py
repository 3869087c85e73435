"""The one place that starts Spark. Settings come from conf/spark-defaults.conf, and from what cluster.py lets stand beside it."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
import time
from collections.abc import Sequence
from shlex import join
from typing import TYPE_CHECKING

from . import cluster, java
from .errors import CloudlakeError
from .lake import stores
from .project import packaged_conf, packed_code

if TYPE_CHECKING:
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

EXECUTOR_SECONDS = 300.0
"""So long a cluster may take to give the first executor; a job that waits for one waits without a word, for ever."""


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


def choose_spark(master: str | None, settings: Sequence[str]) -> None:
    """Have the Spark that this process will start run where `master` says, with settings K=V.

    Where spark-submit has started it, that was told before.

    Raises:
        ConfigurationError: as `cluster.submit_options`.
    """
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        return
    told = cluster.submit_options(master, settings, os.environ)
    if told:
        os.environ["PYSPARK_SUBMIT_ARGS"] = f"{join(told)} {os.environ.get('PYSPARK_SUBMIT_ARGS', 'pyspark-shell')}"
    folder = cluster.conf_folder(master, os.environ) or packaged_conf()
    os.environ["SPARK_CONF_DIR"] = str(folder)


def start_session(app_name: str = "cloudlake") -> SparkSession:
    """Start Spark, or join the application that spark-submit has started.

    Raises:
        CloudlakeError: it did not start; the message says why, and what to do.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_CONF_DIR", str(packaged_conf()))
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ["TZ"] = "UTC"
    os.environ.update(java.surroundings(os.environ))
    try:
        java.name_the_user()
        if SparkContext._active_spark_context is None:
            SparkContext._ensure_initialized()  # only Java knows what spark-defaults.conf and the command line say
            _start_application(SparkConf().setAppName(app_name))
        session = SparkSession.builder.getOrCreate()
    except CloudlakeError:
        raise
    except Exception as error:
        raise CloudlakeError(f"Spark did not start: {java.why_not_started(error)}") from error
    stores.tell_spark(session)
    session.sparkContext.setLogLevel("ERROR")
    gc.freeze()  # what is loaded by now stays; to look for garbage among it would take a tenth of a second, each time
    atexit.register(gc.unfreeze)  # else what is loaded outlives the interpreter, and DuckDB's binding calls it leaked, at length
    return session


def _start_application(conf: SparkConf) -> None:
    """Start the application; on a cluster, wait for its first executor, and give all of them the code and the jars."""
    from pyspark import SparkContext

    master = conf.get("spark.master", None)
    if master is None or cluster.is_on_this_machine(master):  # its ports are not for the network, unless somebody says so
        conf.setIfMissing("spark.driver.host", cluster.LOOPBACK).setIfMissing("spark.driver.bindAddress", cluster.LOOPBACK)
    if cluster.is_local(master):
        SparkContext.getOrCreate(conf)
        return
    cluster.require_master(str(master))
    python = conf.get("spark.pyspark.python", None)
    if python is not None:
        os.environ["PYSPARK_PYTHON"] = python
    context = SparkContext.getOrCreate(conf)
    context.addPyFile(str(packed_code()))  # after this process has imported its own, which stays what it runs
    for jar in cluster.added_jars():
        context._jsc.addJar(str(jar))
    _await_executors(context, str(master))


def _await_executors(context: SparkContext, master: str) -> None:
    """Wait until the cluster has given an executor, unless it gives them when there is work.

    Raises:
        CloudlakeError: none came in time.
    """
    if context.getConf().get("spark.dynamicAllocation.enabled", "false") == "true":
        return
    end = time.monotonic() + EXECUTOR_SECONDS
    while context._jsc.sc().getExecutorMemoryStatus().size() < 2:  # the driver counts as one
        if time.monotonic() > end:
            context.stop()
            raise CloudlakeError(
                f"--master {master}: no executor came in {EXECUTOR_SECONDS:.0f} s. The cluster has no room for one of this "
                "size, or another application holds it; its page says so. Ask for less with --spark-conf "
                "spark.executor.memory=1g --spark-conf spark.executor.cores=1"
            )
        time.sleep(0.1)


def let_go() -> None:
    """Let Java forget what Python no longer uses: plans, and the tables that their joins had in memory.

    Python's proxy of a Java object is a circle once a method of it was called (py4j keeps the bound method), so only the
    search for garbage ends it, and with it Java's object. Left alone, that search goes by the number of Python's
    objects, which are few while Java's heap fills: 0.4 GB within a minute of small joins. Called where a piece of work
    that comes again and again has ended; takes some ten milliseconds.
    """
    gc.collect()
