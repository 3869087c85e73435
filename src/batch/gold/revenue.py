"""Marts of revenue: what was billed, in USD."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def growth_pct(new: Column, old: Column) -> Column:
    """Return 100 × (new − old) ÷ old as a double from exact sums; NULL where old is absent or not positive."""
    return F.when(old > 0, 100.0 * ((new - old).cast("double") / old.cast("double")))


def revenue_by_org_month(invoices: DataFrame) -> DataFrame:
    """One row for each org_id and month with an invoice: sums in USD, and growth over the calendar month before.

    `mom_growth_pct` is NULL where the month before is absent or its revenue not positive, or where either month has
    an invoice with a suspect exchange rate. `credit_ratio` is NULL where the subtotal is not positive.
    """
    amounts = ("subtotal_usd", "credits_usd", "taxes_usd", "revenue_usd", "invoiced_usd")
    months = invoices.groupBy("org_id", "month").agg(
        F.count(F.lit(1)).alias("invoices"),
        F.count_if("is_credit_note").alias("credit_notes"),
        *(F.sum(name).alias(name) for name in amounts),
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
