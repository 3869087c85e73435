"""Each damage that the doctor knows, brought about: found, named, and the line that it says to type makes the answers right."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pyspark
import pytest
from books_lake import ANSWERS, JOBS, assert_whole, rows_of, run
from cloudlake.cli.main import main
from cloudlake.common.clock import now_utc
from cloudlake.common.config import Config
from cloudlake.common.lake.damage import log_damage
from cloudlake.common.lake.log import data_files
from cloudlake.common.publication import published
from cloudlake.common.receivers import WebhookTarget
from cloudlake.runs.health import examine
from cloudlake.upkeep import machine
from cloudlake.upkeep.findings import Finding
from cloudlake.upkeep.machine import machine_findings
from deltalake import DeltaTable
from flow import ROOT, event_line, land_events, opened, versions
from lines_typed import log_of, newest_entry, type_in

FIX = "cloudlake doctor --fix"
KEPT = "publication_kept_gone"


def wrong(config: Config) -> dict[str, Finding]:
    """What the doctor finds, by kind and place; sources that this small lake does not take aside."""
    found = [finding for finding in examine(config, now_utc()) if finding.kind != "landing_unread"]
    return {f"{finding.kind} {finding.where}": finding for finding in found}


def assert_mended(config: Config, answers: dict[str, list[str]]) -> None:
    """The answers are right; what is lost for good is that the publication of before can be rolled back to."""
    assert_whole(config, answers)
    left = wrong(config)
    assert {finding.kind for finding in left.values()} <= {KEPT}
    for finding in left.values():
        type_in(finding.line, config)
    assert wrong(config) == {}


def test_nothing_starts_over_damaged_logs_and_each_is_mended_by_the_line_that_is_named(
    config: Config, answers: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert wrong(config) == {}
    before = (config.lake.root / "published.json").read_text()
    newest_entry(config, "silver.users").write_bytes(b"")
    entry = newest_entry(config, "gold.usage_daily")
    entry.write_bytes(entry.read_bytes()[:200])
    (log_of(config, "silver.support_tickets") / f"{0:020d}.json").unlink()
    DeltaTable(config.lake.path("speed.usage_increments")).create_checkpoint()
    (checkpoint,) = log_of(config, "speed.usage_increments").glob("*.checkpoint.parquet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    for mode in (["batch"], ["stream", "once"]):
        folders = ["--lake", str(config.lake.root), "--landing", str(config.landing)]
        assert main([*mode, *folders]) == 1
        said = capsys.readouterr().err
        assert re.search(r"silver.users: log entry \d{20}.json is empty\. Answers lack rows", said)
        assert re.search(r"gold.usage_daily: log entry \d{20}.json is cut", said) and "Nothing was started" in said
    assert (config.lake.root / "published.json").read_text() == before
    found = wrong(config)
    assert set(found) == {
        "log_entry silver.users", "log_entry gold.usage_daily", "log_gap silver.support_tickets",
        "log_checkpoint speed.usage_increments",
    }  # fmt: skip
    assert all(finding.stops for finding in found.values())
    assert found["log_entry silver.users"].line.startswith(FIX)
    type_in(found["log_entry silver.users"].line.partition(" && ")[0], config, *JOBS)
    said = capsys.readouterr().out
    assert said.count("mended: ") == 3 and "type: mkdir -p" in said
    assert set(wrong(config)) == {"log_gap silver.support_tickets"}
    type_in(found["log_gap silver.support_tickets"].line, config, *JOBS)
    assert_mended(config, answers)


def test_a_lake_that_is_put_back_older_than_its_landing_zone_takes_again_what_has_landed_since(config: Config) -> None:
    lake, landing = config.lake.root, config.landing
    shutil.copytree(lake, lake.with_name("older"))
    users = (landing / "users.csv").read_text().splitlines()
    try:
        (landing / "2026-01-01").mkdir()
        (landing / "2026-01-01" / "users.csv").write_text("\n".join(users[:-2]) + "\n")
        known = json.loads(config.lake.read_small("bronze.usage_events", columns=["raw"])["raw"][0].as_py())
        land_events(landing, "later.jsonl", [event_line(n, org_id=known.get("org_id", "org_x")) for n in range(5)])
        assert run(config) == 0
        answers = {name: rows_of(config, name) for name in ANSWERS}
        shutil.rmtree(lake)
        lake.with_name("older").rename(lake)
        assert wrong(config) == {}
        (found,) = (finding for finding in examine(config, now_utc()) if finding.kind == "landing_unread")
        assert "put back from an older copy" in found.means
        type_in(found.line, config, *JOBS)
        assert_whole(config, answers)
    finally:
        shutil.rmtree(landing / "2026-01-01")
        (landing / "usage_events_stream" / "later.jsonl").unlink()


def test_a_landing_zone_that_has_moved_and_a_checkpoint_ahead_are_begun_anew_and_nothing_doubles(
    config: Config, answers: dict[str, list[str]]
) -> None:
    landing = config.landing
    moved = opened(config.lake.root, landing.with_name("moved"))
    offset = max(
        (config.lake.root / "checkpoints" / "silver_usage_events" / "offsets").glob("[0-9]*"), key=lambda p: int(p.name)
    )
    lines = offset.read_text().splitlines()
    ahead = json.loads(lines[-1]) | {"reservoirVersion": 50}
    offset.write_text("\n".join([*lines[:-1], json.dumps(ahead)]))
    landing.rename(moved.landing)
    try:
        assert {key.split()[0] for key in wrong(config)} >= {"landing_gone"}
        found = wrong(moved)
        assert {key.split()[0] for key in found} == {"landing_moved", "checkpoint_ahead"}
        (line,) = {finding.line for finding in found.values()}
        assert line.startswith(FIX)
        type_in(line, moved, *JOBS)
        assert_mended(moved, answers)
    finally:
        moved.landing.rename(landing)


def test_a_published_version_that_is_gone_gives_way_to_the_newest_and_another_landing_zone_to_the_own(
    config: Config, answers: dict[str, list[str]], tmp_path: Path
) -> None:
    lake, name = config.lake, "gold.usage_daily"
    rows, note, named = lake.read_small(name), lake.last_note(name), published(lake).version(name)
    lake.replace_small(rows, config.registry[name], note=note)
    (file,) = set(data_files(DeltaTable(lake.path(name), version=named), lake.path(name)))
    Path(file).unlink()
    found = wrong(config)
    in_force = published(lake).run_id
    assert set(found) == {f"publication_gone run {in_force}"}
    assert "can't read" in found[f"publication_gone run {in_force}"].means
    type_in(found[f"publication_gone run {in_force}"].line, config, *JOBS)
    assert published(lake).run_id != in_force
    assert_mended(config, answers)

    other = opened(lake.root, tmp_path / "other")
    (other.landing / "usage_events_stream").mkdir(parents=True)
    ((key, finding),) = wrong(other).items()
    assert key.startswith("landing_other") and str(config.landing) in finding.line
    before = rows_versions(config)
    assert main(["stream", "once", "--lake", str(lake.root), "--landing", str(other.landing)]) != 0, "it refuses to start"
    type_in(finding.line, config, *JOBS)
    assert wrong(config) == {} and rows_versions(config) == before
    assert_whole(config, answers)


def rows_versions(config: Config) -> dict[str, int]:
    """The version of every table but the records of what the platform did."""
    return {name: version for name, version in versions(config).items() if not name.startswith("ops.")}


def without(folder: Path, *names: str) -> str:
    """A folder of everything that is installed here but some packages, or parts of one."""
    installed = Path(pyspark.__file__).parents[1]
    for path in installed.iterdir():
        parts = [name.partition("/")[2] for name in names if name.partition("/")[0] == path.name]
        if not parts:
            (folder / path.name).symlink_to(path)
        elif all(parts):
            (folder / path.name).mkdir()
            for part in path.iterdir():
                if part.name not in parts:
                    (folder / path.name / part.name).symlink_to(part)
    return str(folder)


@pytest.mark.parametrize(
    ("lacks", "where", "line"),
    [
        ("pyspark", "pyspark: it is not installed", "scripts/setup_environment.sh"),
        ("pyspark/jars", "__init__.py: the Delta jars are missing", "scripts/setup_environment.sh --force"),
    ],
)
def test_spark_or_its_jars_that_are_not_installed_are_named(
    built: Config, tmp_path: Path, lacks: str, where: str, line: str
) -> None:
    environment = os.environ | {"PYTHONPATH": f"{without(tmp_path, lacks)}:{ROOT / '.typing'}"}
    folders = ["--lake", str(built.lake.root), "--landing", str(built.landing)]

    def type_alone(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", "-m", "cloudlake.cli", *words, *folders]
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)

    doctor = type_alone("doctor")
    told = doctor.stdout.splitlines()
    assert doctor.returncode == 1 and told[0].endswith(where) and told[0].startswith("! "), doctor.stderr
    assert f"  type: {line}" in told
    if lacks == "pyspark":
        batch = type_alone("batch")
        assert batch.returncode == 1 and "run scripts/setup_environment.sh" in batch.stderr


def test_what_the_machine_lacks_is_named(built: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    now = now_utc()
    assert machine_findings(built, now) == []

    def kinds(config: Config, at: datetime = now) -> list[str]:
        return [finding.kind for finding in machine_findings(config, at)]

    assert kinds(built, now - timedelta(days=400)) == ["clock"]
    monkeypatch.setattr(machine, "LEAST_FREE_BYTES", 1 << 60)
    (full,) = machine_findings(built, now)
    assert (full.kind, full.line) == ("disk", "cloudlake maintain") and "MiB are free" in full.what
    monkeypatch.undo()
    hook = WebhookTarget(kind="webhook", url="${CLOUDLAKE_NOWHERE}")
    settings = built.settings.model_copy(
        update={"notifications": built.settings.notifications.model_copy(update={"targets": {"chat": hook}})}
    )
    told = machine_findings(Config(**{**vars(built), "settings": settings}), now)
    assert [(f.kind, f.line) for f in told] == [("secret", "export CLOUDLAKE_NOWHERE=…")]
    assert "rights" in kinds(opened(Path("/proc/self/lake"), built.landing)) or not Path("/proc/self").exists()
    monkeypatch.setenv("JAVA_HOME", str(built.landing))
    assert kinds(built) == ["java"]


@pytest.mark.parametrize("part", [True, False])
def test_a_checkpoint_with_a_part_missing_is_harmless_only_where_the_entries_before_it_are_there(
    config: Config, part: bool
) -> None:
    log = log_of(config, "gold.usage_daily")
    version = config.lake.version("gold.usage_daily")
    (log / f"{version:020d}.checkpoint.{1:010d}.{2:010d}.parquet").write_bytes(b"PAR1....PAR1")
    if not part:
        (log / f"{0:020d}.json").unlink()
    damage = log_damage(config.lake, "gold.usage_daily")
    assert damage is not None and (damage.kind, damage.is_mendable) == (
        ("checkpoint", True) if part else ("gap", False)
    )
