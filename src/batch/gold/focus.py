"""FOCUS: every charge once, metered usage by day and what invoices add by month, and why the two sides differ.

FOCUS is the FinOps Open Cost and Usage Specification. Its columns are made here under names of ours; conf/focus.yaml
has the rules and laws that the rows obey.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from ...common.scd2.reading import join_as_of
from .definitions import IS_CURRENT, month_of, quotient

USAGE, UNMEASURED = "metered-usage", "metered-adjustment"
BILLING = "billing"
_ZERO = "decimal(38,6)"


def focus_charges(
    events: DataFrame,
    invoices: DataFrame,
    organisations: DataFrame,
    resources: DataFrame,
    regions: DataFrame,
    *,
    services: Mapping[str, Mapping[str, str]],
    units: Mapping[str, str],
) -> DataFrame:
    """One row for each organisation, day, service, region, resource, metric and whether it was measured, and invoice rows.

    A charge depends on the events of its day, on the invoices of its month, and on the versions of its organisation and
    resource. `regions` is gold.dim_region.
    """
    metered = _metered(events, _carrying(invoices), units)
    rows = metered.unionByName(_invoiced(invoices, metered), allowMissingColumns=True)
    rows = _named(rows, organisations)
    rows = _tagged(rows, resources)
    place = F.concat_ws("", "region", F.concat(F.lit(" ("), "country", F.lit(")")))
    rows = rows.join(F.broadcast(regions.select("region", place.alias("region_name"))), "region", "left")
    service = F.coalesce("service", F.lit(BILLING))
    known = {
        field: _mapped(service, {key: named[field] for key, named in services.items()})
        for field in ("name", "category", "subcategory")
    }
    rows = rows.withColumns({f"service_{field}": value for field, value in known.items()})
    is_usage = F.col("charge_kind") == USAGE
    category = {USAGE: "Usage", UNMEASURED: "Adjustment", "adjustment": "Adjustment", "credit": "Credit", "tax": "Tax"}
    return rows.withColumns(
        {
            "charge_category": _mapped(F.col("charge_kind"), category),
            "charge_frequency": F.when(is_usage, F.lit("Usage-Based")).otherwise(F.lit("One-Time")),
            "charge_description": F.coalesce(
                F.when(is_usage, F.concat("service_name", F.lit(": "), "metric", F.lit(" in "), "region")),
                "charge_description",
            ),
            "invoice_detail_id": F.concat("invoice_id", F.lit(":"), "charge_kind"),
            "resource_type": F.when(F.col("resource_id").isNotNull(), F.col("service_name")),
            # A region that nobody declared is known by its id alone.
            "region_name": F.coalesce("region_name", "region"),
        }
    )


def _mapped(value: Column, names: Mapping[str, str]) -> Column:
    chosen = F.lit(None).cast("string")
    for key, name in names.items():
        chosen = F.when(value == key, F.lit(name)).otherwise(chosen)
    return chosen


def _carrying(invoices: DataFrame) -> DataFrame:
    """The invoice that carries the usage of an organisation and month: the largest that is no credit note."""
    largest = Window.partitionBy("org_id", "month").orderBy(F.desc("subtotal_usd"), "invoice_id")
    numbered = invoices.where(~F.col("is_credit_note")).withColumn("_place", F.row_number().over(largest))
    return numbered.where("_place = 1").select(
        "org_id",
        F.col("month").alias("billing_month"),
        "invoice_id",
        F.col("currency").alias("_currency"),
        F.col("exchange_rate_to_usd").alias("exchange_rate"),
        "fx_suspect",
    )


def _metered(events: DataFrame, carrying: DataFrame, units: Mapping[str, str]) -> DataFrame:
    """The metered usage of a day: measured usage, and the cost of events without a value."""
    kind = F.when(F.col("value").isNotNull(), F.lit(USAGE)).otherwise(F.lit(UNMEASURED))
    days = events.groupBy(
        "org_id", "usage_date", "service", "region", "resource_id", "metric", kind.alias("charge_kind")
    ).agg(
        F.sum("value").cast("decimal(38,6)").alias("consumed_quantity"),
        F.sum("cost_usd").alias("cost_usd"),
        F.count(F.lit(1)).alias("events"),
        F.sum("carbon_kg").alias("carbon_kg"),
        F.sum(F.col("genai_tokens").cast("decimal(28,0)")).alias("genai_tokens"),
        F.max("load_id").alias("load_id"),
    )
    rows = days.withColumn("billing_month", month_of("usage_date")).join(carrying, ["org_id", "billing_month"], "left")
    is_usd = F.coalesce(F.col("_currency") == "USD", F.lit(True))
    return rows.select(
        "*",
        F.col("usage_date").alias("charge_period_start"),
        F.date_add("usage_date", 1).alias("charge_period_end"),
        F.coalesce("_currency", F.lit("USD")).alias("billing_currency"),
        F.when(is_usd, F.col("cost_usd")).otherwise(in_currency("cost_usd", "exchange_rate")).alias("billed_cost"),
        F.when(F.col("consumed_quantity").isNotNull(), _mapped(F.col("metric"), units)).alias("consumed_unit"),
        F.when(F.col("charge_kind") == UNMEASURED, F.lit("Metered cost without a quantity")).alias(
            "charge_description"
        ),
    ).drop("usage_date", "_currency")


def in_currency(amount_usd: str, rate: str) -> Column:
    """Return USD ÷ rate to 6 places, half away from zero; a rate of 18 places is divided by exactly.

    Both are taken a thousand million times, so that the rate has no more places than a quotient takes. The rate is
    below 10⁹.
    """
    shift = F.lit(1_000_000_000)
    return quotient(F.col(amount_usd).cast("decimal(28,6)") * shift, F.col(rate).cast("decimal(27,18)") * shift)


def _invoiced(invoices: DataFrame, metered: DataFrame) -> DataFrame:
    """What each invoice adds to the metered usage that it carries: an adjustment, a credit and a tax, none of 0."""
    carried = metered.where("invoice_id IS NOT NULL").groupBy("invoice_id").agg(
        F.sum("billed_cost").alias("_billed"), F.sum("cost_usd").alias("_cost_usd")
    )  # fmt: skip
    rows = invoices.join(carried, "invoice_id", "left")
    zero = F.lit(0).cast(_ZERO)
    billed, used = F.coalesce("_billed", zero), F.coalesce("_cost_usd", zero)
    beyond = F.col("subtotal") - billed
    said = (
        F.when(F.col("is_credit_note"), F.concat(F.lit("Credit note "), "invoice_id"))
        .when(beyond < 0, F.lit("Metered usage not invoiced"))
        .otherwise(F.lit("Invoiced beyond metered usage"))
    )
    parts = {
        "adjustment": (beyond, F.col("subtotal_usd") - used, said),
        "credit": (-F.col("credits"), -F.col("credits_usd"), F.concat(F.lit("Credits on invoice "), "invoice_id")),
        "tax": (F.col("taxes"), F.col("taxes_usd"), F.concat(F.lit("Taxes on invoice "), "invoice_id")),
    }
    lines = [
        F.struct(
            F.lit(kind).alias("charge_kind"),
            F.coalesce(amount, zero).cast(_ZERO).alias("billed_cost"),
            F.coalesce(usd, zero).cast(_ZERO).alias("cost_usd"),
            text.alias("charge_description"),
        )
        for kind, (amount, usd, text) in parts.items()
    ]
    month_end = F.add_months("month", 1)
    return (
        rows.withColumn("_line", F.explode(F.array(*lines)))
        .where("_line.billed_cost <> 0 OR _line.cost_usd <> 0")
        .select(
            "org_id",
            "invoice_id",
            F.col("month").alias("billing_month"),
            F.col("month").alias("charge_period_start"),
            month_end.alias("charge_period_end"),
            F.col("currency").alias("billing_currency"),
            F.col("exchange_rate_to_usd").alias("exchange_rate"),
            "fx_suspect",
            "_line.*",
        )
    )


def _named(rows: DataFrame, organisations: DataFrame) -> DataFrame:
    """Add the organisation's name when the charge period began, else its current one."""
    versions = organisations.select("org_id", F.col("org_name").alias("_name_then"), *_LIFE)
    current = organisations.where(IS_CURRENT).select("org_id", F.col("org_name").alias("_name_now"))
    named = _as_of_start(rows, versions, "org_id").join(F.broadcast(current), "org_id", "left")
    return named.withColumn("org_name", F.coalesce("_name_then", "_name_now")).drop("_name_then", "_name_now")


