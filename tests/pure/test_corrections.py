"""Files of corrected rows, as people and their programs write them: taken, or the message says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cloudlake.cli.corrected_files import read_corrected
from cloudlake.common.config import load_config
from cloudlake.common.errors import ConfigurationError
from cloudlake.common.publication import PUBLISHED
from cloudlake.runs.batch_steps import EVENTS
from cloudlake.runs.reentry import _as_cells, jobs_behind

ONE = {"a1": {"user_id": "u1", "role": "admin", "email": "ü@example.com"}}
ROWS = "quarantine_id,user_id,role,email\r\na1,u1,admin,ü@example.com\r\n"
JSON = '{"Quarantine_ID": "a1", "user_id": "u1", "role": "admin", "email": "ü@example.com"}\r\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", ROWS.encode()),
        ("mark.CSV", ROWS.encode("utf-8-sig")),
        ("semicolons.csv", ROWS.replace(",", ";").encode("utf-8-sig")),
        ("tabs.txt", ROWS.replace(",", "\t").encode("utf-16")),
        ("sep.csv", b"sep=;\r\n" + ROWS.replace(",", ";").encode()),
        ("blank lines.csv", (ROWS.replace("quarantine_id", " QUARANTINE_ID ") + "\r\n,,,\r\n").encode()),
        ("lines.JSONL", JSON.encode("utf-8-sig")),
        ("array.Json", f"[{JSON}]".encode()),
        ("no ending", JSON.encode()),
    ],
)
def test_a_corrected_file_is_taken_in_every_form(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_corrected(tmp_path / name) == ONE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROWS.encode("latin-1"), r"line 2 \(byte 46\) is not utf-8; save it as CSV UTF-8"),
        (
            ROWS.replace(",", "|").encode(),
            r"no column of its header is called quarantine_id, with comma, semicolon or tab",
        ),
        (b"quarantine_id,user_id\na1,u1,admin\n", "row 1 has 3 cells, the header 2"),
        (b"quarantine_id,user_id\na1,u1\na1,u2\n", "row 2 repeats its quarantine_id"),
        (b"quarantine_id,user_id\n,u1\n", "row 1 has no quarantine_id"),
        (b"quarantine_id,user_id\n", "it holds no row"),
    ],
)
def test_a_corrected_file_that_can_not_be_taken_says_why(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "corrected.csv").write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        read_corrected(tmp_path / "corrected.csv")


def test_a_corrected_row_names_the_columns_of_its_source_in_whatever_case() -> None:
    row = {"quarantine_id": "a1", "table": "silver.users"}
    columns = ["user_id", "role"]
    assert _as_cells({"a1": {"User ID": "u1", "ROLE": "admin"}}, row, columns) == {"user_id": "u1", "role": "admin"}
    assert _as_cells({"a1": '{"role": "admin"}'}, row, columns) == {"role": "admin"}
    with pytest.raises(ConfigurationError, match="'rolle' is no column of users; did you mean 'role'"):
        _as_cells({"a1": {"user_id": "u1", "rolle": "admin"}}, row, columns)
    with pytest.raises(ConfigurationError, match="a column stands twice"):
        _as_cells({"a1": {"role": "admin", "Role": "x"}}, row, columns)
    with pytest.raises(ConfigurationError, match="no JSON object"):
        _as_cells({"a1": "[1]"}, row, columns)


def test_a_replay_builds_no_marts_where_none_was_ever_published(tmp_path: Path) -> None:
    config = load_config(lake=str(tmp_path), landing=str(tmp_path))
    assert jobs_behind(config, ["silver.billing_monthly"]) == ("silver.billing_monthly",)
    assert jobs_behind(config, [EVENTS]) == ()
    masters = jobs_behind(config, ["silver.customers_orgs", EVENTS])
    assert "silver.customers_orgs" in masters and "silver.users" in masters
    publication = {"run_id": "r", "published_at": "2025-09-01T00:00:00+00:00", "tables": {}}
    (config.lake.root / PUBLISHED).write_text(json.dumps(publication))
    assert jobs_behind(config, [EVENTS]) == ("gold", "serving")
