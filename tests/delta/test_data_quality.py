"""Conforming and judging rows, on hand-made rows with NULLs among them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cloudlake.common.contracts.table import Column, Domain, History, Rule, Table
from cloudlake.common.quality import rows as quality
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

ROOT = Path(__file__).resolve().parents[2]

DOMAINS = {
    "region": Domain(description="a region", values=("us-east", "eu-west"), aliases={"virginia": "us-east"}),
    "campaign": Domain(description="a campaign", values=("genai_launch",), unknown="keep"),
}


def contract(**extra: Any) -> Table:
    columns = {
        "id": Column(description="key", required=True),
        "region": Column(description="region", domain="region"),
        "campaign": Column(description="campaign", domain="campaign"),
        "amount": Column(description="amount", type="decimal(18,6)"),
        "stars": Column(description="stars", type="int", parse="decimal(20,6)"),
        "day": Column(description="day", type="date", source="date"),
        "at": Column(description="time", type="timestamp", beyond_limits="empty"),
        "flag": Column(description="flag", type="boolean"),
        "quality_flags": Column(description="flags", type="array<string>", derived=True),
    }
    rules = {
        "amount_negative": Rule(when="amount < 0", level="quarantine", description="negative"),
        "stars_out_of_scale": Rule(when="stars NOT IN (1, 2, 3)", level="warn", set_null="stars", description="scale"),
        "day_missing": Rule(when="day IS NULL", level="warn", description="no day"),
    }
    return Table(
        name="silver.things", description="things", grain="one a thing", key=("id",), history=History(kind="upsert"),
        columns=columns, rules=rules, **extra,
    )  # fmt: skip


LIMITS = (date(2000, 1, 1), date(2100, 1, 1))
SOURCE = ["id", "region", "campaign", "amount", "stars", "date", "at", "flag"]


def bronze(spark: SparkSession, rows: list[dict[str, str | None]]) -> Any:
    schema = ", ".join(f"{name} string" for name in [*SOURCE, "_corrupt_record", "_delivery"])
    data = [
        tuple(
            row.get(name, "d1" if name == "_delivery" else None) for name in [*SOURCE, "_corrupt_record", "_delivery"]
        )
        for row in rows
    ]
    return spark.createDataFrame(data, schema)


CASES: list[tuple[dict[str, str | None], dict[str, Any]]] = [
    # what arrives, what it becomes
    ({"id": "plain", "region": "us-east", "amount": "1.5", "stars": "2.0", "date": "2025-07-01", "flag": "True"},
     {"region": "us-east", "amount": "1.500000", "stars": "2", "day": "2025-07-01", "flag": "true", "reasons": "", "flags": ""}),
    ({"id": "spelling", "region": " US_East ", "campaign": "GenAI Launch", "date": "2025-07-01"},
     {"region": "us-east", "campaign": "genai_launch", "reasons": "", "flags": ""}),
    ({"id": "alias", "region": "Virginia", "campaign": " spring sale ", "date": "2025-07-01"},
     {"region": "us-east", "campaign": "spring sale", "reasons": "", "flags": ""}),
    ({"id": "nothing"}, {"region": None, "amount": None, "stars": None, "day": None, "reasons": "", "flags": "day_missing"}),
    ({"id": "blank", "region": "  ", "amount": "\t", "date": "2025-07-01"}, {"region": None, "amount": None, "reasons": "", "flags": ""}),
    ({"id": "unknown", "region": "mars", "date": "2025-07-01"}, {"region": None, "reasons": "region_unknown", "flags": ""}),
    ({"id": "double suffix", "amount": "5d", "date": "2025-07-01"}, {"amount": None, "reasons": "amount_invalid", "flags": ""}),
    ({"id": "thousands", "amount": "1,234", "date": "2025-07-01"}, {"reasons": "amount_invalid", "flags": ""}),
    ({"id": "not a number", "amount": "NaN", "date": "2025-07-01"}, {"reasons": "amount_invalid", "flags": ""}),
    ({"id": "exponent", "amount": "8.9e-05", "date": "2025-07-01"}, {"amount": "0.000089", "reasons": "", "flags": ""}),
    ({"id": "half up", "amount": "0.0000005", "date": "2025-07-01"}, {"amount": "0.000001", "reasons": "", "flags": ""}),
    ({"id": "half away", "amount": "-0.0000005", "date": "2025-07-01"}, {"amount": "-0.000001", "reasons": "amount_negative", "flags": ""}),
    ({"id": "too large", "amount": "1e30", "date": "2025-07-01"}, {"amount": None, "reasons": "amount_invalid", "flags": ""}),
    ({"id": "short date", "date": "2025-7-1"}, {"day": None, "reasons": "day_invalid", "flags": "day_missing"}),
    ({"id": "no such day", "date": "2025-02-30"}, {"day": None, "reasons": "day_invalid", "flags": "day_missing"}),
    ({"id": "year only", "at": "2025", "date": "2025-07-01"}, {"at": None, "reasons": "at_invalid", "flags": ""}),
    ({"id": "offset", "at": "2025-07-01T02:00:00+02:00", "date": "2025-07-01"}, {"at": "2025-07-01 00:00:00", "reasons": "", "flags": ""}),
    ({"id": "date as time", "at": "2025-07-01", "date": "2025-07-01"}, {"at": "2025-07-01 00:00:00", "reasons": "", "flags": ""}),
    ({"id": "not a boolean", "flag": "maybe", "date": "2025-07-01"}, {"flag": None, "reasons": "flag_invalid", "flags": ""}),
    ({"id": "nine digits up", "amount": "1E+999999999", "date": "2025-07-01"}, {"amount": None, "reasons": "amount_invalid"}),
    ({"id": "nine digits down", "stars": "1e-999999999", "date": "2025-07-01"}, {"stars": None, "reasons": "stars_invalid"}),
    ({"id": "many digits", "amount": "1" * 1_000_000, "date": "2025-07-01"}, {"amount": None, "reasons": "amount_invalid"}),
    ({"id": "small exponent", "stars": "20E-1", "date": "2025-07-01"}, {"stars": "2", "reasons": "", "flags": ""}),
    ({"id": "year one", "date": "0001-01-01"}, {"reasons": "day_out_of_range", "flags": ""}),
    ({"id": "year 9999", "date": "9999-12-31"}, {"reasons": "day_out_of_range", "flags": ""}),
    ({"id": "year 10000 in UTC", "at": "9999-12-31T23:59:59-14:00", "date": "2025-07-01"}, {"at": None, "reasons": "", "flags": "at_out_of_range"}),
    ({"id": "year 0 in UTC", "at": "0001-01-01T00:00:00+14:00", "date": "2025-07-01"}, {"at": None, "reasons": "", "flags": "at_out_of_range"}),
    ({"id": "epoch", "at": "1970-01-01T00:00:00Z", "date": "2025-07-01"}, {"at": None, "reasons": "", "flags": "at_out_of_range"}),
    ({"id": "last day", "at": "2100-01-01T23:59:59Z", "date": "2000-01-01"}, {"at": "2100-01-01 23:59:59", "reasons": "", "flags": ""}),
    ({"id": "emptied", "stars": "6", "date": "2025-07-01"}, {"stars": None, "reasons": "", "flags": "stars_out_of_scale"}),
    ({"id": "a part", "stars": "2.5", "date": "2025-07-01"}, {"stars": None, "reasons": "", "flags": "stars_out_of_scale"}),
    ({"id": "many faults", "region": "mars", "amount": "-1", "flag": "?"},
     {"reasons": "amount_negative,flag_invalid,region_unknown", "flags": "day_missing"}),
    ({"id": None, "date": "2025-07-01"}, {"reasons": "id_missing", "flags": ""}),
    ({"id": "short", "_corrupt_record": "short,mars", "region": "mars"}, {"reasons": "malformed_row"}),
]  # fmt: skip


def test_values_are_conformed_and_each_row_gets_all_of_its_reasons_and_flags(spark: SparkSession) -> None:
    table = contract()
    rows = quality.judge(quality.conform(bronze(spark, [case for case, _ in CASES]), table, DOMAINS, LIMITS), table)
    shown = {
        name: F.col(name).cast(table.columns[name].type).cast("string").alias(name)
        for name in table.columns
        if name != "quality_flags"
    }
    found = rows.select(
        *shown.values(),
        F.array_join("_reasons", ",").alias("reasons"),
        F.array_join("quality_flags", ",").alias("flags"),
    ).collect()
    by_id = {row["id"]: row.asDict() for row in found}
    for case, expected in CASES:
        actual = by_id[case["id"]]
        assert {name: actual[name] for name in expected} == expected, case


def test_repeats_are_duplicates_and_contradictions_refuse_all_rows_of_the_key(spark: SparkSession) -> None:
    table = contract()
    day = {"date": "2025-07-01"}
    rows = bronze(
        spark,
        [
            {"id": "twice", "amount": "1", **day},
            {"id": "twice", "amount": "1.0", **day},
            {"id": "other delivery", "amount": "1", **day},
            {"id": "other delivery", "amount": "2", **day, "_delivery": "d2"},
            {"id": "conflict", "amount": "1", **day},
            {"id": "conflict", "amount": "2", **day},
            {"id": "conflict", "amount": "2", **day},
            {"id": "a microsecond", "at": "2025-07-01T00:00:00.000001Z", **day},
            {"id": "a microsecond", "at": "2025-07-01T00:00:00.000002Z", **day},
            {"id": "next to a short row", "amount": "1", **day},
            {"id": "next to a short row", "_corrupt_record": "next to a short row,"},
            {"id": None, "amount": "7", **day},
            {"id": None, "amount": "7", **day},
            {"id": None, "amount": "8", **day},
        ],
    )
    payload = F.to_json(F.struct(*SOURCE))
    conformed = quality.conform(rows.withColumn("_row", payload), table, DOMAINS)
    settled = quality.settle(quality.judge(conformed, table), table, F.col("_row"))
    counts = {
        (row["id"], row["_outcome"], ",".join(row["_reasons"])): row["count"]
        for row in settled.groupBy("id", "_outcome", "_reasons").count().collect()
    }
    assert counts == {
        ("twice", "accepted", ""): 1,
        ("twice", "duplicate", ""): 1,
        ("other delivery", "accepted", ""): 2,
        ("conflict", "quarantined", "conflicting_rows"): 2,
        ("conflict", "duplicate", "conflicting_rows"): 1,
        ("a microsecond", "quarantined", "conflicting_rows"): 2,
        ("next to a short row", "accepted", ""): 1,
        ("next to a short row", "quarantined", "malformed_row"): 1,
        (None, "quarantined", "id_missing"): 2,
        (None, "duplicate", "id_missing"): 1,
    }


def test_a_reference_that_nobody_knows_is_a_reason(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("a", None, ["x"]), ("b", None, []), (None, None, []), ("b", "short", [])],
        "org_id string, _corrupt_record string, _reasons array<string>",
    )
    known = spark.createDataFrame([("a",)], "org_id string")
    found = quality.refer(rows, "org_id", known).select("org_id", "_corrupt_record", "_reasons").collect()
    assert sorted(map(tuple, found), key=str) == sorted(
        [("a", None, ["x"]), ("b", None, ["org_id_unknown"]), (None, None, []), ("b", "short", [])], key=str
    )


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_canonical_value_is_a_spelling_of_itself(domain: str) -> None:
    found = DOMAINS[domain]
    assert all(found.spellings[value.replace("-", "").replace("_", "")] == value for value in found.values)
