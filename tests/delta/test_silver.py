"""What the silver tables need beyond conforming: tags, amounts in USD, suspect rates, tickets, surveys, the newest row."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from cloudlake.batch.silver.subjects import billing, masters, records
from cloudlake.batch.silver.subjects.billing import restate_months
from cloudlake.batch.silver.upsert import classify
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def test_tags_are_split_at_the_first_colon_with_distinct_sorted_values(spark: SparkSession) -> None:
    cases: dict[str | None, dict[str, list[str]] | None] = {
        '["env:prod", "team:data"]': {"env": ["prod"], "team": ["data"]},
        '["env:prod", "env:dev", "env:prod"]': {"env": ["dev", "prod"]},
        '["url:http://x:80"]': {"url": ["http://x:80"]},
        '[" env : prod "]': {"env": ["prod"]},
        "[]": {},
        '["env"]': None,
        '[":prod"]': None,
        '{"env": "prod"}': None,
        '["env:prod"': None,
        "nonsense": None,
        '["env:prod", null]': None,
        None: None,
    }
    rows = spark.createDataFrame([(text,) for text in cases], "text string")
    found = {row["text"]: row["tags"] for row in rows.withColumn("tags", masters.tags(F.col("text"))).collect()}
    assert found == cases


def test_users_get_a_lower_case_address_and_are_not_active_unless_the_source_says_so(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("A@X.Example", True), (None, None)], "email string, active boolean")
    assert [tuple(row) for row in masters.users(rows).collect()] == [("a@x.example", True), (None, False)]


INVOICE = "invoice_id string, month date, currency string, rate string, subtotal string, credits string, taxes string"


def invoices(spark: SparkSession, rows: list[tuple[Any, ...]], usd_rate: str = "delivered") -> Any:
    frame = spark.createDataFrame(rows, INVOICE).withColumn("raw", F.struct("credits"))
    typed = frame.select(
        "invoice_id", "month", "currency", "raw", F.col("rate").cast("decimal(38,18)").alias("exchange_rate_to_usd"),
        *(F.col(name).cast("decimal(18,6)").alias(name) for name in ("subtotal", "credits", "taxes")),
    )  # fmt: skip
    return billing.billing_monthly(typed, usd_rate=usd_rate).withColumn("quality_flags", F.array().cast("array<string>"))


def test_amounts_in_usd_are_rounded_once_half_away_from_zero(spark: SparkSession) -> None:
    july = date(2025, 7, 1)
    rows = [
        ("plain", july, "EUR", "1.1", "100", "10", "5"),
        ("no credits", july, "EUR", "1.1", "100", None, "5"),
        ("half up", july, "ARS", "0.0000005", "1", None, "0"),
        ("credit note", july, "ARS", "0.0000005", "-1", None, "3"),
        ("long rate", july, "ARS", "0.001449999999999999", "1000000", None, "0"),
        ("usd", july, "USD", "1.02", "100", None, "0"),
    ]
    columns = ("subtotal_usd", "credits_usd", "taxes_usd", "revenue_usd", "invoiced_usd", "is_credit_note")
    found = {row["invoice_id"]: tuple(row[name] for name in columns) for row in invoices(spark, rows).collect()}
    as_text = {key: tuple(str(value) for value in values) for key, values in found.items()}
    assert as_text == {
        "plain": ("110.000000", "11.000000", "5.500000", "99.000000", "104.500000", "False"),
        "no credits": ("110.000000", "0.000000", "5.500000", "110.000000", "115.500000", "False"),
        "half up": ("0.000001", "0.000000", "0.000000", "0.000001", "0.000001", "False"),
        "credit note": ("-0.000001", "0.000000", "0.000002", "-0.000001", "0.000001", "True"),
        "long rate": ("1450.000000", "0.000000", "0.000000", "1450.000000", "1450.000000", "False"),
        "usd": ("102.000000", "0.000000", "0.000000", "102.000000", "102.000000", "False"),
    }
    one = {row["invoice_id"]: row["subtotal_usd"] for row in invoices(spark, rows, "one").collect()}
    assert one["usd"] == Decimal("100") and one["plain"] == Decimal("110")


def test_an_invoice_is_suspect_below_the_share_of_its_months_median_usd_invoice(spark: SparkSession) -> None:
    july, august, june = date(2025, 7, 1), date(2025, 8, 1), date(2025, 6, 1)
    rows = [
        ("usd 100", july, "USD", "1", "100", None, "0"),
        ("usd 300", july, "USD", "1", "-300", None, "0"),
        ("small usd", august, "USD", "1", "1", None, "0"),
        ("usd 1000", august, "USD", "1", "1000", None, "0"),
        ("usd 2000", august, "USD", "1", "2000", None, "0"),
        ("at the limit", july, "ARS", "1", "10", None, "0"),
        ("below the limit", july, "ARS", "1", "9.999999", None, "0"),
        ("small credit note", july, "EUR", "1", "-9", None, "0"),
        ("no usd that month", june, "ARS", "1", "0.01", None, "0"),
    ]
    found = billing.with_fx_suspect(invoices(spark, rows), 0.05).collect()
    assert {row["invoice_id"] for row in found if row["fx_suspect"]} == {"below the limit", "small credit note"}
    assert all((row["quality_flags"] == ["fx_suspect"]) == row["fx_suspect"] for row in found)
    assert len(found) == len(rows)


def test_a_new_invoice_makes_its_months_known_ones_be_judged_anew(spark: SparkSession) -> None:
    july, august = date(2025, 7, 1), date(2025, 8, 1)
    known = [
        ("usd", july, "USD", "1", "100", None, "0"),
        ("ars", july, "ARS", "1", "6", None, "0"),
        ("other month", august, "ARS", "1", "6", None, "0"),
    ]
    kept = billing.with_fx_suspect(invoices(spark, known).drop("raw"), 0.05)
    new = invoices(spark, [("usd 2", july, "USD", "1", "1000", None, "0")]).drop("raw").select(*kept.columns)
    found = restate_months(new, kept, ["invoice_id"], fx_suspect_share=0.05).collect()
    assert {(row["invoice_id"], row["fx_suspect"]) for row in found} == {("usd 2", False), ("ars", True)}
    moved = invoices(spark, [("usd", august, "USD", "1", "1000", None, "0")]).drop("raw").select(*kept.columns)
    found = restate_months(moved, kept, ["invoice_id"], fx_suspect_share=0.05).collect()
    assert {(row["invoice_id"], row["fx_suspect"]) for row in found} == {("usd", False), ("other month", True)}


def test_tickets_are_open_until_resolved_and_their_hours_are_exact(spark: SparkSession) -> None:
    opened = datetime(2025, 7, 1, tzinfo=UTC)
    rows = spark.createDataFrame(
        [
            ("a", opened, None),
            ("b", opened, datetime(2025, 7, 1, 0, 0, 1, tzinfo=UTC)),
            ("c", opened, datetime(2025, 7, 3, tzinfo=UTC)),
        ],
        "id string, created_at timestamp, resolved_at timestamp",
    )
    found = {row["id"]: (row["status"], row["resolution_hours"]) for row in records.support_tickets(rows).collect()}
    assert found == {
        "a": ("open", None),
        "b": ("resolved", Decimal("0.000278")),
        "c": ("resolved", Decimal("48.000000")),
    }


def test_only_whole_scores_on_the_official_scale_have_a_category(spark: SparkSession) -> None:
    scores = ["10", "9", "8", "7", "6", "0", "-1", "11", "6.5", None]
    rows = spark.createDataFrame([(s,) for s in scores], "text string").withColumn(
        "nps_score", F.col("text").cast("decimal(20,6)")
    )
    found = {row["text"]: row["nps_category"] for row in records.nps_surveys(rows, survey_scale="0..10").collect()}
    assert found == {
        "10": "promoter", "9": "promoter", "8": "passive", "7": "passive", "6": "detractor", "0": "detractor",
        "-1": None, "11": None, "6.5": None, None: None,
    }  # fmt: skip


def test_the_newest_delivery_wins_and_each_row_is_told_as_what_it_was(spark: SparkSession) -> None:
    def at(day: int) -> datetime:
        return datetime(2025, 7, day, tzinfo=UTC)

    schema = (
        "id string, value string, quality_flags array<string>, _snapshot_at timestamp, _source_modified_at timestamp, "
        "_source_sha256 string, _source_file string"
    )
    kept = spark.createDataFrame(
        [
            ("known", "old", [], at(2), at(2), "x", "f"),
            ("same", "v", ["fx_suspect"], at(2), at(2), "x", "f"),
            ("late", "new", [], at(9), at(9), "x", "f"),
        ],
        schema,
    )
    new = spark.createDataFrame(
        [
            ("known", "new", [], at(3), at(3), "y", "g", 1), ("same", "v", [], at(3), at(3), "y", "g", 1), ("late", "older", [], at(3), at(3), "y", "g", 1),
            ("first", "v", [], at(3), at(3), "y", "g", 1), ("first", "v", [], at(1), at(1), "z", "h", 2),
        ],
        schema + ", _rank int",
    )  # fmt: skip
    content = ["id", "value", "quality_flags"]
    told = classify(new, kept, ["id"], content, ["fx_suspect"]).collect()
    assert {(row["id"], row["_rank"]): (row["_split"], row["_write"]) for row in told} == {
        ("known", 1): ("changed", True),
        ("same", 1): ("unchanged", True),
        ("late", 1): ("superseded", False),
        ("first", 1): ("inserted", True),
        ("first", 2): ("superseded", False),
    }
    again = classify(kept.withColumn("_rank", F.lit(1)), kept, ["id"], content, ["fx_suspect"]).collect()
    assert {(row["_split"], row["_write"]) for row in again} == {("unchanged", False)}
