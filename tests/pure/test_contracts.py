"""Contracts: what conf/ declares loads, and what contradicts itself says so, all of it at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cloudlake.batch.gold import marts_of
from cloudlake.cli import dictionary as dictionary_page
from cloudlake.cli import queries_page
from cloudlake.common.config import load_config
from cloudlake.common.contracts.loading import load_registry, read_yaml
from cloudlake.common.contracts.schemas import arrow_schema, delta_schema, spark_schema
from cloudlake.common.contracts.table import Registry
from cloudlake.common.contracts.types import parse_type
from cloudlake.common.errors import ConfigurationError
from cloudlake.common.usage.sums import TOTALS
from cloudlake.serving.queries import load_queries

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(ROOT / "conf")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))


def edit(conf: Path, file: str, old: str, new: str) -> None:
    text = (conf / file).read_text()
    assert old in text
    (conf / file).write_text(text.replace(old, new, 1))


def faults(conf: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_registry(conf)
    return caught.value.faults


def test_every_table_has_a_schema_in_all_three_notations(registry: Registry) -> None:
    for table in registry.tables.values():
        names = table.column_names
        assert spark_schema(table).names == names
        assert arrow_schema(table).names == names
        assert [field.name for field in delta_schema(table).fields] == names
        assert all(field.metadata["comment"] for field in spark_schema(table).fields)


def test_every_table_comes_after_its_inputs(registry: Registry) -> None:
    order = registry.order()
    for table in registry.tables.values():
        assert all(order.index(name) < order.index(table.name) for name in table.inputs)


def test_every_silver_table_has_flags_and_a_quarantine(registry: Registry) -> None:
    for table in registry.layer("silver"):
        assert table.columns["quality_flags"].type == "array<string>"
        assert f"quarantine.{table.short_name}" in registry.tables


def test_personal_data_is_kept_out_of_statistics_and_out_of_gold_and_serving(registry: Registry) -> None:
    for table in registry.tables.values():
        indexed = table.properties.get("delta.dataSkippingStatsColumns", "").split(",")
        assert not table.personal & set(indexed)
        if table.personal:
            assert table.layer in ("bronze", "silver", "quarantine")
            assert "delta.dataSkippingStatsColumns" in table.properties


def test_the_graph_reaches_from_landing_to_the_served_answer(registry: Registry) -> None:
    assert "bronze.usage_events" in registry.upstream(["serving.org_daily_usage"])
    assert "serving.org_daily_usage" in registry.downstream(["bronze.usage_events"])


def test_a_table_that_extends_another_has_its_columns_before_its_own(registry: Registry, conf: Path) -> None:
    batch, served = registry["gold.org_daily_usage_by_service"], registry["serving.org_daily_usage"]
    assert served.column_names == [*batch.column_names, "speed_events"]
    edit(conf, "serving.yaml", "extends: gold.org_daily_usage_by_service", "extends: gold.org_daily_usage")
    assert faults(conf)[0] == (
        "conf/serving.yaml: org_daily_usage.key: 'org_id' is not a column; known: speed_events"
    )
    assert "did you mean 'gold.org_daily_usage_by_service'?" in "".join(faults(conf))


def test_the_data_dictionary_is_fresh(registry: Registry) -> None:
    written = (ROOT / "docs" / "data_dictionary.md").read_text(encoding="utf-8")
    assert written == dictionary_page.render(registry), "stale; run cloudlake dictionary"


def test_the_page_of_the_queries_is_fresh_and_tells_every_column(registry: Registry) -> None:
    written = (ROOT / "docs" / "queries.md").read_text(encoding="utf-8")
    declared = load_queries(ROOT / "conf", registry)
    assert written == queries_page.render(declared), "stale; run cloudlake dictionary"
    for query in declared.queries.values():
        section = written.partition(f"\n## {query.name}\n")[2].partition("\n## ")[0]
        assert all(f"| {column.name} | {column.type} | {column.unit or ''} |" in section for column in query.columns.values())


def test_a_wrong_name_is_answered_with_the_nearest_one(conf: Path) -> None:
    edit(conf, "silver.yaml", "key: [user_id]", "key: [user_idd]")
    assert faults(conf) == ["conf/silver.yaml: users.key: 'user_idd' is not a column; did you mean 'user_id'?"]


def test_all_faults_of_all_files_are_reported_at_once(conf: Path) -> None:
    edit(conf, "silver.yaml", "domain: user_role", "domain: user_rol")
    edit(conf, "silver.yaml", "set_null: email", "set_null: user_id")
    edit(conf, "gold.yaml", "inputs: {invoices: silver.billing_monthly}", "inputs: {invoices: silver.billing}")
    edit(conf, "bronze.yaml", "history: {kind: append}", "history: {kind: appendix}")
    found = "\n".join(faults(conf))
    assert (
        "conf/silver.yaml: users.columns.role.domain: 'user_rol' is not in conf/domains.yaml; did you mean 'user_role'?"
        in found
    )
    assert "users.rules.email_invalid.set_null: 'user_id' is a key" in found
    assert (
        "conf/gold.yaml: revenue_by_org_month.inputs: 'silver.billing' is not a table; did you mean 'silver.billing_monthly'?"
        in found
    )
    assert "conf/bronze.yaml: customers_orgs.history.kind:" in found and "found 'appendix'" in found


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("silver.yaml", "tags: {type: \"map<string, array<string>>\"", "tags: {type: \"mapp<string>\"", "'mapp<string>' is not a type"),
        ("silver.yaml", "signup_date: {type: date", "signup_date: {typ: date", "'typ' is not a field; did you mean 'type'?"),
        ("silver.yaml", "surrogate_key: org_sk, ", "", "history.surrogate_key: is missing"),
        ("silver.yaml", "org_id: silver.customers_orgs.org_id", "org_id: silver.customers_orgs.id", "is not a column of a table"),
        ("gold.yaml", "inputs: {events: silver.usage_events}", "inputs: {events: silver.usage_events, daily: gold.org_daily_usage_by_service}", "in a circle"),
        ("silver.yaml", "  users:", "  users: {}\n  users:", "'users' stands twice"),
        ("silver.yaml", "tables:", "tables: [", "this is not YAML"),
        ("domains.yaml", "\n  unknown: keep", "\n  unknown: perhaps", "domains.yaml: hq_region.unknown"),
    ],
)  # fmt: skip
def test_a_contradiction_names_file_and_field(conf: Path, file: str, old: str, new: str, message: str) -> None:
    edit(conf, file, old, new)
    assert message in "\n".join(faults(conf))


def test_settings_are_checked_together_with_contracts(conf: Path) -> None:
    edit(conf, "lake.yaml", "usd_rate: delivered", "usd_rate: sometimes")
    edit(conf, "streaming.yaml", "max_files: 1000", "max_files: 0")
    edit(conf, "gold.yaml", "key: [org_id, month]", "key: [org, month]")
    with pytest.raises(ConfigurationError) as caught:
        load_config(str(conf))
    found = str(caught.value)
    assert "lake.yaml: definitions.usd_rate" in found
    assert "streaming.yaml: trigger.max_files" in found
    assert "gold.yaml: revenue_by_org_month.key: 'org' is not a column" in found


def test_a_retention_that_contradicts_itself_is_refused_and_one_that_does_not_reaches_the_tables(conf: Path) -> None:
    edit(conf, "lake.yaml", "time_travel: 30", "time_travel: 60")
    tables = load_config(str(conf)).registry
    kept = {tables[n].properties["delta.deletedFileRetentionDuration"] for n in ("gold.usage_daily", "quarantine.users")}
    assert kept == {"interval 60 days"}
    edit(conf, "lake.yaml", "time_travel: 60", "time_travel: 7")
    edit(conf, "lake.yaml", "ops: 90", "ops: 10")
    with pytest.raises(ConfigurationError) as caught:
        load_config(str(conf))
    assert "lake.yaml: retention" in str(caught.value)
    assert "time_travel: 7 days are shorter than the 30 publications" in str(caught.value)
    assert "ops: 10 days are shorter than reports, 90" in str(caught.value)


@pytest.mark.parametrize("text", ["decimal(40,2)", "array<string", "map<string>", "struct<a>", "text"])
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"type|precision"):
        parse_type(text)


def test_a_range_and_a_pattern_are_rules_without_sql(registry: Registry, conf: Path) -> None:
    rules = registry["silver.users"].rules | registry["silver.usage_events"].rules | registry["silver.customers_orgs"].rules
    assert rules["value_negative"].when == "value < 0"
    assert rules["nps_score_out_of_range"].when == "nps_score < -100 OR nps_score > 100"
    assert rules["email_invalid"].when.startswith("email NOT RLIKE '^[^@ \\\\t,;<>\"]+@")
    edit(conf, "silver.yaml", "range: [-100, 100]", "range: [100]")
    edit(conf, "silver.yaml", "column: email, pattern", "column: emial, pattern")
    edit(conf, "silver.yaml", "column: value, range: [0, null]", "column: value, when: value < 0, range: [0, null]")
    edit(conf, "silver.yaml", "kind: timeliness, level: warn, at_most: 62,", "kind: timeliness, level: warn,")
    edit(conf, "gold.yaml", "count(*) AS n FROM silver.usage_events", "count(*) AS n FROM silver.usage_evnts")
    found = "\n".join(faults(conf))
    assert "rules.nps_score_out_of_range: range: write [least, greatest]" in found
    assert "it has when and range; a rule has one of when, range, pattern" in found
    edit(conf, "silver.yaml", "range: [100]", "range: [-100, 100]")
    edit(conf, "silver.yaml", "column: value, when: value < 0, range: [0, null]", "column: value, range: [0, null]")
    found = "\n".join(faults(conf))
    assert "rules.email_invalid.column: 'emial' is not a column; did you mean 'email'?" in found
    assert "expectations.months_behind_usage: it has no bound; give at_least or at_most" in found
    assert "measure: 'silver.usage_evnts' is not a table; did you mean 'silver.usage_events'?" in found


def test_what_a_mart_says_of_its_function_is_checked_before_anything_runs(conf: Path) -> None:
    edit(conf, "gold.yaml", "touches: {events: usage_date}, is_large", "touches: {event: usage_dat}, is_large")
    assert faults(conf) == [
        "conf/gold.yaml: usage_hourly.mart.touches.event: is not the name of an input; did you mean 'events'?"
    ]
    edit(conf, "gold.yaml", "touches: {event: usage_dat}, is_large", "touches: {events: usage_date}, is_large")
    edit(conf, "gold.yaml", "function: trends.usage_trends", "function: trends.usage_trend")
    edit(conf, "gold.yaml", "inputs: {daily: gold.org_daily_usage_by_service, events:", "inputs: {days: gold.org_daily_usage_by_service, events:")
    edit(conf, "gold.yaml", "touches: {daily: {column", "touches: {days: {column")
    edit(conf, "gold.yaml", "mad_factor:", "mad_faktor:")
    with pytest.raises(ConfigurationError) as caught:
        marts_of(load_registry(conf))
    assert caught.value.faults == [
        "gold.usage_trends: mart.function: 'trends.usage_trend': there is no such function; did you mean 'usage_trends'?",
        "gold.cost_anomalies: inputs: cost_anomalies takes 'daily', which is not given",
        "gold.cost_anomalies: inputs.days: cost_anomalies takes no such input; did you mean 'daily'?",
        "gold.cost_anomalies: parameters: cost_anomalies takes 'mad_factor', which is not given",
        "gold.cost_anomalies: parameters.mad_faktor: cost_anomalies takes no such parameter",
    ]


def test_what_rules_compare_with_must_be_a_column_of_a_row_that_is_referred_to(conf: Path) -> None:
    edit(conf, "silver.yaml", "brings: {org_signup_date: org_id.signup_date}", "brings: {org_signup_date: org_id.signup, email: user.x}")
    assert faults(conf) == [
        "conf/silver.yaml: users.brings.org_signup_date: 'signup' is not a column of silver.customers_orgs; did you mean 'signup_date'?",
        "conf/silver.yaml: users.brings.email: 'user' is not a column with a reference; known: org_id",
        "conf/silver.yaml: users.brings.email: is the name of a column of the table; give it another",
    ]


def test_what_a_version_calls_otherwise_is_checked_when_it_is_loaded(conf: Path) -> None:
    edit(conf, "streaming.yaml", "renamed: {}", "renamed: {2: {cost_usd_increment: {field: cost}, org_id: {field: org_id, times: 10}, valu: {field: value}}, 7: {}}")
    with pytest.raises(ConfigurationError) as caught:
        load_config(str(conf))
    found = "\n".join(caught.value.faults)
    assert "events.renamed.2.cost_usd_increment.field: 'cost' is not a field of that version" in found
    assert "events.renamed.2.org_id.times: org_id is no number" in found
    assert "events.renamed.2.valu: is no field of an event; did you mean 'value'?" in found
    assert "events.renamed.7: there is no such version in schema_versions" in found
    edit(conf, "streaming.yaml", "times: 10}", "times: 3}")
    with pytest.raises(ConfigurationError, match="3 is no power of ten"):
        load_config(str(conf))


def test_the_measures_are_declared_once_as_they_are_summed(registry: Registry, conf: Path) -> None:
    declared = read_yaml(ROOT / "conf" / "measures.yaml")
    assert {name: kind for name, (_, kind) in TOTALS.items()} == {name: body["type"] for name, body in declared.items()}
    assert list(declared) == list(TOTALS)
    having = [name for name, table in registry.tables.items() if declared.keys() <= table.columns.keys()]
    assert len(having) >= 7 and "speed.usage_increments" in having and "serving.usage_windows" in having
    edit(conf, "measures.yaml", "description: Number of events", "description: How many")
    reworded = load_registry(conf)
    assert all(reworded[name].columns["events"].description == "How many" for name in having)
    edit(conf, "streaming.yaml", "measures: true", "measures: 10")
    assert any("usage_increments.measures" in fault for fault in faults(conf))
