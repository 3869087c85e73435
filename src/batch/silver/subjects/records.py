"""What tickets and surveys need beyond conforming."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def support_tickets(rows: DataFrame) -> DataFrame:
    """Add `status` (open, resolved) and `resolution_hours` (hours to 6 places, half away from zero)."""
    seconds = F.unix_micros("resolved_at") - F.unix_micros("created_at")
    hours = (seconds.cast("decimal(20,0)") / F.lit(3_600_000_000).cast("decimal(10,0)")).try_cast("decimal(20,6)")
    return rows.withColumns(
        {
            "status": F.when(F.col("resolved_at").isNull(), "open").otherwise("resolved"),
            "resolution_hours": hours,
        }
    )


def nps_surveys(rows: DataFrame, *, survey_scale: str) -> DataFrame:
    """Add `nps_category` of scores on the official scale: promoter 9–10, passive 7–8, detractor 0–6.

    With survey_scale -100..100 no score is one of the official scale, so none has a category.
    """
    score = F.col("nps_score")
    whole = (score == F.floor(score)) & score.between(0, 10) & F.lit(survey_scale == "0..10")
    category = F.when(score >= 9, "promoter").when(score >= 7, "passive").otherwise("detractor")
    return rows.withColumn("nps_category", F.when(whole, category))
