"""The nightly entry in the real crontab of whoever runs the tests; it is put back as it was."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from flow import ROOT

pytestmark = pytest.mark.skipif(shutil.which("crontab") is None, reason="there is no crontab on this machine")
SCRIPT = str(ROOT / "scripts" / "setup_cron.sh")
OTHER = "5 5 * * * echo another entry"


def entries() -> list[str]:
    return subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False).stdout.splitlines()


def write(lines: list[str]) -> None:
    subprocess.run(["crontab", "-"], input="\n".join([*lines, ""]), text=True, check=True)


@pytest.fixture
def crontab() -> Iterator[None]:
    before = entries()
    write([OTHER])
    yield
    write(before)


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_installing_twice_leaves_one_entry_and_every_other_one(crontab: None) -> None:
    assert call("install").returncode == 0
    assert call("install", "--at", "30 3 * * 1-5", "--lake", "/data/my lake").returncode == 0
    found = entries()
    assert found[0] == OTHER and len(found) == 2
    assert found[1].startswith("30 3 * * 1-5 CLOUDLAKE_LAKE=/data/my\\ lake ") and "scripts/nightly.sh" in found[1]
    assert "installed: 30 3 * * 1-5" in call("status").stdout
    assert call("uninstall").returncode == 0 and entries() == [OTHER]
    assert call("uninstall").stdout == "nothing to uninstall\n"
    assert "not installed" in call("status").stdout


def test_a_schedule_that_is_none_is_refused(crontab: None) -> None:
    refused = call("install", "--at", "every night")
    assert refused.returncode == 2 and "is not five fields" in refused.stderr
    assert entries() == [OTHER]
