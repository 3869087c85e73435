"""A source may be a query on PostgreSQL: asked for a date, kept as it came, all of a set or nothing. Against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from adbc_driver_postgresql import dbapi
from cloudlake.batch.bronze import extracts, ingestion
from cloudlake.batch.bronze.restoring import restore
from cloudlake.batch.bronze.scanning import FileRefusedError
from cloudlake.batch.bronze.sources import Sources
from cloudlake.cli.main import main
from cloudlake.common.config import Config, load_config
from cloudlake.common.errors import CloudlakeError, ConfigurationError
from cloudlake.common.lake.books import Finding
from cloudlake.common.postgres import redacted
from cloudlake.common.steps import StepResult
from cloudlake.upkeep import traces
from cloudlake.upkeep.machine import machine_findings
from object_store import S3Server
from postgres_server import PASSWORD, Server

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2025, 9, 1, 2, tzinfo=UTC)
YESTERDAY = date(2025, 8, 31)
USERS = "SELECT * FROM users WHERE seen_on <= :business_date"
TABLES = """
CREATE TABLE users (user_id text, org_id text, email text, role text, active boolean, created_at timestamp, last_login timestamptz, seen_on date);
INSERT INTO users VALUES ('u1', 'o1', 'a@b.example', 'admin', true, '2025-08-01', '2025-08-30 12:00:00+02', '2025-08-01'),
                         ('u2', 'o1', NULL, '', NULL, '2025-08-02 03:04:05.5', NULL, '2025-08-31'),
                         ('u3', 'o1', NULL, NULL, false, NULL, 'infinity', '2025-09-01');
CREATE TABLE resources (resource_id text, org_id text, tags_json jsonb);
INSERT INTO resources VALUES ('r1', 'o1', '["env:prod"]'), ('r2', 'o1', NULL);
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.remove()


class Crm:
    """A database with a lake that asks it."""

    def __init__(self, server: Server, root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
        self.server, self.root, self.name, self.patch = server, root, name, patch
        self.write(f"CREATE DATABASE {name}", "postgres")
        self.write(TABLES)
        (root / "landing").mkdir()
        patch.setenv("CRM_DSN", server.dsn(database=name))
        self.lake: dict[str, Any] = {"crm": {"dsn": "${CRM_DSN}", "attempts": 2, "first_pause_seconds": 0.1, "statement_seconds": 2}}
        self.sources: dict[str, dict[str, Any]] = {"users": {"database": "crm", "query": USERS}}
        self.config = self.load()

    def load(self) -> Config:
        """Write conf/ as declared, and read it."""
        conf = self.root / "conf"
        shutil.rmtree(conf, ignore_errors=True)
        shutil.copytree(ROOT / "conf", conf)
        with (conf / "lake.yaml").open("a") as file:
            file.write(yaml.safe_dump({"databases": self.lake}))
        text = (conf / "bronze.yaml").read_text(encoding="utf-8")
        for source, declared in self.sources.items():
            said = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in declared.items())
            text = text.replace(f"    file: {source}.csv\n", said)
        (conf / "bronze.yaml").write_text(text, encoding="utf-8")
        self.config = load_config(str(conf), str(self.root / "lake"), str(self.root / "landing"))
        return self.config

    def declare(self, **sources: dict[str, Any]) -> None:
        self.sources = sources
        self.load()

    def write(self, sql: str, database: str = "") -> None:
        with dbapi.connect(self.server.dsn(database=database or self.name), autocommit=True) as connection, connection.cursor() as cursor:
            for statement in filter(str.strip, sql.split(";\n")):
                cursor.execute(statement)

    def ingest(self, *names: str, minute: int = 0, day: date | None = None) -> dict[str, StepResult | str]:
        """Run the steps of bronze as one run; what failed is its message."""
        now = NOW + timedelta(minutes=minute)
        sources = Sources(self.config, now, None, day)
        done: dict[str, StepResult | str] = {}
        for name in names or ("users",):
            try:
                done[name] = ingestion.ingest(self.config, self.config.registry[f"bronze.{name}"], now=now, run_id=f"r{minute}", sources=sources)
            except CloudlakeError as error:
                done[name] = str(error)
        return done

    def users(self, minute: int = 0, day: date | None = None) -> StepResult:
        result = self.ingest(minute=minute, day=day)["users"]
        assert isinstance(result, StepResult), result
        return result

    def rows(self, name: str = "users") -> list[dict[str, Any]]:
        return self.config.lake.rows(f"bronze.{name}")

    def landed(self) -> list[str]:
        return sorted(str(path.relative_to(self.config.landing)) for path in self.config.landing.rglob("*") if path.is_file())

    def command(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*arguments, "--conf", str(self.config.conf), "--lake", str(self.config.lake.root), "--landing", str(self.config.landing)])
        said = capsys.readouterr()
        return code, said.out, said.err

    def checked(self, capsys: pytest.CaptureFixture[str], day: date = YESTERDAY) -> dict[str, dict[str, Any]]:
        _, out, _ = self.command(capsys, "landing", "check", "--json", "--business-date", str(day))
        return {row["path"]: row for row in json.loads(out)}


