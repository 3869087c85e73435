"""The storage: what a lake and a landing zone lie on, whoever looks at it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cloudlake.common.config import load_config
from cloudlake.common.errors import CloudlakeError, ConfigurationError
from cloudlake.common.lake.storage import Storage
from cloudlake.streaming.checkpoints import Checkpoint
from storage_laws import assert_files_are_written_read_and_listed


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "zone [1] #?"))


def test_what_is_written_is_read_back_listed_and_gone_when_deleted(storage: Storage) -> None:
    assert_files_are_written_read_and_listed(storage)
    storage.rename("a/b.txt", "e/f.txt")
    assert not storage.is_file("a/b.txt") and storage.is_file("e/f.txt")
    storage.delete("e/f.txt")
    storage.delete("e/f.txt")
    storage.delete_folder("a")
    assert storage.look("e/f.txt") is None and storage.entries("a") == [] and not storage.is_folder("a")


def test_a_file_is_put_where_there_is_none_and_by_one_only(storage: Storage) -> None:
    assert storage.put_new("ops/lease", b"mine") and not storage.put_new("ops/lease", b"yours")
    assert storage.read("ops/lease") == b"mine" and [entry.name for entry in storage.entries("ops")] == ["lease"]


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_file_stays_as_it_was_where_writing_it_fails(
    storage: Storage, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.replace("a.json", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk, pytest.raises(OSError, match="No space left"):
        disk.setattr(f"cloudlake.common.lake.storage.os.{failing}", full)
        storage.replace("a.json", b"new")
    assert storage.read("a.json") == b"old" and [entry.name for entry in storage.entries()] == ["a.json"]


def test_another_content_under_the_same_name_size_and_time_has_another_version(storage: Storage) -> None:
    storage.replace("a.csv", b"one")
    first = storage.look("a.csv")
    assert first is not None
    storage.replace("a.csv", b"two")
    os.utime(storage.at("a.csv"), ns=(first.modified_ns, first.modified_ns))
    second = storage.look("a.csv")
    assert second is not None and (second.size, second.modified_ns) == (first.size, first.modified_ns)
    assert second.version != first.version


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_a_damaged_state_is_none(storage: Storage, content: bytes) -> None:
    assert storage.read_state("ops/state.json") == {}
    storage.replace("ops/state.json", content)
    assert storage.read_state("ops/state.json") == {}


def test_a_link_that_leads_nowhere_is_listed_and_is_no_file(storage: Storage) -> None:
    storage.make_folder()
    os.symlink("/nowhere", storage.at("x.jsonl.gz"))
    (entry,) = storage.entries()
    assert (entry.name, entry.kind) == ("x.jsonl.gz", "other") and not storage.is_file("x.jsonl.gz")


def test_a_log_that_has_grown_too_long_is_moved_aside_before_more_is_written(storage: Storage) -> None:
    for text in (b"one", b"two", b"three"):
        with storage.open_log("run/stream.log", 5) as log:
            log.write(text)
    assert storage.read("run/stream.log") == b"three" and storage.read("run/stream.log.1") == b"onetwo"


def test_files_are_given_under_names_without_signs_in_their_order(storage: Storage) -> None:
    for name in ("b*[1].jsonl", "a:{x}.jsonl"):
        storage.replace(name, name.encode())
    with storage.under_plain_names(["b*[1].jsonl", "a:{x}.jsonl"], "jsonl") as names:
        assert [Path(name).read_text() for name in names] == ["b*[1].jsonl", "a:{x}.jsonl"]
        assert [Path(name).name for name in names] == ["0.jsonl", "1.jsonl"]
    assert not Path(names[0]).exists() and storage.is_file("b*[1].jsonl")


def test_a_folder_and_its_file_address_are_the_same_place_and_other_addresses_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "a b%"
    config = load_config(lake=root.as_uri(), landing=str(root / "landing"))
    assert config.lake.root == root and config.landing_zone.root == str(root / "landing")
    with pytest.raises(ConfigurationError, match=r"--lake gs://bucket/lake: only a folder, a file:///… or an s3a://"):
        load_config(lake="gs://bucket/lake")
    with pytest.raises(ConfigurationError, match=r"--landing hdfs://host/landing: only a folder.*HDFS was not tried"):
        load_config(lake=str(root), landing="hdfs://host/landing")


def test_a_log_of_spark_in_another_form_is_not_read_as_the_one_that_is_known(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    checkpoint = Checkpoint(storage, "checkpoints/job", "job", 1)
    storage.replace("checkpoints/job/offsets/0", b'v1\n{"batchWatermarkMs":0}\n{"logOffset":0}')
    storage.replace("checkpoints/job/sources/0/0", b'v1\n{"path":"file:///l/a%20b.jsonl","batchId":0}')
    assert checkpoint.offset(0) == {"logOffset": 0} == checkpoint.newest_offset() and checkpoint.offset(1) is None
    assert checkpoint.files(0) == ["/l/a b.jsonl"] and checkpoint.has_unfinished_batch()
    storage.replace("checkpoints/job/commits/0", b"v1\n{}")
    assert not checkpoint.has_unfinished_batch()
    storage.replace("checkpoints/job/sources/0/0", b'v2\n{"path":"x"}')
    with pytest.raises(CloudlakeError, match=r"sources/0/0: Spark has written it in form 'v2', and only v1"):
        checkpoint.files(0)
