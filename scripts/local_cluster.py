"""A standalone Spark cluster on loopback, to try `--master` with: a master and two workers of the installed pyspark.

    scripts/local_cluster.sh start      prints the URL of its master; does nothing where it runs already
    scripts/local_cluster.sh status     0 where the master and every worker are there, else 1
    scripts/local_cluster.sh stop       ends what start has started, and nothing else

Ports are free ones. What it keeps (process ids, logs, the workers' folders) lies in build/cluster, or where --dir says.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyspark
from cloudlake.common import java

ROOT = Path(__file__).resolve().parents[1]
SPARK_CLASS = Path(str(pyspark.__file__)).parent / "bin" / "spark-class"
FOLDER = ROOT / "build" / "cluster"
HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 120.0, 20.0
DAEMON_MEMORY = "256m"
"""Of the master and of each worker; what jobs take is the executors' own."""


class ClusterError(Exception):
    """The cluster can't be started or ended; the message says why, and what to do."""


@dataclass(frozen=True)
class Daemon:
    """One process of the cluster: its files, and whether it is alive."""

    folder: Path
    name: str

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / f"{self.name}.log"

    @property
    def _pid(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def process(self) -> psutil.Process | None:
        """Return the process that was started under this name, None where it has ended; a number used again is another's."""
        try:
            pid, created = self._pid.read_text().split()
            found = psutil.Process(int(pid))
            is_mine = abs(found.create_time() - float(created)) < 1 and found.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.Error):
            return None
        return found if is_mine else None

    def start(self, main: str, *arguments: str) -> None:
        """Start it in a session of its own, and keep its number."""
        (self.folder / "conf").mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            started = subprocess.Popen(
                [str(SPARK_CLASS), f"org.apache.spark.deploy.{main}", "--host", HOST, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=self._environment(),
            )  # fmt: skip
        self._pid.write_text(f"{started.pid} {psutil.Process(started.pid).create_time()}")

    def _environment(self) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
        return {
            **given,
            **java.surroundings(given),
            "SPARK_CONF_DIR": str(self.folder / "conf"),  # an empty one: the settings of jobs are not the daemons'
            "SPARK_LOCAL_IP": HOST,  # their web pages too are for this machine only
            "SPARK_DAEMON_MEMORY": DAEMON_MEMORY,
            "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",  # that one would want a fixed port
            "SPARK_WORKER_OPTS": "-Dspark.worker.cleanup.enabled=true",
        }

    def end(self) -> bool:
        """End it and what it has started; False where it was not running."""
        found = self.process()
        if found is not None:
            family = [found, *found.children(recursive=True)]
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.terminate()
            for member in psutil.wait_procs(family, timeout=STOP_SECONDS)[1]:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
        self._pid.unlink(missing_ok=True)
        return found is not None

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])


