"""Where Spark runs: in this process, or on a cluster; and what spark-submit is told of that.

A cluster has settings of its own (SPARK_CONF_DIR, or conf/ under SPARK_HOME). They count before those of conf/spark-defaults.conf,
but for what answers depend on; what a person says with --spark-conf counts before both.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import CloudlakeError, ConfigurationError
from .project import packaged_conf

MASTERS = "local[*], spark://HOST:PORT, yarn or k8s://https://HOST:PORT"
LOOPBACK = "127.0.0.1"
EVERYWHERE = (
    "spark.sql.catalogImplementation",
    "spark.sql.catalog.spark_catalog",
    "spark.delta.logStore.s3a.impl",
    "spark.sql.session.timeZone",
    "spark.sql.ansi.enabled",
    "spark.sql.parquet.outputTimestampType",
    "spark.sql.icu.caseMappings.enabled",
    "spark.sql.files.ignoreCorruptFiles",
    "spark.sql.files.ignoreMissingFiles",
)
"""Settings that answers depend on: a cluster's own do not change them."""
EXTENSIONS = "spark.sql.extensions"
"""Those of a cluster are kept, and Delta's stand beside them."""
JAVA_OPTIONS = ("spark.driver.defaultJavaOptions", "spark.executor.defaultJavaOptions")
_COLLECTOR = re.compile(r"-XX:\+Use\w+GC\b")
_CONNECT_SECONDS = 5.0

Settings = dict[str, str]


def is_local(master: str | None) -> bool:
    """Tell whether the driver does all the work, so that no other process needs the code; None is what conf/ says.

    >>> [is_local(master) for master in (None, "local[4]", "spark://here:7077", "yarn")]
    [True, True, False, False]
    """
    return master is None or re.fullmatch(r"local(\[[^\]]*\])?", master) is not None


def is_on_this_machine(master: str) -> bool:
    """Tell whether nothing but this machine can take part, so that Spark's ports need not be open to any other.

    >>> [is_on_this_machine(master) for master in ("local[*]", "spark://127.0.0.1:7077", "spark://node-1:7077", "yarn")]
    [True, True, False, False]
    """
    return is_local(master) or all(host in ("127.0.0.1", "localhost") for host, _ in _addresses(master) or [("", 0)])


def _addresses(master: str) -> list[tuple[str, int]]:
    """Return host and port of each master of a standalone cluster; none where the text is no address of one."""
    one = r"([^,/:\[\]\s]+|\[[^\]\s]+\]):(\d+)"
    if not re.fullmatch(rf"spark://{one}(,{one})*", master):
        return []
    return [(host.strip("[]"), int(port)) for host, port in re.findall(one, master.removeprefix("spark://"))]


def master_url(text: str) -> str:
    """Return the address of a master as Spark takes it.

    Raises:
        ConfigurationError: it is none.
    """
    if not (is_local(text) or text == "yarn" or text.startswith("k8s://") or _addresses(text)):
        raise ConfigurationError(f"--master {text}: this is no master of Spark; write {MASTERS}")
    return text


def setting(text: str) -> str:
    """Return a setting of Spark as it was written, K=V.

    Raises:
        ConfigurationError: it is no setting of Spark, or one that has an option of its own.
    """
    key, is_pair, value = text.partition("=")
    if not is_pair or not key.startswith("spark."):
        raise ConfigurationError(f"--spark-conf {text}: write spark.some.setting=value")
    if key == "spark.master":
        raise ConfigurationError(f"--spark-conf {text}: write --master {value}")
    if key == "spark.submit.deployMode" and value != "client":
        raise ConfigurationError(
            f"--spark-conf {text}: the driver is this command itself: it holds the lake's locks and tells how the run ends. "
            "To have it run inside the cluster, start the command there"
        )
    return text


def conf_folder(master: str | None, environment: Mapping[str, str]) -> Path | None:
    """Return the folder of a cluster's own settings, None where there is none: SPARK_CONF_DIR, else conf/ under SPARK_HOME."""
    named = environment.get("SPARK_CONF_DIR")
    if not named and not is_local(master) and environment.get("SPARK_HOME"):
        beside = Path(environment["SPARK_HOME"], "conf")
        named = str(beside) if beside.is_dir() else None
    return None if not named or Path(named).resolve() == packaged_conf().resolve() else Path(named)


