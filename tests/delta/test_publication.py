"""Readers see all of a publication or none of it; an earlier one can be put in force again. Real tables, no Spark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest
from cloudlake.common.config import Config, load_config
from cloudlake.common.errors import CloudlakeError, ConfigurationError
from cloudlake.serving import connect, publications, published
from cloudlake.serving.publication import publish, rollback
from flow import ROOT, cloudlake

TABLES = ("gold.usage_daily", "gold.org_daily_usage_by_service", "gold.revenue_by_org_month")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(lake=str(tmp_path / "lake"), landing=str(tmp_path))


def build(config: Config, run: int) -> None:
    """Add one row to each of some marts, as a run would that publishes afterwards."""
    for name in TABLES:
        row = {"org_id": f"o{run}", "cost_usd": Decimal(run), "revenue_usd": Decimal(run)}
        known = {column: value for column, value in row.items() if column in config.registry[name].columns}
        config.lake.append_small([known], config.registry[name], {"run_id": f"run{run}", "load_id": run})


def rows_seen(config: Config) -> set[int]:
    with connect(config) as reader:
        return {reader.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in TABLES}


def test_a_reader_sees_only_whole_publications_while_runs_go_on(config: Config) -> None:
    build(config, 1)
    publish(config, "run1")
    ended, seen = threading.Event(), []

    def runs() -> None:
        for run in range(2, 12):
            build(config, run)
            publish(config, f"run{run}")
        ended.set()

    writer = threading.Thread(target=runs)
    writer.start()
    while not ended.is_set():
        seen.append(rows_seen(config))
    writer.join()
    assert len(seen) > 3 and all(len(counts) == 1 for counts in seen), seen
    assert rows_seen(config) == {11}


def test_a_rollback_holds_until_something_new_is_built(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    for run in (1, 2, 3):
        build(config, run)
        publish(config, f"run{run}")
    assert cloudlake(config.lake.root, config.landing, "rollback") == 0
    assert "run run2" in capsys.readouterr().out
    assert published(config.lake).run_id == "run2" and rows_seen(config) == {2}
    assert publish(config, "run4").skipped, "a run with nothing new does not undo it"
    rollback(config, "run1")
    assert rows_seen(config) == {1}
    rollback(config, "run3")
    assert rows_seen(config) == {3}
    build(config, 5)
    publish(config, "run5")
    assert rows_seen(config) == {4}
    assert [known.run_id for known in publications(config.lake)] == ["run1", "run2", "run3", "run5"]


def test_after_many_publications_a_rollback_finds_the_newest_earlier_one(config: Config) -> None:
    build(config, 0)
    kept_before = config.settings.retention.publications
    for run in range(kept_before + 5):
        config.lake.note_only(config.registry[TABLES[0]], {"run_id": f"run{run}", "load_id": run})
        publish(config, f"run{run}")
    kept = [known.run_id for known in publications(config.lake)]
    assert kept == [f"run{run}" for run in range(4, kept_before + 5)], "the oldest go first"
    assert rollback(config)[1].run_id == f"run{kept_before + 3}"


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_what_is_in_force_stays_whole_where_writing_it_fails(
    config: Config, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(config, 1)
    publish(config, "run1")
    build(config, 2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(f"cloudlake.common.lake.storage.os.{failing}", full)
        with pytest.raises(OSError, match="No space left"):
            publish(config, "run2")
    assert published(config.lake).run_id == "run1" and rows_seen(config) == {1}
    assert not publish(config, "run3").skipped and rows_seen(config) == {2}


def test_a_rollback_that_cannot_be_read_changes_nothing(config: Config) -> None:
    with pytest.raises(ConfigurationError, match="nothing was published before"):
        rollback(config)
    for run in (1, 2):
        build(config, run)
        publish(config, f"run{run}")
    with pytest.raises(ConfigurationError, match="did you mean 'run1'"):
        rollback(config, "rnu1")
    gone = config.lake.dataset(TABLES[0], published(config.lake).version(TABLES[0])).files  # type: ignore[attr-defined]
    for file in gone:
        (Path(config.lake.path(TABLES[0])) / Path(file).name).unlink()
    with pytest.raises(CloudlakeError, match=r"gold.usage_daily no longer has that version"):
        rollback(config)
    assert published(config.lake).run_id == "run2"


@pytest.mark.parametrize(("point", "in_force"), [("before_publish", "run1"), ("after_publish", "run2")])
def test_a_crash_while_publishing_leaves_one_of_the_two(config: Config, point: str, in_force: str) -> None:
    build(config, 1)
    publish(config, "run1")
    build(config, 2)
    code = (
        "import sys; from cloudlake.common.config import load_config; from cloudlake.serving.publication import publish; "
        "publish(load_config(lake=sys.argv[1]), 'run2')"
    )
    environment = os.environ | {"CLOUDLAKE_CRASH_AT": point, "PYTHONPATH": str(ROOT / ".typing")}
    killed = subprocess.run([sys.executable, "-c", code, str(config.lake.root)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert published(config.lake).run_id == in_force and len(rows_seen(config)) == 1
    publish(config, "run2")
    assert published(config.lake).run_id == "run2" and rows_seen(config) == {2}


def test_a_damaged_publication_says_what_to_do(config: Config) -> None:
    config.lake.root.mkdir()
    (config.lake.root / "published.json").write_text("{")
    with pytest.raises(CloudlakeError, match="remove it and run"):
        published(config.lake)
    (config.lake.root / "published.json").unlink()
    with pytest.raises(CloudlakeError, match="nothing has been published yet"):
        connect(config)
