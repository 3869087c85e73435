"""Where the project is: its declarations in any case, its scripts and documents only in a checkout.

The package carries conf/ with it (src/conf in a checkout is a link to it), so code that runs from a wheel or a zip finds
the same declarations; --conf and CLOUDLAKE_CONF name others.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

PACKAGE = __name__.partition(".")[0]


def checkout() -> Path | None:
    """Return the checkout that the code runs from, None where it runs from a wheel or a zip."""
    package = resources.files(PACKAGE)
    root = package.resolve().parent if isinstance(package, Path) else None
    return root if root is not None and (root / "scripts" / "_environment.sh").is_file() else None


def root() -> Path:
    """Return what relative paths of conf/lake.yaml are relative to: the checkout, else the folder one is in."""
    return checkout() or Path.cwd()


@cache
def packaged_conf() -> Path:
    """Return the folder of the declarations that the code carries; of a zip, they are unpacked for this process."""
    carried = resources.files(PACKAGE) / "conf"
    if isinstance(carried, Path):
        return carried.resolve()
    unpacked = Path(tempfile.mkdtemp(prefix="cloudlake-conf-"))
    atexit.register(shutil.rmtree, unpacked, ignore_errors=True)
    for file in carried.iterdir():
        if file.is_file():
            (unpacked / file.name).write_bytes(file.read_bytes())
    return unpacked


@cache
def packed_code() -> Path:
    """Return the package as a zip, conf/ and all other data with it, for processes on other machines; kept for this process."""
    folder = Path(tempfile.mkdtemp(prefix="cloudlake-code-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    archive = folder / f"{PACKAGE}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, file in _files(resources.files(PACKAGE), PACKAGE):
            packed.writestr(name, file.read_bytes())
    return archive


def _files(folder: Traversable, name: str) -> Iterator[tuple[str, Traversable]]:
    """Walk a folder of the package, wherever it is; what Python compiled is left out."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_file():
            yield f"{name}/{entry.name}", entry
        elif entry.name != "__pycache__":
            yield from _files(entry, f"{name}/{entry.name}")
