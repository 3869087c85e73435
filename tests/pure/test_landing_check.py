"""`cloudlake landing check` says before any run what a run would take, refuse, pass over or miss; it writes nothing."""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cloudlake.batch.bronze import ingestion
from cloudlake.cli.main import main
from cloudlake.common.config import Config, load_config
from cloudlake.streaming.event_files import hashed, list_files
from cloudlake.streaming.landed import LandedFiles

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2025, 9, 1, 2, tzinfo=UTC)
USERS = "user_id,org_id,email,role,active,created_at,last_login\n"
NPS = "org_id,survey_date,nps_score,comment\n"
EVENTS = "usage_events_stream"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    files: dict[str, bytes] = {
        "users.csv": f"{USERS}u1,o1,,admin,True,2025-08-01,\nu2,o1\n".encode(),
        "customers_orgs.csv": b"org_id,org_name\no1,Acme\n",
        "2025-08-30/resources.csv.gz": gzip.compress(b"resource_id,org_id,service,region,created_at,state,tags_json\nr1,o1,genai,us-east,2025-01-01,running,\n"),
        "2025-08-31/nps_surveys.csv": b"",
        "2025-13-01/nps_surveys.csv": f"{NPS}o1,2025-08-01,7,\n".encode(),
        "suport_tickets.csv": b"ticket_id\n",
        "old stuff/users.csv": b"",
        f"{EVENTS}/a.jsonl": b"{}\n{}\n",
        f"{EVENTS}/b.jsonl": b"{}\n",
        f"{EVENTS}/c.jsonl.gz": b"",
        "manifest.json": b"{}",
        ".hidden": b"",
    }  # fmt: skip
    for name, content in files.items():
        path = tmp_path / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (NOW.timestamp() - 3600,) * 2)
    return load_config(str(ROOT / "conf"), str(tmp_path / "lake"), str(tmp_path / "landing"))


def checked(config: Config, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["landing", "check", "--json", "--conf", str(config.conf), "--lake", str(config.lake.root), "--landing", str(config.landing)])
    return code, {row["path"]: row for row in json.loads(capsys.readouterr().out)}


def test_each_file_is_told_with_what_a_run_would_do_with_it_and_nothing_is_written(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = checked(config, capsys)
    assert code == 1
    states = {path: row["state"] for path, row in told.items()}
    assert states == {
        "users.csv": "new", "customers_orgs.csv": "new", "2025-08-30/resources.csv.gz": "new", "2025-08-31/nps_surveys.csv": "refused",
        "2025-13-01/nps_surveys.csv": "refused", "billing_monthly.csv": "missing", "support_tickets.csv": "missing",
        "marketing_touches.csv": "missing", f"{EVENTS}: 2 file(s)": "new", f"{EVENTS}/c.jsonl.gz": "ignored",
        "suport_tickets.csv": "ignored", "old stuff": "ignored",
    }  # fmt: skip
    assert told["users.csv"]["rows"] == 2 and "1 row(s) that do not fit the header" in told["users.csv"]["told"]
    assert "missing column industry" not in told["users.csv"]["told"] and "missing column" in told["customers_orgs.csv"]["told"]
    assert told["2025-08-30/resources.csv.gz"]["speaks_of"] == "2025-08-30 00:00:00+00:00"
    assert "the file is empty" in told["2025-08-31/nps_surveys.csv"]["told"]
    assert "is no date" in told["2025-13-01/nps_surveys.csv"]["told"]
    assert "did you mean 'support_tickets.csv'" in told["suport_tickets.csv"]["told"]
    assert "unpack it" in told[f"{EVENTS}/c.jsonl.gz"]["told"]
    assert told[f"{EVENTS}: 2 file(s)"]["rows"] == 3
    assert not config.lake.root.exists()


def test_what_was_taken_is_told_so_until_it_changes(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    ingestion.ingest(config, config.registry["bronze.users"], now=NOW, run_id="r1")
    (first, second) = list_files(config.landing_zone, EVENTS)
    LandedFiles(config).note([hashed(config.landing_zone, first), hashed(config.landing_zone, second)], datetime.now(UTC) + timedelta(minutes=1), 0, "r1", "stream")
    _, told = checked(config, capsys)
    assert told["users.csv"]["state"] == "taken"
    assert told[f"{EVENTS}: 2 file(s)"]["state"] == "taken" and told[f"{EVENTS}: 2 file(s)"]["told"] == ""
    (config.landing / "users.csv").write_text(f"{USERS}u1,o1,,admin,True,2025-08-02,\n")
    (config.landing / EVENTS / "a.jsonl").write_text("{}\n{}\n{}\n")
    _, told = checked(config, capsys)
    assert (told["users.csv"]["state"], told["users.csv"]["rows"]) == ("new", 1)
    assert f"{EVENTS}/a.jsonl" in told[f"{EVENTS}: 2 file(s)"]["told"], "a file replaced in place is told"


def test_a_landing_zone_that_is_well_ends_with_0_and_one_that_is_not_there_with_2(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("suport_tickets.csv", "2025-08-31/nps_surveys.csv", "2025-13-01/nps_surveys.csv", "old stuff/users.csv", f"{EVENTS}/c.jsonl.gz"):
        (config.landing / name).unlink()
    (config.landing / "old stuff").rmdir()
    for name in ("billing_monthly", "support_tickets", "marketing_touches", "nps_surveys"):
        columns = [column for column in config.registry[f"bronze.{name}"].columns if column[0] != "_"]
        (config.landing / f"{name}.csv").write_text(",".join(columns) + "\n")
    code, told = checked(config, capsys)
    assert code == 0, [row for row in told.values() if row["state"] not in ("new", "taken")]
    assert main(["landing", "check", "--landing", str(config.landing / "no")]) == 2
    assert main(["landing", "check", "--conf", str(config.conf), "--lake", str(config.lake.root), "--landing", str(config.landing)]) == 0
    assert "0 of 8 to look at" in capsys.readouterr().out
