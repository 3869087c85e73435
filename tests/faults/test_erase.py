"""A person is taken out of every byte of the lake, wherever the process is killed. Real tables, no Spark."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cloudlake.common.config import Config
from cloudlake.common.contracts.derived import memory_of
from cloudlake.common.erasure import erased_in
from flow import ROOT, cloudlake, files_with
from live_lake import opened, version

USER, FIRST, SECOND = "user_7", "Ada.Lovelace.of.the.analytical.Engine@somewhere.example.com", "ada@example.org"
ADDRESSES = (FIRST.lower(), SECOND, FIRST.lower()[:32])
TABLES = ("bronze.users", "silver.users", "quarantine.users")


def told(user: str, email: str | None, run: str, line: str | None = None) -> dict[str, Any]:
    return {
        "user_id": user, "email": email, "org_id": "org_1", "_corrupt_record": line, "_source_file": f"{run}/users.csv",
        "_source_sha256": "s", "_run_id": run,
    }  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A lake that knows a person in two versions and leaks the address, as lakes did, in its log and beside its tables."""
    config = opened(tmp_path)
    lake, registry = config.lake, config.registry
    bronze = [told(f" {USER} ", FIRST, "r1"), told("user_8", "b@example.org", "r1")]
    bronze += [told(USER, SECOND, "r2"), told("user_8", "b@example.org", "r2"), told(None, None, "r2", f"{USER},{SECOND}")]  # type: ignore[arg-type]
    lake.append_small(bronze, registry["bronze.users"], {"run_id": "r2", "files": []})
    early, late = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)
    people = [
        version("user_id", USER, early, late, user_sk="a", email=FIRST.lower()),
        version("user_id", USER, late, user_sk="b", email=SECOND),
        version("user_id", "user_8", early, user_sk="c", email="b@example.org"),
    ]
    lake.append_small(people, registry["silver.users"], {"run_id": "r2", "told": 2})
    memory = memory_of(registry["silver.users"])
    words = [{"user_id": u, "email": e, "_record": "word", "_at": early, "_told": 1} for u, e in ((USER, FIRST.lower()), ("user_8", "b@example.org"))]
    lake.append_small(words, memory, {"told": 2})
    refused = [(USER, SECOND), ("user_8", "b@example.org")]
    lake.append_small(
        [
            {"quarantine_id": f"q{n}", "payload": json.dumps({"user_id": u, "email": e}), "reasons": ["x"], "status": "open"}
            for n, (u, e) in enumerate(refused)
        ],
        registry["quarantine.users"],
    )
    lake.append_small([{"org_id": "org_1", "users": 2, "users_by_role": []}], registry["gold.user_activity"], {"run_id": "r2"})
    entry = lake.root / "silver" / "users" / "_delta_log" / f"{1:020d}.json"
    lines = [json.loads(line) for line in entry.read_text().splitlines()]
    for line in lines:
        if "add" in line:
            line["add"]["stats"] = json.dumps({"numRecords": 2, "minValues": {"email": FIRST.lower()[:32]}})
    entry.write_text("\n".join(map(json.dumps, lines)) + "\n")
    for name in ("reports/r1.json", "quality/silver.users.html", "logs/nightly-1.log", "run/openlineage.json", "run/stream.log"):
        file = lake.root / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'{{"said of": "{FIRST}"}} and {SECOND.upper()}\n')
    shutil.copytree(lake.root / "silver" / "users", lake.root / "aside" / "silver.users-r0")
    (config.landing / "users.csv").write_text(f"user_id,email\n{USER},{FIRST}\n")
    (config.landing / "other.csv").write_text("user_id\nuser_77\n")
    return config


def held(root: Path) -> list[str]:
    """The files of a lake in which an address stands, to the byte or as a packed value; told apart from the product's code."""
    return files_with(root, *ADDRESSES)


def others(config: Config) -> dict[str, list[dict[str, Any]]]:
    rows = {name: config.lake.rows(name) for name in (*TABLES, "silver.users__memory")}
    return {name: [row for row in kept if USER not in str(row.get("user_id") or row) and SECOND not in str(row)] for name, kept in rows.items()}