def submit_options(master: str | None, settings: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the options for spark-submit: the master, and every setting that spark-defaults.conf alone would not give.

    Args:
        master: where Spark runs; None for what conf/ says.
        settings: K=V, as people gave them.
        environment: may name a cluster's own settings.

    Raises:
        ConfigurationError: there is no cluster of that kind to be found in the environment.
    """
    if master == "yarn" and not (environment.get("HADOOP_CONF_DIR") or environment.get("YARN_CONF_DIR")):
        raise ConfigurationError(
            "--master yarn: set HADOOP_CONF_DIR to the folder of the cluster's core-site.xml and yarn-site.xml"
        )
    ours, given = read_settings(packaged_conf()), dict(text.split("=", 1) for text in settings)
    folder = conf_folder(master, environment)
    told = {} if folder is None else beside(ours, read_settings(folder))
    if folder is not None and master is None:
        master = ours["spark.master"]
    told |= given
    theirs = told | (read_settings(folder) if folder else {})
    for name in JAVA_OPTIONS:  # two collectors, and Java does not start
        if name not in given and _COLLECTOR.search(theirs.get(name.replace("default", "extra"), "")):
            told[name] = _COLLECTOR.sub("", told.get(name, ours[name]))
    line = ["--master", master] if master else []
    return line + [word for key, value in told.items() for word in ("--conf", f"{key}={value}")]


def beside(ours: Settings, theirs: Settings) -> Settings:
    """Return those of our settings that are told beside a cluster's own, so that those count where answers do not depend on them."""
    told = {key: value for key, value in ours.items() if key != "spark.master" and (key not in theirs or key in EVERYWHERE)}
    extensions = [name.strip() for name in theirs.get(EXTENSIONS, "").split(",") if name.strip()]
    if ours[EXTENSIONS] not in extensions:
        told[EXTENSIONS] = ",".join([*extensions, ours[EXTENSIONS]])
    for name in JAVA_OPTIONS:
        if name in theirs:  # only what answers depend on; how a cluster's Java does its work is known there
            told[name] = " ".join([theirs[name], *(word for word in ours[name].split() if word.startswith("-Duser.timezone"))])
    return told


def read_settings(folder: Path) -> Settings:
    """Return the settings of a folder's spark-defaults.conf, {} where it has none; written as Java's properties are."""
    try:
        text = (folder / "spark-defaults.conf").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    lines = (line.strip() for line in re.sub(r"\\\n\s*", "", text).splitlines())
    pairs = (re.fullmatch(r"([^\s=:]+)\s*[\s=:]\s*(.*)", line) for line in lines if line and line[0] not in "#!")
    return {pair[1]: pair[2] for pair in pairs if pair}


def require_master(master: str) -> None:
    """Check that a standalone cluster's master can be reached: Spark itself tries for a minute, and then says little.

    Raises:
        CloudlakeError: none of its addresses answers.
    """
    faults = []
    for host, port in _addresses(master):
        try:
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
            return
        except OSError as error:
            faults.append(f"{host}:{port}: {error.strerror or error}")
    if faults:
        raise CloudlakeError(
            f"--master {master}: no master of Spark answers there ({'; '.join(faults)}); start the cluster "
            "(scripts/local_cluster.sh start, for one on this machine), or name where it is"
        )


def added_jars() -> list[Path]:
    """Return the jars beside Spark's own that the set-up put there: what a cluster's Spark does not have."""
    from importlib import metadata  # takes longer to load than all else here, and a command without Spark needs it not

    files = metadata.files("pyspark") or []
    own = {Path(str(file)).name for file in files if file.suffix == ".jar"}
    folder = Path(str(metadata.distribution("pyspark").locate_file("pyspark/jars")))
    return sorted(jar for jar in folder.glob("*.jar") if jar.name not in own)
