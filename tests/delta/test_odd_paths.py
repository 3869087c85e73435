"""A lake under a folder with an odd name: every operation without Spark finds the same files, or the name is refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pytest
from cloudlake.cli.main import main
from cloudlake.common.config import load_config
from cloudlake.common.contracts.loading import load_registry
from cloudlake.common.contracts.table import Registry
from cloudlake.common.errors import ConfigurationError
from cloudlake.common.lake.storage import for_sql, local_file, require_lake_root
from cloudlake.common.lake.tables import Lake
from deltalake import DeltaTable
from flow import ROOT

FINE = [
    "the lake", "50%", "100% of it", "{p,q}", "ü", "u\u0308", "it's", 'say "x"', "s*r", "c:d", "$HOME;x", "-dash",
    "b`t", "a+b", "a&b=c", "~t", "<g>", "@h", " lead", "trail ", ".hidden", "(c)", "!d", "\U0001f600", "x" * 250,
]  # fmt: skip
REFUSED = ["a#b", "w?y", "data [prod]", "50%25", "%41bc", "b\\s", "a|b", "^c", "tab\tx", "two\nlines"]
SILVER = "silver.usage_events"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(ROOT / "conf")


@pytest.mark.parametrize("name", FINE)
def test_tables_under_an_odd_folder_are_written_read_and_listed(name: str, tmp_path: Path, registry: Registry) -> None:
    lake, contract = Lake(tmp_path / name / "lake"), registry[SILVER]
    require_lake_root(lake.root)
    row = dict.fromkeys(contract.columns) | {"event_id": "e1", "load_id": 7, "usage_date": date(2025, 8, 1)}
    lake.append_small([row], contract)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == [name], "nothing was made beside it"
    assert lake.read_small(SILVER).num_rows == lake.count(SILVER) == 1
    assert lake.is_readable(SILVER, lake.version(SILVER)) and lake.has_files(SILVER)
    before = lake.version(SILVER)
    lake.append_small([row | {"event_id": "e2"}], contract, {"run_id": "r2"})
    assert [commit.note for commit in lake.commits(SILVER, before)] == [lake.last_note(SILVER)] == [{"run_id": "r2"}]
    assert lake.changed_values(SILVER, "event_id", before, before + 1) == {"e2"}
    for files in (
        lake.files(SILVER, before + 1, ("usage_date", ["2025-08-01"])),
        lake.files_holding(SILVER, "load_id", 7),
    ):
        assert len(files) == 2
        with duckdb.connect() as connection:
            assert sorted(connection.read_parquet(files).project("event_id").fetchall()) == [("e1",), ("e2",)]


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_in_which_tables_would_not_be_found_again_is_refused_at_once(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / name / "lake"
    assert main(["status", "--lake", str(lake), "--conf", str(ROOT / "conf")]) == 2
    assert "give the lake another folder" in capsys.readouterr().err
    assert not lake.parent.exists()


@pytest.mark.parametrize("name", REFUSED)
def test_a_lake_that_is_made_under_such_a_name_lies_behind_a_link_that_every_reader_follows(
    name: str, tmp_path: Path, registry: Registry
) -> None:
    asked, told = tmp_path / name / "the lake", []
    config = load_config(lake=str(asked), landing=str(tmp_path), tell=told.append)
    assert asked.resolve() == config.lake.root and config.lake.root.parent == tmp_path and len(told) == 1
    contract = registry[SILVER]
    row = dict.fromkeys(contract.columns) | {"event_id": "e1", "load_id": 7, "usage_date": date(2025, 8, 1)}
    config.lake.append_small([row], contract, {"run_id": "r1"})
    assert load_config(lake=str(asked), landing=str(tmp_path)).lake.last_note(SILVER) == {"run_id": "r1"}
    assert len(DeltaTable(str(asked / "silver" / "usage_events")).to_pyarrow_table()) == 1, "a reader that knows no cloudlake"
    assert load_config(lake=str(asked), tell=told.append).lake == config.lake and len(told) == 1
    asked.unlink()
    again = load_config(lake=str(asked), tell=told.append)
    assert not again.lake.exists(SILVER), "what was behind a link that is gone is another lake"
    assert config.lake.exists(SILVER), "and is left alone"


def test_a_folder_that_holds_something_or_lies_at_the_top_is_no_link_but_refused(tmp_path: Path) -> None:
    kept = tmp_path / "a#b" / "file"
    kept.parent.mkdir()
    kept.touch()
    for lake in (kept.parent, kept, Path("/no#such/lake")):
        with pytest.raises(ConfigurationError, match="give the lake another folder"):
            load_config(lake=str(lake), tell=pytest.fail)
    assert list(tmp_path.iterdir()) == [kept.parent] and not Path("/no#such").exists()


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("/" + "x" * 256, "longer than 255 bytes"),
        ("/" + "/".join(["y" * 200] * 20), "no room for the tables' files"),
        ("/latin-1 \udcfc", "no UTF-8"),
    ],
)
def test_a_path_that_leaves_no_room_or_is_no_text_is_refused(root: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        require_lake_root(Path(root))


def test_paths_are_handed_to_each_engine_in_its_own_way() -> None:
    assert (
        local_file("/a b/silver/t", "/a%20b/silver/t/k=c%25d/part-0.parquet") == "/a b/silver/t/k=c%25d/part-0.parquet"
    )
    assert for_sql("/b`t/silver/t") == "delta.`/b``t/silver/t`"
