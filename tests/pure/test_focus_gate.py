"""The row gate of the FOCUS marts: on rows that are right it finds nothing, and for each rule one planted error is found."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest
from cloudlake.common.config import load_config
from cloudlake.common.contracts.schemas import arrow_schema
from cloudlake.common.quality.checks import row_rules, row_rules_query, with_views

REGISTRY = load_config().registry
CHARGES = REGISTRY["gold.focus_charges"]

USAGE = """
    DATE '2025-07-01' AS billing_month, DATE '2025-07-04' AS charge_period_start, DATE '2025-07-05' AS charge_period_end,
    'o1' AS org_id, 'Org' AS org_name, 'metered-usage' AS charge_kind, 'Usage' AS charge_category,
    'Database: requests in us-east' AS charge_description, 'Usage-Based' AS charge_frequency, 'i1' AS invoice_id,
    'i1:metered-usage' AS invoice_detail_id, 'USD' AS billing_currency, 1.5 AS billed_cost, 1.5 AS cost_usd,
    1.02 AS exchange_rate, false AS fx_suspect, 3 AS consumed_quantity, 'Requests' AS consumed_unit,
    'database' AS service, 'Database' AS service_name, 'Databases' AS service_category,
    'Other (Databases)' AS service_subcategory, 'us-east' AS region, 'us-east (United States)' AS region_name,
    'r1' AS resource_id, 'Database' AS resource_type, '{"team":"a \\"b\\":[c]"}' AS tags, 'requests' AS metric,
    2 AS events, 0.1 AS carbon_kg, NULL AS genai_tokens, 7 AS load_id"""
OPEN = """'metered-adjustment' AS charge_kind, 'Adjustment' AS charge_category, 'One-Time' AS charge_frequency,
    NULL AS invoice_id, NULL AS invoice_detail_id, NULL AS exchange_rate, NULL AS fx_suspect, NULL AS consumed_quantity,
    NULL AS consumed_unit, NULL AS resource_id, NULL AS resource_type, NULL AS tags"""
FOREIGN = "'e1' AS invoice_id, 'e1:metered-usage' AS invoice_detail_id, 'EUR' AS billing_currency, 1.363636 AS billed_cost, 1.1 AS exchange_rate"
INVOICED = """'tax' AS charge_kind, 'Tax' AS charge_category, 'Taxes on invoice i1' AS charge_description,
    'One-Time' AS charge_frequency, 'i1:tax' AS invoice_detail_id, DATE '2025-07-01' AS charge_period_start,
    DATE '2025-08-01' AS charge_period_end, NULL AS consumed_quantity, NULL AS consumed_unit, NULL AS service,
    'Billing' AS service_name, 'Other' AS service_category, 'Other (Other)' AS service_subcategory, NULL AS region,
    NULL AS region_name, NULL AS resource_id, NULL AS resource_type, NULL AS tags, NULL AS metric, NULL AS events,
    NULL AS carbon_kg, NULL AS load_id"""
RIGHT = {
    "usage": "SELECT * FROM usage",
    "genai": "SELECT * REPLACE ('genai' AS service, 'Generative AI' AS service_name, 'AI and Machine Learning' AS service_category, 'Generative AI' AS service_subcategory, 'Generative AI' AS resource_type) FROM usage",
    "open": f"SELECT * REPLACE ({OPEN}) FROM usage",
    "foreign": f"SELECT * REPLACE ({FOREIGN}) FROM usage",
    "tax": f"SELECT * REPLACE ({INVOICED}) FROM usage",
}

# Rule → the right row, and what is planted in it.
PLANTED = {
    "charge_kind_unknown": ("usage", "'purchase' AS charge_kind"),
    "charge_category_not_allowed": ("usage", "'Sales' AS charge_category"),
    "charge_category_of_another_kind": ("tax", "'Credit' AS charge_category"),
    "charge_description_empty": ("usage", "' ' AS charge_description"),
    "charge_frequency_not_allowed": ("usage", "'Monthly' AS charge_frequency"),
    "charge_frequency_of_another_category": ("tax", "'Usage-Based' AS charge_frequency"),
    "account_empty": ("usage", "'' AS org_id"),
    "billing_period_not_a_month": ("usage", "DATE '2025-07-02' AS billing_month"),
    "charge_period_empty": ("usage", "DATE '2025-07-04' AS charge_period_end"),
    "charge_outside_billing_period": ("usage", "DATE '2025-06-30' AS charge_period_start"),
    "metered_not_one_day": ("usage", "DATE '2025-07-06' AS charge_period_end"),
    "invoice_row_not_its_month": ("tax", "DATE '2025-07-31' AS charge_period_end"),
    "currency_not_three_letters": ("usage", "'usd' AS billing_currency"),
    "open_charge_not_in_usd": ("open", "'EUR' AS billing_currency"),
    "usd_usage_converted": ("usage", "1.53 AS billed_cost"),
    "usage_converted_wrongly": ("foreign", "1.363638 AS billed_cost"),
    "rate_missing": ("tax", "NULL AS exchange_rate"),
    "rate_without_invoice": ("open", "false AS fx_suspect"),
    "invoice_missing": ("tax", "NULL AS invoice_id"),
    "invoice_detail_wrong": ("usage", "'i2:metered-usage' AS invoice_detail_id"),
    "invoice_row_of_nothing": ("tax", "0 AS billed_cost, 0 AS cost_usd"),
    "quantity_missing": ("usage", "NULL AS consumed_quantity"),
    "quantity_without_usage": ("open", "1 AS consumed_quantity"),
    "quantity_negative": ("usage", "-1 AS consumed_quantity"),
    "unit_without_quantity": ("usage", "NULL AS consumed_unit"),
    "unit_not_allowed": ("usage", "'requests' AS consumed_unit"),
    "unit_of_another_metric": ("usage", "'Hours' AS consumed_unit"),
    "region_in_half": ("usage", "NULL AS region_name"),
    "region_missing": ("usage", "NULL AS region, NULL AS region_name"),
    "place_on_invoice_row": ("tax", "'requests' AS metric"),
    "resource_type_in_half": ("usage", "NULL AS resource_type"),
    "resource_type_of_another_service": ("usage", "'Databases' AS resource_type"),
    "service_category_not_allowed": ("usage", "'Data' AS service_category"),
    "service_subcategory_of_another_category": ("usage", "'Other (Storage)' AS service_subcategory"),
    "service_category_of_another_service": ("genai", "'Analytics' AS service_category, 'Other (Analytics)' AS service_subcategory"),
    "service_name_on_invoice_row": ("tax", "'Storage' AS service_name, 'Storage' AS service_category, 'Other (Storage)' AS service_subcategory"),
    "tags_no_object": ("usage", """'[\\"team\\"]' AS tags"""),
    "tag_value_no_text": ("usage", """'{"team":["a","b"],"env":"x"}' AS tags"""),
    "events_missing": ("usage", "0 AS events"),
    "events_on_invoice_row": ("tax", "1 AS events"),
}  # fmt: skip


@pytest.fixture
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TEMP MACRO datediff(later, earlier) AS date_diff('day', earlier, later)")
        connection.execute(f"CREATE VIEW usage AS SELECT {USAGE}")
        yield connection


def broken(database: duckdb.DuckDBPyConnection, rows: str) -> set[str]:
    """The rules that some rows break, counted as the audit counts them."""
    typed = ", ".join(f"CAST({name} AS {column.type}) AS {name}" for name, column in CHARGES.columns.items())
    charges: pa.Table = database.sql(f"SELECT {typed} FROM ({rows})").to_arrow_table()
    assert charges.column_names == arrow_schema(CHARGES).names
    database.register("gold_focus_charges", charges)
    counts = database.sql(with_views(row_rules_query(CHARGES))).to_arrow_table().to_pylist()[0]
    each = {name: database.sql(with_views(rule.measure)).fetchall()[0][0] for name, rule in row_rules(CHARGES).items()}
    assert counts == each
    return {name for name, count in counts.items() if count}


def test_charges_that_are_right_break_no_rule(database: duckdb.DuckDBPyConnection) -> None:
    for rows in RIGHT.values():
        assert broken(database, rows) == set()


def test_there_is_one_planted_error_for_each_rule() -> None:
    assert set(PLANTED) == set(CHARGES.rules) == set(row_rules(CHARGES))
    assert {rule.level for rule in CHARGES.rules.values()} == {"fail"}, "a broken rule stops the publication"


@pytest.mark.parametrize("rule", CHARGES.rules)
def test_the_gate_finds_a_planted_error(database: duckdb.DuckDBPyConnection, rule: str) -> None:
    row, planted = PLANTED[rule]
    assert rule in broken(database, f"SELECT * REPLACE ({planted}) FROM ({RIGHT[row]})")


def test_every_service_and_metric_has_its_name_in_focus() -> None:
    services = CHARGES.parameters["services"]
    assert set(services) == {*REGISTRY.domains["service"].values, "billing"}
    assert set(CHARGES.parameters["units"]) == set(REGISTRY.domains["metric"].values)
    allowed = CHARGES.rules["service_category_not_allowed"].when
    assert all(f"'{named['category']}'" in allowed for named in services.values())
