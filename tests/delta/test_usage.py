"""What a usage event means: one Spark job over many lines, then each case is looked up."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow.compute as pc
import pytest
from chispa import assert_df_equality
from cloudlake.common.config import Config, load_config
from cloudlake.common.usage import (
    MAX_LINE_BYTES,
    MEASURES,
    EventModel,
    increments_sql,
    measures,
    plain_line,
    read_events,
    sum_measures,
)
from cloudlake.common.usage.versions import Said
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

INGESTED = datetime(2025, 8, 31, 12, 0, 0)
EVENT: dict[str, Any] = {
    "event_id": "evt_1",
    "timestamp": "2025-08-01T10:00:00Z",
    "org_id": "org_1",
    "resource_id": "res_1",
    "service": "genai",
    "region": "us-east",
    "metric": "requests",
    "value": 12.5,
    "unit": "count",
    "cost_usd_increment": 0.75,
    "schema_version": 2,
    "carbon_kg": 0.25,
    "genai_tokens": 100,
}


def line(**changes: Any) -> str:
    """An event's line; a field given as ... is left out."""
    return json.dumps({k: v for k, v in (EVENT | changes).items() if v is not ...}, separators=(",", ":"))


def written(field: str, token: str, **changes: Any) -> str:
    """An event's line in which a field's value is written as given, to the letter."""
    return line(**{field: "@", **changes}).replace('"@"', token)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


@pytest.fixture(scope="module")
def model(config: Config) -> EventModel:
    events = config.stream.events
    registry = config.registry
    return EventModel(registry["silver.usage_events"], events.schema_versions, events.metric_units, registry.domains)


def read(spark: SparkSession, model: EventModel, lines: list[bytes]) -> list[Row]:
    rows = spark.createDataFrame(list(enumerate(bytearray(text) for text in lines)), "n INT, raw BINARY")
    lines_ = rows.select("n", F.col("raw").cast("string").alias("raw"), F.lit(INGESTED).alias("_ingested_at"))
    return sorted(read_events(lines_, model).drop("raw").collect(), key=lambda row: row["n"])


Reading = Callable[[dict[str, str | bytes]], dict[str, Row]]


@pytest.fixture(scope="module")
def reading(spark: SparkSession, model: EventModel) -> Reading:
    def by_name(cases: dict[str, str | bytes]) -> dict[str, Row]:
        lines = [text.encode() if isinstance(text, str) else text for text in cases.values()]
        return dict(zip(cases, read(spark, model, lines), strict=True))

    return by_name


DEEP = '{"a":' + "[" * 2000 + "]" * 2000 + "}"
MALFORMED: dict[str, str | bytes] = {
    "truncated": line()[:-20],
    "truncated in a string": line()[:60],
    "truncated before the last brace": line()[:-1],
    "two objects": line() + line(),
    "two objects with a blank": line() + " " + line(),
    "two objects with a comma": line() + "," + line(),
    "text after the object": line() + " and more",
    "a brace too many": line() + "}",
    "closes the array around it": line() + "]",
    "closes and opens the array": line() + "],[" + line(),
    "a comma after the object": line() + ",",
    "a comma before the object": "," + line(),
    "the seal of another line": line() + ',{"__end":"1"}',
    "the seal escaped": line() + ',{"\\u005f_end":"1"}',
    "a key twice": line()[:-1] + ',"region":"us-west"}',
    "a key twice, once escaped": line()[:-1] + ',"r\\u0065gion":"us-west"}',
    "an array": f"[{line()}]",
    "an empty array": "[]",
    "a number": "12",
    "a string": '"text"',
    "null": "null",
    "true": "true",
    "a comment": line() + "/* */",
    "single quotes": line().replace('"', "'"),
    "names without quotes": line().replace('"org_id"', "org_id"),
    "no colon": line().replace('"value":', '"value" '),
    "NUL in a string": line(org_id="@").replace("@", "\x00"),
    "NUL between": line().replace(",", ",\x00", 1),
    "bad UTF-8": line(org_id="@").encode().replace(b"@", b"\xff\xfe"),
    "half a character": line(org_id="@").encode().replace(b"@", b"\xe4\xb8"),
    "a raw tab in a string": line(org_id="@").replace("@", "a\tb"),
    "2,000 levels deep": DEEP,
    "2,000 levels deep beside the event": line()[:-1] + ',"extra":' + DEEP + "}",
    "NaN": written("value", "NaN"),
    "-Infinity": written("cost_usd_increment", "-Infinity"),
    "a leading zero": written("value", "012"),
    "a version with a leading zero": written("schema_version", "02"),
    "tokens with a leading zero": written("genai_tokens", "0100"),
    "a plus sign": written("value", "+1"),
    "10 MB long": line(resource_id="x" * 10_000_000),
    "just over the limit": line(resource_id="x" * MAX_LINE_BYTES),
}


