"""The named queries beside plain SQL over the oracle's views: what silver accepts of the landing files, and its marts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from cloudlake.serving.queries import Reader, answer
from oracle import Oracle

Rows = list[dict[str, Any]]

DAILY = """
SELECT usage_date, org_id, service, CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd,
    CAST(coalesce(sum(value) FILTER (metric = 'requests'), 0) AS DECIMAL(30, 6)) AS requests, count(*) AS events
FROM silver_usage_events WHERE {where} GROUP BY ALL ORDER BY usage_date, org_id, service
"""
TOP = """
WITH used AS (FROM silver_usage_events WHERE org_id = '{org}' AND usage_date > DATE '{a}' - {days} AND usage_date <= DATE '{a}')
SELECT service, CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd,
    100 * CAST(sum(cost_usd) AS DOUBLE) / CAST((SELECT sum(cost_usd) FROM used) AS DOUBLE) AS cost_share_pct, count(*) AS events
FROM used GROUP BY service ORDER BY sum(used.cost_usd) DESC, service LIMIT {top}
"""
CRITICAL = """
SELECT CAST(created_at AS DATE) AS date, count(*) AS tickets,
    count(*) FILTER (resolved_at IS NULL OR CAST(resolved_at AS DATE) > DATE '{a}') AS open,
    count(*) FILTER (sla_breached) AS sla_breached, count(*) FILTER (sla_breached) / count(*) AS sla_breach_rate
FROM silver_support_tickets
WHERE severity = 'critical' AND CAST(created_at AS DATE) > DATE '{a}' - {days} AND CAST(created_at AS DATE) <= DATE '{a}' AND {where}
GROUP BY ALL ORDER BY ALL
"""
REVENUE = """
WITH sums AS (
    SELECT month, sum(subtotal_usd) AS subtotal_usd, sum(credits_usd) AS credits_usd, sum(taxes_usd) AS taxes_usd,
        sum(revenue_usd) AS revenue_usd, sum(invoiced_usd) AS invoiced_usd, bool_or(fx_suspect) AS suspect
    FROM silver_billing_monthly WHERE {where} GROUP BY month
)
SELECT s.month, s.subtotal_usd, s.credits_usd, s.taxes_usd, s.revenue_usd, s.invoiced_usd,
    CASE WHEN before.revenue_usd > 0 AND NOT ({one} AND (s.suspect OR before.suspect))
         THEN 100 * CAST(s.revenue_usd - before.revenue_usd AS DOUBLE) / CAST(before.revenue_usd AS DOUBLE) END AS mom_growth_pct
FROM sums s LEFT JOIN sums before ON before.month = s.month - INTERVAL 1 MONTH
WHERE s.month BETWEEN DATE '{first}' AND DATE '{last}' ORDER BY s.month
"""
TOKENS = """
WITH days AS (
    SELECT usage_date, sum(genai_tokens) AS genai_tokens, coalesce(sum(value) FILTER (metric = 'requests'), 0) AS requests,
        sum(cost_usd) AS cost_usd, coalesce(sum(cost_usd) FILTER (genai_tokens IS NOT NULL), 0) AS token_cost
    FROM silver_usage_events WHERE service = 'genai' AND {where} GROUP BY usage_date
)
SELECT usage_date, genai_tokens, requests, cost_usd,
    from_micros(away(1000 * micros(CAST(token_cost AS DECIMAL(28, 6))), genai_tokens)) AS cost_per_1k_tokens
FROM days ORDER BY usage_date
"""
ANOMALIES = """
SELECT usage_date, org_id, service, cost_usd, expected_usd, impact_usd, cause, drivers FROM gold_cost_anomalies
WHERE is_anomaly AND {where} ORDER BY usage_date DESC, impact_usd DESC, org_id, service
"""


BY_DAY = """
SELECT usage_date, service, CAST(sum(cost_usd) AS DECIMAL(28, 6)) AS cost_usd, count(*) AS events
FROM silver_usage_events WHERE {where} GROUP BY ALL ORDER BY ALL
"""
BY_REGION = BY_DAY.replace("service", "region")
TOTAL = """
SELECT min(usage_date) AS first_date, max(usage_date) AS last_date, CAST(coalesce(sum(cost_usd), 0) AS DECIMAL(28, 6)) AS cost_usd,
    from_micros(away(micros(CAST(sum(cost_usd) AS DECIMAL(28, 6))), max(usage_date) - min(usage_date) + 1)) AS cost_per_day_usd,
    count(*) AS events, count(DISTINCT org_id) AS orgs
FROM silver_usage_events WHERE {where}
"""
TICKETS = """
SELECT CAST(created_at AS DATE) AS date, severity, count(*) AS tickets,
    count(*) FILTER (resolved_at IS NULL OR CAST(resolved_at AS DATE) > DATE '{a}') AS open, count(*) FILTER (sla_breached) AS sla_breached
