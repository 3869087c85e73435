"""Lineage of columns: what Spark's plans say, against the file that people and OpenLineage read, and against the code by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloudlake.cli.main import main
from cloudlake.common.config import load_config
from cloudlake.runs.lineage import derive
from cloudlake.upkeep.analysed_plans import TAG, sources_of
from cloudlake.upkeep.lineage import load_lineage
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

CONFIG = load_config()


def made_from(rows: DataFrame) -> dict[str, set[str]]:
    plan = json.loads(rows._jdf.queryExecution().analyzed().toJSON())  # type: ignore[operator]
    return {name: {f"{table}.{column}" for table, column in of} for name, of in sources_of(plan).items()}


def test_the_file_says_what_the_plans_of_today_say(spark: SparkSession) -> None:
    assert derive(spark, CONFIG) == load_lineage(CONFIG).columns, "run cloudlake lineage --derive"


def test_every_kind_of_plan_is_followed(spark: SparkSession) -> None:
    a = spark.createDataFrame([], "k string, x int, tags array<string>").alias(f"{TAG}a")
    b = spark.createDataFrame([], "k string, y int").alias(f"{TAG}b")
    joined = a.join(b, "k", "left").withColumn("z", F.col("x") + F.col("y")).where("y > 0")
    assert made_from(joined)["z"] == {"a.x", "b.y"} and made_from(joined)["k"] == {"a.k"}
    assert made_from(a.join(b, "k", "left_semi")) == {"k": {"a.k"}, "x": {"a.x"}, "tags": {"a.tags"}}
    both = a.select("k", "x").union(b)
    assert made_from(both) == {"k": {"a.k", "b.k"}, "x": {"a.x", "b.y"}}
    twice = a.select("k", "x").union(a.select("k", F.lit(1))).join(b, "k")
    assert made_from(twice)["x"] == {"a.x"}
    window = a.withColumn("n", F.sum("x").over(Window.partitionBy("k").orderBy("x")))
    assert made_from(window)["n"] == {"a.k", "a.x"}
    assert made_from(a.select("k", F.explode("tags").alias("tag")))["tag"] == {"a.tags"}
    sums = a.cube("k").agg(F.sum("x").alias("s"), F.count(F.lit(1)).alias("n"))
    assert made_from(sums) == {"k": {"a.k"}, "s": {"a.x"}, "n": set()}
    newer = (
        a.alias("l").join(a.alias("r"), F.col("l.k") == F.col("r.k")).select((F.col("l.x") - F.col("r.x")).alias("d"))
    )
    assert made_from(newer) == {"d": {"a.x"}}
    b.createOrReplaceTempView("other")
    inner = a.withColumn("most", F.expr("(SELECT max(y) FROM other)"))
    assert made_from(inner)["most"] == {"b.y"}


def test_three_columns_lead_back_to_the_exports_as_the_code_reads() -> None:
    lineage = load_lineage(CONFIG)
    back = {column: {name for _, name in lineage.traced(column)} for column in (
        "gold.revenue_by_org_month.revenue_usd", "gold.user_activity.active_users", "gold.usage_daily.cost_usd")}  # fmt: skip
    # revenue = subtotal × rate − credits × rate, summed
    assert back["gold.revenue_by_org_month.revenue_usd"] == {
        "silver.billing_monthly.revenue_usd",
        *(f"bronze.billing_monthly.{name}" for name in ("subtotal", "credits", "exchange_rate_to_usd")),
        *(f"landing/billing_monthly.csv:{name}" for name in ("subtotal", "credits", "exchange_rate_to_usd")),
    }
    # one that the source says nothing of is not active; counted
    assert back["gold.user_activity.active_users"] == {
        "silver.users.active", "bronze.users.active", "landing/users.csv:active",
    }  # fmt: skip
    # a line of the stream is read whole
    assert back["gold.usage_daily.cost_usd"] == {"silver.usage_events.cost_usd", "bronze.usage_events.raw"}
    on = {name for _, name in lineage.followed("bronze.billing_monthly.exchange_rate_to_usd")}
    assert {
        "silver.billing_monthly.revenue_usd",
        "gold.customer_360.revenue_30d_usd",
        "gold.customer_rfm.monetary",
    } <= on


def test_the_command_shows_tables_columns_and_the_way_of_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*arguments: str) -> str:
        assert main(["lineage", *arguments]) == 0
        return capsys.readouterr().out

    assert "gold.usage_daily" in shown()
    said: dict[str, Any] = json.loads(shown("--table", "revenue_by_org_month", "--json"))
    assert said["made_from"] == ["silver.billing_monthly"] and "bronze.customers_orgs" in said["upstream"]
    assert said["columns"]["org_id"] == ["silver.billing_monthly.org_id"]
    way = shown("--table", "gold.revenue_by_org_month", "--column", "revenue_usd")
    assert "  ← silver.billing_monthly.revenue_usd\n" in way and "      ← landing/billing_monthly.csv:subtotal\n" in way
    assert main(["lineage", "--table", "revenue", "--column", "x"]) == 2
    assert main(["lineage", "--column", "x"]) == 2
    assert "name its table too" in capsys.readouterr().err
