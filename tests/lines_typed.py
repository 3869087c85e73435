"""Lines that the doctor says to type, typed as they stand; and where a table's log lies."""

from __future__ import annotations

import shlex
import subprocess
from argparse import Namespace
from pathlib import Path

from cloudlake.cli.main import main
from cloudlake.cli.typed import typed
from cloudlake.common.config import Config


def type_in(line: str, config: Config, *jobs: str) -> None:
    """Type a line as the doctor prints it; of a batch run that names no jobs, only the steps that a small lake has."""
    folders = ["--lake", str(config.lake.root), "--landing", str(config.landing)]
    said = typed(line, Namespace(lake=folders[1], landing=folders[3], conf=None))
    for command in said.split(" && "):
        words = shlex.split(command)
        if words[0] in ("cloudlake", "scripts/run_batch_pipeline.sh"):
            assert [word for word in words if word in folders] == folders, command
        if words[0] == "cloudlake":
            assert main(words[1:]) in (0, 1), command
        elif words[0] == "scripts/run_batch_pipeline.sh":
            chosen = [] if "--jobs" in words else ["--jobs", *jobs]
            assert main(["batch", *words[1:], *chosen]) == 0, command
        else:
            subprocess.run(["bash", "-c", command], check=True)


def log_of(config: Config, name: str) -> Path:
    return Path(config.lake.path(name)) / "_delta_log"


def newest_entry(config: Config, name: str) -> Path:
    return log_of(config, name) / f"{config.lake.version(name):020d}.json"