FROM silver_support_tickets WHERE {where} AND CAST(created_at AS DATE) <= DATE '{a}' GROUP BY ALL ORDER BY ALL
"""
BREACHES = """
SELECT CAST(date_trunc('month', date) AS DATE) AS month, severity, sum(tickets) AS tickets, sum(open) AS open,
    sum(sla_breached) AS sla_breached, sum(sla_breached) / sum(tickets) AS sla_breach_rate
FROM (TICKETS) GROUP BY ALL ORDER BY month, severity
""".replace("TICKETS", TICKETS)
CARBON = """
SELECT CAST(date_trunc('month', usage_date) AS DATE) AS month, service, coalesce(sum(carbon_kg), 0) AS carbon_kg,
    100 * count(carbon_kg) / count(*) AS coverage_pct
FROM silver_usage_events WHERE {where} GROUP BY ALL ORDER BY ALL
"""


def assert_same_answer(reader: Reader, name: str, filters: Mapping[str, Any], expected: Rows) -> None:
    """The query gives these rows in this order: exact numbers exactly, doubles to twelve digits."""
    found = answer(reader, name, filters).rows()
    assert len(found) == len(expected), f"{name} {filters}: {len(found)} rows, not {len(expected)}"
    for one, wanted in zip(found, expected, strict=True):
        assert list(one) == list(wanted), name
        for column, value in wanted.items():
            said = one[column]
            same = said == value or (
                isinstance(said, float) and value is not None and abs(said - float(value)) <= 1e-12 * abs(said)
            )
            assert same, f"{name} {filters}: {column} is {said}, not {value}, in {one}"


def assert_usage_queries_are(reader: Reader, oracle: Oracle) -> None:
    """What is answered up to this minute equals the accepted events, the increments included."""
    a = reader.as_of
    org, service = _busiest(oracle)
    narrow = (
        f"org_id = '{org}' AND service = '{service}' AND usage_date BETWEEN DATE '2025-08-05' AND DATE '2025-08-20'"
    )
    filters = {"org": org, "service": service, "from": "2025-08-05", "to": date(2025, 8, 20)}
    for given, where in (({}, "true"), ({"org": org}, f"org_id = '{org}'"), (filters, narrow)):
        assert_same_answer(reader, "daily-costs", given, _rows(oracle, DAILY, where=where))
        assert_same_answer(reader, "cost-by-day", given, _rows(oracle, BY_DAY, where=where))
        assert_same_answer(reader, "cost-total", given, _columns_of(reader, "cost-total", _rows(oracle, TOTAL, where=where)))
    for days, top in ((14, 5), (3, 2), (400, 1)):
        wanted = _rows(oracle, TOP, org=org, a=a, days=days, top=top)
        assert wanted
        assert_same_answer(reader, "top-services", {"org": org, "days": days, "top": str(top)}, wanted)


def assert_published_queries_are(reader: Reader, oracle: Oracle) -> None:
    """What is answered from the marts equals plain SQL over the landing files that these were made from."""
    a = reader.as_of
    assert a == oracle.business_date
    org, _ = _busiest(oracle)
    for mart in ("cost_anomalies", "customer_360", "customer_history"):
        oracle.gold(mart)
    for days in (30, 365):
        for given, where in (({}, "true"), ({"org": org}, f"org_id = '{org}'")):
            assert_same_answer(
                reader,
                "critical-tickets",
                {**given, "days": days},
                _rows(oracle, CRITICAL, a=a, days=days, where=where),
            )
    for given, first, last in (
        ({}, "2000-01-01", "2100-01-01"),
        ({"from": "2025-07", "to": "2025-08-15"}, "2025-07-01", "2025-08-01"),
    ):
        everybody = {"where": "true", "one": "false", "first": first, "last": last}
        assert_same_answer(reader, "monthly-revenue", given, _rows(oracle, REVENUE, **everybody))
        one = everybody | {"where": f"org_id = '{org}'", "one": "true"}
        assert_same_answer(reader, "monthly-revenue", {**given, "org": org}, _rows(oracle, REVENUE, **one))
    for given, where in (
        ({}, "true"),
        ({"org": org}, f"org_id = '{org}'"),
        ({"from": "2025-08-10", "to": "2025-08-12"}, "usage_date BETWEEN DATE '2025-08-10' AND DATE '2025-08-12'"),
    ):
        assert_same_answer(reader, "genai-tokens", given, _rows(oracle, TOKENS, where=where))
        assert_same_answer(reader, "anomalies", given, _rows(oracle, ANOMALIES, where=where))
    for given, where in (({}, "true"), ({"org": org}, f"org_id = '{org}'")):
        assert_same_answer(reader, "cost-by-region", given, _rows(oracle, BY_REGION, where=where))
        assert_same_answer(reader, "carbon", given, _rows(oracle, CARBON, where=where))
        assert_same_answer(reader, "tickets-by-day", given, _rows(oracle, TICKETS, a=a, where=where))
        assert_same_answer(reader, "sla-by-month", given, _rows(oracle, BREACHES, a=a, where=where))
    _assert_gaps_add_up(reader, oracle, org)
    _assert_customers_are(reader, oracle, org)


def _assert_gaps_add_up(reader: Reader, oracle: Oracle, org: str) -> None:
    """Usage, what was billed and their difference are those of the reconciliation; the causes add up."""
    oracle.gold("cost_billing_reconciliation")
    wanted = "SELECT org_id, month, usage_cost_usd, billed_subtotal_usd, difference_usd FROM gold_cost_billing_reconciliation"
    for given, where in (
        ({}, "true"),
        ({"org": org}, f"org_id = '{org}'"),
        ({"month": "2025-08"}, "month = DATE '2025-08-01'"),
    ):
        rows = answer(reader, "invoice-gap", given).rows()
        known = oracle.sql(f"{wanted} WHERE {where}").to_pylist()
        assert known and {(row["org_id"], row["month"]): {name: row[name] for name in known[0]} for row in rows} == {
            (row["org_id"], row["month"]): row for row in known
        }
        assert all(sum(cause["amount_usd"] for cause in row["causes"]) == row["difference_usd"] for row in rows)
    steps = [row["amount_usd"] for row in answer(reader, "invoice-gap-steps", {"month": "2025-08"}).rows()]
    assert len(steps) == 10 and sum(steps[:-1]) == steps[-1]
    assert steps[0] == sum(row["usage_cost_usd"] or 0 for row in rows)


def _assert_customers_are(reader: Reader, oracle: Oracle, org: str) -> None:
    everybody = {row["org_id"]: row for row in oracle.sql("FROM gold_customer_360").to_pylist(maps_as_pydicts="strict")}
    listed = answer(reader, "at-risk").rows()
    scores = [row["health_score"] for row in listed]
    assert len(listed) == len(everybody) and scores == sorted(scores, key=lambda score: (score is None, score or 0))
    for row in listed:
        wanted = everybody[row["org_id"]]
        lost = {
            part["name"]: part["weight"] * (100 - part["score"])
            for part in wanted["health_components"] or []
            if part["score"] is not None
        }
        worst = max(lost, key=lambda name: lost[name], default=None)
        assert row["weakest_component"] == (worst if worst and lost[worst] > 0 else None), row
        assert {name: row[name] for name in ("health_band", "cost_change_pct", "revenue_usd")} == {
            name: wanted[name] for name in ("health_band", "cost_change_pct", "revenue_usd")
        }
    for band in ("at_risk", "watch", "healthy"):
        assert {row["org_id"] for row in answer(reader, "at-risk", {"band": band}).rows()} == {
            key for key, row in everybody.items() if row["health_band"] == band
        }
    (shown,) = answer(reader, "customer", {"org": org}).rows()
    weeks = oracle.sql(f"FROM gold_customer_history WHERE org_id = '{org}' ORDER BY week_ending DESC").to_pylist()
    assert [week["week_ending"] for week in shown["segment_history"]] == [week["week_ending"] for week in weeks]
    assert [week["segment"] for week in shown["segment_history"]] == [week["segment"] for week in weeks]
    for name in ("org_name", "health_score", "usage_cost_usd", "revenue_30d_usd", "tickets_30d", "contradictions"):
        assert shown[name] == everybody[org][name], name
    newest = "(SELECT max(usage_date) FROM silver_usage_events)"
    sums = f"SELECT {newest} AS day, coalesce(sum(cost_usd), 0) AS cost FROM silver_usage_events WHERE org_id = '{org}' AND usage_date = {newest}"
    assert [shown["newest_date"], shown["newest_cost_usd"]] == list(oracle.sql(sums).to_pylist()[0].values())


def _columns_of(reader: Reader, name: str, rows: Rows) -> Rows:
    """The same rows with their columns in the order of a query's declaration."""
    return [{column: row[column] for column in reader.declarations[name].columns} for row in rows]


def _rows(oracle: Oracle, sql: str, **values: Any) -> Rows:
    rows: Rows = oracle.sql(sql.format(**values)).to_pylist(maps_as_pydicts="strict")
    return rows


def _busiest(oracle: Oracle) -> tuple[str, str]:
    """Return an organisation and a service with many events."""
    known = "SELECT org_id, service FROM silver_usage_events WHERE org_id IN (SELECT org_id FROM silver_customers_orgs)"
    (row,) = oracle.sql(f"{known} GROUP BY ALL ORDER BY count(*) DESC, org_id, service LIMIT 1").to_pylist()
    return row["org_id"], row["service"]