class Cluster:
    """The master and the workers in a folder."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.master = Daemon(folder, "master")
        self.workers = [Daemon(folder, f"worker-{number}") for number in range(1, workers + 1)]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else start or stop it meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def url(self) -> str | None:
        """Return the master's URL as its log says it, None before."""
        return self._said(r"Starting Spark master at (spark://\S+)")

    def registered(self) -> int:
        """Return how many workers the master counts as alive."""
        port = self._said(r"started service 'MasterUI' on port (\d+)")
        if port is None or self.master.process() is None:
            return 0
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/json/", timeout=5) as answer:
                return int(json.load(answer)["aliveworkers"])
        except (OSError, ValueError, KeyError):
            return 0

    def _said(self, pattern: str) -> str | None:
        try:
            found = re.search(pattern, self.master.log.read_text(errors="replace"))
        except OSError:
            return None
        return found[1] if found else None

    def start(self, cores: int, memory: str) -> str:
        """Start what of it does not run, wait until the master counts every worker, and return the master's URL.

        Raises:
            ClusterError: something ended at once, or did not register in time; what this call started has been ended.
        """
        started: list[Daemon] = []
        try:
            if self.master.process() is None:
                self.stop()  # workers without their master look for it at its old port
                started.append(self.master)
                self.master.start("master.Master", "--port", "0", "--webui-port", "0")
            self._wait("the master has not said where it is", lambda: self.url() is not None, [self.master])
            for worker in self.workers:
                if worker.process() is None:
                    work = self.folder / worker.name
                    started.append(worker)
                    worker.start("worker.Worker", "--webui-port", "0", "--cores", str(cores), "--memory", memory,
                                 "--work-dir", str(work), str(self.url()))  # fmt: skip
            everyone = [self.master, *self.workers]
            self._wait("not every worker has registered", lambda: self.registered() >= len(self.workers), everyone)
        except ClusterError:
            for daemon in reversed(started):
                daemon.end()
            raise
        return str(self.url())

    def _wait(self, what: str, is_so: Callable[[], bool], started: list[Daemon]) -> None:
        end = time.monotonic() + START_SECONDS
        while not is_so():
            dead = [one for one in started if one.process() is None]
            if dead:
                raise ClusterError(f"{dead[0].name} ended at once; {dead[0].log} says:\n{dead[0].last_words()}")
            if time.monotonic() > end:
                raise ClusterError(f"{what} in {START_SECONDS:.0f} s; see {self.folder}/*.log")
            time.sleep(0.2)

    def running(self) -> list[Daemon]:
        """Return what of it is alive: also workers that were started with a larger --workers."""
        names = [path.stem for path in sorted(self.folder.glob("*.pid"))]
        return [daemon for daemon in (Daemon(self.folder, name) for name in names) if daemon.process() is not None]

    def stop(self) -> int:
        """End the workers, then the master, let their scratch go, and return how many were running."""
        names = sorted((path.stem for path in self.folder.glob("*.pid")), reverse=True)  # worker-…, then master
        ended = sum(Daemon(self.folder, name).end() for name in names)
        for scratch in self.folder.glob("worker-*"):
            if scratch.is_dir():
                shutil.rmtree(scratch, ignore_errors=True)
        for log in self.folder.glob("*.log"):
            log.replace(log.with_suffix(".old"))
        return ended


def start(cluster: Cluster, options: argparse.Namespace) -> int:
    """Start the cluster, or say that it runs."""
    wrong = java.what_is_wrong_with_java()
    if wrong:
        raise ClusterError(wrong)
    ran = len(cluster.running()) == 1 + len(cluster.workers)
    url = cluster.start(options.cores, options.memory)
    print(f"{url} {'ran already' if ran else 'runs'}, with {len(cluster.workers)} workers")
    print(f"try it:  scripts/run_batch_pipeline.sh --master {url}")
    named = f" --dir {shlex.quote(str(options.dir))}" if options.dir != FOLDER else ""
    print(f"end it:  scripts/local_cluster.sh stop{named}")
    return 0


def stop(cluster: Cluster, options: argparse.Namespace) -> int:
    """End the cluster."""
    ended = cluster.stop()
    print(f"ended: {ended} process(es)" if ended else "no cluster of ours was running")
    return 0


def status(cluster: Cluster, options: argparse.Namespace) -> int:
    """Say whether the cluster is whole."""
    if cluster.master.process() is None:
        print("no cluster of ours is running; scripts/local_cluster.sh start")
        return 1
    registered, wanted = cluster.registered(), len(cluster.workers)
    print(f"{cluster.url()} has {registered} of {wanted} workers")
    if registered < wanted:
        print("error: a worker is missing; scripts/local_cluster.sh start brings it back", file=sys.stderr)
    return 0 if registered >= wanted else 1


def main() -> int:
    """Do what the verb says; every error is one readable message."""
    parser = argparse.ArgumentParser(
        prog="scripts/local_cluster.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = {"start": start, "stop": stop, "status": status}
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("--dir", type=Path, default=FOLDER, metavar="DIR", help="default build/cluster")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="default 2")
    parser.add_argument("--cores", type=int, default=1, metavar="N", help="that each worker offers; default 1")
    parser.add_argument("--memory", default="2g", metavar="SIZE", help="that each worker offers; default 2g")
    options = parser.parse_args()
    cluster = Cluster(options.dir.resolve(), options.workers)
    try:
        with cluster.alone():
            return verbs[options.verb](cluster, options)
    except (ClusterError, OSError) as error:
        print(f"error: local_cluster: {error}", file=sys.stderr)
        return 2 if isinstance(error, OSError) else 1


if __name__ == "__main__":
    sys.exit(main())