def test_a_line_that_is_not_exactly_one_json_object_is_malformed(reading: Reading) -> None:
    found = {name: (row["_reasons"], row["event_id"]) for name, row in reading(MALFORMED).items()}
    assert found == {name: (["malformed_json"], None) for name in MALFORMED}


READABLE: dict[str, str | bytes] = {
    "as delivered": line(),
    "blanks around everything": json.dumps(EVENT, indent=1).replace("\n", " "),
    "blanks around the object": f"  {line()} ",
    "unknown fields": line(extra={"a": [1, {"b": None}]}, other=None, __end="1"),
    "a seal in a string": line(resource_id='},{"__end":"1"}'),
    "escapes": line().replace("org_1", "\\u006frg_1"),
    "999 levels deep beside the event": line()[:-1] + ',"extra":' + "[" * 900 + "]" * 900 + "}",
}


def test_what_surrounds_the_fields_does_not_matter(reading: Reading) -> None:
    rows = reading(READABLE)
    plain = rows["as delivered"].asDict() | {"resource_id": None, "n": None}
    for name, row in rows.items():
        assert row.asDict() | {"resource_id": None, "n": None} == plain, name
    assert rows["a seal in a string"]["resource_id"] == '},{"__end":"1"}'


TOKENS: dict[str, list[str]] = {
    "timestamp": ['"2025-08-01T10:00:00Z"', '"2025-02-30T10:00:00Z"', '"2025-08-01T24:00:00Z"', '"2024-02-29T23:59:59Z"', "null"],
    "service": ['"genai"', '"Gen_AI"', '"quantum"', "null"],
    "value": ["0", "-0", "7", "-3.5", "12.50", "0.0000005", "9999999.99999999", '"8.25"', '"-1"', "3.4e-05", "2e-7", "null"],
    "cost_usd_increment": ["0.0000005", "-0.0000004", "-0.01", "-0.01000001", "1234567.12345678", '"0.5"', "-1", "0", "null"],
    "schema_version": ["1", "2", "0", "3", "9999", "null"],
    "carbon_kg": ["3.4e-05", "5e-10", "4e-10", "1.5e-99", "0.12345678", '"2.5"', "null"],
    "genai_tokens": ["0", "105", "-7", "999999999", "null"],
}


def test_a_plain_line_says_what_a_careful_look_at_it_finds(reading: Reading, model: EventModel) -> None:
    draw = random.Random(5)
    cases = {}
    for number in range(300):
        tokens = {field: draw.choice(choices) for field, choices in TOKENS.items()}
        left_out = {field: ... for field in ("unit", "carbon_kg", "genai_tokens") if draw.random() < 0.2}
        text = line(event_id=f"evt_{number}", **{field: f"@{field}@" for field in tokens} | left_out)
        for field, token in tokens.items():
            text = text.replace(f'"@{field}@"', token)
        cases[f"plain {number}"], cases[f"careful {number}"] = text, f" {text}"
    plain = re.compile(plain_line(model).replace(r"\z", r"\Z"))  # Java's name for the end
    assert {name.split()[0] for name, text in cases.items() if plain.search(text)} == {"plain"}
    assert all(plain.search(text) for name, text in cases.items() if name.startswith("plain"))
    rows = {name: row.asDict() | {"n": None} for name, row in reading(cases).items()}
    for number in range(300):
        assert rows[f"plain {number}"] == rows[f"careful {number}"], cases[f"plain {number}"]
    assert len({tuple(row["_reasons"]) for row in rows.values()}) > 10


