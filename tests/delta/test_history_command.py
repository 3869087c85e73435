"""`cloudlake history`: the versions of one key as people and programs read them. No Spark."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cloudlake.cli.main import main
from live_lake import opened


def version(month: int, until: int | None, **fields: Any) -> dict[str, Any]:
    """A version of one user that began in a month of 2025 and held until another."""
    ends = datetime(2025, until, 1, tzinfo=UTC) if until else None
    about = {"user_sk": str(month), "user_id": "user_1", "org_id": "org_a", "email": f"u{month}@private.example", "role": "viewer"}
    held = {"effective_from": datetime(2025, month, 1, tzinfo=UTC), "effective_to": ends, "is_current": until is None, "is_deleted": False}
    return about | held | fields


@pytest.fixture
def lake(tmp_path: Path) -> str:
    config = opened(tmp_path)
    rows = [version(7, None, role="admin"), version(1, 3), version(3, 6, role="admin")]
    config.lake.append_small(rows, config.registry["silver.users"])
    return str(config.lake.root)


def test_the_history_of_a_key_is_told_oldest_first_without_what_is_personal(
    lake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "--table", "users", "--key", "user_1", "--lake", lake, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in told] == ["closed", "closed", "current"]
    assert [one["came_back"] for one in told] == [False, False, True], "nothing held in June"
    assert told[0]["effective_to"] == told[1]["effective_from"] == "2025-03-01 00:00:00+00:00" and told[2]["effective_to"] is None
    assert {"column": "role", "before": "viewer", "after": "admin"} in told[1]["changes"]
    assert {"column": "email", "before": "(personal data)", "after": "(personal data)"} in told[2]["changes"]
    assert main(["history", "--table", "users", "--key", "user_1", "--lake", lake]) == 0
    shown = capsys.readouterr().out
    assert "role viewer → admin" in shown and "came back" in shown and "open" in shown
    assert "private.example" not in shown + json.dumps(told)


@pytest.mark.parametrize(
    ("table", "key", "said"),
    [("userss", "user_1", "did you mean 'users'?"), ("users", "user_2", "no version of user_id = user_2 is known"),
     ("resources", "res_1", "nothing has been built yet")],
)  # fmt: skip
def test_a_key_that_has_no_history_is_told(
    lake: str, capsys: pytest.CaptureFixture[str], table: str, key: str, said: str
) -> None:
    assert main(["history", "--table", table, "--key", key, "--lake", lake]) in (1, 2)
    assert said in capsys.readouterr().err
