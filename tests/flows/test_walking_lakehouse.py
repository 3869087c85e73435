"""The whole path on a small dirty delivery: landing → bronze → silver → gold → published → served, and again."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pytest
from cloudlake.common.config import Config
from cloudlake.runs.record import reconciliation
from cloudlake.serving import connect, live_customers, published
from cloudlake.serving.dashboard.report import report
from cloudlake.serving.queries import answer, open_reader
from deltalake import DeltaTable
from flow import (
    ROOT,
    assert_the_law_holds,
    business_columns,
    cloudlake,
    deliver,
    event_line,
    land_events,
    opened,
    versions,
)
from focus_laws import broken_laws
from marts_agree import disagreements
from named_queries import assert_published_queries_are, assert_usage_queries_are
from nbclient import NotebookClient
from oracle import GOLD, RECORDS, Oracle, assert_same, without_field
from postgres_agrees import assert_postgres_is, nightly
from postgres_server import Server
from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("landing")
    return folder, deliver(folder, seed=11)


@pytest.fixture(scope="module")
def config(
    spark: SparkSession, landing: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """A lake after one batch run, which took the stream with it."""
    lake = tmp_path_factory.mktemp("lake")
    assert cloudlake(lake, landing[0], "batch") == 0
    return opened(lake, landing[0])


@pytest.fixture(scope="module")
def oracle(landing: tuple[Path, dict[str, Any]]) -> Oracle:
    return Oracle(landing[0])


def test_every_row_of_every_source_went_where_the_generator_says(
    config: Config, landing: tuple[Path, dict[str, Any]]
) -> None:
    told = {row["table"].partition(".")[2]: row for row in reconciliation(config)}
    assert set(told) == set(landing[1]["sources"])
    for source, truth in landing[1]["sources"].items():
        row = told[source]
        assert row["holds"]
        counts = {name: row[name] for name in ("landed", "accepted", "quarantined", "duplicates")}
        wanted = {"landed": truth["rows"]} | {name: truth[name] for name in ("accepted", "quarantined", "duplicates")}
        assert counts == wanted, source
        assert row["reasons"] == {name: count for name, count in truth["reasons"].items() if count}, source
        flags = {name: count for name, count in row["flags"].items() if name != "fx_suspect"}
        assert flags == {name: count for name, count in truth["flags"].items() if count and name != "fx_suspect"}, (
            source
        )


def test_what_is_refused_is_kept_with_its_reasons(config: Config, landing: tuple[Path, dict[str, Any]]) -> None:
    for source, truth in landing[1]["sources"].items():
        rows = config.lake.rows(f"quarantine.{source}")
        assert len(rows) == truth["quarantined"], source
        assert len({row["quarantine_id"] for row in rows}) == len(rows)
        assert {row["status"] for row in rows} <= {"open"}
        assert all(row["payload"] and row["reasons"] == sorted(row["reasons"]) for row in rows)
        counted = Counter(reason for row in rows for reason in row["reasons"])
        assert counted == Counter({name: count for name, count in truth["reasons"].items() if count}), source


@pytest.mark.parametrize("table", ["customers_orgs", "users", "resources", *RECORDS, "usage_events"])
def test_silver_equals_plain_sql_over_the_landing_files(config: Config, oracle: Oracle, table: str) -> None:
    expected = oracle.silver(table)
    key = list(config.registry[f"silver.{table}"].key)
    assert expected.num_rows > 0
    assert_same(business_columns(config, f"silver.{table}", expected), expected, key, table)


@pytest.mark.parametrize("mart", GOLD)
def test_gold_equals_plain_sql_over_the_landing_files(config: Config, oracle: Oracle, mart: str) -> None:
    assert_gold_is(config, oracle, mart)


def assert_gold_is(config: Config, oracle: Oracle, mart: str) -> None:
    """The published mart equals the oracle's, in the columns that landing files decide."""
    table = config.registry[f"gold.{mart}"]
    expected = oracle.gold(mart)
    rows = config.lake.read_small(table.name, published(config.lake).version(table.name))
    if "health_components" in expected.column_names:
        rows = without_field(rows, "health_components", "why")
    assert_same(rows.select(expected.column_names), expected, list(table.key), mart)


