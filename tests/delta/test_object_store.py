"""What lies in an object store: its objects as files, its leases as locks, its faults as errors; without Spark."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from cloudlake.common.config import load_config
from cloudlake.common.errors import CloudlakeError, ConfigurationError, LockedError, StoreError
from cloudlake.common.lake import leases, stores
from cloudlake.common.lake.duck import connected, parquet_of
from cloudlake.common.lake.locks import clear_left_lock, holders, lock_holder, process_lock
from cloudlake.common.lake.log import data_files
from cloudlake.common.lake.objects import ObjectStorage
from cloudlake.common.lake.opening import open_table
from cloudlake.common.lake.small import Revision
from cloudlake.common.lake.stores import LOG_STORE, Store
from object_store import BUCKET, KEY, SECRET, Proxy, S3Server
from storage_laws import assert_files_are_written_read_and_listed

ROOT = Path(__file__).resolve().parents[2]
ROOM = ROOT / "src" / "common" / "lake" / "logstore"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def connect(server: S3Server) -> Iterator[Callable[..., ObjectStorage]]:
    """Open a place of this test in the store."""

    def opened(name: str, endpoint: str = "", **settings: float) -> ObjectStorage:
        stores.use(Store(endpoint or server.endpoint, access_key=KEY, secret_key=SECRET, **settings))  # type: ignore[arg-type]
        return ObjectStorage(f"s3a://{BUCKET}/{name}")

    yield opened
    stores.leave()


def test_objects_are_written_read_listed_moved_and_deleted_as_files_are(connect: Callable[..., ObjectStorage]) -> None:
    storage = connect("files")
    storage.require_writable()
    assert_files_are_written_read_and_listed(storage)
    first, looked = storage.entries("a")[0], storage.look("a/b.txt")
    assert looked == first
    assert storage.lacking([storage.at("a/b.txt"), storage.at("a/x")]) == [storage.at("a/x")]
    storage.replace("a/b.txt", b"two")
    again = storage.look("a/b.txt")
    assert again is not None and again.version != first.version
    storage.rename("a", "e/f")
    assert not storage.is_folder("a") and storage.read("e/f/b.txt") == b"two" and storage.is_folder("e/f/d")
    with storage.open("e/f/b.txt") as file:
        assert file.read(1) == b"t" and file.seek(-1, os.SEEK_END) and file.read() == b"o"
    storage.delete("e/f/b.txt")
    storage.delete("e/f/b.txt")
    storage.delete_folder("e")
    assert storage.look("e/f/b.txt") is None and storage.entries("e") == [] and not storage.is_folder()
    with pytest.raises(FileNotFoundError, match=r"s3a://lake/files/x"):
        storage.read("x")


def test_an_empty_object_that_marks_a_folder_is_no_file_in_it(connect: Callable[..., ObjectStorage]) -> None:
    storage = connect("marked")
    stores.arrow().create_dir(f"{BUCKET}/marked/a/b")  # as Hadoop does it too
    assert storage.is_folder("a/b") and storage.entries("a/b") == [] == list(storage.walk())
    assert [(entry.name, entry.kind) for entry in storage.entries("a")] == [("b", "folder")]
    storage.replace("a/b/c", b"")
    assert [entry.path for entry in storage.walk()] == ["a/b/c"] and storage.entries("a/b")[0].name == "c"
    storage.rename("a", "d")
    assert storage.is_file("d/b/c") and list(storage.walk("a")) == []


def test_a_log_grows_and_objects_are_given_under_plain_names(connect: Callable[..., ObjectStorage]) -> None:
    storage = connect("logs")
    for text in (b"one", b"two"):
        with storage.open_log("logs/run.log") as log:
            log.write(text)
    assert storage.read("logs/run.log") == b"onetwo"
    storage.replace("b [1].jsonl", b"odd")
    with storage.under_plain_names(["b [1].jsonl"], "jsonl") as (name,):
        assert name.endswith("/0.jsonl") and storage.read(storage.below(name) or "") == b"odd"
    assert [entry.name for entry in storage.entries()] == ["b [1].jsonl", "logs"]


def test_an_object_is_put_by_one_of_several_who_try_at_once(connect: Callable[..., ObjectStorage]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    storage = connect("race")
    with ThreadPoolExecutor(8) as pool:
        for number in range(25):
            won = list(pool.map(lambda who, n=number: storage.put_new(f"{n}", f"{who}".encode()), range(8)))  # type: ignore[misc]
            assert sum(won) == 1 and storage.read(f"{number}") == f"{won.index(True)}".encode()
    version = storage.put_if("1", b"later", storage.read_versioned("1")[1])
    assert version and storage.put_if("1", b"too late", "another") is None and storage.read("1") == b"later"


def test_addresses_of_a_store_are_told_from_folders_and_others_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    try:
        config = load_config(lake="s3://lake/a/b/", landing="s3a://other")
        assert (str(config.lake.root), str(config.landing)) == ("s3a://lake/a/b", "s3a://other")
        assert config.lake.path("silver.users") == "s3a://lake/a/b/silver/users"
        assert stores.current().region == "us-east-1" and "aws_access_key_id" not in stores.current().options()
        with pytest.raises(CloudlakeError, match=r"s3a://lake/a/b/ops: it lies in an object store, and this needs a folder"):
            (config.lake.root / "ops").exists()
        for bad in ("s3a://", "s3a://user:word@lake/a", "s3a://lake/a b", "s3a://lake/a%20b", "s3a://LAKE"):
            with pytest.raises(ConfigurationError, match=r"--lake .*: write s3a://bucket/path"):
                load_config(lake=bad)
        with pytest.raises(ConfigurationError, match="a lake on HDFS was not tried, and delta-rs"):
            load_config(lake="hdfs://host/lake")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        with pytest.raises(ConfigurationError, match=r"storage: AWS_SECRET_ACCESS_KEY is not set"):
            load_config(lake="s3a://lake/a")
    finally:
        stores.leave()


# --- tables without Spark ---------------------------------------------------------------------------------------------


@pytest.fixture
def config(server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[object]:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    yield load_config(lake=f"s3a://{BUCKET}/{re.sub('[^a-z]+', '-', request.node.name)}", landing=f"s3a://{BUCKET}/landing")
    stores.leave()


def test_small_tables_are_made_appended_to_revised_and_read_by_every_engine(config) -> None:  # type: ignore[no-untyped-def]
    lake, table = config.lake, config.registry["ops.erasures"]
    now = pa.scalar(0, pa.timestamp("us", "UTC")).as_py()

    def row(name: str, check: str) -> dict[str, object]:
        plain = dict.fromkeys(table.column_names)
        return plain | dict.fromkeys(table.key, name) | {"key_check": check} | {
            column: now for column, kind in table.columns.items() if kind.type == "timestamp"
        }

    lake.append_small([row("a", "1"), row("b", "2")], table, {"run_id": "one"})
    lake.revise(table, lambda kept: Revision(kept.slice(0, 1), kept.slice(1).select(list(table.key))), {"run_id": "two"})
    assert lake.count(table.name) == 1 and lake.last_note(table.name)["run_id"] == "two"
    assert [commit.note.get("run_id") for commit in lake.newest_first(table.name)][:2] == ["two", "one"]
    path = lake.path(table.name)
    files = data_files(open_table(path), path)
    with connected() as connection:
        assert connection.sql(f"SELECT key_check FROM {parquet_of(files)}").fetchall() == [("1",)]
    assert lake.is_readable(table.name, 1) and lake.stamp(table.name, 1) != lake.stamp(table.name, 2) != -1
    lake.storage.delete(lake.storage.below(data_files(open_table(path, 1), path)[0]))
    assert not lake.is_readable(table.name, 1) and lake.is_readable(table.name, 2)


def test_upkeep_leaves_the_newest_version_whole_and_lets_the_others_go(config) -> None:  # type: ignore[no-untyped-def]
    from datetime import UTC, datetime, timedelta

    from cloudlake.upkeep.erase import erase
    from cloudlake.upkeep.maintain import maintain

    lake, table = config.lake, config.registry["ops.gates"]
    now = datetime.now(UTC)

    def value(kind: str, n: int) -> object:
        return now if kind == "timestamp" else n if kind in ("bigint", "int", "double") else f"{n}"

    for n in range(12):
        lake.append_small([{name: value(column.type, n) for name, column in table.columns.items()}], table, {"run_id": f"r{n}"})
    lake.storage.replace("reports/old.json", b"{}")
    later = now + timedelta(days=10)
    told = maintain(config, lambda: None, later, unread={}, only=table.name)  # type: ignore[arg-type,return-value]
    assert told.faults == [] and told.tables[0].files == (12, 1) and told.tables[0].pruned == 12 and told.tables[0].entries > 5
    assert lake.file_count(table.name) == 1 and lake.count(table.name) == 12 and lake.last_note(table.name)["run_id"] == "r11"
    assert maintain(config, lambda: None, later + timedelta(days=100), unread={}).faults == []  # type: ignore[arg-type,return-value]
    assert not lake.storage.is_file("reports/old.json") and lake.exists(table.name)
    with pytest.raises(ConfigurationError, match=rf"{lake.root}: a person is erased from a lake .* on a disk only, so far"):
        erase(config, "user_1", lambda: None, now, "r")  # type: ignore[arg-type,return-value]


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_lock_in_a_store_keeps_a_second_process_out_and_names_its_holder(config) -> None:  # type: ignore[no-untyped-def]
    lake = config.lake
    with process_lock(lake, "batch", "run_1") as left:
        assert left is None and (lock_holder(lake, "batch") or {})["run_id"] == "run_1"
        named = rf"another batch run holds the lake {lake.root}: process {os.getpid()} on .*run run_1"
        with pytest.raises(LockedError, match=named), process_lock(lake, "batch", "run_2"):
            pass
        assert [(one.lock, one.alive) for one in holders(lake)] == [("batch", True)]
    assert lock_holder(lake, "batch") is None and holders(lake) == []
    with process_lock(lake, "batch", "run_3"):
        pass


HOLD = """
import sys, time
from cloudlake.common.config import load_config
from cloudlake.common.lake.locks import process_lock
config = load_config(lake=sys.argv[1])
with process_lock(config.lake, "batch", "killed"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_gives_its_lock_away_at_once_and_is_named(config) -> None:  # type: ignore[no-untyped-def]
    lake = config.lake
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(lake.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdin is not None and other.stdout.readline() == b"held\n"
    with pytest.raises(LockedError, match="run killed since"), process_lock(lake, "batch", "mine"):
        pass
    other.kill()
    other.wait()
    assert [(one.run_id, one.alive) for one in holders(lake)] == [("killed", False)]
    with process_lock(lake, "batch", "mine") as left:
        assert left is not None and left.run_id == "killed"
    clear_left_lock(lake, "batch")
    assert holders(lake) == []


def test_a_lease_of_another_machine_is_taken_over_when_it_has_expired_and_clocks_may_differ_no_more(
    connect: Callable[..., ObjectStorage],
) -> None:
    storage = connect("expiry", lease_seconds=1, skew_seconds=0.5)
    elsewhere = {"pid": 1, "host": "elsewhere", "machine": "another", "token": "t"}

    def expires(seconds: float) -> bytes:
        until = time.time() + seconds
        return json.dumps({**elsewhere, "expires": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(until)) + "+00:00"}).encode()

    storage.replace("lock", expires(60))
    with pytest.raises(LockedError, match="held by elsewhere, process 1"), leases.held(storage, "lock", {}, wait=False):
        pass
    storage.replace("lock", expires(-3))
    with leases.held(storage, "lock", {}, wait=False) as left:
        assert left is not None and left["host"] == "elsewhere"


def test_a_lease_is_renewed_while_it_is_held(connect: Callable[..., ObjectStorage]) -> None:
    storage = connect("renewed", lease_seconds=0.6, skew_seconds=0)
    with leases.held(storage, "lock", {}, wait=False):
        first = json.loads(storage.read("lock"))["expires"]
        time.sleep(1.2)
        leases.require_held()
        assert json.loads(storage.read("lock"))["expires"] > first
        with pytest.raises(LockedError), leases.held(storage, "lock", {}, wait=False):
            pass


STOOD_STILL = """
import sys
from dataclasses import replace
from cloudlake.common.config import load_config
from cloudlake.common.lake import stores
from cloudlake.common.lake.small import table_lock
from deltalake import write_deltalake
import pyarrow as pa
from cloudlake.common.lake.small import noted
from cloudlake.common.lake.opening import open_table
config = load_config(lake=sys.argv[1])
stores.use(replace(stores.current(), lease_seconds=1.0, skew_seconds=0.2))
path, asks = config.lake.path("speed.t"), sys.argv[2] == "asks"
with table_lock(path):
    table = open_table(path)
    print("read", flush=True)
    sys.stdin.readline()
    if asks:
        config.lake.conflicts.retried(lambda: write_deltalake(table, pa.table({"who": ["first"]}), mode="append", commit_properties=noted({})))
    else:
        write_deltalake(table, pa.table({"who": ["first"]}), mode="append", commit_properties=noted({}))
print("committed", flush=True)
"""


@pytest.mark.parametrize(("way", "error"), [("asks", "has lost its lock"), ("commits at once", "CommitFailedError")])
def test_a_holder_that_stood_still_past_its_lease_does_not_commit(config, way: str, error: str) -> None:  # type: ignore[no-untyped-def]
    from dataclasses import replace

    from cloudlake.common.lake.small import noted, table_lock
    from deltalake import write_deltalake

    stores.use(replace(stores.current(), lease_seconds=1.0, skew_seconds=0.2))
    path = f"s3a://{BUCKET}/still-{way.replace(' ', '-')}/speed/t"
    write_deltalake(path, pa.table({"who": ["nobody"]}), storage_options=stores.rust_options(path))
    lake = path.removesuffix("/speed/t")
    other = subprocess.Popen([sys.executable, "-c", STOOD_STILL, lake, way], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert other.stdout is not None and other.stdout.readline() == "read\n"
    other.send_signal(signal.SIGSTOP)
    with table_lock(path):  # waits until the other's lease has expired
        write_deltalake(open_table(path), pa.table({"who": ["second"]}), mode="append", commit_properties=noted({}))
    other.send_signal(signal.SIGCONT)
    said, told = other.communicate("go\n", timeout=30)
    assert other.returncode == 1 and "committed" not in said and error in told
    assert sorted(open_table(path).to_pyarrow_table()["who"].to_pylist()) == ["nobody", "second"]


def test_who_read_a_publication_or_a_generation_before_another_wrote_it_writes_nothing(config) -> None:  # type: ignore[no-untyped-def]
    from cloudlake.common.publication import Ledger, Publication, published, read_ledger, write_ledger
    from cloudlake.streaming.checkpoints import raise_generation

    lake = config.lake
    stale = read_ledger(lake)
    write_ledger(lake, Ledger(Publication("run_1", "2025-01-01"), seen=stale.seen))
    for late in (Ledger(Publication("run_2", "2025-01-02"), seen=stale.seen), Ledger(Publication("run_2", "2025-01-02"), seen='"x"')):
        with pytest.raises(LockedError, match=r"published\.json: another process has published meanwhile"):
            write_ledger(lake, late)
    assert published(lake).run_id == "run_1"
    write_ledger(lake, Ledger(Publication("run_3", "2025-01-03"), seen=read_ledger(lake).seen))
    assert published(lake).run_id == "run_3"
    assert [raise_generation(lake, "job"), raise_generation(lake, "job"), raise_generation(lake, "other", 4)] == [1, 2, 5]


# --- a store that fails -----------------------------------------------------------------------------------------------


def test_a_store_that_fails_for_a_while_is_asked_again_and_one_that_stays_away_is_told_within_bounds(
    server: S3Server, connect: Callable[..., ObjectStorage]
) -> None:
    with Proxy(server) as proxy:
        storage = connect("failing", proxy.endpoint, attempts=3, timeout_seconds=1)
        for fault in ("503", "slow", "cut"):
            left = [1]
            proxy.behaviour = lambda method, path, fault=fault, left=left: fault if method == "GET" and left and left.pop() else "pass"  # type: ignore[misc]
            storage.replace("x", fault.encode())
            assert storage.read("x") == fault.encode(), "one failure is not told"
            started, proxy.seen[:] = time.monotonic(), []
            proxy.behaviour = lambda method, path, fault=fault: fault  # type: ignore[misc]
            with pytest.raises(StoreError, match=r"s3a://lake/failing/x: the store (answers 503|can't be reached)") as failed:
                storage.read("x")
            assert time.monotonic() - started < 12 and 1 < len(proxy.seen) <= 3, "bounded"
            with pytest.raises(StoreError):
                storage.read_state("x")  # which is there, for all that is known
            assert SECRET not in str(failed.value) and KEY not in str(failed.value)


def test_a_conditional_write_whose_answer_was_lost_is_known_to_be_ours(
    server: S3Server, connect: Callable[..., ObjectStorage]
) -> None:
    with Proxy(server) as proxy:
        storage = connect("lost", proxy.endpoint, attempts=3, timeout_seconds=1)
        waiting = ["503-after"]

        def lose_one_answer(method: str, path: str) -> str:
            return "cut" if method == "PUT" and waiting and waiting.pop() else "pass"

        proxy.behaviour = lose_one_answer
        try:
            assert storage.put_new("x", b"mine")
        except StoreError:  # a client that does not try such a write again: it says so, and the object may be there
            assert storage.read("x") == b"mine"
        assert not storage.put_new("x", b"yours")


def test_a_lake_that_cant_be_written_or_does_not_decide_is_refused_with_its_remedy(
    server: S3Server, connect: Callable[..., ObjectStorage]
) -> None:
    with pytest.raises(ConfigurationError, match=r"s3a://nowhere/x: the lake can't be written .*storage: in conf/lake\.yaml"):
        connect("x")
        ObjectStorage("s3a://nowhere/x").require_writable()

    class Careless(ObjectStorage):
        def put_if(self, path: str, content: bytes, version: str | None) -> str | None:
            self.replace(path, content)
            return "written"

    with pytest.raises(ConfigurationError, match="writes over an object that is there, although told not to"):
        Careless(f"s3a://{BUCKET}/careless").require_writable()


def test_no_command_says_a_key(server: S3Server, tmp_path: Path) -> None:
    """Nor does its process list: keys stand in the environment alone."""
    for endpoint in (server.endpoint, "http://127.0.0.1:9"):
        env = {**os.environ, **server.environment(endpoint)}
        done = subprocess.run(
            [sys.executable, "-m", "cloudlake.cli", "status", "--verbose", "--lake", f"s3a://{BUCKET}/nothing"],
            env=env, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert SECRET not in said and KEY not in said and said, said
    assert SECRET not in repr(Store(secret_key=SECRET, access_key=KEY)) and KEY not in repr(Store(access_key=KEY))


def told_by_a_run(server: S3Server, endpoint: str, conf: Path, *arguments: str) -> tuple[int, str]:
    """Run a command in a process of its own: delta-rs holds Python's lock while it waits, and the proxy could not answer."""
    where = ["--lake", f"s3a://{BUCKET}/away/lake", "--landing", f"s3a://{BUCKET}/away/landing", "--conf", str(conf)]
    env = {**os.environ, **server.environment(endpoint), "PYTHONPATH": str(ROOT / ".typing")}
    done = subprocess.run([sys.executable, "-m", "cloudlake.cli", *arguments, *where], env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_run_from_which_the_store_goes_away_says_so_takes_nothing_by_half_and_is_made_up_for(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    conf = Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))
    patience = "attempts: 6\n  timeout_seconds: 30"
    text = (conf / "lake.yaml").read_text()
    assert patience in text
    (conf / "lake.yaml").write_text(text.replace(patience, "attempts: 2\n  timeout_seconds: 10"))
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    config = load_config(lake=f"s3a://{BUCKET}/away/lake", landing=f"s3a://{BUCKET}/away/landing")
    config.landing_zone.replace("2025-09-01/nps_surveys.csv", b"survey_id,org_id,survey_date,score,comment\ns1,o1,2025-08-01,9,fine\n")
    batch = ("batch", "--jobs", "bronze.nps_surveys")
    with Proxy(server) as proxy:
        for away, named in (("nps_surveys.csv", r"nps_surveys\.csv: the store answers 503"), ("nps_surveys/_delta_log/", "nps_surveys/_delta_log.*the store answers 503")):  # fmt: skip
            proxy.behaviour = lambda method, path, away=away: "503" if method in ("GET", "PUT") and away in path else "pass"  # type: ignore[misc]
            code, said = told_by_a_run(server, proxy.endpoint, conf, *batch)
            assert code == 1 and re.search(named, said), said
            assert config.lake.count("bronze.nps_surveys") == 0 and config.lake.rows("ops.landed_files") == []
        proxy.behaviour = lambda method, path: "pass"
        for _ in range(2):
            assert told_by_a_run(server, proxy.endpoint, conf, *batch)[0] == 0
    assert config.lake.count("bronze.nps_surveys") == 1 and len(config.lake.rows("ops.landed_files")) == 1
    stores.leave()


# --- the jar of the log store -----------------------------------------------------------------------------------------


def test_the_jar_of_the_log_store_carries_its_source_as_it_is() -> None:
    with zipfile.ZipFile(ROOM / "delta-logstore-cloudlake.jar") as jar:
        assert jar.read("cloudlake/ConditionalLogStore.java") == (ROOM / "ConditionalLogStore.java").read_bytes()
        assert LOG_STORE.replace(".", "/") + ".class" in jar.namelist()
    assert f"spark.delta.logStore.s3a.impl {LOG_STORE}" in " ".join((ROOT / "conf" / "spark-defaults.conf").read_text().split())


def test_the_jar_of_the_log_store_is_what_its_source_compiles_to(tmp_path: Path) -> None:
    import shutil

    if shutil.which("javac") is None:
        return  # a machine with a JRE alone; the test above holds there
    built = tmp_path / "built.jar"
    subprocess.run([sys.executable, "scripts/build_log_store.py", "--out", str(built)], cwd=ROOT, check=True)

    def code(jar: Path) -> str:
        command = ["javap", "-p", "-c", "-cp", str(jar), LOG_STORE]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return "\n".join(line.split("//", 1)[-1].strip() if "//" in line else line for line in lines)

    assert code(built) == code(ROOM / "delta-logstore-cloudlake.jar")