REASONS: dict[str, tuple[str, list[str]]] = {
    "an empty object": ("{}", ["schema_version_unknown"]),
    "version 3": (line(schema_version=3), ["schema_version_unknown"]),
    "version 99 without anything else": ('{"schema_version":99}', ["schema_version_unknown"]),
    "version two": (line(schema_version="two"), ["schema_version_unknown"]),
    "version as text": (line(schema_version="2"), []),
    "version as a decimal": (written("schema_version", "2.0"), []),
    "only a version": (
        '{"schema_version":1}',
        [
            "cost_usd_increment_missing",
            "event_id_missing",
            "metric_missing",
            "org_id_missing",
            "region_missing",
            "service_missing",
            "timestamp_missing",
        ],
    ),
    "event_id null": (line(event_id=None), ["event_id_missing"]),
    "event_id blank": (line(event_id=" \t\u00a0"), ["event_id_missing"]),
    "org_id left out": (line(org_id=...), ["org_id_missing"]),
    "timestamp empty": (line(timestamp=""), ["timestamp_missing"]),
    "timestamp without offset": (line(timestamp="2025-08-01T10:00:00"), ["timestamp_invalid"]),
    "timestamp a date": (line(timestamp="2025-08-01"), ["timestamp_invalid"]),
    "timestamp a number": (line(timestamp=1754042400), ["timestamp_invalid"]),
    "30 February": (line(timestamp="2025-02-30T10:00:00Z"), ["timestamp_invalid"]),
    "25 o'clock": (line(timestamp="2025-08-01T25:00:00Z"), ["timestamp_invalid"]),
    "offset of 20 hours": (line(timestamp="2025-08-01T10:00:00+20:00"), ["timestamp_invalid"]),
    "an hour ahead": (line(timestamp="2025-08-31T13:00:00Z"), []),
    "a little more than an hour ahead": (line(timestamp="2025-08-31T13:00:00.000001Z"), ["timestamp_in_future"]),
    "the year of the zero time of Go": (line(timestamp="0001-01-03T00:00:00Z"), ["timestamp_too_old"]),
    "the zero time of Unix, careful": (line(timestamp="1970-01-01T00:00:00.0Z"), ["timestamp_too_old"]),
    "the last moment too old": (line(timestamp="1999-12-31T23:59:59.999999Z"), ["timestamp_too_old"]),
    "the first moment of the century": (line(timestamp="2000-01-01T00:00:00Z"), []),
    "service unknown": (line(service="quantum"), ["service_unknown"]),
    "region unknown": (line(region="moon"), ["region_unknown"]),
    "metric unknown": (line(metric="wishes", unit="wish"), ["metric_unknown"]),
    "unit of another metric": (line(unit="hours"), ["unit_contradicts_metric"]),
    "unit unknown": (line(unit="dozen"), ["unit_contradicts_metric"]),
    "value text": (line(value="abc"), ["value_invalid"]),
    "value 5d": (line(value="5d"), ["value_invalid"]),
    "value 1,234": (line(value="1,234"), ["value_invalid"]),
    "value Infinity": (line(value="Infinity"), ["value_invalid"]),
    "value in Arabic digits": (line(value="\u0661\u0662"), ["value_invalid"]),
    "value hexadecimal": (line(value="0x10"), ["value_invalid"]),
    "value true": (line(value=True), ["value_invalid"]),
    "value an object": (line(value={"a": 1}), ["value_invalid"]),
    "value 1e400": (written("value", "1e400"), ["value_invalid"]),
    "value 1e400 as text": (line(value="1e400"), ["value_invalid"]),
    "value with a huge exponent as text": (line(value="1e2000000000"), ["value_invalid"]),
    "value over 2^63": (written("value", "9223372036854775808"), ["value_invalid"]),
    "value negative": (line(value=-0.5), ["value_negative"]),
    "cost empty": (line(cost_usd_increment=""), ["cost_usd_increment_missing"]),
    "cost 5d": (line(cost_usd_increment="5d"), ["cost_usd_increment_invalid"]),
    "cost too large for its type": (line(cost_usd_increment=10**12), ["cost_usd_increment_invalid"]),
    "cost of -1 cent": (line(cost_usd_increment=-0.01), []),
    "cost a hair below -1 cent": (written("cost_usd_increment", "-0.0100000000000001"), ["cost_negative"]),
    "cost below -1 cent by what a double can't hold": (
        written("cost_usd_increment", "-0.010000000000000000000001"),
        ["cost_negative"],
    ),
    "carbon text": (line(carbon_kg="traces"), ["carbon_kg_invalid"]),
    "tokens text": (line(genai_tokens="many"), ["genai_tokens_invalid"]),
    "tokens broken": (line(genai_tokens=1.5), ["genai_tokens_invalid"]),
    "tokens over 2^63": (written("genai_tokens", "9223372036854775808"), ["genai_tokens_invalid"]),
    "the largest counter": (line(genai_tokens=2**63 - 1), ["genai_tokens_out_of_range"]),
    "the smallest counter": (line(genai_tokens=-(2**63)), ["genai_tokens_out_of_range"]),
    "the most tokens": (line(genai_tokens=10**9), []),
    "one token more": (line(genai_tokens=10**9 + 1), ["genai_tokens_out_of_range"]),
    "carbon and tokens unreadable in version 1": (line(schema_version=1, carbon_kg="?", genai_tokens=[]), []),
    "several at once": (
        line(region="moon", value=-1, cost_usd_increment=None, unit="hours"),
        ["cost_usd_increment_missing", "region_unknown", "unit_contradicts_metric", "value_negative"],
    ),
}


