"""The settings that shell scripts need, as assignments for `eval`: the lake's folder and the nightly run.

usage: scripts/settings.py [--for-a-run]    (CLOUDLAKE_CONF and CLOUDLAKE_LAKE count, as with every command)

Reads conf/lake.yaml alone, in a tenth of the time that all of conf/ takes; the run itself checks the rest. A lake in an object
store has no folder: `lake` is empty then, and `logs` lies in the project. With --for-a-run a new lake is put where one of its
name can lie, as the run itself would, before anything is written into its folder.
"""

import os
import shlex
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def _folder(address: str) -> str:
    """Return the lake's folder; "" where it has none."""
    if "--for-a-run" not in sys.argv and "://" not in address:
        return str(Path(address).resolve())
    from cloudlake.common.errors import ConfigurationError
    from cloudlake.common.lake.storage import placed, root_at
    from cloudlake.common.lake.stores import is_remote

    try:
        root = root_at(address, "--lake")
    except ConfigurationError as error:
        sys.exit(f"error: {error}")
    if is_remote(root):
        return ""
    return str(placed(root) if "--for-a-run" in sys.argv else root)


def main() -> str:
    """Return the assignments.

    Raises:
        SystemExit: conf/lake.yaml can't be read, or lacks one of the settings; the message says which.
    """
    path = Path(os.environ.get("CLOUDLAKE_CONF") or ROOT / "conf").resolve() / "lake.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        schedule, paths = content["schedule"], content["paths"]
        lake = _folder(os.environ.get("CLOUDLAKE_LAKE") or str(ROOT / str(paths["lake"])))
        found = {
            "lake": lake,
            "logs": f"{lake}/logs" if lake else str(ROOT / "logs"),
            "nightly": str(schedule["nightly"]),
        }
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        sys.exit(
            f"error: {path}: paths.lake and schedule.nightly can't be read from it ({error!r})"
        )
    return "\n".join(f"{name}={shlex.quote(value)}" for name, value in found.items())


if __name__ == "__main__":
    print(main())
