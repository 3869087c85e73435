"""What invoices need beyond conforming: amounts in USD, credit notes, suspect exchange rates."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def billing_monthly(rows: DataFrame, *, usd_rate: str) -> DataFrame:
    """Add the amounts in USD to conformed invoices.

    A product is rounded once, half away from zero, to 6 places; one that has no room is NULL, and its row is refused by
    the rule usd_out_of_range.

    Args:
        rows: conformed invoices.
        usd_rate: "delivered" takes the rate of a USD invoice as it is, "one" takes 1.
    """
    rate = F.col("exchange_rate_to_usd")
    if usd_rate == "one":
        rate = F.when(F.col("currency") == "USD", F.lit(1).cast("decimal(38,18)")).otherwise(rate)
    rows = rows.withColumn("credits", _default_zero("credits"))

    def in_usd(amount: str) -> Column:
        return F.try_multiply(F.col(amount), rate).try_cast("decimal(18,6)")

    rows = rows.withColumns({f"{name}_usd": in_usd(name) for name in ("subtotal", "credits", "taxes")})
    revenue = (F.col("subtotal_usd") - F.col("credits_usd")).try_cast("decimal(18,6)")
    return rows.withColumns(
        {
            "revenue_usd": revenue,
            "invoiced_usd": (revenue + F.col("taxes_usd")).try_cast("decimal(18,6)"),
            "is_credit_note": F.col("subtotal") < 0,
            "fx_suspect": F.lit(False),
        }
    )


def _default_zero(name: str) -> Column:
    """A credit that is not stated is 0; one that can't be read stays NULL, because its row is refused."""
    return F.when(F.col(f"raw.{name}").isNull(), F.lit(0).cast("decimal(18,6)")).otherwise(F.col(name))


def with_fx_suspect(invoices: DataFrame, share: float) -> DataFrame:
    """Set `fx_suspect`, and its flag, from all invoices of the months at hand.

    An invoice not in USD is suspect where abs(subtotal_usd) lies below `share` of the median abs(subtotal_usd) of that
    month's USD invoices (the mean of the middle two where they are even in number).

    Args:
        invoices: every accepted invoice of each month it holds.
        share: a fraction, such as 0.05.
    """
    size = F.abs("subtotal_usd")
    in_usd = F.when(F.col("currency") == "USD", size)
    sizes = F.array_sort(F.collect_list(in_usd))
    count = F.size("_sizes")
    lower, upper = (
        F.get("_sizes", F.floor((count - 1) / 2).cast("int")),
        F.get("_sizes", F.floor(count / 2).cast("int")),
    )
    medians = (
        invoices.groupBy("month")
        .agg(sizes.alias("_sizes"))
        .select("month", F.when(count > 0, (lower + upper) / F.lit(2).cast("decimal(1,0)")).alias("_median"))
    )
    limit = F.col("_median") * F.lit(str(share)).cast("decimal(10,6)")
    suspect = F.coalesce((F.col("currency") != "USD") & (size < limit), F.lit(False))
    others = F.array_remove("quality_flags", "fx_suspect")
    flags = F.when(suspect, F.array_sort(F.array_append(others, F.lit("fx_suspect")))).otherwise(others)
    return (
        invoices.join(F.broadcast(medians), "month")
        .withColumns({"fx_suspect": suspect, "quality_flags": flags})
        .drop("_median")
    )


def restate_months(
    new: DataFrame, kept: DataFrame | None, keys: Sequence[str], *, fx_suspect_share: float
) -> DataFrame:
    """Return the new invoices and the known ones whose fx_suspect they change.

    The median of a month moves with each of its invoices, so the months that an invoice enters or leaves are judged anew.
    """
    if kept is None:
        return with_fx_suspect(new, fx_suspect_share)
    left = kept.join(new.select(*keys), list(keys), "left_semi").select("month")
    months = F.broadcast(new.select("month").union(left).distinct())
    staying = kept.join(new.select(*keys), list(keys), "left_anti").join(months, "month", "left_semi")
    told = new.withColumn("_is_new", F.lit(True)).withColumn("_was", F.lit(None).cast("boolean"))
    others = staying.withColumn("_is_new", F.lit(False)).withColumn("_was", F.col("fx_suspect"))
    judged = with_fx_suspect(told.unionByName(others.select(*told.columns)), fx_suspect_share)
    return judged.where("_is_new OR _was <> fx_suspect").select(*new.columns)
