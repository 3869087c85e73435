"""PostgreSQL equals the lake, whatever happened to either: against a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import dashboard_lake as lake
import pytest
from adbc_driver_postgresql import dbapi
from cloudlake.cli.main import main
from cloudlake.common.config import Config
from cloudlake.common.contracts.table import Column, Registry
from cloudlake.common.errors import CloudlakeError
from cloudlake.common.lake.small import Revision
from cloudlake.serving import publication
from cloudlake.serving.postgres import publish
from cloudlake.serving.postgres.statements import postgres_type, widens
from cloudlake.serving.queries import open_reader
from postgres_server import Server

REVENUE, DAILY, LIVE = "gold.revenue_monthly", "gold.usage_daily", "serving.org_daily_usage"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.remove()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Config]:
    built = lake.build(tmp_path_factory.mktemp("lake"))
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
    """Every published table has in PostgreSQL the rows of the lake, to the last digit; texts compare numbers and JSON."""
    with open_reader(config) as reader:
        for table in [t for t in config.registry.layer("gold", "serving") if t.layer == "serving" or t.name in publication.read_ledger(config.lake).in_force.tables]:
            plain = [n for n, c in table.columns.items() if "<" not in c.type]
            shown = ", ".join(f"CAST({n} AS BIGINT)" if table.columns[n].type == "bigint" else f"CAST({n} AS {table.columns[n].type})" if table.columns[n].type.startswith("decimal")
                              else f"epoch_us({n})" if table.columns[n].type == "timestamp" else f'"{n}"' for n in plain)  # fmt: skip
            expected = reader.run(f"SELECT {shown} FROM {table.name}")
            there = ", ".join(f"(extract(epoch FROM {n}) * 1000000)::bigint" if table.columns[n].type == "timestamp" else f'"{n}"' for n in plain)
            found = ask(server, f"SELECT {there} FROM cloudlake.{table.short_name}")
            left = sorted(repr(tuple(str(v) for v in row)) for row in zip(*(c.to_pylist() for c in expected.columns), strict=True))
            right = sorted(repr(tuple(str(v) for v in row)) for row in found)
            assert left == right, table.name


def revise(config: Config, table: str, run: str, change: Any) -> None:
    note = {"load_id": lake.LOAD, "run_id": run, "as_of": str(lake.LAST), "inputs": {}}
    config.lake.revise(config.registry[table], change, note)
    publication.publish(config, run)


def with_revenue(config: Config, amount: str) -> Any:
    def change(kept: Any) -> Revision:
        rows = [row | {"revenue_usd": Decimal(amount)} for row in kept.to_pylist()[:1]]
        return Revision(type(kept).from_pylist(rows, kept.schema))

    return change


def test_postgres_follows_the_lake_through_changes_deletions_and_a_rollback(config: Config, server: Server) -> None:
    told = publish(config)
    assert {one.what for one in told} == {"new"}
    assert_equal(config, server)
    assert {one.what for one in publish(config)} == {"unchanged"}
    (kind, needed) = ask(server, "SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = 'cloudlake.usage_daily'::regclass AND attname = 'cost_usd'")[0]
    assert (kind, needed) == ("numeric(28,6)", False)
    key = ask(server, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'cloudlake.usage_daily'::regclass")
    assert key == [("PRIMARY KEY (usage_date, org_id, service, region)",)]
    comment = ask(server, "SELECT col_description('cloudlake.usage_daily'::regclass, 1)")[0][0]
    assert comment == config.registry[DAILY].columns["usage_date"].description
    why = ask(server, "SELECT health_components -> 0 ->> 'why', (health_components -> 0 ->> 'contribution')::numeric = 10 FROM cloudlake.customer_health LIMIT 1")
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
        row = {"org_id": "org_a", "usage_date": date(2025, 9, 1), "service": "compute", "region": "us-east", "cost_usd": Decimal("1.25"), "events": 1}
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


def test_a_view_of_a_users_outlives_an_added_column_and_stops_a_wider_type(config: Config, server: Server) -> None:
    publish(config)
    ask(server, "CREATE VIEW public.mine AS SELECT month, revenue_usd FROM cloudlake.revenue_monthly", write=True)
    added = changed_contract(config, REVENUE, note=Column(type="string", description="What it's for: 100 % \\ new"))
    publish(added)
    comment = ask(server, "SELECT description FROM pg_description WHERE objoid = 'cloudlake.revenue_monthly'::regclass AND description LIKE '%new'")
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
    assert ask(server, "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'cloudlake.revenue_monthly'::regclass AND attname = 'revenue_usd'") == [("numeric(38,6)",)]
    ask(server, "DROP TABLE cloudlake.revenue_monthly", write=True)
    publish(config)
    assert_equal(config, server)


def test_a_wrong_password_is_told_without_any_secret(config: Config, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CLOUDLAKE_POSTGRES_DSN", server.dsn("not%20the%20word"))
    folders = ["--lake", str(config.lake.root), "--landing", str(config.landing)]
    assert main(["publish", "--to", "postgres", "--verbose", *folders]) == 1
    said = capsys.readouterr()
    assert "password authentication failed" in said.err
    assert not any(word in said.err + said.out for word in ("not the word", "not%20the%20word"))
    monkeypatch.delenv("CLOUDLAKE_POSTGRES_DSN")
    assert main(["publish", "--to", "postgres", *folders]) == 2
    assert "CLOUDLAKE_POSTGRES_DSN" in capsys.readouterr().err


@pytest.mark.parametrize("point", ["after_postgres_staging", "before_postgres_commit"])
def test_a_kill_in_the_middle_changes_nothing_and_the_next_run_does(config: Config, server: Server, point: str) -> None:
    publish(config)
    before = ask(server, "SELECT month, revenue_usd FROM cloudlake.revenue_monthly ORDER BY 1")
    revise(config, REVENUE, "k" + point, with_revenue(config, f"{len(point)}.5"))
    code = f"from cloudlake.cli.main import main; main(['publish', '--to', 'postgres', '--lake', {str(config.lake.root)!r}, '--landing', {str(config.landing)!r}])"
    died = subprocess.run([sys.executable, "-c", code], env={**os.environ, "CLOUDLAKE_CRASH_AT": point, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert died.returncode == -signal.SIGKILL
    assert ask(server, "SELECT month, revenue_usd FROM cloudlake.revenue_monthly ORDER BY 1") == before
    deadline = time.monotonic() + 10
    while ask(server, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'") and time.monotonic() < deadline:
        time.sleep(0.05)
    publish(config)
    assert_equal(config, server)


def test_a_server_that_goes_away_in_the_middle_is_tried_again(config: Config, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from cloudlake.serving.postgres import publishing

    publish(config)
    revise(config, REVENUE, "away", with_revenue(config, "77.25"))
    copy, restarts = publishing._copy, []

    def copied(*arguments: Any) -> None:
        if not restarts:
            server.stop("immediate")
            restarts.append(threading.Timer(0.1, lambda: None))
            server.start()
        copy(*arguments)

    monkeypatch.setattr(publishing, "_copy", copied)
    publish(config)
    assert restarts
    assert_equal(config, server)


def test_a_server_that_stays_away_is_told_with_what_to_do(config: Config, server: Server) -> None:
    server.stop()
    try:
        with pytest.raises(CloudlakeError, match="cloudlake publish --to postgres"):
            publish(config)
    finally:
        server.start()


def test_types_come_from_the_contract() -> None:
    assert postgres_type("array<string>") == "text[]"
    assert postgres_type("array<decimal(5,2)>") == "numeric(5,2)[]"
    assert postgres_type("map<string, bigint>") == postgres_type("array<struct<a: int>>") == "jsonb"
    assert widens("integer", "bigint") and widens("numeric(28,6)", "numeric(30,8)")
    assert not widens("numeric(28,6)", "numeric(28,8)") and not widens("bigint", "integer") and not widens("text", "numeric(9,2)")


