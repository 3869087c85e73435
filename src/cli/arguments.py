"""What the commands' arguments have in common: how one is added, the folders that every command takes, kinds of values."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NoReturn

from ..common import cluster
from ..common.errors import ConfigurationError

FOLDERS = {
    "--lake": "the lake's folder, or s3a://bucket/path (CLOUDLAKE_LAKE; default datalake/)",
    "--landing": "the landing folder, or s3a://bucket/path (CLOUDLAKE_LANDING; default datalake/landing/)",
    "--conf": "the folder of declarations and settings (CLOUDLAKE_CONF; default conf/)",
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are those of every other bad usage."""

    later: Callable[[Parser, Sequence[str]], None] | None = None
    """Adds arguments that are declared in conf/, once the command has been chosen and its arguments are known."""

    def prepare(self, arguments: Sequence[str] = ()) -> None:
        """Add the arguments that are declared in conf/, where there are any."""
        later, self.later = self.later, None
        if later is not None:
            later(self, arguments)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, with every argument of the command."""
        self.prepare(args or ())
        return super().parse_known_args(args, namespace)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End as argparse does after --help, once what was printed has gone out.

        Raises:
            BrokenPipeError: nobody reads it any more; argparse itself passes over that, and Python then complains.
        """
        sys.stdout.flush()
        super().exit(status, message)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"{self.prog}: {message}; see {self.prog} --help")


Commands = argparse._SubParsersAction


def add_command(
    commands: Commands[Parser], name: str, summary: str, examples: str = "", within: bool = False, spark: bool = False
) -> Parser:
    """Add a command, or, `within` another, a verb of it that takes the common options as well.

    With `spark`, it starts Spark, and takes the options that say where.
    """
    parser: Parser = commands.add_parser(
        name, help=summary, description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.prog = os.environ.get("CLOUDLAKE_PROG", parser.prog)
    unsaid = argparse.SUPPRESS if within else None
    for option, meaning in FOLDERS.items():
        kind = _folder if option == "--conf" else str
        parser.add_argument(option, metavar="DIR", default=unsaid, help=meaning, type=kind)
    parser.add_argument(
        "--verbose", action="store_true", default=unsaid or False, help="show the whole trace of an error"
    )
    if spark:
        parser.add_argument(
            "--master", metavar="URL", type=cluster.master_url, help=f"where Spark runs: {cluster.MASTERS} (default: conf/)"
        )
        parser.add_argument(
            "--spark-conf", metavar="K=V", type=cluster.setting, action="append", default=[],
            help="a setting of Spark, such as spark.executor.memory=8g; may be given again",
        )  # fmt: skip
        parser.set_defaults(starts_spark=True)
    return parser


def _folder(text: str) -> str:
    """Read the folder of cloudlake's settings; a setting of Spark has another option.

    Raises:
        ConfigurationError: it is a setting of Spark.
    """
    if text.startswith("spark.") and "=" in text:
        raise ConfigurationError(
            f"--conf {text}: --conf names the folder of cloudlake's settings; for a setting of Spark write "
            f"--spark-conf {text}"
        )
    return text


def add_verbs(parser: Parser, name: str = "verb") -> Commands[Parser]:
    """Return where the verbs of a command are added; one must be given."""
    return parser.add_subparsers(dest=name, required=True, metavar=name.upper(), parser_class=Parser)


def day(text: str) -> date:
    """Read a date."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a date; write YYYY-MM-DD") from None


def month(text: str) -> date:
    """Read a month; it is its first day."""
    try:
        if len(text) != 7:
            raise ValueError
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a month; write YYYY-MM") from None


def moment(text: str) -> datetime:
    """Read a time; without an offset it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time; write 2025-08-31T00:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def require_java() -> None:
    """Check that a Java can be started at all.

    Raises:
        ConfigurationError: none is found.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME ({home})" if home else "on the PATH"
        raise ConfigurationError(
            f"Java: none found {where}; install Java 17 or newer, or run scripts/setup_environment.sh"
        )
