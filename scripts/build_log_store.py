"""Build the jar of the log store from its source, where there is a javac: after a change of the source, or to check it.

    .venv/bin/python scripts/build_log_store.py [--out JAR]

It needs the jars of `scripts/setup_environment.sh --s3`. The same source gives the same jar, which carries its source.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pyspark

ROOM = Path(__file__).resolve().parents[1] / "src" / "common" / "lake" / "logstore"
SOURCE = ROOM / "ConditionalLogStore.java"
JAR = ROOM / "delta-logstore-cloudlake.jar"
JARS = Path(pyspark.__file__).parent / "jars"
_NEEDED = ("delta-storage-", "hadoop-client-api-", "hadoop-aws-")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def build(out: Path) -> None:
    """Compile the source for Java 17 and pack its class, with the source beside it."""
    javac = shutil.which("javac")
    if javac is None:
        raise SystemExit("build_log_store: no javac; install a JDK 17 (Debian, Ubuntu: apt-get install openjdk-17-jdk)")
    path = ":".join(str(jar) for jar in JARS.glob("*.jar") if jar.name.startswith(_NEEDED))
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([javac, "--release", "17", "-g:none", "-cp", path, "-d", scratch, str(SOURCE)], check=True)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as jar:
            for name, file in (
                ("cloudlake/ConditionalLogStore.class", Path(scratch, "cloudlake", "ConditionalLogStore.class")),
                (f"cloudlake/{SOURCE.name}", SOURCE),
            ):
                jar.writestr(zipfile.ZipInfo(name, _LONG_AGO), file.read_bytes())


def main() -> int:
    """Build it where it belongs, or at --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=JAR)
    build(parser.parse_args().out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
