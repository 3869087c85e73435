"""The measures of usage as SQL that Spark and DuckDB read alike; needs neither to be imported."""

from __future__ import annotations

BUCKET_MINUTES = 15
"""Length of the buckets of event time that increments are kept in."""

_COST, _QUANTITY, _CARBON = "decimal(28,6)", "decimal(30,6)", "decimal(30,9)"
TOTALS = {
    "events": ("count(*)", "bigint"),
    "cost_usd": ("sum(cost_usd)", _COST),
    "requests": ("sum(CASE WHEN metric = 'requests' THEN value END)", _QUANTITY),
    "cpu_hours": ("sum(CASE WHEN metric = 'cpu_hours' THEN value END)", _QUANTITY),
    "storage_gb_hours": ("sum(CASE WHEN metric = 'storage_gb_hours' THEN value END)", _QUANTITY),
    "genai_tokens": ("sum(genai_tokens)", "bigint"),
    "carbon_kg": ("sum(carbon_kg)", _CARBON),
    "carbon_events": ("count(carbon_kg)", "bigint"),
    "carbon_cost_usd": ("sum(CASE WHEN carbon_kg IS NOT NULL THEN cost_usd END)", _COST),
    "events_without_value": ("count(*) - count(value)", "bigint"),
}
"""Measure → its sum over events, and its type."""
MEASURES: tuple[str, ...] = tuple(TOTALS)
"""The measures of usage, in the order of their columns."""
_NULL_WHERE_UNREPORTED = frozenset({"genai_tokens", "carbon_kg"})


def measure_sql(name: str, total: str) -> str:
    """Return the SQL of a measure's sum in its type; Spark and DuckDB read it alike."""
    kind = TOTALS[name][1]
    typed = f"CAST({total} AS {kind})"
    return typed if name in _NULL_WHERE_UNREPORTED else f"coalesce({typed}, CAST(0 AS {kind}))"


def wide_sql(name: str, total: str) -> str:
    """Return the SQL (Spark) of a measure's sum with room for more than its type has.

    Spark adds ten digits to a decimal that it sums, but a whole number's sum has no more room than the number.
    """
    is_whole = TOTALS[name][1] == "bigint"
    roomy = total.replace(f"sum({name})", f"sum(CAST({name} AS DECIMAL(28,0)))") if is_whole else total
    return roomy if name in _NULL_WHERE_UNREPORTED else f"coalesce({roomy}, 0)"


def increments_sql(load_id: int) -> str:
    """Return the SQL (DuckDB) that sums a load's `events` to the rows of speed.usage_increments."""
    return increments_where(f"load_id = {load_id}")


def increments_where(condition: str) -> str:
    """Return the SQL (DuckDB) that sums the `events` that satisfy a condition to the rows of speed.usage_increments.

    By load_id, quarter of an hour of event time, organisation, service and region.
    """
    sums = ", ".join(f"{measure_sql(name, total)} AS {name}" for name, (total, _) in TOTALS.items())
    bucket = f"time_bucket(INTERVAL '{BUCKET_MINUTES} minutes', event_time)"
    return f"""
        SELECT load_id, {bucket} AS bucket_start, org_id, service, region, {sums}
        FROM events WHERE {condition} GROUP BY ALL
    """
