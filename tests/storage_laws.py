"""What every storage does, wherever it lies."""

from __future__ import annotations

from cloudlake.common.lake.storage import Storage


def assert_files_are_written_read_and_listed(storage: Storage) -> None:
    """Leaves a/b.txt, a/c.json and the folder a/d."""
    storage.replace("a/b.txt", b"one")
    storage.keep_state("a/c.json", {"n": 1})
    storage.make_folder("a/d")
    assert storage.read("a/b.txt") == b"one" and storage.read_state("a/c.json") == {"n": 1}
    assert [(entry.name, entry.kind) for entry in storage.entries("a")] == [
        ("b.txt", "file"), ("c.json", "file"), ("d", "folder")
    ]  # fmt: skip
    assert storage.entries("a")[0].size == 3 and storage.below(storage.at("a/b.txt")) == "a/b.txt"
