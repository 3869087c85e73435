"""Put the Delta jars beside Spark's own, once, so that no later start needs the network.

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


def delta_coordinate() -> str:
    """Return the Maven coordinate of the Delta build for the installed Spark and delta-spark."""
    spark_minor = ".".join(pyspark.__version__.split(".")[:2])
    return f"io.delta:delta-spark_{spark_minor}_2.13:{version('delta-spark')}"


def main() -> int:
    """Resolve with `spark-submit --packages` into a scratch folder, then copy what Spark does not have yet."""
    spark_home = Path(pyspark.__file__).parent
    jars = spark_home / "jars"
    if list(jars.glob(f"delta-spark_*-{version('delta-spark')}.jar")):
        return 0
    coordinate = delta_coordinate()
    with tempfile.TemporaryDirectory() as scratch:
        result = subprocess.run(
            [
                str(spark_home / "bin" / "spark-submit"),
                "--packages",
                coordinate,
                "--conf",
                f"spark.jars.ivy={scratch}",
                "--class",
                "org.apache.spark.examples.None",
                "none.jar",
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "SPARK_CONF_DIR": scratch},
            check=False,
        )
        found = sorted(Path(scratch).glob("jars/*.jar"))
        if not any("delta-spark" in jar.name for jar in found):
            print(
                f"setup: {coordinate} could not be resolved; Ivy said:\n{result.stdout}{result.stderr}", file=sys.stderr
            )
            print(
                "Check the network, or put a mirror into spark.jars.ivySettings, and run the set-up again.",
                file=sys.stderr,
            )
            return 1
        for jar in (jar for jar in found if jar.name.startswith("io.delta_")):  # the rest is Spark's own, or optional
            plain = jar.name.split("_", 1)[1]  # Ivy prefixes the organisation: io.delta_delta-storage-4.4.0.jar
            shutil.copy(jar, jars / plain)
            print(f"setup: {plain}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