def test_a_row_gets_every_reason_it_has_sorted(reading: Reading) -> None:
    rows = reading({name: text for name, (text, _) in REASONS.items()})
    assert {name: row["_reasons"] for name, row in rows.items()} == {name: why for name, (_, why) in REASONS.items()}


CONFORMED: dict[str, tuple[str, dict[str, Any]]] = {
    "spellings of enumerations": (
        line(service=" GenAI ", region="US_East", metric="Re-quests", unit="Count"),
        {"service": "genai", "region": "us-east", "metric": "requests", "unit": "count", "unit_imputed": False},
    ),
    "region with blanks": (line(region="us east"), {"region": "us-east"}),
    "unit null": (line(unit=None), {"unit": "count", "unit_imputed": True}),
    "unit blank": (line(unit=" ", metric="cpu_hours"), {"unit": "hours", "unit_imputed": True}),
    "ids are trimmed, not folded": (
        line(event_id=" Evt 1\u3000", org_id="\n ORG-1"),
        {"event_id": "Evt 1", "org_id": "ORG-1"},
    ),
    "an id written as a number": (line(event_id=17), {"event_id": "17"}),
    "resource null": (line(resource_id=None), {"resource_id": None}),
    "value null": (line(value=None), {"value": None, "quality_flags": ["value_missing"]}),
    "value blank": (line(value=" "), {"value": None, "quality_flags": ["value_missing"]}),
    "value as text": (line(value=" 12.5 "), {"value": Decimal("12.500000")}),
    "value in scientific notation": (line(value="1.5E3"), {"value": Decimal("1500.000000")}),
    "value without a leading digit": (line(value=".5"), {"value": Decimal("0.500000")}),
    "value too small to see": (line(value="1e-999999999"), {"value": Decimal("0.000000")}),
    "half is rounded away from zero": (written("value", "0.0000005"), {"value": Decimal("0.000001")}),
    "rounding happens once": (
        written("value", "0.00000049999999999999999999999999999999"),
        {"value": Decimal("0.000000")},
    ),
    "more digits than a double has": (
        written("value", "12345678901234.123456"),
        {"value": Decimal("12345678901234.123456")},
    ),
    "more digits, with blanks": (
        written("value", "  99999999999999.999999"),
        {"value": Decimal("99999999999999.999999")},
    ),
    "a long number elsewhere": (line()[:-1] + ',"x":1.2345678901234567}', {"value": Decimal("12.500000")}),
    "cost with an exponent": (written("cost_usd_increment", "8.9e-05"), {"cost_usd": Decimal("0.000089")}),
    "cost slightly negative": (
        line(cost_usd_increment=-0.01),
        {"cost_usd": Decimal("-0.010000"), "quality_flags": ["cost_slightly_negative"]},
    ),
    "cost negative by less than its last digit": (
        written("cost_usd_increment", "-1e-9"),
        {"cost_usd": Decimal("0.000000"), "quality_flags": ["cost_slightly_negative"]},
    ),
    "cost minus zero": (written("cost_usd_increment", "-0.0"), {"cost_usd": Decimal("0.000000"), "quality_flags": []}),
    "two flags": (
        line(value=None, cost_usd_increment=-0.001),
        {"quality_flags": ["cost_slightly_negative", "value_missing"]},
    ),
    "carbon and tokens": (line(), {"carbon_kg": Decimal("0.250000000"), "genai_tokens": 100, "schema_version": 2}),
    "carbon 0 is not missing": (line(carbon_kg=0), {"carbon_kg": Decimal("0.000000000")}),
    "carbon and tokens left out": (line(carbon_kg=..., genai_tokens=...), {"carbon_kg": None, "genai_tokens": None}),
    "tokens as a decimal": (written("genai_tokens", "100.0"), {"genai_tokens": 100}),
    "version 1 has neither": (
        line(schema_version=1),
        {"carbon_kg": None, "genai_tokens": None, "schema_version": 1},
    ),
    "offset": (
        line(timestamp="2025-08-01T00:30:00+02:00"),
        {"event_time": datetime(2025, 7, 31, 22, 30), "usage_date": date(2025, 7, 31)},
    ),
    "offset without a colon, and fractions": (
        line(timestamp="2025-08-01 00:30:00.1234567-0330"),
        {"event_time": datetime(2025, 8, 1, 4, 0, 0, 123456), "usage_date": date(2025, 8, 1)},
    ),
}


