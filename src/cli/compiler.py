"""How a command's Java is started, by the job and by the size of what it has to do.

Java compiles what it runs often twice: quickly, and later, at length, for speed. Spark writes code for each plan, and has it
compiled. A short run is both of them warming up, and never earns it back; a stream that goes on, and a run over much data,
do. This is the one place that decides; SPARK_SUBMIT_OPTS with a TieredStopAtLevel of its own wins.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from ..common.project import packaged_conf, root

QUICK = "-XX:TieredStopAtLevel=1 -Dspark.sql.codegen.wholeStage=false -Dspark.sql.codegen.factoryMode=NO_CODEGEN"
"""The quick compiler alone, and plans that are interpreted. The first saves a run of the default delivery (11 MB) 52 of its
175 CPU seconds; with it, the second saved a run of 600 events 50 of 207, measured on busy cores, and no table differed."""
MUCH = 30 << 20
"""So many bytes of new landing files, and more, are worth compiling for. A run of 534 MB needs 0.4 CPU seconds a megabyte
with everything compiled; where the turn is was reckoned from that, not measured."""


def with_compiler(env: Mapping[str, str], arguments: Namespace) -> dict[str, str]:
    """Return the variables of the environment to set, beside those given, for the compiler that a command wants."""
    given = env.get("SPARK_SUBMIT_OPTS", "")
    if "TieredStopAtLevel" in given or goes_on(arguments) or new_bytes(arguments, env) >= MUCH:
        return {}
    return {"SPARK_SUBMIT_OPTS": f"{given} {QUICK}".strip()}


def goes_on(arguments: Namespace) -> bool:
    """Tell whether a command runs until it is stopped."""
    return bool(arguments.command == "stream" and arguments.mode != "once")


def new_bytes(arguments: Namespace, env: Mapping[str, str]) -> int:
    """Return the size of the landing files that have changed since the lake last took any; of all, on a full reload.

    An estimate, from times alone, that nothing but the choice of the compiler follows: no table is opened for it.
    """
    landing, lake = _folder("landing", arguments, env), _folder("lake", arguments, env)
    try:
        taken = (lake / "ops" / "landed_files" / "_delta_log").stat().st_mtime
    except OSError:
        taken = 0.0
    if getattr(arguments, "full_reload", False):
        taken = 0.0
    return sum(stat.st_size for stat in _files(landing) if max(stat.st_mtime, stat.st_ctime) > taken)


def _folder(name: str, arguments: Namespace, env: Mapping[str, str]) -> Path:
    """Return the landing folder or the lake's, as load_config finds it, without reading all of conf/."""
    given = getattr(arguments, name) or env.get(f"CLOUDLAKE_{name.upper()}")
    if given:
        return Path(given)
    try:
        conf = Path(arguments.conf or env.get("CLOUDLAKE_CONF") or packaged_conf())
        said = yaml.safe_load((conf / "lake.yaml").read_text(encoding="utf-8"))
        return root() / str(said["paths"][name])
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError):
        return root()  # the command itself says what is wrong with conf/


def _files(folder: Path) -> Iterator[os.stat_result]:
    """Walk what lies in the landing folder and in its folders."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(Path(entry.path))
                elif entry.is_file():
                    yield entry.stat()
    except OSError:
        return
