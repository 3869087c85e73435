"""The customer dimension: attributes, segment and health band with their history, made by the SCD2 engine."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from ...common.scd2.words import history_of

ATTRIBUTES = (
    "org_name",
    "industry",
    "hq_region",
    "plan_tier",
    "is_enterprise",
    "signup_date",
    "lifecycle_stage",
    "marketing_source",
    "nps_score",
)
STANDING = ("segment", "health_band")


def dim_customer(organisations: DataFrame, history: DataFrame) -> DataFrame:
    """One row for each version of a customer: a change of an attribute, the segment or the health band opens one.

    `organisations` is the history of silver.customers_orgs, `history` gold.customer_history. A week's segment and band
    hold from the Monday 00:00 after its Sunday until the next week's; a deletion ends them.
    """
    versions = organisations.where(~F.col("is_deleted"))
    starts = versions.select(
        "org_id", F.col("effective_from").alias("at"), F.lit(True).alias("exists"), F.struct(*ATTRIBUTES).alias("is")
    )
    ends = versions.where(F.col("effective_to").isNotNull()).select(
        "org_id", F.col("effective_to").alias("at"), F.lit(False).alias("exists")
    )
    weeks = history.select(
        "org_id", F.date_add("week_ending", 1).cast("timestamp").alias("at"), F.struct(*STANDING).alias("standing")
    )
    moments = starts.unionByName(ends, allowMissingColumns=True).unionByName(weeks, allowMissingColumns=True)
    return history_of(_joined_by_time(moments), keys=["org_id"], sequence_by="at", surrogate_key="customer_sk")


def _joined_by_time(moments: DataFrame) -> DataFrame:
    """At each moment at which something was said of an organisation, all that holds from then on."""
    # A version that starts where the one before ends goes on: true wins over false.
    said = moments.groupBy("org_id", "at").agg(
        F.bool_or("exists").alias("exists"), F.max("is").alias("is"), F.max("standing").alias("standing")
    )
    so_far = Window.partitionBy("org_id").orderBy("at").rowsBetween(Window.unboundedPreceding, 0)
    none = F.struct(*(F.lit(None).cast("string").alias(name) for name in STANDING))
    holds = {
        "exists": F.last("exists", ignorenulls=True).over(so_far),
        "is": F.last("is", ignorenulls=True).over(so_far),
        "standing": F.last(F.when(~F.col("exists"), none).otherwise(F.col("standing")), ignorenulls=True).over(so_far),
    }
    return said.select("org_id", "at", *(column.alias(name) for name, column in holds.items())).select(
        "org_id", "at", "is.*", "standing.*", (~F.col("exists")).alias("is_delete")
    )
