"""Start a command on Spark: `python -m cloudlake.cli.launch batch …`, what the scripts call.

The arguments are checked before any JVM starts; then this process becomes spark-submit.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ..common import java
from ..common.errors import CloudlakeError, ConfigurationError
from .compiler import with_compiler
from .main import build_parser

FOR_SPARK = {"--master": "URL", "--spark-conf": "K=V"}
"""Options of spark-submit (--conf there is --spark-conf here, because --conf names cloudlake's own settings)."""


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what goes to spark-submit, and what goes to the command.

    Raises:
        ConfigurationError: an option for Spark lacks its value, or stands under another name.
    """
    spark: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, has_value, value = argument.partition("=")
        if name in FOR_SPARK:
            spark += _for_spark(name, value if has_value else next(waiting, ""))
        elif name == "--conf":
            value = value if has_value else next(waiting, "")
            if value.startswith("spark.") and "=" in value:
                raise ConfigurationError(
                    f"--conf {value}: --conf names the folder of cloudlake's settings; for a setting of Spark write "
                    f"--spark-conf {value}"
                )
            rest += ["--conf", value] if value else ["--conf"]
        else:
            rest.append(argument)
    return spark, rest


def _for_spark(name: str, value: str) -> list[str]:
    if not value or value.startswith("--"):
        raise ConfigurationError(f"{name} needs a value: {name} {FOR_SPARK[name]}")
    if name == "--master":
        return ["--master", value]
    key, is_pair, _ = value.partition("=")
    if not is_pair or not key.startswith("spark."):
        raise ConfigurationError(f"--spark-conf {value}: write spark.some.setting=value")
    return ["--conf", value]


def is_local(spark: Sequence[str]) -> bool:
    """Tell whether the driver does all the work, so that no other machine needs the code."""
    masters = [value for name, value in pairwise(spark) if name == "--master"]
    return not masters or masters[-1].startswith("local")


def for_executors(root: Path) -> list[str]:
    """Pack the code, and name the Delta jars, for the executors of a cluster."""
    import pyspark

    package = Path(__file__).resolve().parents[1]
    archive = root / "dist" / "cloudlake.zip"
    archive.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(package.rglob("*.py")):
            packed.write(file, Path("cloudlake") / file.relative_to(package))
    jars = sorted(Path(str(pyspark.__file__)).parent.glob("jars/delta-*.jar"))
    return ["--py-files", str(archive), "--jars", ",".join(map(str, jars))]


def command_line(arguments: Sequence[str], root: Path) -> tuple[list[str], dict[str, str]]:
    """Return spark-submit's command line for a command of cloudlake, once its arguments have been checked, and its environment.

    Raises:
        ConfigurationError: the arguments are wrong, or there is no Java.
    """
    spark, rest = split(arguments)
    chosen = build_parser().parse_args(rest)
    if java.java_command() is None:
        raise ConfigurationError(java.what_is_wrong_with_java())
    if not is_local(spark):
        spark += for_executors(root)
    submit = Path(sys.executable).with_name("spark-submit")
    env = {**os.environ, **java.surroundings(os.environ)}
    line = [str(submit), *spark, str(Path("scripts", "submit.py")), *rest]
    return line, env | (with_compiler(env, chosen) if is_local(spark) else {})


def main(arguments: Sequence[str]) -> int:
    """Become spark-submit; returns only where that can't be."""
    try:
        line, env = command_line(arguments, Path.cwd())
    except CloudlakeError as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    os.execve(line[0], line, env)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
