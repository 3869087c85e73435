"""PostgreSQL equals the lake, whatever happened to either: against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dashboard_lake as lake
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from adbc_driver_postgresql import dbapi
from cloudlake.cli.main import main
from cloudlake.common.config import Config
from cloudlake.common.contracts.table import Column, Registry
from cloudlake.common.errors import CloudlakeError, LockedError
from cloudlake.common.lake.small import Revision
from cloudlake.common.postgres import redacted
from cloudlake.serving import publication
from cloudlake.serving.postgres import publish, publishing
from cloudlake.serving.postgres.statements import postgres_type, widens
from postgres_agrees import assert_postgres_is, nightly
from postgres_server import Server

TEXTS = [
    "EUR",
    None,
    "NULL",
    "",
    'a "b" \\ {c}, d',
    "line\nbreak",
    "\N{SNOWMAN} \U0001f600",
    "zero\0byte",
    "\\u0000 in letters",
    "\0\0",
]
"""What a list, a JSON text and a COPY each have their own way to write."""
ODD: dict[str, list[dict[str, Any]]] = {
    "gold.revenue_by_org_month": [
        {"org_id": f"odd_{n}", "month": date(2025, 6, 1), "currencies": value, "revenue_usd": Decimal(number)}
        for n, (value, number) in enumerate([(TEXTS, "9" * 22 + ".999999"), ([], "-0.000001"), (None, "0")])
    ],
    "gold.user_activity": [
        {"org_id": f"odd_{n}", "users_by_role": value}
        for n, value in enumerate([[(text, n) for n, text in enumerate(TEXTS) if text is not None], [], None])
    ],
    "gold.customer_health": [
        {"org_id": f"odd_{n}", "health_components": [lake.COMPONENTS[0] | {"why": text, "score": Decimal("33.333333")}]}
        for n, text in enumerate(TEXTS)
    ],
}
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "integrations" / "superset"))
import bundle  # noqa: E402

REVENUE, DAILY, HOURLY = "gold.revenue_monthly", "gold.usage_daily", "gold.usage_hourly"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.remove()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Config]:
    built = lake.build(tmp_path_factory.mktemp("lake"))
    for name, rows in ODD.items():
        lake.put(built, name, rows)
    publication.publish(built, "r1")
    told = built.settings.postgres.model_copy(update={"first_pause_seconds": 0.2, "attempts": 2, "lock_seconds": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUDLAKE_POSTGRES_DSN", server.dsn())
        yield replace(built, settings=built.settings.model_copy(update={"postgres": told}))


def ask(server: Server, sql: str, *, write: bool = False) -> list[tuple[Any, ...]]:
    with dbapi.connect(server.dsn(), autocommit=write) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return [] if write else [tuple(row) for row in cursor.fetchall()]


def counted(server: Server, table: str) -> int:
    return int(ask(server, f"SELECT count(*) FROM cloudlake.{table.partition('.')[2]}")[0][0])


def assert_equal(config: Config, server: Server) -> None:
    assert_postgres_is(config, server.dsn())


def revise(config: Config, table: str, run: str, change: Any) -> None:
    note = {"load_id": lake.LOAD, "run_id": run, "as_of": str(lake.LAST), "inputs": {}}
    config.lake.revise(config.registry[table], change, note)
    publication.publish(config, run)


def with_revenue(config: Config, amount: str) -> Any:
    def change(kept: Any) -> Revision:
        rows = [row | {"revenue_usd": Decimal(amount)} for row in kept.to_pylist()[:1]]
        return Revision(type(kept).from_pylist(rows, kept.schema))

    return change


def a_day_costs_more(kept: Any) -> Revision:
    rows = [row | {"cost_usd": row["cost_usd"] + 1} for row in kept.to_pylist() if row["usage_date"] == lake.LAST]
    return Revision(type(kept).from_pylist(rows, kept.schema))


def test_postgres_follows_the_lake_through_changes_deletions_and_a_rollback(config: Config, server: Server) -> None:
    told = publish(config)
    assert {one.what for one in told} == {"new"}
    assert_equal(config, server)
    assert {one.what for one in publish(config)} == {"unchanged"}
    (kind, needed) = ask(
        server,
        "SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = 'cloudlake.usage_daily'::regclass AND attname = 'cost_usd'",
    )[0]
    assert (kind, needed) == ("numeric(28,6)", False)
    key = ask(
        server, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'cloudlake.usage_daily'::regclass"
    )
    assert key == [("PRIMARY KEY (usage_date, org_id, service, region)",)]
    comment = ask(server, "SELECT col_description('cloudlake.usage_daily'::regclass, 1)")[0][0]
    assert comment == config.registry[DAILY].columns["usage_date"].description
    why = ask(
        server,
        "SELECT health_components -> 0 ->> 'why', (health_components -> 0 ->> 'contribution')::numeric = 10 FROM cloudlake.customer_health WHERE org_id = 'org_a'",
    )
    assert why == [("net cost fell", True)]
    assert ask(server, "SELECT DISTINCT _published_run FROM cloudlake.usage_daily") == [("r1",)]

    revise(config, REVENUE, "r2", with_revenue(config, "999.000001"))
    changed = {one.table for one in publish(config) if one.what != "unchanged"}
    assert changed == {REVENUE}
    runs = ask(server, "SELECT _published_run, count(*) FROM cloudlake.revenue_monthly GROUP BY 1 ORDER BY 1")
    assert runs == [("r1", 1), ("r2", 1)], "a row that did not change was written"
    assert_equal(config, server)

    revise(config, DAILY, "r3", lambda kept: Revision(kept.slice(0, 0), kept.slice(3, 2)))
    publish(config)
    assert_equal(config, server)

    revise(config, DAILY, "r3b", a_day_costs_more)
    publish(config)
    assert_equal(config, server)
    runs = ask(server, "SELECT DISTINCT usage_date FROM cloudlake.usage_daily WHERE _published_run = 'r3b'")
    assert runs == [(lake.LAST,)], "rows of other days were written"

    with lake_appended(config, "r4"):
        publish(config)
        assert_equal(config, server)

    publication.rollback(config, "r1")
    publish(config)
    assert_equal(config, server)
    assert ask(server, "SELECT DISTINCT run_id FROM cloudlake._publications") == [("r1",)]


class lake_appended:
    """A day more in a large table: only its file is copied."""

    def __init__(self, config: Config, run: str) -> None:
        row = {
            "org_id": "org_a",
            "usage_date": date(2025, 9, 1),
            "service": "compute",
            "region": "us-east",
            "cost_usd": Decimal("1.25"),
            "events": 1,
        }
        lake.put(config, DAILY, [row])
        publication.publish(config, run)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_rows_that_somebody_wrote_there_are_found_by_full(config: Config, server: Server) -> None:
    publish(config)
    ask(server, "UPDATE cloudlake.revenue_monthly SET revenue_usd = 0", write=True)
    publish(config, full=True)
    assert_equal(config, server)


def changed_contract(config: Config, table: str, **columns: Column) -> Config:
    before = config.registry[table]
    after = before.model_copy(update={"columns": before.columns | columns})
    return replace(config, registry=Registry({**config.registry.tables, table: after}, config.registry.domains))


def with_notes(kept: Any) -> Any:
    return type(kept).from_pylist([row | {"note": ["is", "kept"]} for row in kept.to_pylist()], kept.schema)


def test_a_view_of_a_users_outlives_an_added_column_and_stops_a_wider_type(config: Config, server: Server) -> None:
    publish(config)
    ask(server, "CREATE VIEW public.mine AS SELECT month, revenue_usd FROM cloudlake.revenue_monthly", write=True)
    added = changed_contract(
        config, REVENUE, note=Column(type="array<string>", description="What it's for: 100 % \\ new")
    )
    publish(added)
    assert_equal(added, server)
    assert ask(server, "SELECT DISTINCT note FROM cloudlake.revenue_monthly") == [(None,)]
    revise(added, REVENUE, "noted", lambda kept: Revision(with_notes(kept)))
    publish(added)
    assert_equal(added, server)
    assert ask(server, "SELECT min(note[2]) FROM cloudlake.revenue_monthly") == [("kept",)]
    comment = ask(
        server,
        "SELECT description FROM pg_description WHERE objoid = 'cloudlake.revenue_monthly'::regclass AND description LIKE '%new'",
    )
    assert comment == [("What it's for: 100 % \\ new",)]
    assert len(ask(server, "SELECT * FROM public.mine")) == counted(server, REVENUE)
    wider = changed_contract(config, REVENUE, revenue_usd=Column(type="decimal(38,6)", description="Revenue"))
    with pytest.raises(CloudlakeError, match="RENAME TO"):
        publish(wider)
    narrower = changed_contract(config, REVENUE, revenue_usd=Column(type="string", description="Revenue"))
    with pytest.raises(CloudlakeError, match=r"revenue_usd is numeric\(28,6\) there and text here"):
        publish(narrower)
    ask(server, "DROP VIEW public.mine", write=True)
    publish(wider)
    assert ask(
        server,
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'cloudlake.revenue_monthly'::regclass AND attname = 'revenue_usd'",
    ) == [("numeric(38,6)",)]
    ask(server, "DROP TABLE cloudlake.revenue_monthly", write=True)
    publish(config)
    assert_equal(config, server)


def cli(config: Config, *arguments: str) -> int:
    return main(
        ["publish", "--to", "postgres", "--lake", str(config.lake.root), "--landing", str(config.landing), *arguments]
    )


def test_a_wrong_password_is_told_without_any_secret(
    config: Config, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLOUDLAKE_POSTGRES_DSN", server.dsn("not%20the%20word"))
    assert cli(config, "--verbose") == 1
    said = capsys.readouterr()
    assert "password authentication failed" in said.err
    assert not any(word in said.err + said.out for word in ("not the word", "not%20the%20word"))
    monkeypatch.delenv("CLOUDLAKE_POSTGRES_DSN")
    assert cli(config) == 2
    assert "CLOUDLAKE_POSTGRES_DSN" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:Hush/Wort@127.0.0.1:1/x", "postgresql://u:Hush@Wort@127.0.0.1:1/x", "postgresql://u:12/Wort@127.0.0.1:1/x",
        "postgresql://u:Hush%Wort@127.0.0.1:1/x", "postgresql://u:Hush Wort@127.0.0.1:1/x",
        "postgresql://127.0.0.1:1/x?user=u&password=Hush&Wort", "host=127.0.0.1 port=1 password=Hush Wort user=u",
        "host=127.0.0.1 password='Hush Wort user=u", "mysql://u:HushWort@127.0.0.1/x", "u:HushWort@127.0.0.1/x",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_read_is_told_without_a_piece_of_it(
    address: str, config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLOUDLAKE_POSTGRES_DSN", address)
    assert cli(config, "--verbose") == 2
    said = capsys.readouterr()
    assert "CLOUDLAKE_POSTGRES_DSN: it can't be read as an address" in said.err
    assert not any(piece in said.err + said.out for piece in ("Hush", "Wort", '"12'))


@pytest.mark.parametrize("address", ["postgresql://u:se%20cret@h/d", "host=h password='se cret' user=u", "postgresql://h/d?user=u&password=se%20cret"])
def test_a_password_is_taken_out_of_whatever_a_driver_says(address: str) -> None:
    told = redacted(f"libpq said {address}, and 'se cret', and se%20cret, of user u", address)
    assert "cret" not in told and "libpq said" in told and "of user u" in told


def test_a_user_without_rights_is_told_which(
    config: Config, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(server, "CREATE USER guest PASSWORD 'x? y'", write=True)
    monkeypatch.setenv("CLOUDLAKE_POSTGRES_DSN", server.dsn("x?%20y").replace("//cloudlake:", "//guest:"))
    assert cli(config) == 1
    said = capsys.readouterr().err
    assert "permission denied" in said and "CREATE and TEMPORARY on the database" in said


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    config: Config, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = replace(
        config,
        settings=config.settings.model_copy(
            update={"postgres": config.settings.postgres.model_copy(update={"schema_name": "other"})}
        ),
    )
    assert {one.what.partition(";")[0] for one in publish(elsewhere, dry_run=True)} == {"would be new"}
    assert ask(server, "SELECT 1 FROM pg_namespace WHERE nspname = 'other'") == []
    publish(config)
    revise(config, REVENUE, "dry", with_revenue(config, "31.5"))
    before = ask(server, "SELECT month, revenue_usd, _published_run FROM cloudlake.revenue_monthly ORDER BY 1")
    capsys.readouterr()
    assert cli(config, "--dry-run") == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if "would be" in line] == [REVENUE]
    assert "nothing was written" in said
    assert ask(server, "SELECT month, revenue_usd, _published_run FROM cloudlake.revenue_monthly ORDER BY 1") == before


def test_only_the_tables_that_are_named_are_written(
    config: Config, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(config)
    revise(config, REVENUE, "named", with_revenue(config, "32.5"))
    revise(config, DAILY, "named2", lambda kept: Revision(kept.slice(0, 0), kept.slice(0, 1)))
    days = counted(server, DAILY)
    assert cli(config, "--tables", "revenue_monthly", "--json") == 0
    assert [(one["table"], one["what"]) for one in json.loads(capsys.readouterr().out)] == [(REVENUE, "changed")]
    assert ask(
        server, "SELECT max(revenue_usd)::text FROM cloudlake.revenue_monthly WHERE _published_run = 'named2'"
    ) == [("32.500000",)]
    assert counted(server, DAILY) == days
    assert cli(config, "--tables", "revenue_monthyl", "gold.nothing") == 2
    said = capsys.readouterr().err
    assert "did you mean 'revenue_monthly'" in said and "gold.nothing" in said
    publish(config)
    assert_equal(config, server)


def test_a_table_that_is_published_no_longer_stays_and_is_told(
    config: Config, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(config)
    ask(server, "CREATE TABLE cloudlake.old_mart (n int)", write=True)
    ask(server, "INSERT INTO cloudlake._publications VALUES ('gold.old_mart', 'x@1', 'y', 7, 'r0', now())", write=True)
    assert [(one.table, one.rows) for one in publish(config) if one.what != "unchanged"] == [("gold.old_mart", 7)]
    assert "old_mart" not in "".join(one.table for one in publish(config, ["revenue_monthly"]))
    assert cli(config) == 0
    assert "stays as it is until somebody drops it" in capsys.readouterr().out
    assert counted(server, "gold.old_mart") == 0
    ask(server, "DROP TABLE cloudlake.old_mart", write=True)
    ask(server, "DELETE FROM cloudlake._publications WHERE table_name = 'gold.old_mart'", write=True)


def test_two_publications_into_one_schema_do_not_run_at_once(config: Config, server: Server) -> None:
    with dbapi.connect(server.dsn()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('cloudlake cloudlake'))")
        with pytest.raises(LockedError, match="another publication into schema cloudlake is running"):
            publish(config)
    publish(config)


@pytest.mark.parametrize(("point", "amount"), [("after_postgres_staging", "21.500000"), ("before_postgres_commit", "22.500000")])
def test_a_kill_in_the_middle_changes_nothing_and_the_next_run_does(config: Config, server: Server, point: str, amount: str) -> None:
    publish(config)
    before = ask(server, "SELECT month, revenue_usd FROM cloudlake.revenue_monthly ORDER BY 1")
    revise(config, REVENUE, "k" + point, with_revenue(config, amount))
    code = f"from cloudlake.cli.main import main; main(['publish', '--to', 'postgres', '--lake', {str(config.lake.root)!r}, '--landing', {str(config.landing)!r}])"
    died = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CLOUDLAKE_CRASH_AT": point, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert ask(server, "SELECT month, revenue_usd FROM cloudlake.revenue_monthly ORDER BY 1") == before
    deadline = time.monotonic() + 10
    while ask(server, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'") and time.monotonic() < deadline:
        time.sleep(0.05)
    publish(config)
    assert_equal(config, server)
    assert ask(server, f"SELECT _published_run FROM cloudlake.revenue_monthly WHERE revenue_usd = {amount}") == [("k" + point,)]


class Unplugged:
    """Stops the server between the first and the second batch of a COPY; the server may come back or not."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch, *, back: bool) -> None:
        self.stopped = 0
        batches = publishing._batches

        def broken(*arguments: Any) -> pa.RecordBatchReader:
            rows = batches(*arguments)
            return (
                rows if self.stopped else pa.RecordBatchReader.from_batches(rows.schema, self._cut(server, rows, back))
            )

        monkeypatch.setattr(publishing, "_batches", broken)

    def _cut(self, server: Server, rows: pa.RecordBatchReader, back: bool) -> Iterator[pa.RecordBatch]:
        whole = rows.read_all().to_batches()[0]
        yield whole.slice(0, 1)
        assert ask(server, "SELECT tuples_processed FROM pg_stat_progress_copy"), "no COPY is under way"
        server.stop("immediate")
        self.stopped += 1
        if back:
            server.start()
        yield whole.slice(1)