def test_no_byte_of_the_address_is_left_and_nothing_else_changes(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    before, mart = others(config), config.lake.read_small("gold.user_activity")
    leaking = held(config.lake.root)
    assert len(leaking) > 10 and any("_delta_log" in name for name in leaking)
    assert cloudlake(config.lake.root, config.landing, "erase", "--user", USER, "--dry-run") == 0
    assert held(config.lake.root) == leaking, "a dry run does nothing"
    assert not (config.lake.root / "ops" / "erasure.key").exists()
    capsys.readouterr()
    assert cloudlake(config.lake.root, config.landing, "erase", "--user", USER) == 0
    said = capsys.readouterr().out
    assert held(config.lake.root) == []
    assert others(config) == before and sum(map(len, before.values())) == 5
    assert [row["user_id"] for row in config.lake.rows("silver.users")] == ["user_8"]
    assert config.lake.read_small("gold.user_activity").equals(mart) and config.lake.version("gold.user_activity") == 1
    assert said.rstrip().splitlines()[-1] == "  users.csv", "the landing file that still holds it is named, and no other"
    assert config.lake.last_note("silver.users")["told"] == 2, "what the history was told last is still known"
    assert (config.lake.root / "reports" / "r1.json").read_text().startswith('{"said of": "**')
    record = json.dumps(config.lake.rows("ops.erasures"), default=str) + json.dumps(config.lake.rows("ops.job_runs"), default=str)
    assert USER not in record and "ada" not in record.lower()

    taken = erased_in(config)
    assert taken.rows == {"r1/users.csv@s@r1": 1, "r2/users.csv@s@r2": 2}
    again = pa.table({"user_id": [f"{USER} ", "user_8", None], "_corrupt_record": [None, None, f'"{USER}";{SECOND.upper()}']})
    assert (taken.split(again)[0]["user_id"].to_pylist(), taken.split(again)[1]) == (["user_8"], 2)

    assert cloudlake(config.lake.root, config.landing, "erase", "--user", USER) == 0
    assert "was erased before" in capsys.readouterr().out
    assert cloudlake(config.lake.root, config.landing, "erase", "--user", "user_9") == 2
    assert "nobody of that id" in capsys.readouterr().err
    statuses = [row["status"] for row in config.lake.rows("ops.erasures")]
    assert sorted(statuses) == ["begun", "done"]


@pytest.mark.parametrize("point", ["erase_after_record", "erase_within_silver.users", "erase_within_bronze.users"])
def test_killed_in_the_middle_it_is_ended_the_next_time(config: Config, point: str) -> None:
    command = [sys.executable, "-m", "cloudlake.cli", "erase", "--user", USER, "--lake", str(config.lake.root), "--landing", str(config.landing)]
    environment = os.environ | {"CLOUDLAKE_CRASH_AT": point, "PYTHONPATH": str(ROOT / ".typing")}
    assert subprocess.run(command, env=environment, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert held(config.lake.root)
    assert cloudlake(config.lake.root, config.landing, "erase", "--user", USER) == 0
    assert held(config.lake.root) == []
    assert erased_in(config).rows == {"r1/users.csv@s@r1": 1, "r2/users.csv@s@r2": 2}, "counted once"


def test_an_address_that_somebody_else_has_too_is_told(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    config.lake.append_small([told("user_9", SECOND, "r3")], config.registry["bronze.users"], {"run_id": "r3"})
    assert cloudlake(config.lake.root, config.landing, "erase", "--user", USER) == 1
    error = capsys.readouterr().err
    assert "bronze/users" in error and "another person" in error
    assert "user_9" in {row["user_id"] for row in config.lake.rows("bronze.users")}, "and is not taken from them"


def test_another_key_than_the_one_persons_were_erased_with_stops_a_run(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cloudlake(config.lake.root, config.landing, "erase", "--user", USER) == 0
    assert oct((config.lake.root / "ops" / "erasure.key").stat().st_mode)[-3:] == "600"
    monkeypatch.setenv("CLOUDLAKE_ERASURE_KEY", "another")
    assert cloudlake(config.lake.root, config.landing, "erase", "--user", "user_8") == 2
    assert "not the key" in capsys.readouterr().err
