"""Code that runs from what a wheel holds, in a zip, in an empty folder: nothing is found beside the code by path."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cloudlake.common.config import load_config
from cloudlake.common.project import packed_code

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What setup.py puts into a wheel, as a zip; built from a copy, so that the checkout stays as it is."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, place / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.py", place)
    build = [sys.executable, "setup.py", "-q", "build", "--build-lib", "lib"]
    subprocess.run(build, cwd=place, check=True, capture_output=True)
    packed = place / "cloudlake.zip"
    with zipfile.ZipFile(packed, "w") as into:
        for file in sorted((place / "lib").rglob("*")):
            into.write(file, file.relative_to(place / "lib"))
    shutil.rmtree(place / "src")
    return packed


@pytest.fixture(scope="module")
def sent() -> Path:
    """What a driver sends to executors: put first on a driver's path, as `spark-submit --py-files` does, it has to run too."""
    return packed_code()


def run(archive: Path, folder: Path, code: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CLOUDLAKE_", "PYTHON", "SPARK_CONF"))}
    # The editable install would win over the archive: its finder comes before the path.
    before = f"import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in str(f)]; sys.path.insert(0, {str(archive)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", before + code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("packed", ["archive", "sent"])
def test_the_command_line_and_the_declarations_are_found_in_a_zip(
    packed: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    archive: Path = request.getfixturevalue(packed)
    code = """
import json, cloudlake
from cloudlake.cli import main
from cloudlake.common.config import load_config
from cloudlake.common.project import packed_code
from cloudlake.batch.gold_refresh import note_of
config = load_config()
note = note_of(config, config.registry["gold.usage_daily"], {"silver.usage_events": 1})
where = [config.lake.root, config.landing]
print(json.dumps([cloudlake.__file__, sorted(config.registry.tables), [str(one) for one in where], note]))
try:
    main(["--help"])
except SystemExit as ended:
    print(ended.code)
"""
    first, *rest = run(archive, tmp_path, code).splitlines()
    file, tables, folders, note = json.loads(first)
    assert file.startswith(str(archive)), "it ran from elsewhere"
    assert tables == sorted(load_config().registry.tables)
    assert folders == [str(tmp_path / "datalake"), str(tmp_path / "datalake" / "landing")]
    assert len(note["fingerprint"]) == 16  # of the code too, which is read from the zip
    assert "quarantine" in "".join(rest) and rest[-1] == "0"


def test_a_refusal_says_what_needs_a_checkout(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    code = "from cloudlake.cli import main; print(main(['stream', 'start', '--lake', 'lake', '--landing', 'landing']))"
    assert run(archive, tmp_path, code).strip() == "2"
