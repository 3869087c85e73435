"""Marts of revenue: what was billed, in USD."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from .definitions import growth_pct, quotient

_AMOUNTS = ("subtotal_usd", "credits_usd", "taxes_usd", "revenue_usd", "invoiced_usd")


def revenue_by_org_month(invoices: DataFrame) -> DataFrame:
    """One row for each org_id and month with an invoice: sums in USD, and growth over the calendar month before.

    `mom_growth_pct` is NULL where the month before is absent or its revenue not positive, or where either month has
    an invoice with a suspect exchange rate. `credit_ratio` is NULL where the subtotal is not positive.
    """
    months = invoices.groupBy("org_id", "month").agg(
        *_sums(),
        F.array_sort(F.collect_set("currency")).alias("currencies"),
        F.bool_or("fx_suspect").alias("has_fx_suspect"),
    )
    before = months.select(
        "org_id",
        F.add_months("month", 1).alias("month"),
        F.col("revenue_usd").alias("_revenue_before"),
        F.col("has_fx_suspect").alias("_suspect_before"),
    )
    subtotal = F.col("subtotal_usd")
    is_trusted = ~F.col("has_fx_suspect") & ~F.col("_suspect_before")
    return months.join(before, ["org_id", "month"], "left").withColumns(
        {
            "credit_ratio": F.when(subtotal > 0, F.col("credits_usd").cast("double") / subtotal.cast("double")),
            "mom_growth_pct": F.when(is_trusted, growth_pct(F.col("revenue_usd"), F.col("_revenue_before"))),
        }
    )


def revenue_monthly(invoices: DataFrame) -> DataFrame:
    """One row for each month with an invoice: sums in USD over all organisations, and growth over the month before.

    An invoice with a suspect exchange rate counts as it is, here where it is one of many, and is counted apart. A row
    depends on the invoices of its month and of the month before.
    """
    by_currency = invoices.groupBy("month", "currency").agg(
        *_sums(),
        F.count_if("fx_suspect").alias("fx_suspect_invoices"),
        F.collect_set("org_id").alias("_orgs"),
    )
    revenue = F.array_sort(F.collect_list(F.struct("currency", "revenue_usd")))
    counts = ("invoices", "credit_notes", "fx_suspect_invoices", *_AMOUNTS)
    months = by_currency.groupBy("month").agg(
        *(F.sum(name).alias(name) for name in counts),
        F.size(F.array_distinct(F.flatten(F.collect_list("_orgs")))).alias("orgs_billed"),
        F.map_from_entries(revenue).alias("revenue_usd_by_currency"),
    )
    before = months.select(F.add_months("month", 1).alias("month"), F.col("revenue_usd").alias("_revenue_before"))
    return months.join(F.broadcast(before), "month", "left").withColumns(
        {
            "arpa_usd": quotient(F.col("revenue_usd"), F.col("orgs_billed")),
            "mom_growth_pct": growth_pct(F.col("revenue_usd"), F.col("_revenue_before")),
        }
    )


def _sums() -> list[Column]:
    """Return what both marts sum over invoices."""
    return [
        F.count(F.lit(1)).alias("invoices"),
        F.count_if("is_credit_note").alias("credit_notes"),
        *(F.sum(name).alias(name) for name in _AMOUNTS),
    ]