def _tagged(rows: DataFrame, resources: DataFrame) -> DataFrame:
    """Add the resource's tags when the charge period began, as JSON."""
    versions = resources.select("resource_id", tags_json("tags").alias("tags"), *_LIFE)
    return _as_of_start(rows, versions, "resource_id")


_LIFE = ("effective_from", "effective_to", "is_deleted")


def _as_of_start(rows: DataFrame, versions: DataFrame, key: str) -> DataFrame:
    dated = rows.withColumn("_began", F.col("charge_period_start").cast("timestamp"))
    known = join_as_of(dated, versions, key, "_began")
    return known.drop("_began", *_LIFE)


def tags_json(tags: str) -> Column:
    """Return tags as a JSON object of texts, keys sorted: several values of one key are joined by `;`, and the keys that
    have several stand under `x_TagConflict`, joined alike. NULL where there are no tags.
    """
    entries = F.array_sort(F.map_entries(tags))
    texts = F.transform(
        entries, lambda entry: F.struct(entry["key"].alias("key"), F.concat_ws(";", entry["value"]).alias("value"))
    )
    doubled = F.transform(F.filter(entries, lambda entry: F.size(entry["value"]) > 1), lambda entry: entry["key"])
    conflict = F.struct(F.lit("x_TagConflict").alias("key"), F.concat_ws(";", doubled).alias("value"))
    told = F.when(F.size(doubled) > 0, F.concat(texts, F.array(conflict))).otherwise(texts)
    return F.when(F.size(tags) > 0, F.to_json(F.map_from_entries(told)))


