"""What was used against what was billed."""

from __future__ import annotations

from types import MappingProxyType

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ...common.usage import costs_of_refused
from ...common.usage.versions import Renamed
from .definitions import exact, month_of, share_pct


def cost_billing_reconciliation(
    usage: DataFrame,
    revenue: DataFrame,
    refused: DataFrame,
    *,
    least_usage_pct: float,
    matched_pct: float,
    renamed_fields: Renamed = MappingProxyType({}),
) -> DataFrame:
    """One row for each org_id and month in gold.org_daily_usage_by_service or gold.revenue_by_org_month.

    Refused events (quarantine.usage_events, open) show beside the two sides, and make no rows. A row depends on the
    usage and the revenue of all organisations in its month, since usage_days are the dates on which anybody used anything.
    """
    usage = usage.withColumn("month", month_of("usage_date"))
    used = usage.groupBy("org_id", "month").agg(F.sum("cost_usd").alias("usage_cost_usd"))
    days = usage.groupBy("month").agg(F.count_distinct("usage_date").alias("usage_days"))
    billed = revenue.select("org_id", "month", F.col("subtotal_usd").alias("billed_subtotal_usd"), "has_fx_suspect")
    losses = costs_of_refused(refused.where("status = 'open'"), renamed_fields)
    losses = losses.groupBy("org_id", month_of("usage_date").alias("month")).agg(
        F.sum("cost_usd").alias("refused_cost_usd")
    )
    rows = used.join(billed, ["org_id", "month"], "full").join(F.broadcast(days), "month", "left")
    rows = rows.join(F.broadcast(losses), ["org_id", "month"], "left")
    zero = F.lit(0)
    used_usd, billed_usd = (F.coalesce(name, zero) for name in ("usage_cost_usd", "billed_subtotal_usd"))
    rows = rows.withColumns(
        {
            "refused_cost_usd": F.coalesce("refused_cost_usd", zero),
            "usage_days": F.coalesce("usage_days", zero),
            "difference_usd": billed_usd - used_usd,
            "_larger": F.greatest(F.abs(billed_usd), F.abs(used_usd)),
        }
    )
    difference, larger = F.col("difference_usd"), F.col("_larger")
    is_partial = F.col("usage_days") * 100 < exact(least_usage_pct) * F.day(F.last_day("month"))
    status = (
        F.when(F.col("usage_days") == 0, F.lit("no_usage_data"))
        .when(is_partial, F.lit("partial_usage"))
        .when(F.col("billed_subtotal_usd").isNull(), F.lit("usage_only"))
        .when(F.col("usage_cost_usd").isNull(), F.lit("billing_only"))
        .when(F.col("has_fx_suspect"), F.lit("currency_suspect"))
        .when(F.col("billed_subtotal_usd") <= 0, F.lit("credit_note"))
        .when(F.abs(difference) * 100 <= exact(matched_pct) * larger, F.lit("matched"))
        .when(difference > 0, F.lit("over_billed"))
        .otherwise(F.lit("under_billed"))
    )
    return rows.withColumns({"difference_pct": share_pct(difference, larger), "status": status})
