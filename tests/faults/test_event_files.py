"""Event files under every name and after every change: each is read exactly once, or named; nothing is taken in silence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cloudlake.common.clock import now_utc
from cloudlake.common.config import Config, load_config
from cloudlake.runs.background import stream_state
from cloudlake.streaming import checkpoints
from cloudlake.streaming.bronze_events import BronzeQuery
from cloudlake.streaming.event_files import hashed, list_files
from cloudlake.streaming.landed import LandedFiles
from cloudlake.streaming.monitor import behind
from cloudlake.streaming.pipeline import run_once
from flow import event_line
from pyspark.sql import DataFrame, SparkSession

NAMES = [
    "plain.jsonl", "events1.jsonl", "events[1].jsonl", "x{1}.jsonl", "{a,b}.jsonl", "a*b.jsonl", "a-b.jsonl", "a?b.jsonl",
    "2025-08-31T10:00:00Z.jsonl", "c:[1]{2}.jsonl", "#1.jsonl", "p%20c.jsonl", "50%25.jsonl", "50%.jsonl", "a b.jsonl",
    "q'\".jsonl", "back\\slash.jsonl", "new\nline.jsonl", "M\u00e4rz.jsonl", "Ma\u0308rz.jsonl", "m\u00e4rz.jsonl", "Plain.jsonl",
    "a;b&c=d+e.jsonl", "~.jsonl", "-.jsonl", "$(x)`y`.jsonl", "x" * 249 + ".jsonl", "\u200b.jsonl",
]  # fmt: skip


def config_of(root: Path, landing: str = "landing") -> Config:
    (root / landing / "usage_events_stream").mkdir(parents=True, exist_ok=True)
    return load_config(lake=str(root / "lake"), landing=str(root / landing))


def folder_of(config: Config) -> Path:
    return config.landing / config.stream.events.folder


def test_a_file_is_read_exactly_once_whatever_it_and_its_folder_are_called(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, "data [1] {x} *? #1 50%25 \u00fc\\")
    folder = folder_of(config)
    for number, name in enumerate(NAMES):
        (folder / name).write_text(event_line(number) + "\n")
    (folder / "nested").mkdir()
    (folder / "nested" / "deep.jsonl").write_text("ignored\n")
    (folder / "d=1.jsonl").mkdir()
    (folder / "SHOUTED.JSONL").write_text("ignored\n")
    (folder / "vanishing.jsonl").write_text("gone before it is read\n")
    take = BronzeQuery.take

    def die(self: BronzeQuery, text: DataFrame, batch_id: int) -> None:
        raise OSError("away")

    monkeypatch.setattr(BronzeQuery, "take", die)
    with pytest.raises(OSError, match="away"):
        run_once(lambda: spark, config, "dies")
    monkeypatch.setattr(BronzeQuery, "take", take)
    (folder / "vanishing.jsonl").unlink()
    unnameable = os.fsencode(folder) + b"/caf\xe9.jsonl"
    with open(unnameable, "w") as file:
        file.write(event_line(900) + "\n")
    (folder / "late:[2].jsonl").write_text(event_line(901) + "\n")
    done = run_once(lambda: spark, config, "run")
    assert (done.landed, done.accepted) == (len(NAMES) + 2, len(NAMES) + 2)
    lines = config.lake.rows("bronze.usage_events", ["raw", "_source_file"])
    found = {
        row["_source_file"].removeprefix("usage_events_stream/"): json.loads(row["raw"])["event_id"] for row in lines
    }
    expected = {name: f"extra_{number:06d}" for number, name in enumerate(NAMES)}
    assert found == expected | {"caf\\xe9.jsonl": "extra_000900", "late:[2].jsonl": "extra_000901"}
    assert {text.rpartition("/")[2].partition(":")[0] for text in done.warnings if "small letters" in text or "a folder" in text} == {
        "SHOUTED.JSONL", "d=1.jsonl"
    }  # fmt: skip
    again = run_once(lambda: spark, config, "again")
    assert again.landed == 0 and len(again.warnings) == 2


def test_windows_files_are_read_or_refused_line_by_line(spark: SparkSession, tmp_path: Path) -> None:
    config = config_of(tmp_path)
    mark, folder = b"\xef\xbb\xbf", folder_of(config)
    one, two = event_line(1).encode() + b"\n", event_line(2).encode() + b"\n"
    (folder / "marked.jsonl").write_bytes(mark + one + mark + two)
    (folder / "twice.jsonl").write_bytes(
        mark + mark + event_line(3).encode() + b"\r\n" + event_line(4).encode() + b"\r\n"
    )
    (folder / "utf16.jsonl").write_bytes((event_line(5) + "\n" + event_line(6) + "\n").encode("utf-16"))
    (folder / "tail.jsonl").write_bytes(event_line(7).encode() + b"\n" + b"\0" * 4096)
    (folder / "empty.jsonl").write_bytes(b"")
    (folder / "marks.jsonl").write_bytes(mark)
    done = run_once(lambda: spark, config, "run")
    assert done.landed == done.accepted + done.quarantined + done.duplicates == config.lake.count("bronze.usage_events")
    accepted = {row["event_id"] for row in config.lake.rows("silver.usage_events", ["event_id"])}
    assert accepted == {"extra_000001", "extra_000004", "extra_000007"}
    assert (done.landed, done.warnings) == (9, []), (
        "two marked, two of the twice marked, three of UTF-16, two with a tail"
    )


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


def rewrite_at_the_same_time(path: Path, text: str) -> None:
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_rename(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    os.utime(draft, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    draft.replace(path)


@pytest.mark.parametrize("change", [rewrite, rewrite_at_the_same_time, replace_by_rename])
@pytest.mark.parametrize(
    ("text", "what"), [("other\n", "as long as"), ("longer than before\n", "19 bytes and had 6"), ("", "0 bytes")]
)
def test_a_file_whose_content_was_replaced_is_told_and_one_that_was_touched_is_not(
    tmp_path: Path, change: Callable[[Path, str], None], text: str, what: str
) -> None:
    config = config_of(tmp_path)
    folder = folder_of(config)
    for name in ("replaced.jsonl", "touched.jsonl", "kept.jsonl"):
        (folder / name).write_text("first\n")
    files = list_files(config.landing_zone, folder.name)
    LandedFiles(config).note([hashed(config.landing_zone, file) for file in files], now_utc(), 1, "first", "job")
    assert LandedFiles(config).changed(files) == []
    change(folder / "replaced.jsonl", text)
    os.utime(folder / "touched.jsonl", (10**9, 10**9))
    (warning,) = stream_state(config, now_utc())["warnings"]
    assert warning.startswith("usage_events_stream/replaced.jsonl: ") and what in warning and "Rename it" in warning
    for _ in range(2):
        (again,) = LandedFiles(config).changed(list_files(config.landing_zone, folder.name), "watch", "job")
        assert again == warning
    noted = [row["path"] for row in config.lake.rows("ops.landed_files")]
    assert sorted(noted) == sorted([file.path for file in files] + ["usage_events_stream/touched.jsonl"]), (
        "its hash is taken once"
    )


def test_a_file_read_before_hashes_were_noted_is_told_where_its_time_has_changed(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    folder = folder_of(config)
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_text("first\n")
    files = list_files(config.landing_zone, folder.name)
    LandedFiles(config).note(files, now_utc() - timedelta(days=1), 1, "first", "job")
    os.utime(folder / "b.jsonl", (10**9, 10**9))
    (warning,) = LandedFiles(config).changed(list_files(config.landing_zone, folder.name))
    assert "b.jsonl: it was written again at 2001-09-09" in warning
    told = LandedFiles(config).changed(list_files(config.landing_zone, folder.name), "watch", "job")
    assert told[0] == warning and "a.jsonl: it was read before hashes were noted" in told[1]
    again = LandedFiles(config).changed(list_files(config.landing_zone, folder.name), "watch", "job")
    assert again == [warning], "a hash is taken, and what can't be told is told, once"
    rewrite_at_the_same_time(folder / "a.jsonl", "FIRST\n")
    assert "a.jsonl: it is as long as when it was read" in LandedFiles(config).changed(list_files(config.landing_zone, folder.name))[0]


def test_a_file_read_before_hashes_were_noted_gets_its_hash_where_nothing_has_touched_it(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    path = folder_of(config) / "a.jsonl"
    path.write_text("first\n")
    LandedFiles(config).note(list_files(config.landing_zone, path.parent.name), now_utc(), 1, "first", "job")
    assert LandedFiles(config).changed(list_files(config.landing_zone, path.parent.name), "watch", "job") == []
    assert sorted(row["sha256"] is None for row in config.lake.rows("ops.landed_files")) == [False, True]


def test_modification_times_far_off_are_told_and_the_wait_is_counted_from_the_arrival(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    folder = folder_of(config)
    times = {"zero.jsonl": 0, "before.jsonl": -(2**31), "tomorrow.jsonl": 2**33, "likely.jsonl": 10**9}
    for name, at in times.items():
        (folder / name).write_text("x\n")
        os.utime(folder / name, (at, at))
    files, now, oldest = list_files(config.landing_zone, folder.name), now_utc(), config.stream.events.oldest_file
    (warning,) = LandedFiles(config).odd_times(files, now)
    assert "before.jsonl: its modification time is 1901-" in warning and "3 file(s) in all" in warning
    odd = [file for file in files if "likely" not in file.path]
    assert behind(odd, {}, 0, now, oldest)[1] < 3600
    assert behind(files, {}, 0, now, oldest)[1] == (now - datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)).total_seconds()


def test_generations_grow_though_their_record_is_lost_with_the_checkpoints(tmp_path: Path) -> None:
    lake = config_of(tmp_path).lake
    assert [checkpoints.begin(lake, "job").generation for _ in range(2)] == [1, 2]
    (lake.root / "ops" / "generation.json").unlink()
    assert checkpoints.begin(lake, "job", at_least=7).generation == 8, "greater than what the lake's data speaks of"
    assert checkpoints.begin(lake, "job", at_least=3).generation == 9
    assert checkpoints.begin(lake, "other").generation == 1