def invoice_lines(charges: DataFrame, invoices: DataFrame) -> DataFrame:
    """One row for each invoice and kind of charge on it (gold.focus_charges), with when the invoice was delivered.

    A line depends on the charges of its month and on its invoice.
    """
    kept = (
        "invoice_detail_id",
        "invoice_id",
        "billing_month",
        "org_id",
        "charge_kind",
        "charge_category",
        "billing_currency",
    )
    usage = F.concat(F.lit("Metered usage on invoice "), "invoice_id")
    text = F.when(F.col("charge_kind") == USAGE, usage).otherwise(F.max("charge_description"))
    lines = charges.where("invoice_id IS NOT NULL").groupBy(*kept).agg(
        text.alias("charge_description"),
        F.sum("billed_cost").alias("billed_cost"),
        F.sum("cost_usd").alias("cost_usd"),
        F.count(F.lit(1)).alias("charges"),
    )  # fmt: skip
    return lines.join(invoices.select("invoice_id", F.col("_snapshot_at").alias("snapshot_at")), "invoice_id", "left")


CAUSES = (
    "rate",
    "suspect_currency",
    "refused_events",
    "unmeasured_events",
    "uncovered_days",
    "anomalies",
    "credit_notes",
    "rest",
)


def invoice_gap(reconciliation: DataFrame, invoices: DataFrame, charges: DataFrame, costs: DataFrame) -> DataFrame:
    """One row for each org_id and month of gold.cost_billing_reconciliation: the difference in causes that add up to it.

    `costs` is gold.cost_anomalies. Each cause is what would make the two sides differ by itself; `rest_usd` is what they
    leave or overshoot. A month that was not billed has no cause but the rest. A row depends on the rows of its month.
    """
    key = ["org_id", "month"]
    unmeasured = charges.where(F.col("charge_kind") == UNMEASURED).groupBy(
        "org_id", F.col("billing_month").alias("month")
    )
    impacts = costs.where("is_anomaly").groupBy("org_id", month_of("usage_date").alias("month"))
    parts = [
        _billed_causes(invoices),
        unmeasured.agg((-F.sum("cost_usd")).alias("unmeasured_events_usd")),
        impacts.agg((-F.sum("impact_usd")).alias("anomalies_usd")),
    ]
    rows = reduce(lambda rows, part: rows.join(part, key, "left"), parts, reconciliation)
    dates = F.day(F.last_day("month"))
    uncovered = quotient(F.col("_positive_usd") * (dates - F.col("usage_days")), dates)
    rows = rows.withColumns({"refused_events_usd": F.col("refused_cost_usd"), "uncovered_days_usd": uncovered})
    is_billed = F.col("billed_subtotal_usd").isNotNull()
    known = {f"{cause}_usd": _amount(is_billed, f"{cause}_usd") for cause in CAUSES[:-1]}
    rows = rows.withColumns(known)
    explained = reduce(Column.__add__, (F.col(name) for name in known))
    rows = rows.withColumn("rest_usd", F.col("difference_usd") - explained)
    named = F.array(
        *(
            F.struct(F.lit(cause).alias("cause"), F.col(f"{cause}_usd").cast(_ZERO).alias("amount_usd"))
            for cause in CAUSES
        )
    )
    return rows.withColumn("causes", F.filter(named, lambda cause: cause["amount_usd"] != 0))


def _amount(is_billed: Column, name: str) -> Column:
    return F.when(is_billed, F.coalesce(F.col(name), F.lit(0))).otherwise(F.lit(0)).cast("decimal(30,6)")


def _billed_causes(invoices: DataFrame) -> DataFrame:
    """What invoices themselves explain, by organisation and month; each amount in one cause alone."""
    converted = F.col("subtotal_usd") - F.col("subtotal")
    is_usd = F.col("currency") == "USD"
    is_suspect = F.coalesce("fx_suspect", F.lit(False))
    # Of a credit note what its rate does is told with the rates.
    plain = F.when(is_usd | is_suspect, F.col("subtotal")).otherwise(F.col("subtotal_usd"))
    is_note = F.col("is_credit_note")
    return invoices.groupBy("org_id", "month").agg(
        F.sum(F.when(is_usd, converted)).alias("rate_usd"),
        F.sum(F.when(is_suspect & ~is_usd, converted)).alias("suspect_currency_usd"),
        F.sum(F.when(is_note, plain)).alias("credit_notes_usd"),
        F.sum(F.when(~is_note, plain)).alias("_positive_usd"),
    )