def test_values_are_conformed(reading: Reading) -> None:
    rows = reading({name: text for name, (text, _) in CONFORMED.items()})
    for name, (_, expected) in CONFORMED.items():
        assert {"_reasons": rows[name]["_reasons"]} == {"_reasons": []}, name
        assert {column: rows[name][column] for column in expected} == expected, name


def test_a_new_version_and_a_new_rule_are_a_change_of_conf_alone(spark: SparkSession, model: EventModel) -> None:
    rules = dict(model.contract.rules)
    rules["expensive"] = rules["cost_negative"].model_copy(update={"when": "cost_usd > 5"})
    newer = replace(
        model,
        schema_versions={**model.schema_versions, 3: [*model.schema_versions[1], "mood"]},
        contract=model.contract.model_copy(update={"rules": rules}),
    )
    third, dear = read(
        spark, newer, [line(schema_version=3, mood="good").encode(), line(cost_usd_increment=6).encode()]
    )
    assert (third["_reasons"], third["schema_version"], third["carbon_kg"]) == ([], 3, None)
    assert dear["_reasons"] == ["expensive"]


RENAMED = {
    3: {
        "cost_usd_increment": Said("cost_cents", -2),
        "timestamp": Said("at"),
        "value": Said("amount", 3),
        "genai_tokens": Said("kilotokens", 3),
    }
}
THIRD = ["event_id", "at", "org_id", "resource_id", "service", "region", "metric", "amount", "unit", "cost_cents", "kilotokens"]


def test_a_version_that_renames_and_retypes_fields_reads_as_the_others_to_the_last_digit(
    spark: SparkSession, model: EventModel
) -> None:
    """The same events, as version 2 and as version 3 says them, in plain lines and in lines that need care."""
    newer = replace(model, schema_versions={**model.schema_versions, 3: THIRD}, renamed=RENAMED)
    pairs = [  # cost, the same in cents, value, the same in thousands
        ("0.75", "75", "2000", "2"),
        ("1234567.12345678", "123456712.345678", "1.5", "0.0015"),
        ("0.0000005", "0.00005", "0.000001", "1e-9"),
        ("-0.01", "-1", "7", "7e-3"),
        ("-0.01000001", "-1.000001", "12000000", "12000"),
        ("12.5e3", "12.5e5", '"3000"', '"3"'),
        ("123456789.1234565", "12345678912.34565", "1", "0.001"),
        ('"5d"', '"5d"', "1", "0.001"),
        ("null", "null", "null", "null"),
    ]

    def third(number: int, cost: str, value: str, blank: str = "", tokens: str = "") -> bytes:
        return (
            f'{{"event_id":{blank}"{number}","at":"2025-07-21T10:00:00Z","org_id":"o","resource_id":"r","service":"compute",'
            f'"region":"us-east","metric":"cpu_hours","amount":{value},"unit":"hours","cost_cents":{cost},"schema_version":3{tokens}}}'
        ).encode()

    def second(number: int, cost: str, value: str) -> bytes:
        return (
            f'{{"event_id":"{number}","timestamp":"2025-07-21T10:00:00Z","org_id":"o","resource_id":"r","service":"compute",'
            f'"region":"us-east","metric":"cpu_hours","value":{value},"unit":"hours","cost_usd_increment":{cost},"schema_version":2}}'
        ).encode()

    lines = [
        line
        for number, (cost, cents, value, thousands) in enumerate(pairs)
        for line in (second(number, cost, value), third(number, cents, thousands), third(number, cents, thousands, "  ", ',"kilotokens":2.0'))
    ]
    found = [row.asDict() for row in read(spark, newer, lines)]
    for number in range(len(pairs)):
        old, plain, careful = found[3 * number : 3 * number + 3]
        assert old | {"schema_version": 3, "n": 0} == plain | {"n": 0}, pairs[number]
        assert plain | {"genai_tokens": 2000, "n": 0} == careful | {"n": 0}, pairs[number]
    pattern = plain_line(newer).replace(r"\z", r"\Z")
    assert re.match(pattern, lines[1].decode()) and not re.match(pattern, lines[2].decode())
    assert [row["cost_usd"] for row in found[1::3]][:3] == [Decimal("0.75"), Decimal("1234567.123457"), Decimal("0.000001")]
    assert found[22]["_reasons"] == ["cost_usd_increment_invalid"]
    swapped = third(1, "75", "2").replace(b"cost_cents", b"cost_usd_increment")
    (row,) = read(spark, newer, [swapped])
    assert row["_reasons"] == ["cost_usd_increment_missing"]  # the name that other versions have means nothing here