def test_the_files_of_the_focus_export_add_up_to_what_landed(config: Config, oracle: Oracle, tmp_path: Path) -> None:
    assert_export_adds_up(config, oracle, tmp_path)


def assert_export_adds_up(config: Config, oracle: Oracle, out: Path) -> None:
    """The six laws of the FOCUS export, over its files."""
    assert cloudlake(config.lake.root, config.landing, "export", "focus", "--version", "1.2", "--out", str(out)) == 0
    assert broken_laws(oracle, str(out / "focus/1.2/*/*.parquet")) == []


def test_the_named_queries_equal_plain_sql_over_the_landing_files(config: Config, oracle: Oracle) -> None:
    with open_reader(config) as reader:
        assert_usage_queries_are(reader, oracle)
        assert_published_queries_are(reader, oracle)


def test_gold_and_serving_are_read_without_spark(config: Config) -> None:
    with connect(config) as reader:
        for table in config.registry.layer("gold", "serving"):
            if table.layer == "serving" and not config.lake.exists(table.name):
                continue
            told = reader.sql(f"SELECT * FROM {table.name}").to_arrow_table()
            assert told.column_names == table.column_names, table.name
            assert told.num_rows == config.lake.read_small(table.name).num_rows, table.name
            protocol = DeltaTable(config.lake.path(table.name)).protocol()
            assert protocol.min_reader_version == 1, f"{table.name} needs a feature that other readers lack"


def test_marts_that_state_the_same_fact_say_the_same(config: Config) -> None:
    with connect(config) as reader:
        reader.register("live", live_customers(config))
        assert disagreements(reader) == []
        # What would tell of a difference does.
        shifted = "SELECT * REPLACE (open_critical_tickets + 1 AS open_critical_tickets) FROM gold.customer_summary"
        reader.execute(f"CREATE TABLE wrong AS {shifted}")
        reader.execute("CREATE OR REPLACE VIEW gold.customer_summary AS FROM wrong")
        assert {fault.partition(" of ")[0] for fault in disagreements(reader)} == {"open critical tickets"}


def test_nothing_personal_is_in_gold_or_serving(config: Config) -> None:
    registry = config.registry
    personal = {name for table in registry.layer("silver") for name in table.personal}
    assert "email" in personal
    addresses = {row["email"] for row in config.lake.rows("bronze.users") if row["email"]}
    assert addresses
    for table in registry.layer("gold", "serving", "speed"):
        assert not table.personal and not personal & set(table.column_names), table.name
        for row in config.lake.rows(table.name):
            text = json.dumps(row, default=str)
            assert "@" not in text, table.name


def test_every_page_of_the_dashboard_answers_without_a_failure_or_anything_personal(config: Config) -> None:
    page = report(config, datetime(2025, 9, 2, tzinfo=UTC))
    assert re.findall(r'class="failure"[^>]*>([^<]*)', page) == []
    assert page.count("data-chart=") >= 15 and page.count('<p class="value">') >= 20
    users = config.lake.rows("bronze.users") + config.lake.rows("quarantine.users")
    addresses = set(re.findall(r"[\w.+-]+@[\w.-]+", json.dumps(users, default=str)))
    assert addresses and not [address for address in addresses if address in page]
    with open_reader(config) as reader:
        assert all(answer(reader, name).table.num_rows for name in ("daily-costs", "accounts", "quarantine-reasons", "runs"))
        (total,) = answer(reader, "cost-total").rows()
        days, services = answer(reader, "daily-costs").rows(), answer(reader, "cost-by-day").rows()
    assert total["cost_usd"] == sum(row["cost_usd"] for row in days) == sum(row["cost_usd"] for row in services)


