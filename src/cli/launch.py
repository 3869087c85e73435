"""Start a command on Spark: `python -m cloudlake.cli.launch batch …`, what the scripts call.

The arguments are checked before any JVM starts; then this process becomes spark-submit.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..common import cluster, java
from ..common.errors import CloudlakeError, ConfigurationError
from ..common.project import packaged_conf
from .compiler import with_compiler
from .main import build_parser

_SECRET = re.compile(r"(?i)secret|password|token|access[.]?key|credential")
"""Names of settings whose values are not shown; as spark.redaction.regex has it."""


def command_line(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return spark-submit's command line for a command of cloudlake, once its arguments have been checked, and its environment.

    Raises:
        ConfigurationError: the arguments are wrong, or there is no Java.
    """
    chosen = build_parser().parse_args(arguments)
    spark = cluster.submit_options(chosen.master, chosen.spark_conf, os.environ)
    if java.java_command() is None:
        raise ConfigurationError(java.what_is_wrong_with_java())
    submit = Path(sys.executable).with_name("spark-submit")
    folder = cluster.conf_folder(chosen.master, os.environ) or packaged_conf()
    env = {**os.environ, "SPARK_CONF_DIR": str(folder), **java.surroundings(os.environ)}
    if any(word.startswith("spark.pyspark.python=") for word in spark):  # of the executors; this one has its own
        spark = ["--conf", f"spark.pyspark.driver.python={sys.executable}", *spark]
    line = [str(submit), *spark, str(Path("scripts", "submit.py")), *for_command(arguments)]
    if getattr(chosen, "dry_run", False) and chosen.master:
        print(f"A run would be submitted so:\n  {shown(line)}", flush=True)
    return line, env | (with_compiler(env, chosen) if cluster.is_local(chosen.master) else {})


def for_command(arguments: Sequence[str]) -> list[str]:
    """Return what the command itself has to hear: not the settings of Spark, which may be secret, a second time."""
    waiting, heard = iter(arguments), []
    for argument in waiting:
        if argument == "--spark-conf":
            next(waiting, None)
        elif not argument.startswith("--spark-conf="):
            heard.append(argument)
    return heard


def shown(line: Sequence[str]) -> str:
    """Return a command line as one types it, without the values of secrets.

    >>> shown(["spark-submit", "--conf", "spark.hadoop.fs.s3a.secret.key=abc", "--conf", "spark.app.name=a b"])
    "spark-submit --conf spark.hadoop.fs.s3a.secret.key=… --conf 'spark.app.name=a b'"
    """
    hidden = (re.sub(r"=.*", "=…", word) if _SECRET.search(word.partition("=")[0]) else word for word in line)
    return " ".join(word if word.endswith("=…") else shlex.quote(word) for word in hidden)


def main(arguments: Sequence[str]) -> int:
    """Become spark-submit; returns only where that can't be."""
    try:
        line, env = command_line(arguments)
    except CloudlakeError as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    os.execve(line[0], line, env)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