def test_a_server_that_goes_away_in_mid_copy_is_tried_again(
    config: Config, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(config)
    revise(config, REVENUE, "away", with_revenue(config, "77.25"))
    cut = Unplugged(server, monkeypatch, back=True)
    publish(config)
    assert cut.stopped == 1
    assert_equal(config, server)


def test_a_server_that_stays_away_is_told_and_has_what_it_had(
    config: Config, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(config)
    before = ask(server, "SELECT month, revenue_usd FROM cloudlake.revenue_monthly ORDER BY 1")
    revise(config, REVENUE, "stays away", with_revenue(config, "78.25"))
    cut = Unplugged(server, monkeypatch, back=False)
    try:
        with pytest.raises(CloudlakeError, match="cloudlake publish --to postgres"):
            publish(config)
        assert cut.stopped == 1
    finally:
        server.start()
    assert ask(server, "SELECT month, revenue_usd FROM cloudlake.revenue_monthly ORDER BY 1") == before
    publish(config)
    assert_equal(config, server)


def test_the_step_of_a_batch_run_fails_without_taking_the_lake_back_and_writes_the_password_nowhere(
    config: Config, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = nightly(tmp_path)
    batch = [
        "batch",
        "--jobs",
        "postgres",
        "--conf",
        str(conf),
        "--lake",
        str(config.lake.root),
        "--landing",
        str(config.landing),
    ]
    publish(config)
    revise(config, REVENUE, "nightly", with_revenue(config, "55.5"))
    in_force = (config.lake.root / "published.json").read_bytes()
    monkeypatch.setenv("CLOUDLAKE_POSTGRES_DSN", server.dsn("Gull%2FHush"))
    assert main(batch) == 1
    said = capsys.readouterr()
    assert "the lake is published, PostgreSQL is not" in said.err and "password authentication failed" in said.err
    assert re.search(r"Once that is mended: cloudlake publish .*--to postgres\n", said.err)
    assert (config.lake.root / "published.json").read_bytes() == in_force
    written = [path for path in config.lake.root.rglob("*") if path.is_file()]
    assert [path for path in written if b"Hush" in path.read_bytes()] == []
    assert "Hush" not in said.err + said.out
    monkeypatch.setenv("CLOUDLAKE_POSTGRES_DSN", server.dsn())
    assert main(batch) == 0
    assert_equal(config, server)


def test_no_list_of_processes_shows_the_password(config: Config, server: Server) -> None:
    publish(config)
    with dbapi.connect(server.dsn()) as held, held.cursor() as cursor:
        cursor.execute("LOCK TABLE cloudlake._publications IN ACCESS EXCLUSIVE MODE")  # the publication waits for it
        code = f"from cloudlake.cli.main import main; main(['publish', '--to', 'postgres', '--lake', {str(config.lake.root)!r}, '--landing', {str(config.landing)!r}])"
        running = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        seen: list[tuple[Any, ...]] = []
        deadline = time.monotonic() + 60
        while not seen and time.monotonic() < deadline:
            time.sleep(0.05)
            seen = ask(
                server,
                "SELECT application_name || query FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'cloudlake'",
            )
        commands = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    assert running.wait(60) == 0
    assert seen and str(config.lake.root).encode() in commands
    assert not any(word in commands.decode(errors="replace") + str(seen) for word in ("secret word", "secret%20word"))


def test_twenty_thousand_rows_that_all_changed_are_written_in_seconds(config: Config, server: Server) -> None:
    patient = config.settings.postgres.model_copy(update={"statement_seconds": 10})
    quick = replace(config, settings=config.settings.model_copy(update={"postgres": patient}))
    hours = [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(5000)]
    rows = [
        {"usage_hour": hour, "usage_date": hour.date(), "org_id": org, "service": service, "region": "us-east", "cost_usd": Decimal(1), "events": 1}
        for hour in hours for org in ("org_many", "org_more") for service in ("compute", "genai")
    ]  # fmt: skip
    lake.put(config, HOURLY, rows)
    publication.publish(config, "many")
    publish(quick)
    revise(
        config,
        HOURLY,
        "dearer",
        lambda kept: Revision(kept.set_column(kept.column_names.index("events"), "events", pc.add(kept["events"], 1))),
    )
    publish(quick)
    assert counted(server, HOURLY) > len(rows)
    assert ask(
        server, "SELECT DISTINCT events, _published_run FROM cloudlake.usage_hourly WHERE org_id = 'org_many'"
    ) == [(2, "dearer")]
    assert_equal(config, server)


def test_superset_finds_each_column_and_computes_each_metric_of_its_bundle(config: Config, server: Server) -> None:
    publish(config)
    bodies = [yaml.safe_load(body) for body in bundle.files(config).values()]
    datasets = {body["uuid"]: body for body in bodies if "table_name" in body}
    there = {table for (table,) in ask(server, "SELECT table_name FROM cloudlake._publications")}
    assert {f"cloudlake.{table.partition('.')[2]}" for table in there} <= {f"{d['schema']}.{d['table_name']}" for d in datasets.values()}
    conditions: dict[str, set[str]] = {uuid: {"true"} for uuid in datasets}
    for chart in [body for body in bodies if "slice_name" in body]:
        conditions[chart["dataset_uuid"]] |= {f["sqlExpression"] for f in chart["params"]["adhoc_filters"] if f["expressionType"] == "SQL"}
    for uuid, body in datasets.items():
        place = f"{body['schema']}.{body['table_name']}"
        found = ask(server, f"SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass('{place}') AND attnum > 0")
        if not found:
            continue  # the small lake has no such mart
        assert {c["column_name"]: c["type"].lower() for c in body["columns"]} == dict(found), place
        metrics = ", ".join(metric["expression"] for metric in body["metrics"])
        (row,) = ask(server, f"SELECT {metrics} FROM {place} WHERE {' AND '.join(conditions[uuid])}")
        assert row[0] > 0, place


def test_types_come_from_the_contract() -> None:
    assert postgres_type("array<string>") == "text[]"
    assert postgres_type("array<decimal(5,2)>") == "numeric(5,2)[]"
    assert postgres_type("map<string, bigint>") == postgres_type("array<struct<a: int>>") == "jsonb"
    assert widens("integer", "bigint") and widens("numeric(28,6)", "numeric(30,8)")
    assert (
        not widens("numeric(28,6)", "numeric(28,8)")
        and not widens("bigint", "integer")
        and not widens("text", "numeric(9,2)")
    )
