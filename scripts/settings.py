"""The settings that shell scripts need, as assignments for `eval`: the lake's folder and the nightly run.

usage: scripts/settings.py    (CLOUDLAKE_CONF and CLOUDLAKE_LAKE count, as with every command)

Reads conf/lake.yaml alone, in a tenth of the time that all of conf/ takes; the run itself checks the rest.
"""

import os
import shlex
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def main() -> str:
    """Return the assignments.

    Raises:
        SystemExit: conf/lake.yaml can't be read, or lacks one of the settings; the message says which.
    """
    path = Path(os.environ.get("CLOUDLAKE_CONF") or ROOT / "conf").resolve() / "lake.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        schedule, paths = content["schedule"], content["paths"]
        lake = Path(os.environ.get("CLOUDLAKE_LAKE") or ROOT / str(paths["lake"])).resolve()
        found = {
            "lake": str(lake),
            "nightly": str(schedule["nightly"]),
        }
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        sys.exit(
            f"error: {path}: paths.lake and schedule.nightly can't be read from it ({error!r})"
        )
    return "\n".join(f"{name}={shlex.quote(value)}" for name, value in found.items())


if __name__ == "__main__":
    print(main())