@pytest.fixture
def crm(server: Server, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Crm:
    return Crm(server, tmp_path, f"db{abs(hash(request.node.name)) % 10**9}", monkeypatch)


def child(crm: Crm, code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, on the same lake."""
    start = f"""
import sys, resource
from datetime import UTC, date, datetime
from cloudlake.batch.bronze import ingestion
from cloudlake.common.config import load_config
config = load_config({str(crm.config.conf)!r}, {str(crm.config.lake.root)!r}, {str(crm.config.landing)!r})
NOW = datetime(2025, 9, 1, 2, tzinfo=UTC)
"""
    paths = os.pathsep.join([str(ROOT / ".typing"), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, "-c", start + code], env={**os.environ, "PYTHONPATH": paths, **env}, capture_output=True, text=True, check=False
    )


def test_yesterday_is_asked_by_default_the_same_again_is_nothing_and_a_correction_is_a_new_delivery(crm: Crm) -> None:
    assert crm.users().rows_out == 2
    assert {row["_snapshot_at"] for row in crm.rows()} == {datetime(2025, 8, 31, tzinfo=UTC)}
    assert {row["_source_file"] for row in crm.rows()} == {"2025-08-31/users.extract-1.json"}
    before = crm.landed()
    person = traces.pattern_of(["a@b.example"])
    assert [path for path in before if traces.holds(crm.config.landing / path, person)] == before[-1:], "who erases a person is told where it lies"
    crm.write("CREATE TABLE other AS SELECT * FROM users ORDER BY user_id DESC;\nDROP TABLE users;\nALTER TABLE other RENAME TO users")
    again = crm.users(1)
    assert again.skipped and not again.fault and crm.landed() == before, "the order of rows is no content"
    crm.write("UPDATE users SET role = 'developer' WHERE user_id = 'u1'")
    assert crm.users(2).rows_out == 2
    crm.write("UPDATE users SET role = 'admin' WHERE user_id = 'u1'")
    assert crm.users(3).rows_out == 2, "what was corrected back has changed as well"
    known = sorted(crm.config.lake.rows("ops.landed_files"), key=lambda row: row["ingested_at"])
    assert [row["path"] for row in known] == [f"2025-08-31/users.extract-{n}.json" for n in (1, 2, 3)]
    assert known[0]["sha256"] == known[2]["sha256"] != known[1]["sha256"]
    assert crm.users(4, date(2025, 9, 1)).rows_out == 3, "another date is another delivery"
    for left in crm.config.landing.glob("2025-08-31/users.*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    assert crm.users(5).skipped, "what was ingested is known though its extract has been archived"


def test_every_value_is_the_text_that_a_csv_export_has(crm: Crm) -> None:
    crm.write("""UPDATE users SET org_id = E'a "b"\\n, c\\rd', role = ' x ' WHERE user_id = 'u1'""")
    crm.write("CREATE TABLE odd AS SELECT 'i1'::text AS invoice_id, 12.50::numeric AS subtotal, 1e-20::numeric AS credits, 0.1::float8 AS taxes, 'EUR'::char(5) AS currency")
    crm.declare(users={"database": "crm", "query": "SELECT * FROM users"}, billing_monthly={"database": "crm", "query": "TABLE odd -- all;"})
    crm.ingest("users", "billing_monthly")
    header = "user_id,org_id,email,role,active,created_at,last_login,seen_on\n"
    text = header + (
        'u1,"a ""b""\n, c\rd",a@b.example, x ,True,2025-08-01,2025-08-30 10:00:00,2025-08-01\n'
        "u2,o1,,,,2025-08-02 03:04:05.5,,2025-08-31\nu3,o1,,,False,,infinity,2025-09-01\n"
    )
    plain = load_config(str(ROOT / "conf"), str(crm.root / "plain"), str(crm.root / "csv"))
    (plain.landing / "2025-08-31").mkdir(parents=True)
    (plain.landing / "2025-08-31" / "users.csv").write_bytes(text.encode())
    ingestion.ingest(plain, plain.registry["bronze.users"], now=NOW, run_id="r")

    def told(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = [{name: value for name, value in row.items() if name[0] != "_" or name in ("_corrupt_record", "_snapshot_at")} for row in rows]
        return sorted(kept, key=lambda row: row["user_id"])

    assert told(crm.rows()) == told(plain.lake.rows("bronze.users"))
    odd = crm.rows("billing_monthly")[0]
    assert [odd[name] for name in ("subtotal", "credits", "taxes", "currency")] == ["12.50", "0.00000000000000000001", "0.1", "EUR"]


def test_of_a_set_nothing_is_taken_while_one_query_fails_and_all_is_of_one_moment_afterwards(crm: Crm, capsys: pytest.CaptureFixture[str]) -> None:
    moment = "now()::text AS at, current_setting('transaction_isolation') AS level, current_setting('transaction_read_only') AS kept_from_writing"
    broken = {"database": "crm", "query": "SELECT * FROM no_such_table", "set": "crm"}
    crm.declare(users={"database": "crm", "query": f"SELECT *, {moment} FROM users", "set": "crm"}, resources=broken)
    done = crm.ingest("users", "resources", "support_tickets")
    assert "nothing of set crm was taken, because of resources" in str(done["users"]) and 'relation "no_such_table" does not exist' in str(done["users"])
    assert "mend the query of resources in conf/bronze.yaml" in str(done["resources"])
    assert crm.landed() == [] and not crm.rows() and not crm.rows("resources")
    states = {row["source"]: row["state"] for row in crm.checked(capsys).values() if row["source"] in ("users", "resources")}
    assert states == {"users": "refused", "resources": "refused"}
    crm.declare(users={"database": "crm", "query": f"SELECT *, {moment} FROM user", "set": "crm"}, resources=broken)
    done = crm.ingest("users", "resources")
    assert "key column missing" in str(done["users"]) and "no_such_table" in str(done["resources"]), "every fault at once"
    crm.declare(users=crm.sources["users"] | {"query": f"SELECT *, {moment} FROM users"}, resources=broken | {"query": f"SELECT *, {moment} FROM resources"})
    crm.ingest("users", "resources", minute=1)
    moments = {(row["at"], row["level"], row["kept_from_writing"]) for name in ("users", "resources") for row in crm.rows(name)}
    assert len(moments) == 1 and next(iter(moments))[1:] == ("repeatable read", "on")
    assert len(crm.rows()) == 3 and len(crm.rows("resources")) == 2


def test_a_set_of_a_query_and_a_file_waits_until_both_are_there_for_the_date(crm: Crm, capsys: pytest.CaptureFixture[str]) -> None:
    crm.declare(users={"database": "crm", "query": USERS, "set": "crm"}, resources={"file": "resources.csv", "set": "crm"})
    lacks = "set crm lacks resources (not delivered) in 2025-08-31, so nothing of it is taken there"
    assert lacks in str(crm.ingest("users", "resources")["users"]) and not crm.rows()
    assert lacks in crm.checked(capsys)["2025-08-31/users.extract-1.json"]["told"]
    crm.config.landing.joinpath("2025-08-31").mkdir(exist_ok=True)
    resources = crm.config.landing / "2025-08-31" / "resources.csv"
    resources.write_text("org_id\no1\n")
    told = str(crm.ingest("users", "resources", minute=1)["users"])
    assert "resources (key column missing: resource_id" in told, "what is refused is not there"
    resources.write_text("resource_id,org_id\nr1,o1\n")
    done = crm.ingest("users", "resources", minute=2)
    assert [result.rows_out for result in done.values() if isinstance(result, StepResult)] == [2, 1], done
    (crm.config.landing / "2025-08-30").mkdir()
    (crm.config.landing / "2025-08-30" / "resources.csv").write_text("resource_id,org_id\nr1,o1\n")
    waiting = crm.ingest("users", "resources", minute=3)["resources"]
    assert isinstance(waiting, StepResult) and "lacks users (not delivered) in 2025-08-30" in waiting.fault and len(crm.rows("resources")) == 1


def test_a_row_that_a_person_mended_does_not_stand_for_a_delivery_of_its_set(crm: Crm) -> None:
    crm.declare(resources={"file": "resources.csv", "set": "it"}, support_tickets={"file": "support_tickets.csv", "set": "it"})
    mended = {"source": "support_tickets", "path": "replay:0a1b", "sha256": "0", "status": "ingested", "run_id": "r", "ingested_at": NOW}
    crm.config.lake.append_small([mended], crm.config.registry["ops.landed_files"], {"run_id": "r"})
    for name, content in (("resources", "resource_id,org_id\nr1,o1\n"), ("support_tickets", "ticket_id,org_id\nt1,o1\n")):
        (crm.root / f"{name}.csv").write_text(content)
        os.utime(crm.root / f"{name}.csv", (NOW.timestamp(),) * 2)
    shutil.copy2(crm.root / "resources.csv", crm.config.landing)
    told = "set it lacks support_tickets (not delivered) in the landing folder itself"
    assert told in str(crm.ingest("resources")["resources"]) and not crm.rows("resources")
    shutil.copy2(crm.root / "support_tickets.csv", crm.config.landing)
    done = crm.ingest("resources", "support_tickets", minute=1)
    assert [result.rows_out for result in done.values() if isinstance(result, StepResult)] == [1, 1], done


def test_a_new_column_widens_the_table_and_a_missing_one_is_told(crm: Crm) -> None:
    crm.users()
    crm.write("ALTER TABLE users ADD COLUMN cost_centre text DEFAULT 'c1';\nALTER TABLE users DROP COLUMN role")
    result = crm.users(1)
    assert result.rows_out == 2 and "new column" in result.message and "cost_centre" in result.message and "missing column role" in result.message
    assert {row["cost_centre"] for row in crm.rows()} == {None, "c1"}
    crm.write("ALTER TABLE users RENAME COLUMN user_id TO id")
    result = crm.users(2)
    assert "key column missing: user_id" in result.fault and len(crm.rows()) == 4


FAULTS: dict[str, tuple[str, str]] = {
    "time": ("SELECT *, pg_sleep(5) FROM users", "canceling statement due to statement timeout; raise statement_seconds"),
    "gone": ("SELECT i::text AS user_id, repeat('x', 500) AS role, CASE WHEN i = 60000 THEN pg_terminate_backend(pg_backend_pid()) END AS x FROM generate_series(1, 90000) i", "terminating connection"),
    "value": ("SELECT user_id, (email || user_id)::int AS x FROM users", 'invalid input syntax for type integer: "***"'),
    "right": ("SELECT * FROM pg_authid", "key column missing"),
    "write": ("WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone", "mended, there or in the query of users in conf/bronze.yaml"),
    "two": ("SELECT user_id, user_id FROM users", "column named twice: user_id"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_what_fails_is_told_with_its_remedy_nothing_of_it_is_kept_and_other_sources_go_on(crm: Crm, kind: str) -> None:
    query, told = FAULTS[kind]
    crm.patch.setattr(extracts, "PART_BYTES", 1)  # what came before the fault is written by then
    crm.declare(users={"database": "crm", "query": query}, resources={"database": "crm", "query": "SELECT * FROM resources"})
    done = crm.ingest("users", "resources")
    assert told in str(done["users"]) and "a@b.example" not in str(done["users"])
    assert "conf/bronze.yaml" in str(done["users"]) or "--business-date 2025-08-31" in str(done["users"])
    assert isinstance(done["resources"], StepResult) and done["resources"].rows_out == 2
    assert not [path for path in crm.landed() if "users" in path], "no part of an answer stays"


def test_no_secret_is_told_wherever_the_server_is_and_the_lake_goes_on_with_what_it_has(crm: Crm, capsys: pytest.CaptureFixture[str]) -> None:
    crm.users()
    said = []
    secret = PASSWORD.replace(" ", "-") + "-wrong"
    for dsn, told in (
        (crm.server.dsn(secret, crm.name), "password authentication failed"),
        (f"postgresql://cloudlake:{secret}@127.0.0.1:1/x", "onnection refused"),
        (f"postgresql://cloudlake:{secret}@/@127.0.0.1/x", "can't be read as an address"),
        ("", "CRM_DSN: not set"),
    ):
        crm.patch.setenv("CRM_DSN", dsn)
        result = crm.users(1)
        assert told in result.fault and result.rows_out == 0, (told, result.fault)
        _, out, err = crm.command(capsys, "landing", "check", "--business-date", "2025-08-31")
        said += [result.fault, result.message, out, err]
    assert {one.where for one in machine_findings(crm.config, datetime.now(UTC)) if one.kind == "secret"} == {"databases.crm"}
    crm.patch.setenv("CRM_DSN", f"postgresql://cloudlake@127.0.0.1:{crm.server.port}/{crm.name}")
    crm.patch.setenv("PGPASSWORD", secret)
    assert redacted(f"it was {secret}", "") == "it was ***"
    said.append(crm.users(2).fault)
    assert "password authentication failed" in said[-1]
    crm.patch.setenv("PGPASSWORD", PASSWORD)
    crm.write("UPDATE users SET role = 'owner' WHERE user_id = 'u1'")
    assert crm.users(3).rows_out == 2, "the password may stand where libpq looks for it"
    assert secret not in "".join(said) and PASSWORD not in "".join(said)
    for path in [*crm.root.rglob("*"), Path("/proc/self/cmdline")]:
        if path.is_file():
            assert not re.search(f"{secret}|{PASSWORD}|secret%20word".encode(), path.read_bytes()), path


def test_landing_check_asks_and_writes_nothing(crm: Crm, capsys: pytest.CaptureFixture[str]) -> None:
    place = "postgresql/crm/users, asked for 2025-08-31"
    row = crm.checked(capsys)[place]
    assert (row["state"], row["rows"], row["speaks_of"]) == ("new", 2, "2025-08-31 00:00:00+00:00") and "new column seen_on" in row["told"]
    assert not crm.config.lake.root.exists() and crm.landed() == []
    crm.users()
    told = crm.checked(capsys)
    assert told[place]["state"] == "taken" and told["2025-08-31/users.extract-1.json"]["state"] == "taken"
    assert not [path for path, row in told.items() if row["state"] == "ignored"], "an extract is no file that nobody takes"
    assert crm.checked(capsys, date(2025, 9, 1))["postgresql/crm/users, asked for 2025-09-01"]["state"] == "new"
    crm.server.stop()
    try:
        assert "refused" in crm.checked(capsys)[place]["state"]
    finally:
        crm.server.start()
    (crm.config.landing / "2025-08-31" / "users.csv").write_text("user_id\n")
    assert "database crm is asked for this source" in crm.users(1).message


def test_dates_are_bounded_and_a_run_says_what_it_would_ask(crm: Crm, capsys: pytest.CaptureFixture[str]) -> None:
    for day, reason in ((date(2062, 1, 1), "14 h ahead of the clock"), (date(1980, 1, 1), "before 1990-01-01")):
        told = str(crm.ingest(day=day)["users"])
        assert f"--business-date {day} dates it" in told and reason in told and crm.landed() == []
    code, _, err = crm.command(capsys, "batch", "--business-date", "1980-01-01")
    assert code == 2 and "--business-date 1980-01-01: a business date lies between" in err
    code, out, _ = crm.command(capsys, "batch", "--dry-run", "--jobs", "bronze.users", "--business-date", "2025-08-31")
    assert code == 0 and "asks database crm for 2025-08-31" in out and crm.landed() == []
    code, out, _ = crm.command(capsys, "batch", "--dry-run", "--json", "--jobs", "bronze.users", "--business-date", "2025-08-31")
    (step,) = json.loads(out)
    assert (code, step["step"]) == (0, "bronze.users") and step["plan"].startswith("asks database crm for 2025-08-31")
    assert crm.command(capsys, "batch", "--json", "--jobs", "bronze.users")[0] == 2
    crm.declare()
    _, _, err = crm.command(capsys, "batch", "--dry-run", "--jobs", "bronze.users", "--business-date", "2025-08-31")
    assert "no source of conf/bronze.yaml is a query" in err


def test_bronze_comes_back_from_the_extracts_and_a_changed_one_is_refused(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracts, "PART_BYTES", 1)
    crm.declare(users={"database": "crm", "query": "SELECT i::text AS user_id, CASE i WHEN 7 THEN E'lost \\uFFFD' ELSE '' END AS role FROM generate_series(1, 30) i"})
    assert crm.users().rows_out == 30
    before = sorted(map(str, crm.rows()))
    bad = [row for row in crm.rows() if row["_corrupt_record"]]
    assert [(row["user_id"], row["_corrupt_record"]) for row in bad] == [("7", "7,lost \\ufffd")], "as a row of a CSV file is that is no text"
    shutil.rmtree(crm.config.lake.path("bronze.users"))
    restore(crm.config, crm.config.registry["bronze.users"], Finding("bronze.users", "removed", "gone"), "r9")
    assert sorted(map(str, crm.rows())) == before
    crm.users(1, date(2025, 8, 30))
    (part,) = crm.config.landing.glob("2025-08-30/users.rows-*/part-00001.parquet")
    for damage in (lambda: part.write_bytes(part.read_bytes()[:-9]), part.unlink):
        damage()
        shutil.rmtree(crm.config.lake.root)
        done = str(crm.ingest(minute=2)["users"])
        assert "2025-08-30/users.extract-1.json: its rows can't be read: " in done and "take 2025-08-30/users.extract-1.json away" in done
        assert {row["_source_file"] for row in crm.rows()} == {"2025-08-31/users.extract-1.json"}
    place, table = "2025-08-31/users.extract-1.json", crm.config.registry["bronze.users"]
    content = json.loads((crm.config.landing / place).read_text())
    for changed, told in (({"rows": 29}, "has 29 rows, and 30 lie in"), ({"parts": ["0" * 64]}, "not as it was written"), ({"folder": "../x"}, "no extract of ours")):
        with pytest.raises(FileRefusedError, match=told):
            extracts.read_extract(crm.config.landing_zone, place, json.dumps(content | changed).encode(), table)


def test_a_crash_before_an_answer_is_whole_leaves_nothing_taken_and_the_next_run_takes_it(crm: Crm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    crm.declare(users=crm.sources["users"] | {"set": "crm"}, resources={"database": "crm", "query": "SELECT * FROM resources", "set": "crm"})
    died = child(crm, "ingestion.ingest(config, config.registry['bronze.users'], now=NOW, run_id='r0')", CLOUDLAKE_CRASH_AT="before_extract")
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert [path for path in crm.landed() if path.endswith(".json")] == []
    assert {row["state"] for path, row in crm.checked(capsys).items() if ".rows-" in path} == {"ignored"}
    crm.ingest("users", "resources")
    assert (len(crm.rows()), len(crm.rows("resources"))) == (2, 2)


STORED = """
import os
import pyarrow
from datetime import timedelta
from cloudlake.batch.bronze.restoring import restore
from cloudlake.common.lake.books import Finding
config = load_config(str(config.conf), 's3a://lake/l', 's3a://lake/landing')
config.landing_zone.put_new('usage_events_stream/a.jsonl', b'')
table = config.registry['bronze.users']
for minute in (0, 1):
    print(ingestion.ingest(config, table, now=NOW + timedelta(minutes=minute), run_id=f'r{minute}').rows_out)
files = [entry.path for entry in config.landing_zone.entries('2025-08-31')]
before = sorted(map(str, config.lake.rows(table.name)))
config.lake.storage.delete_folder('bronze/users')
restore(config, table, Finding(table.name, 'removed', 'gone'), 'r9')
print(len(files), sorted(map(str, config.lake.rows(table.name))) == before)
"""


def test_what_a_database_says_is_kept_in_an_object_store_as_in_a_folder(crm: Crm) -> None:
    store = S3Server()
    try:
        done = child(crm, STORED, **store.environment())
    finally:
        store.stop()
    assert done.stdout.split() == ["2", "0", "2", "True"], done.stderr[-2000:]


LIMITED = """
table = config.registry['bronze.users']
import pyarrow, pyarrow.parquet, deltalake, adbc_driver_postgresql.dbapi as dbapi, os
def whole():
    with dbapi.connect(os.environ['CRM_DSN']) as connection, connection.cursor() as cursor:
        cursor.execute(table.query)
        return cursor.fetch_arrow_table().nbytes
held = int(next(line for line in open('/proc/self/status') if line.startswith('VmData')).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (held + (320 << 20), -1))
if sys.argv[1:] == ['whole']:
    print(whole())
else:
    done = ingestion.ingest(config, table, now=NOW, run_id='r0')
    print(done.rows_out, done.fault)
"""


def test_an_answer_larger_than_memory_is_read_kept_and_ingested(crm: Crm) -> None:
    crm.lake["crm"]["statement_seconds"] = 60
    crm.declare(users={"database": "crm", "query": "SELECT i::text AS user_id, repeat(md5(i::text), 128) AS role FROM generate_series(1, 100000) i"})
    done = child(crm, LIMITED)
    assert done.stdout.strip() == "100000", (done.stdout, done.stderr[-2000:])
    assert crm.config.lake.count("bronze.users") == 100000
    failed = child(crm, "sys.argv.append('whole')" + LIMITED)
    assert re.search("ReadRecord failed at row|llocat", failed.stderr), "the limit is one that the whole answer does not keep"


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"database": "crmm", "query": "SELECT 1"}, "users.database: 'crmm' is none of the databases of conf/lake.yaml; did you mean 'crm'?"),
        ({"query": "SELECT 1"}, "users.database: is missing"),
        ({"database": "crm", "file": "users.csv"}, "users.database: only a table with a query has one"),
        ({"database": "crm", "query": "SELECT 1; DROP TABLE users"}, "users.query: is more than one statement"),
        ({"database": "crm", "query": "SELECT :busines_date"}, "users.query: ':busines_date' is no parameter; did you mean ':business_date'?"),
        ({"database": "crm", "query": "SELECT 1", "file": "users.csv"}, "users.query: it has a file too"),
        ({"database": "crm", "query": "SELECT 1", "set": "crm"}, "users.set: no other source belongs to 'crm'"),
        ({"database": "crm", "query": "SELECT 1", "dialect": {"delimiter": ";"}}, "users.dialect: only a table that is read from a file has one"),
    ],
)
def test_a_source_that_contradicts_itself_is_named_with_what_would_do(crm: Crm, declared: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        crm.declare(users=declared)


def test_a_secret_has_no_place_in_the_file(crm: Crm) -> None:
    crm.lake["crm"]["dsn"] = "postgresql://me:word@host/db"
    with pytest.raises(ConfigurationError, match=r"databases.crm.dsn: a secret has no place in this file"):
        crm.load()

