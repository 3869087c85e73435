"""The named queries and SQL over a published lake that was written by hand: filters, formats, the command line, what is shut."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dashboard_lake
import pyarrow as pa
import pytest
from cloudlake.cli import queries_page
from cloudlake.cli.main import build_parser, main
from cloudlake.cli.query import _filters as filters_of
from cloudlake.common.config import Config
from cloudlake.common.errors import CloudlakeError, ConfigurationError
from cloudlake.serving.publication import publish
from cloudlake.serving.queries import QUERIES, Query, answer, load_queries, open_reader
from cloudlake.serving.queries import sql as free_sql
from cloudlake.serving.queries.formats import FORMATS, answer_to_json, serialised
from live_lake import opened
from pyarrow import parquet

ROOT = Path(__file__).resolve().parents[2]
SECRET_TEXT = "not for your eyes"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = dashboard_lake.build(tmp_path_factory.mktemp("asked"))
    user = {"user_sk": "k", "user_id": "user_1", "org_id": "org_a", "email": dashboard_lake.SECRET, "role": "admin"}
    config.lake.append_small([user], config.registry["silver.users"])
    return config


def ask(config: Config, name: str, **filters: Any) -> Any:
    with open_reader(config) as reader:
        return answer(reader, name, {key.rstrip("_"): value for key, value in filters.items()})


def run(config: Config, *arguments: str) -> int:
    return main([*arguments, "--lake", str(config.lake.root)])


def test_every_query_answers_in_its_declared_columns_without_spark(config: Config) -> None:
    needed: dict[str, Any] = {"org": "org_a", "tag": "env"}
    with open_reader(config) as reader:
        for query in reader.declarations.queries.values():
            given = {name: needed[name] for name, one in query.filters.items() if one.needed}
            found = answer(reader, query.name, given)
            assert found.table.column_names == list(query.columns), query.name
            assert found.publication.run_id == "r1" and found.as_of == dashboard_lake.LAST
            keys = [tuple(row[name] for name in query.key) for row in found.rows()]
            assert len(keys) == len(set(keys)) and (query.key or len(keys) == 1), f"{query.name} has another grain"
            for form in FORMATS:
                assert serialised(found.table, form)
            assert json.loads(answer_to_json(found))["query"] == query.name
    assert "customer" in QUERIES and isinstance(QUERIES["customer"], Query)


def test_every_line_of_the_documentation_can_be_typed_as_it_stands(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(queries_page._EXAMPLES, "org", "org_a")
    parser = build_parser()
    for query in load_queries(config.conf, config.registry).queries.values():
        for line in queries_page.examples(query):
            command, *arguments = shlex.split(line)
            typed = parser.parse_args(arguments)
            with open_reader(config) as reader:  # of its own: a query may not need what another one has opened
                found = answer(reader, typed.name, filters_of(query, typed))
            assert command == "cloudlake" and found.query is query, line


@pytest.mark.parametrize(
    ("name", "filters", "told"),
    [
        ("daily-costs", {"org": "org_aa"}, "no organisation is called 'org_aa'; did you mean 'org_a'?"),
        ("daily-costs", {"service": "genia"}, "no service is called 'genia'; did you mean 'genai'?"),
        ("daily-costs", {"service": "xyz"}, "known: compute, genai, storage"),
        ("daily-costs", {"from_": "2025-02-30"}, "from: '2025-02-30' is not a date; write YYYY-MM-DD"),
        ("daily-costs", {"from_": "20250801"}, "is not a date"),
        ("daily-costs", {"from_": "2025-08-02", "to": "2025-08-01"}, "from: 2025-08-02 is after to, 2025-08-01"),
        ("daily-costs", {"orgs": "org_a"}, "'orgs' is not a filter; did you mean 'org'?"),
        ("monthly-revenue", {"from_": "2025-13"}, "is not a month; write YYYY-MM"),
        ("top-services", {}, "org is missing (One organisation; cloudlake query at-risk lists them)"),
        ("top-services", {"org": "org_a", "days": "0"}, "days: 0 is not between 1 and 36500"),
        ("top-services", {"org": "org_a", "top": "²"}, "top: '²' is not a whole number"),
        ("at-risk", {"band": "atrisk"}, "'atrisk' is none of at_risk, watch, healthy; did you mean 'at_risk'?"),
        ("daily-costs", {"org": "x' OR '1' = '1"}, "no organisation is called"),
        ("daily_costs", {}, "'daily_costs' is not a query; did you mean 'daily-costs'?"),
    ],
)
def test_a_filter_that_is_wrong_is_told_with_what_would_do(
    config: Config, name: str, filters: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ask(config, name, **filters)
    assert told in str(caught.value)


def test_all_faults_of_a_question_are_told_at_once(config: Config) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ask(config, "daily-costs", org="org_aa", service="genia", from_="yesterday", no="thing")
    assert len(caught.value.faults) == 4


def test_an_empty_answer_says_what_range_there_is(config: Config) -> None:
    found = ask(config, "daily-costs", org="org_a", from_="2031-01-01")
    assert found.table.num_rows == 0
    assert found.empty_hint == "daily-costs: nothing fits; there is usage_date 2025-07-23 to 2025-08-31, org org_a"
    assert ask(config, "daily-costs", org="org_a").empty_hint is None


def test_the_increments_after_the_publication_count_and_those_before_do_not_count_twice(tmp_path: Path) -> None:
    config = dashboard_lake.build(tmp_path)
    before = ask(config, "daily-costs", org="org_a", service="genai", from_="2025-08-31").rows()
    start = before[0]["usage_date"]
    usage = {"org_id": "org_a", "service": "genai", "region": "eu-west", "events": 2, "cost_usd": Decimal("0.000001")}
    zeros = dict.fromkeys(("requests", "cpu_hours", "storage_gb_hours", "carbon_cost_usd"), Decimal(0))
    counts = {"carbon_events": 0, "events_without_value": 0}
    bucket = pa.scalar(f"{start}T10:00:00", pa.string()).cast(pa.timestamp("us")).as_py()
    rows = [usage | zeros | counts | {"load_id": load, "bucket_start": bucket} for load in (1, 2_000_000_000)]
    with open_reader(config) as earlier:
        config.lake.append_small(rows, config.registry["speed.usage_increments"])
        after = ask(config, "daily-costs", org="org_a", service="genai", from_="2025-08-31").rows()
        still = answer(earlier, "daily-costs", {"org": "org_a", "service": "genai", "from": "2025-08-31"}).rows()
    assert after[0]["cost_usd"] - before[0]["cost_usd"] == Decimal("0.000001")
    assert after[0]["events"] - before[0]["events"] == 2
    assert still == before, "a reader stays with what it was opened on"


def test_a_reader_stays_with_its_publication_while_another_is_put_in_force(tmp_path: Path) -> None:
    config = dashboard_lake.build(tmp_path)
    table = config.registry["gold.revenue_monthly"]
    with open_reader(config) as reader:
        before = answer(reader, "monthly-revenue").rows()
        rows = config.lake.read_small(table.name)
        config.lake.replace_small(rows.slice(0, 1), table, note={"run_id": "r2", "as_of": "2025-08-31"})
        publish(config, "r2")
        reader.connection.execute("DROP VIEW gold.revenue_monthly")
        reader._known.discard("gold.revenue_monthly")
        assert answer(reader, "monthly-revenue").rows() == before
    found = ask(config, "monthly-revenue")
    assert found.publication.run_id == "r2" and found.table.num_rows == 1


def test_nothing_published_and_a_table_that_is_gone_are_told_clearly(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CloudlakeError, match=r"nothing has been published yet; run scripts/run_batch_pipeline.sh"):
        open_reader(opened(empty))
    config = dashboard_lake.build(tmp_path)
    for file in Path(config.lake.path("gold.revenue_monthly")).rglob("*.parquet"):
        file.unlink()
    with pytest.raises(CloudlakeError, match=r"run r1: a table of the publication can't be read .* --full-reload"):
        ask(config, "monthly-revenue")
    (config.lake.root / "published.json").write_text("{")
    with pytest.raises(CloudlakeError, match=r"published.json: damaged"):
        open_reader(config)


def test_csv_holds_no_formula_and_every_digit() -> None:
    texts = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "plain", 'a,b"c', None]
    numbers = [Decimal("-12345678901234567890.123456"), *[None] * 8]
    rows = pa.table({"=name": texts, "n": pa.array(numbers, pa.decimal128(28, 6)), "i": [-5, *range(8)]})
    read = list(csv.reader(io.StringIO(serialised(rows, "csv").decode(), newline="")))
    assert read[0] == ["'=name", "n", "i"]
    assert [line[0] for line in read[1:]] == ["'=1+1", "'+1", "'-1", "'@a", "'\tx", "'\rx", "plain", 'a,b"c', ""]
    assert read[1][1:] == ["-12345678901234567890.123456", "-5"]


def test_a_small_number_has_no_exponent_whatever_its_scale() -> None:
    columns = {f"s{scale}": pa.array([Decimal(1).scaleb(-scale), Decimal(0), None], pa.decimal128(30, scale)) for scale in (0, 6, 7, 12)}
    rows = pa.table(columns | {"day": [date(2025, 1, 31), None, date(1, 1, 1)], "n": [10**18, -1, None]})
    assert serialised(rows, "csv").decode().splitlines()[1:] == [
        "1,0.000001,0.0000001,0.000000000001,2025-01-31,1000000000000000000",
        "0,0.000000,0.0000000,0.000000000000,,-1",
        ",,,,0001-01-01,",
    ]
    first = '{"s0": 1, "s6": 0.000001, "s7": 0.0000001, "s12": 0.000000000001, "day": "2025-01-31", "n": 1000000000000000000}'
    assert serialised(rows, "json").decode().splitlines()[0] == f"[{first},"


def test_json_keeps_every_digit_and_has_no_number_that_is_none() -> None:
    small = Decimal("0.000000001")
    rows = pa.table({"d": pa.array([small, None], pa.decimal128(30, 9)), "x": [float("nan"), 0.1], "t": ['"\n', "ü"]})
    assert json.loads(serialised(rows, "json"), parse_float=Decimal) == [
        {"d": small, "x": None, "t": '"\n'},
        {"d": None, "x": Decimal("0.1"), "t": "ü"},
    ]


def test_a_text_can_steer_no_terminal_and_no_markdown() -> None:
    rows = pa.table({"t": ["\x1b[31mred\x07", "a|b<script>\nc"]})
    shown = serialised(rows, "table").decode()
    assert "\x1b" not in shown and "\\x1b[31mred\\x07" in shown and len(shown.splitlines()) == 5
    assert "| a\\|b&lt;script> c |" in serialised(rows, "markdown").decode()


def test_the_command_line_writes_what_it_is_asked_for(
    config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    typed = ("query", "daily-costs", "--org", "org_c", "--from", "2025-08-31")
    assert run(config, *typed, "--json") == 0
    rows = json.loads(capfd.readouterr().out)
    assert {row["org_id"] for row in rows} == {"org_c"} and len(rows) == 3
    assert run(config, *typed, "--output", str(tmp_path / "a.parquet")) == 0
    assert parquet.read_table(tmp_path / "a.parquet").num_rows == 3
    assert run(config, "query", "at-risk", "--format", "csv") == 0
    assert "org_c,'=Cell(1)," in capfd.readouterr().out
    assert run(config, "query", "customer", "org_a") == 0
    assert "Acme <Cloud> & Sons" in capfd.readouterr().out
    assert run(config, "query", "daily-costs", "--from", "2031-01-01") == 0
    told = capfd.readouterr()
    assert told.out.startswith("usage_date") and "there is usage_date 2025-07-23 to" in told.err
    assert run(config, "query", "customer", "org_aa") == 2
    assert "did you mean 'org_a'?" in capfd.readouterr().err
    assert run(config, "query", "at-risk", "org_a") == 2
    assert run(config, "query", "--list") == 0 and "top-services" in capfd.readouterr().out
    assert run(config, "query", "daily-costs", "--output", str(tmp_path / "no" / "a.csv")) == 2
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_reader_that_leaves_ends_a_long_answer_without_a_word(config: Config) -> None:
    line = [
        sys.executable,
        "-m",
        "cloudlake.cli",
        "sql",
        "SELECT * FROM range(300000)",
        "--lake",
        str(config.lake.root),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as done:
        assert done.stdout is not None and done.stderr is not None
        assert done.stdout.read(10)
        done.stdout.close()
        assert done.stderr.read() == b""
    assert done.returncode in (0, 141)


def test_a_question_imports_nothing_that_it_does_not_need(config: Config, tmp_path: Path) -> None:
    heavy = ("pyspark", "pandas", "rich", "tenacity", "asyncio", "pyarrow.compute", "pyarrow.dataset", "jinja2", "great_expectations")
    code = (
        "import sys\nfrom cloudlake.cli.main import main\n"
        f"done = main(['query', 'customer', 'org_a', '--lake', {str(config.lake.root)!r}, '--format', 'csv'])\n"
        f"print('ended:', done, sorted(set({heavy!r}) & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True).stdout
    assert said.endswith("ended: 0 []\n")


def test_the_shells_complete_queries_and_filters(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "tcsh"):
        assert run(config, "completion", shell) == 0
        said = capfd.readouterr().out
        assert "query" in said and (shell == "tcsh" or ("daily-costs" in said and "--service" in said)), shell
    assert run(config, "completion", "bash") == 0
    done = subprocess.run(["bash", "-n"], input=capfd.readouterr().out, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- SQL of anybody's -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "FROM '{file}'",
        "FROM read_csv('{file}')",
        "FROM read_text('{file}')",
        "FROM read_blob('{file}')",
        "FROM glob('{folder}/*')",
        "FROM sniff_csv('{file}')",
        "FROM read_parquet('{users}')",
        "FROM '{users}'",
        "FROM parquet_metadata('{users}')",
        "FROM query_table('{file}')",
        "FROM query('FROM read_text(''{file}'')')",
        "FROM 'http://127.0.0.1:9/a.csv'",
        "FROM read_json('https://127.0.0.1:9/a.json')",
        "FROM 's3://bucket/a.parquet'",
        "FROM duckdb_secrets()",
        "FROM secret_rows",
        "SELECT getenv('HOME')",
        "FROM memory.silver.users",
        "FROM bronze.users",
        "FROM quarantine.users",
        "SELECT email FROM silver.users",
        "SELECT u.email FROM silver.users u",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "WITH x AS (COPY (SELECT 1) TO '{folder}/out.csv') SELECT 1",
        "WITH x AS (DELETE FROM gold.dim_date) SELECT 1",
        "ATTACH '{folder}/out.db'",
        "EXPORT DATABASE '{folder}/out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "CREATE TABLE out (a INT)",
        "DROP TABLE gold.dim_date",
        "CALL pragma_version()",
        "SELECT 1; SELECT 2",
        "SELECT 1; ATTACH '{folder}/out.db'",
        "",
    ],
)
@pytest.mark.parametrize("wall", ["both", "duckdb alone"])
def test_sql_reads_no_file_reaches_no_network_writes_nothing_and_shows_nothing_personal(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, wall: str
) -> None:
    secret_rows = pa.table({"a": [SECRET_TEXT]})  # noqa: F841  (DuckDB would find a variable of this name)
    if wall == "duckdb alone":
        functions = ("read_csv", "read_text", "read_blob", "glob", "sniff_csv", "read_parquet", "parquet_metadata")
        more = ("query_table", "query", "read_json")
        monkeypatch.setattr(free_sql, "_FUNCTIONS", free_sql._FUNCTIONS | {*functions, *more})
    (tmp_path / "file.csv").write_text(f"a\n{SECRET_TEXT}\n")
    users = next(Path(config.lake.path("silver.users")).rglob("*.parquet"))
    filled = statement.format(file=tmp_path / "file.csv", folder=tmp_path, users=users)
    with pytest.raises(ConfigurationError) as caught:
        free_sql.ask(config, filled)
    assert SECRET_TEXT not in str(caught.value) and dashboard_lake.SECRET not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file.csv"]


def test_sql_is_refused_before_it_runs_however_it_is_wrapped(config: Config, tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text(f"a\n{SECRET_TEXT}\n")
    for statement in (
        "FROM duckdb_settings()", "FROM duckdb_databases()", "FROM duckdb_extensions()", "FROM pragma_database_list()",
        "FROM information_schema.tables", "SELECT * FROM read_csv/**/('{file}')", "SELECT * FROM \"read_csv\"('{file}')",
        "SELECT * FROM main.read_csv('{file}')", "SELECT (SELECT content FROM read_text('{file}'))",
        "SELECT 1 WHERE EXISTS (FROM read_text('{file}'))", "WITH a AS (FROM read_text('{file}')) FROM a",
        "SELECT 1 UNION ALL SELECT content FROM read_text('{file}')", "FROM range(1), LATERAL (FROM read_text('{file}'))",
        "FROM json_execute_serialized_sql('x')", "/* */ COPY (SELECT 1) TO '{file}' --", "PREPARE v AS SELECT 1", "EXECUTE v",
        "EXPLAIN ANALYZE FROM read_text('{file}')", "SELECT 1;;; FROM read_text('{file}')", "FROM \"{file}\"", "FROM 'file://{file}'",
        "USE memory", "CHECKPOINT", "BEGIN", "CREATE MACRO m() AS 1", "DETACH publication", "SET VARIABLE x = 1",
        "SELECT u['email'] FROM silver.users u", "SELECT COLUMNS('email') FROM silver.users", "FROM histogram('silver.users', 'email')",
    ):  # fmt: skip
        with pytest.raises(ConfigurationError) as caught:
            free_sql.ask(config, statement.format(file=tmp_path / "file.csv"))
        assert SECRET_TEXT not in str(caught.value), statement
    for statement in ("SELECT to_json(u) AS t FROM silver.users u", "SELECT * FROM (SUMMARIZE silver.users)"):
        assert dashboard_lake.SECRET not in str(free_sql.ask(config, statement).to_pylist()), statement


def test_sql_reads_the_published_tables_and_all_of_silver_but_what_is_personal(config: Config) -> None:
    found = free_sql.ask(config, "SELECT u.*, o.org_name FROM silver.users u JOIN gold.customer_360 o USING (org_id)")
    assert "email" not in found.column_names and found["org_name"].to_pylist() == ["Acme <Cloud> & Sons"]
    assert free_sql.ask(config, 'WITH x AS (FROM Gold."customer_360") SELECT count(*) AS n FROM x')[
        "n"
    ].to_pylist() == [3]
    live = free_sql.ask(config, "SELECT sum(cost_usd) AS c FROM serving.org_daily_usage")["c"].to_pylist()
    assert live == [sum(row["cost_usd"] for row in ask(config, "daily-costs").rows())]
    with pytest.raises(ConfigurationError, match=r"email of silver.users is personal data"):
        free_sql.ask(config, "SELECT email FROM silver.users")
    with pytest.raises(ConfigurationError, match=r"did you mean 'gold.dim_date'"):
        free_sql.ask(config, "FROM gold.dim_dat")


def test_sql_reads_every_table_of_silver_and_ops_and_a_boolean_is_one(config: Config) -> None:
    for table in config.registry.layer("silver", "ops"):
        wanted = {name: column.type for name, column in table.columns.items() if name not in table.personal}
        found = free_sql.ask(config, f"FROM {table.name}").schema
        assert found.names == list(wanted), table.name
        booleans = [name for name, kind in wanted.items() if kind == "boolean"]
        assert all(pa.types.is_boolean(found.field(name).type) for name in booleans), table.name
    assert free_sql.ask(config, "SELECT count_if(is_current) AS n FROM silver.users")["n"].to_pylist() != [0]


def test_a_segment_is_checked_as_every_filter_is(config: Config) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'Champions'"):
        ask(config, "customers", segment="champions")


def limited(config: Config, folder: Path, limits: str) -> Config:
    """The same lake, with other limits of SQL."""
    folder.mkdir()
    text = (config.conf / "queries.yaml").read_text()
    assert "limits: {seconds: 30, memory: 2GB}" in text
    (folder / "queries.yaml").write_text(text.replace("{seconds: 30, memory: 2GB}", limits))
    return Config(folder, config.landing, config.lake, config.settings, config.stream, config.registry)


def test_sql_ends_at_its_limits_before_the_first_row_and_between_rows(config: Config, tmp_path: Path) -> None:
    short = limited(config, tmp_path / "short", "{seconds: 0.5, memory: 2GB}")
    for statement in (
        "SELECT sum(sqrt(i)) FROM range(1000000000000) AS t(i)",
        "FROM range(1000000000000) AS t(i) WHERE i % 1000 = 0",
    ):
        with pytest.raises(CloudlakeError, match=r"stopped after 0.5 s"):
            free_sql.ask(short, statement)
    small = limited(config, tmp_path / "small", "{seconds: 60, memory: 100MB}")
    for statement in (
        "SELECT repeat('x', 1000) AS x FROM range(10000000)",
        "SELECT list(i) FROM range(100000000) AS t(i)",
    ):
        with pytest.raises(CloudlakeError, match=r"needs more than 100MB"):
            free_sql.ask(small, statement)


def test_a_declaration_that_contradicts_itself_is_told_with_every_fault(config: Config, tmp_path: Path) -> None:
    text = (config.conf / "queries.yaml").read_text()
    for good, bad in (
        ("usage_date: serving.org_daily_usage\n", "usage_date: serving.org_daily_usag\n"),
        ("$org IS NULL OR org_id = $org) AND ($service", "$orgs IS NULL OR org_id = $org) AND ($service"),
    ):
        assert good in text
        text = text.replace(good, bad, 1)
    (tmp_path / "queries.yaml").write_text(text.replace("FROM gold.revenue_monthly", "FROM gold.revenue_monthlie", 1))
    with pytest.raises(ConfigurationError) as caught:
        load_queries(tmp_path, config.registry)
    assert "did you mean 'serving.org_daily_usage'?" in str(caught.value)
    assert "'gold.revenue_monthlie' is not a table" in str(caught.value)
