"""Put the jars of Delta, and with --s3 those of an object store, beside Spark's own, so that no start needs the network.

Spark's own resolver (Ivy) fetches them, so a company's mirror in ~/.ivy2 or spark.jars.ivySettings is honoured.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pyspark

SPARK_HOME = Path(pyspark.__file__).parent
JARS = SPARK_HOME / "jars"
LOG_STORE = (
    Path(__file__).resolve().parents[1] / "src" / "common" / "lake" / "logstore" / "delta-logstore-cloudlake.jar"
)

# hadoop-aws asks for all of Amazon's SDK in one jar of 690 MB; S3 needs these five parts of it, with what they need 19 MB.
SDK = "2.35.4"
SDK_PARTS = ("s3", "s3-transfer-manager", "sts", "apache-client", "netty-nio-client")
NOT_OF_SPARK = ("org.apache.hadoop_", "org.reactivestreams_", "org.wildfly.openssl_", "software.amazon.")
"""How the jars begin that Spark does not bring itself; netty, httpclient and others it has in versions of its own."""


def delta_coordinate() -> str:
    """Return the Maven coordinate of the Delta build for the installed Spark and delta-spark."""
    spark_minor = ".".join(pyspark.__version__.split(".")[:2])
    return f"io.delta:delta-spark_{spark_minor}_2.13:{version('delta-spark')}"


def hadoop_version() -> str:
    """Return the version of Hadoop that Spark brings: hadoop-aws has to be of the same."""
    (client,) = JARS.glob("hadoop-client-api-*.jar")
    return client.stem.removeprefix("hadoop-client-api-")


def resolve(coordinates: list[str], excluded: list[str], scratch: str) -> list[Path]:
    """Return the jars of some coordinates and of what they need, in a scratch folder; [] where they can't be had."""
    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--packages", ",".join(coordinates)]
    command += ["--exclude-packages", ",".join(excluded)] if excluded else []
    command += ["--conf", f"spark.jars.ivy={scratch}", "--class", "org.apache.spark.examples.None", "none.jar"]
    environment = {**os.environ, "SPARK_CONF_DIR": scratch}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = sorted(Path(scratch).glob("jars/*.jar"))
    first = coordinates[0].split(":")[1]
    if not any(first in jar.name for jar in found):
        print(
            f"setup: {coordinates[0]} could not be resolved; Ivy said:\n{result.stdout}{result.stderr}\n"
            "Check the network, or put a mirror into spark.jars.ivySettings, and run the set-up again.",
            file=sys.stderr,
        )
        return []
    return found


def plain(jar: Path) -> str:
    """Return a jar's own name: Ivy prefixes the organisation, as in io.delta_delta-storage-4.4.0.jar."""
    return jar.name.split("_", 1)[1]


def fetch_delta() -> bool:
    """Fetch Delta's jars where they are missing; tells whether they are there."""
    if list(JARS.glob(f"delta-spark_*-{version('delta-spark')}.jar")):
        return True
    with tempfile.TemporaryDirectory() as scratch:
        found = resolve([delta_coordinate()], [], scratch)
        for jar in (jar for jar in found if jar.name.startswith("io.delta_")):  # the rest is Spark's own, or optional
            shutil.copy(jar, JARS / plain(jar))
            print(f"setup: {plain(jar)}")
    return bool(found)


def fetch_s3() -> bool:
    """Fetch what Spark needs for s3a:// where it is missing, and bring our log store; tells whether all is there.

    hadoop-aws comes last: where it lies, the others do.
    """
    shutil.copy(LOG_STORE, JARS / LOG_STORE.name)
    hadoop_aws = f"hadoop-aws-{hadoop_version()}.jar"
    if (JARS / hadoop_aws).exists():
        return True
    coordinates = [f"org.apache.hadoop:hadoop-aws:{hadoop_version()}"]
    coordinates += [f"software.amazon.awssdk:{part}:{SDK}" for part in SDK_PARTS]
    with tempfile.TemporaryDirectory() as scratch:
        found = resolve(coordinates, ["software.amazon.awssdk:bundle"], scratch)
        lacking = [jar for jar in found if jar.name.startswith(NOT_OF_SPARK)]
        for jar in sorted(lacking, key=lambda jar: plain(jar) == hadoop_aws):
            shutil.copy(jar, JARS / plain(jar))
        print(f"setup: {hadoop_aws} and Amazon's SDK {SDK}")
    return bool(found)


def main(arguments: list[str]) -> int:
    """Fetch what is missing; 1 where it can't be had."""
    return 0 if fetch_delta() and ("--s3" not in arguments or fetch_s3()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