def events(spark: SparkSession, model: EventModel) -> DataFrame:
    lines = [
        line(event_id="1", carbon_kg=None, genai_tokens=None),
        line(event_id="2", value=None, carbon_kg=0, genai_tokens=5, cost_usd_increment=-0.005),
        line(event_id="3", metric="cpu_hours", unit=None, value=0.000001, timestamp="2025-08-01T10:14:59.999999Z"),
        line(event_id="4", metric="storage_gb_hours", unit=None, schema_version=1, timestamp="2025-08-01T10:15:00Z"),
    ]
    raw = spark.createDataFrame([(text,) for text in lines], "raw STRING").withColumn("_ingested_at", F.lit(INGESTED))
    return read_events(raw, model).withColumn("load_id", F.lit(7).cast("bigint"))


def test_measures_have_the_declared_names_order_and_types(
    spark: SparkSession, model: EventModel, config: Config
) -> None:
    declared = {
        name: column.type for name, column in config.registry["gold.usage_daily"].columns.items() if name in MEASURES
    }
    assert list(declared) == list(MEASURES)
    rows = events(spark, model)
    once = rows.agg(*measures())
    assert {field.name: field.dataType.simpleString() for field in once.schema} == declared
    assert once.collect() == [
        (
            4,
            Decimal("2.245"),
            Decimal("12.5"),
            Decimal("0.000001"),
            Decimal("12.5"),
            105,
            Decimal("0.25"),
            2,
            Decimal("0.745"),
            1,
        )
    ]
    again = rows.groupBy("event_id").agg(*measures()).agg(*sum_measures())
    assert_df_equality(again, once, ignore_nullable=True)
    without = rows.groupBy("event_id").agg(*measures()).agg(*sum_measures("events", "cost_usd"))
    assert without.columns == list(MEASURES[2:])


def test_tokens_and_carbon_are_null_where_none_is_reported_and_other_sums_zero(
    spark: SparkSession, model: EventModel
) -> None:
    silent = events(spark, model).where("event_id = '1'").agg(*measures())
    nothing = silent.where("events > 5").agg(*sum_measures())
    zero = Decimal(0)
    assert silent.collect() == [(1, Decimal("0.75"), Decimal("12.5"), zero, zero, None, None, 0, zero, 0)]
    assert silent.agg(*sum_measures()).collect() == silent.collect()
    assert nothing.collect() == [(0, zero, zero, zero, zero, None, None, 0, zero, 0)]


def test_increments_are_sums_by_load_and_quarter_of_an_hour(
    spark: SparkSession, model: EventModel, config: Config
) -> None:
    judged = events(spark, model)
    stored = judged.select(*(name for name in judged.columns if not name.startswith("_"))).toArrow()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", stored)
        found = connection.sql(increments_sql(7)).to_arrow_table()
        assert connection.sql(increments_sql(8)).to_arrow_table().num_rows == 0, "of this load alone"
    table = config.registry["speed.usage_increments"]
    assert found.column_names == table.column_names
    rows = sorted((row["load_id"], row["bucket_start"], row["org_id"], row["events"]) for row in found.to_pylist())
    quarter = [datetime(2025, 8, 1, 10, minute, tzinfo=UTC) for minute in (0, 15)]
    in_spark = judged.agg(*measures()).toArrow()
    summed = {name: pc.sum(found[name]).as_py() for name in MEASURES}
    assert summed == in_spark.to_pylist()[0], "both engines read the same definition alike"
    assert rows == [(7, quarter[0], "org_1", 3), (7, quarter[1], "org_1", 1)]
