"""Rows that a command answers with: in the format that was asked for, to standard output or a file."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("table", "csv", "json", "markdown", "parquet")
ENDINGS = {".txt": "table", ".csv": "csv", ".json": "json", ".md": "markdown", ".parquet": "parquet"}
"""The format that a file's ending says."""


def add_output(parser: ArgumentParser) -> None:
    """Add the options that say how and where rows are written."""
    parser.add_argument("--format", choices=FORMATS, help="default: table, or what FILE's ending says")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    parser.add_argument("--output", metavar="FILE", help="write to a file, whole or not at all")


def write_rows(rows: pa.Table, arguments: Namespace) -> None:
    """Write rows as the options say.

    Raises:
        ConfigurationError: the file can't be written, or binary rows would go to a terminal.
    """
    from ..serving.queries.formats import serialised

    target = Path(arguments.output) if arguments.output else None
    form = arguments.format or (ENDINGS.get(target.suffix.lower()) if target else None) or "table"
    if target is None:
        if form == "parquet" and sys.stdout.isatty():
            raise ConfigurationError("--format parquet: it is binary; name a file with --output FILE")
        sys.stdout.flush()
        sys.stdout.buffer.write(serialised(rows, form))
        sys.stdout.buffer.flush()
        return
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        scratch.write_bytes(serialised(rows, form))
        os.replace(scratch, target)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise ConfigurationError(f"--output {target}: {error.strerror}; check the folder and its rights") from None