def test_the_notebook_runs_from_top_to_bottom(config: Config, tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "gold_tour.ipynb", as_version=4)
    known = dict(os.environ)
    os.environ |= {
        "CLOUDLAKE_LAKE": str(config.lake.root),
        "PYTHONPATH": str(ROOT / ".typing"),
        "MPLCONFIGDIR": str(tmp_path),
    }
    try:
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    finally:
        os.environ.clear()
        os.environ.update(known)
    charts = [out for cell in notebook.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(charts) >= 6


def test_the_served_answer_equals_gold_rebuilt_from_silver_whoever_has_written_last(
    spark: SparkSession, config: Config, tmp_path: Path
) -> None:
    lake, landing = config.lake.root, config.landing
    assert_the_law_holds(spark, config)  # batch only

    before = versions(config)
    late = [
        event_line(
            n, timestamp=f"2025-08-{1 + n % 28:02d}T10:00:00Z", service="genai", genai_tokens=n, region="EU West"
        )
        for n in range(60)
    ]
    land_events(landing, "zz_late.jsonl", [*late, late[0], event_line(900, cost_usd_increment=-5), '{"broken'])
    assert cloudlake(lake, landing, "stream", "once") == 0
    assert cloudlake(lake, landing, "serve") == 0
    after = versions(config)
    assert after["gold.org_daily_usage_by_service"] == before["gold.org_daily_usage_by_service"], (
        "the batch view waits for the batch"
    )
    assert_the_law_holds(spark, config)  # batch, then more events streamed
    speed_events = sum(row["speed_events"] for row in config.lake.rows("serving.org_daily_usage"))
    assert speed_events == 60
    with open_reader(config) as reader:
        assert_usage_queries_are(reader, Oracle(landing))  # the named queries count them already

    change_a_cell(landing / "billing_monthly.csv", "subtotal", lambda text: str(float(text) + 1000))
    change_a_cell(landing / "customers_orgs.csv", "plan_tier", lambda text: "pro" if text == "free" else "free")
    assert cloudlake(lake, landing, "batch") == 0
    assert_the_law_holds(spark, config)  # another batch
    assert sum(row["speed_events"] for row in config.lake.rows("serving.org_daily_usage")) == 0
    anew = Oracle(landing)
    for mart in set(GOLD) - {"dim_customer"}:  # the oracle sees the files as they are, not the version before
        assert_gold_is(config, anew, mart)
    assert_export_adds_up(config, anew, tmp_path)  # late events, a corrected invoice


def change_a_cell(file: Path, column: str, change: Callable[[str], str]) -> None:
    """Correct one cell of an export, in the first row that silver accepts as it is."""
    rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
    place = rows[0].index(column)
    keys = Counter(row[0] for row in rows)
    row = next(
        row
        for row in rows[1:]
        if keys[row[0]] == 1 and len(row) == len(rows[0]) and all(row[:place]) and row[place].strip()
    )
    row[place] = change(row[place])
    with file.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows(rows)


def test_a_run_with_nothing_new_commits_nothing(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert cloudlake(config.lake.root, config.landing, "batch") == 0
    before = versions(config), (config.lake.root / "published.json").read_bytes()
    capsys.readouterr()
    assert cloudlake(config.lake.root, config.landing, "batch") == 0
    assert (versions(config), (config.lake.root / "published.json").read_bytes()) == before
    steps = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.split()[0] in ("done", "skipped", "failed", "not_run")
    ]
    assert steps and all(line.startswith("skipped") for line in steps), steps


def test_a_nightly_run_whose_postgresql_fails_leaves_the_lake_published_and_says_what_mends_it(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_force = (config.lake.root / "published.json").read_bytes()
    server = Server()
    try:
        monkeypatch.setenv("CLOUDLAKE_POSTGRES_DSN", server.dsn("not%20it"))
        assert cloudlake(config.lake.root, config.landing, "batch", "--conf", str(nightly(tmp_path))) == 1
        told = capsys.readouterr().err
        steps = [line.split()[:2] for line in told.splitlines() if line.startswith(("done", "skipped", "failed"))]
        assert steps[-1] == ["failed", "postgres"], "it comes last, after what is served"
        assert [step for step in steps if step[0] == "failed"] == [["failed", "postgres"]]
        assert ["skipped", "serving.customer_live"] in steps
        assert "password authentication failed" in told and re.search(r"cloudlake publish .*--to postgres", told)
        assert (config.lake.root / "published.json").read_bytes() == in_force
        monkeypatch.setenv("CLOUDLAKE_POSTGRES_DSN", server.dsn())
        assert cloudlake(config.lake.root, config.landing, "publish", "--to", "postgres") == 0
        assert_postgres_is(config, server.dsn())
    finally:
        server.remove()


def test_a_dry_run_says_what_a_run_would_do_and_writes_nothing(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = sorted(str(path) for path in config.lake.root.rglob("*"))
    assert cloudlake(config.lake.root, config.landing, "batch", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "silver.users" in shown and "gold.customer_summary" in shown
    assert sorted(str(path) for path in config.lake.root.rglob("*")) == everything


def test_a_full_reload_gives_the_same_tables(spark: SparkSession, config: Config) -> None:
    tables = [f"silver.{name}" for name in ("users", *RECORDS, "usage_events")] + [
        t.name for t in config.registry.layer("gold")
    ]

    def rows(name: str) -> pa.Table:
        found = config.lake.read_small(name)
        return found.drop_columns([c for c in ("load_id",) if c in found.column_names])

    before = {name: rows(name) for name in tables}
    jobs = ["customers_orgs", "users", *RECORDS, "usage_events", "gold", "serving"]
    assert cloudlake(config.lake.root, config.landing, "batch", "--full-reload", "--jobs", *jobs) == 0
    assert_the_law_holds(spark, config)
    for name in tables:
        assert_same(
            rows(name),
            before[name],
            list(config.registry[name].key) + (["effective_from"] if name == "silver.users" else []),
            name,
        )


def test_a_run_leaves_its_report_and_its_steps_behind(config: Config) -> None:
    reports = sorted((config.lake.root / "reports").glob("*.json"))
    report = json.loads(reports[0].read_text())
    assert report["status"] == "done" and report["exit_code"] == 0
    assert {step["step"] for step in report["steps"]} >= {"bronze.users", "silver.users", "gold.usage_daily", "publish"}
    assert len(report["reconciliation"]) == 8 and all(row["holds"] for row in report["reconciliation"])
    recorded = {row["step"] for row in config.lake.rows("ops.job_runs") if row["run_id"] == report["run_id"]}
    assert recorded == {step["step"] for step in report["steps"]} | {"run"}


def test_status_shows_what_is_in_force_and_calls_a_dead_feed_stale(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cloudlake(config.lake.root, config.landing, "status", "--check") == 1, "the newest event is months old"
    shown = capsys.readouterr().out
    assert "silver.usage_events ends" in shown and "Where every record went" in shown
    assert cloudlake(config.lake.root, config.landing, "status", "--json") == 0
    state = json.loads(capsys.readouterr().out)
    assert state["publication"]["tables"] == len(config.registry.layer("gold")) and state["last_runs"]


def test_the_newest_content_of_a_file_wins_and_only_what_hangs_on_it_is_rebuilt(config: Config) -> None:
    lake, landing = config.lake.root, config.landing
    assert cloudlake(lake, landing, "batch") == 0
    path = landing / "support_tickets.csv"
    lines = path.read_text().splitlines()
    known = {row["ticket_id"]: row for row in config.lake.rows("silver.support_tickets")}
    position = next(n for n, line in enumerate(lines) if line.split(",")[0] in known)
    old = known[lines[position].split(",")[0]]
    lines[position] = lines[position].replace(
        old["category"], "security" if old["category"] != "security" else "billing"
    )
    path.write_text("\n".join(lines) + "\n")
    before = versions(config)
    assert cloudlake(lake, landing, "batch") == 0
    after = versions(config)
    new = {row["ticket_id"]: row for row in config.lake.rows("silver.support_tickets")}[old["ticket_id"]]
    assert new["category"] != old["category"] and new["_snapshot_at"] > old["_snapshot_at"]
    moved = {name for name in after if after[name] != before[name] and name.startswith(("bronze.", "silver.", "gold."))}
    assert moved >= {
        "bronze.support_tickets",
        "silver.support_tickets",
        "gold.tickets_by_org_date",
        "gold.customer_summary",
    }
    assert moved <= config.registry.downstream(["bronze.support_tickets"])
    assert_same(config.lake.read_small("gold.customer_summary"), Oracle(landing).gold("customer_summary"), ["org_id"])
