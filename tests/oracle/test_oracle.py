"""The oracle on hand-made landing folders with known answers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from oracle import EVENTS, GOLD, MASTERS, RECORDS, Oracle, assert_same  # noqa: E402

NOW = datetime(2025, 9, 1, tzinfo=UTC)
HEADERS = {
    "customers_orgs": "org_id,org_name,industry,hq_region,plan_tier,is_enterprise,signup_date,sales_rep,"
    "lifecycle_stage,marketing_source,nps_score",
    "users": "user_id,org_id,email,role,active,created_at,last_login",
    "resources": "resource_id,org_id,service,region,created_at,state,tags_json",
    "billing_monthly": "invoice_id,org_id,month,subtotal,credits,taxes,currency,exchange_rate_to_usd",
    "support_tickets": "ticket_id,org_id,category,severity,created_at,resolved_at,csat,sla_breached",
    "marketing_touches": "touch_id,org_id,campaign,channel,timestamp,clicked,converted",
    "nps_surveys": "org_id,survey_date,nps_score,comment",
}
DEFAULTS = {
    "customers_orgs": {"org_id": "a", "plan_tier": "pro", "is_enterprise": "False", "signup_date": "2025-01-01"},
    "users": {"org_id": "a", "role": "admin", "active": "True", "created_at": "2025-06-01"},
    "resources": {"org_id": "a", "service": "compute", "region": "us-east", "state": "running"},
    "billing_monthly": {"org_id": "a", "month": "2025-07-01", "taxes": "0", "currency": "USD"}
    | {"exchange_rate_to_usd": "1"},
    "support_tickets": {"org_id": "a", "severity": "low", "created_at": "2025-07-01", "sla_breached": "False"},
    "marketing_touches": {"org_id": "a", "timestamp": "2025-07-01", "clicked": "True", "converted": "False"},
    "nps_surveys": {"org_id": "a"},
}
EVENT = {
    "event_id": "e",
    "timestamp": "2025-07-20T10:00:00Z",
    "org_id": "a",
    "resource_id": "r",
    "service": "compute",
    "region": "us-east",
    "metric": "requests",
    "value": 1,
    "unit": "count",
    "cost_usd_increment": 1,
    "schema_version": 2,
    "carbon_kg": 0.5,
}


class Landing:
    """A landing folder in the making: `folder` "" is a flat delivery, a date a dated one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def rows(self, source: str, *rows: dict[str, str], folder: str = "", at: datetime = NOW) -> Landing:
        out = io.StringIO()
        writer = csv.DictWriter(out, HEADERS[source].split(","), restval="")
        writer.writeheader()
        writer.writerows({**DEFAULTS[source], **row} for row in rows)
        return self.text(f"{folder}/{source}.csv".lstrip("/"), out.getvalue(), at)

    def orgs(self, *ids: str, folder: str = "", at: datetime = NOW) -> Landing:
        return self.rows("customers_orgs", *({"org_id": id_} for id_ in ids), folder=folder, at=at)

    def text(self, name: str, content: str | bytes, at: datetime = NOW) -> Landing:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(path, (at.timestamp(), at.timestamp()))
        return self

    def events(self, *changes: dict[str, Any] | str | bytes, name: str = "part-0.jsonl") -> Landing:
        lines = [c if isinstance(c, str | bytes) else json.dumps({**EVENT, **c}) for c in changes]
        content = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
        return self.text(f"usage_events_stream/{name}", content + b"\n")

    def oracle(self, **options: Any) -> Oracle:
        return Oracle(self.root, **{"ingested_at": NOW, **options})


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


def keyed(table: pa.Table, *key: str) -> dict[Any, dict[str, Any]]:
    rows = table.to_pylist()
    return {row[key[0]] if len(key) == 1 else tuple(row[k] for k in key): row for row in rows}


def only(table: pa.Table) -> dict[str, Any]:
    (row,) = table.to_pylist()
    return row


# ---------------------------------------------------------------------------------------------- events


def test_each_broken_line_is_refused_for_its_reasons(landing: Landing) -> None:
    lines: dict[str, tuple[str, ...]] = {
        '{"event_id": "glued"}{"event_id": "b"}': ("malformed_json",),
        '{"event_id": "cut", "value": ': ("malformed_json",),
        '["an array"]': ("malformed_json",),
        '"a scalar"': ("malformed_json",),
        '{"event_id": "x", "event_id": "twice"}': ("malformed_json",),
        "{'event_id': 'single'}": ("malformed_json",),
        '{"event_id": "comma",}': ("malformed_json",),
        json.dumps(EVENT | {"event_id": "nan", "value": float("nan")}): ("malformed_json",),
        json.dumps(EVENT | {"event_id": "inf", "value": float("-inf")}): ("malformed_json",),
        json.dumps(EVENT)[:-1] + ', "deep": ' + "[" * 2000 + "]" * 2000 + "}": ("malformed_json",),
        json.dumps(EVENT)[:-1] + ', "nul": "\0"}': ("malformed_json",),
    }
    changes: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({"schema_version": 3, "event_id": None, "value": "abc"}, ("schema_version_unknown",)),
        ({"schema_version": None}, ("schema_version_unknown",)),
        ({"event_id": " "}, ("event_id_missing",)),
        (
            {"org_id": None, "timestamp": "", "service": None},
            ("org_id_missing", "service_missing", "timestamp_missing"),
        ),
        ({"region": None, "metric": ""}, ("metric_missing", "region_missing")),
        ({"cost_usd_increment": None}, ("cost_usd_increment_missing",)),
        ({"timestamp": "2025-07-20T10:00:00"}, ("timestamp_invalid",)),
        ({"timestamp": "2025-02-30T10:00:00Z"}, ("timestamp_invalid",)),
        ({"timestamp": "2025-07-20"}, ("timestamp_invalid",)),
        ({"timestamp": "2025-09-01T01:00:01Z"}, ("timestamp_in_future",)),
        ({"value": "5d"}, ("value_invalid",)),
        ({"value": "NaN", "cost_usd_increment": "1_0"}, ("cost_usd_increment_invalid", "value_invalid")),
        ({"value": 2**63}, ("value_invalid",)),
        ({"value": True}, ("value_invalid",)),
        ({"carbon_kg": "n/a", "genai_tokens": 1.5}, ("carbon_kg_invalid", "genai_tokens_invalid")),
        ({"value": -1e-6, "cost_usd_increment": -0.010001}, ("cost_negative", "value_negative")),
        ({"unit": "hours"}, ("unit_contradicts_metric",)),
        ({"unit": "bananas"}, ("unit_contradicts_metric",)),
        (
            {"service": "quantum", "region": "mars", "metric": "naps"},
            ("metric_unknown", "region_unknown", "service_unknown"),
        ),
    ]
    for n, (change, reasons) in enumerate(changes):
        lines[json.dumps(EVENT | {"event_id": f"e{n}"} | change)] = reasons
    lines[json.dumps(EVENT | {"event_id": "huge"}).replace('"value": 1', '"value": 1e400')] = ("value_invalid",)

    oracle = landing.orgs("a").events(*lines).oracle()

    found = oracle.sql("SELECT raw, reasons FROM event_outcomes").to_pylist()
    assert {row["raw"]: tuple(row["reasons"]) for row in found} == lines
    assert oracle.counts(EVENTS)["quarantined"] == len(lines)
    assert oracle.counts(EVENTS)["reasons"]["malformed_json"] == 11


def test_a_line_that_is_no_utf8_is_refused_and_its_neighbours_are_not(landing: Landing) -> None:
    first, last = json.dumps(EVENT | {"event_id": "é"}, ensure_ascii=False), json.dumps(EVENT | {"event_id": "z"})
    oracle = landing.events(first, b'{"event_id": "\xff\n"}', b"\xff", b"\xff", last).oracle()
    assert oracle.silver(EVENTS)["event_id"].to_pylist() == ["z", "é"]
    counts = oracle.counts(EVENTS)
    assert (counts["landed"], counts["accepted"], counts["quarantined"], counts["duplicates"]) == (6, 2, 3, 1)
    assert counts["reasons"] == {"malformed_json": 3}


def test_lines_end_at_newlines_and_blank_ones_are_no_rows(landing: Landing) -> None:
    content = "\ufeff" + json.dumps(EVENT) + "\r\n\n   \r\n" + json.dumps(EVENT | {"event_id": "f"})
    landing.text("usage_events_stream/a.jsonl", content).text("usage_events_stream/a.json", "no")
    oracle = landing.text("usage_events_stream/_b.jsonl", "no").text("usage_events_stream/.c.jsonl", "no").oracle()
    assert oracle.counts(EVENTS)["landed"] == oracle.counts(EVENTS)["accepted"] == 2


def test_events_are_conformed(landing: Landing) -> None:
    landing.events(
        {"event_id": "spelt", "service": " GenAI ", "region": "US_East", "metric": "CPU-hours", "unit": "HOURS"},
        {"event_id": "imputed", "unit": None, "metric": "storage_gb_hours"},
        {
            "event_id": "text",
            "value": "12.5",
            "cost_usd_increment": ".5",
            "carbon_kg": "8.9e-05",
            "genai_tokens": "7.0",
        },
        {
            "event_id": "v1",
            "schema_version": 1,
            "carbon_kg": "junk",
            "genai_tokens": 5,
            "timestamp": "2025-07-20T23:30:00-01:00",
        },
        {"event_id": "null", "value": None, "resource_id": None, "carbon_kg": None, "schema_version": "2"},
        {"event_id": "tiny", "cost_usd_increment": -4e-7},
        {"event_id": "edge", "cost_usd_increment": -0.01},
        {"event_id": "half", "value": "0.0000005", "cost_usd_increment": 2.0000005},
        # More digits than a double holds: neither −0.01 nor one half of a millionth when read exactly.
        json.dumps(EVENT | {"event_id": "exact"})
        .replace('"value": 1', '"value": 0.00000049999999999999999999')
        .replace('"cost_usd_increment": 1', '"cost_usd_increment": -0.009999999999999999999'),
        json.dumps(EVENT | {"event_id": "below"}).replace(
            '"cost_usd_increment": 1', '"cost_usd_increment": -0.010000000000000001'
        ),
    )
    oracle = landing.oracle()
    events = keyed(oracle.silver(EVENTS), "event_id")
    assert [events["spelt"][c] for c in ("service", "region", "metric", "unit", "unit_imputed")] == [
        "genai", "us-east", "cpu_hours", "hours", False,
    ]  # fmt: skip
    assert (events["imputed"]["unit"], events["imputed"]["unit_imputed"]) == ("gb_hours", True)
    assert [events["text"][c] for c in ("value", "cost_usd", "carbon_kg", "genai_tokens")] == [
        Decimal("12.5"), Decimal("0.5"), Decimal("0.000089"), 7,
    ]  # fmt: skip
    assert (events["v1"]["carbon_kg"], events["v1"]["genai_tokens"]) == (None, None)
    assert (events["v1"]["event_time"], events["v1"]["usage_date"]) == (datetime(2025, 7, 21, 0, 30), date(2025, 7, 21))
    assert events["null"]["quality_flags"] == ["value_missing"]
    assert (events["tiny"]["cost_usd"], events["tiny"]["quality_flags"]) == (0, ["cost_slightly_negative"])
    assert (events["edge"]["cost_usd"], events["edge"]["quality_flags"]) == (
        Decimal("-0.01"),
        ["cost_slightly_negative"],
    )
    assert (events["half"]["value"], events["half"]["cost_usd"]) == (Decimal("0.000001"), Decimal("2.000001"))
    assert (events["exact"]["value"], events["exact"]["cost_usd"]) == (0, Decimal("-0.01"))
    assert oracle.counts(EVENTS)["reasons"] == {"cost_negative": 1}
    assert oracle.flags(EVENTS) == {"cost_slightly_negative": 3, "value_missing": 1}


def test_repeats_are_duplicates_and_of_two_contents_the_smaller_line_wins(landing: Landing) -> None:
    line, bad = json.dumps(EVENT), json.dumps(EVENT | {"event_id": "bad", "value": "x"})
    respelt = json.dumps(EVENT | {"region": "US_EAST", "value": "1.0"})
    landing.events(line, line, respelt, bad, name="a.jsonl")
    landing.events(
        line,
        bad,
        {"event_id": "c", "cost_usd_increment": 2},
        {"event_id": "c", "cost_usd_increment": 10},
        {"event_id": "c", "cost_usd_increment": 10},
        {"event_id": "c", "timestamp": "2025-07-21T10:00:00Z", "cost_usd_increment": 3},
        "not json",
        "not json",
        name="b.jsonl",
    )
    oracle = landing.oracle()
    assert oracle.counts(EVENTS) == {
        "landed": 12,
        "accepted": 3,
        "quarantined": 3,
        "duplicates": 6,
        "reasons": {"event_id_conflict": 1, "malformed_json": 1, "value_invalid": 1},
    }
    costs = keyed(oracle.silver(EVENTS), "event_id", "usage_date")
    # '10' sorts before '2'.
    assert costs["c", date(2025, 7, 20)]["cost_usd"] == 10
    assert costs["c", date(2025, 7, 21)]["cost_usd"] == 3


def test_the_business_date_is_the_last_closed_day(landing: Landing) -> None:
    landing.events({"timestamp": "2025-07-20T22:59:59Z"}, {"event_id": "f", "timestamp": "2099-01-01T00:00:00Z"})
    assert landing.oracle().business_date == date(2025, 7, 19)
    landing.events({"timestamp": "2025-07-20T23:00:00Z"})
    assert landing.oracle().business_date == date(2025, 7, 20)
    assert landing.oracle(as_of=date(2025, 1, 1)).business_date == date(2025, 1, 1)
    assert Landing(landing.root / "empty").oracle().business_date is None


def test_measures_tell_nothing_reported_from_zero(landing: Landing) -> None:
    day = date(2025, 7, 20)
    landing.events(
        {"event_id": "1", "service": "genai", "genai_tokens": 0, "carbon_kg": 0},
        {"event_id": "2", "service": "genai", "region": "us-west", "value": None, "cost_usd_increment": -0.005},
        {"event_id": "3", "schema_version": 1, "metric": "cpu_hours", "unit": "hours", "value": 2.5},
        {"event_id": "4", "schema_version": 1, "metric": "storage_gb_hours", "unit": None, "value": "0.1"},
        {"event_id": "5", "carbon_kg": 8.9e-05, "cost_usd_increment": 0.25},
        {"event_id": "6", "org_id": "nobody knows"},
    )
    oracle = landing.orgs("a").oracle()
    daily = keyed(oracle.gold("usage_daily"), "usage_date", "org_id", "service", "region")
    assert len(daily) == 4
    assert daily[day, "a", "genai", "us-east"]["genai_tokens"] == 0
    assert daily[day, "a", "genai", "us-east"]["carbon_kg"] == 0
    assert daily[day, "a", "genai", "us-west"]["genai_tokens"] is None
    assert daily[day, "a", "compute", "us-east"] == {
        "usage_date": day, "org_id": "a", "service": "compute", "region": "us-east", "events": 3,
        "cost_usd": Decimal("2.25"), "requests": 1, "cpu_hours": Decimal("2.5"), "storage_gb_hours": Decimal("0.1"),
        "genai_tokens": None, "carbon_kg": Decimal("0.000089"), "carbon_events": 1,
        "carbon_cost_usd": Decimal("0.25"), "events_without_value": 0,
    }  # fmt: skip
    by_service = keyed(oracle.gold("org_daily_usage_by_service"), "org_id", "usage_date", "service")
    genai = by_service["a", day, "genai"]
    assert [genai[c] for c in ("events", "cost_usd", "requests", "genai_tokens", "events_without_value")] == [
        2, Decimal("0.995"), 1, 0, 1,
    ]  # fmt: skip
    assert genai["cpu_hours"] == 0 and genai["carbon_cost_usd"] == Decimal("0.995")
    assert ("nobody knows", day, "compute") in by_service


# ------------------------------------------------------------------------------------------------- CSV


def test_csv_dialects_are_read_and_rows_that_do_not_fit_are_refused(landing: Landing) -> None:
    landing.orgs("a")
    landing.text(
        "nps_surveys.csv",
        "\ufeffcomment,survey_date, org_id ,extra,nps_score\r\n"
        '"two\r\nlines, ""quoted""",2025-07-01,a,x,9\r\n'
        ' trimmed ,2025-07-02," a ",,\r\n'
        "\r\n   \r\n"
        "short,2025-07-03,a\r\n"
        "long,2025-07-04,a,x,9,\r\n"
        '"gar"bage,2025-07-05,a,x,9\r\n'
        '"",2025-07-06,a,"",""\r\n'
        'in"side,2025-07-07,a,x,9\r\n'
        "short,2025-07-03,a\r\n"
        'plain,2025-07-08,a,x,"never closed\r\nplain,2025-07-09,a,x,9\r\n',
    )
    oracle = landing.oracle()
    found = keyed(oracle.silver("nps_surveys"), "survey_date")
    assert {day.day: (row["comment"], row["nps_score"]) for day, row in found.items()} == {
        1: ('two\r\nlines, "quoted"', 9),
        2: ("trimmed", None),
        6: (None, None),
        7: ('in"side', 9),
    }
    assert oracle.counts("nps_surveys") == {
        "landed": 9, "accepted": 4, "quarantined": 4, "duplicates": 1, "reasons": {"malformed_row": 4},
    }  # fmt: skip


def test_plain_csv_is_read_as_python_reads_it(landing: Landing) -> None:
    draw = random.Random(3)
    alphabet = ['"', ",", "\n", "\r\n", "a", " b", "é", "", "0"]
    texts = ["x" + "".join(draw.choices(alphabet, k=draw.randrange(8))) for _ in range(300)]
    landing.orgs("a").rows("marketing_touches", *({"touch_id": str(n), "campaign": t} for n, t in enumerate(texts)))
    found = keyed(landing.oracle().silver("marketing_touches"), "touch_id")
    assert [found[str(n)]["campaign"] for n in range(300)] == [text.strip() for text in texts]


def test_files_without_rows_or_without_a_key_column_land_nothing(landing: Landing) -> None:
    landing.orgs("a").text("users.csv", "").text("resources.csv", HEADERS["resources"] + "\n")
    landing.text("support_tickets.csv", "ticket,org_id,created_at\nt,a,2025-07-01\n")
    landing.text("nps_surveys.csv.gz", gzip.compress(b"org_id,survey_date\na,2025-07-01\n"))
    oracle = landing.oracle()
    assert [oracle.counts(s)["landed"] for s in ("users", "resources", "support_tickets", "nps_surveys")] == [
        0,
        0,
        0,
        1,
    ]
    assert only(oracle.silver("nps_surveys"))["nps_score_reported"] is None


def test_csv_rows_repeat_conflict_and_miss_their_organisation(landing: Landing) -> None:
    landing.orgs("a").rows(
        "users",
        {"user_id": "twice"},
        {"user_id": " twice ", "role": "ADMIN"},
        {"user_id": "two faces", "role": "admin"},
        {"user_id": "two faces", "role": "analyst"},
        {"user_id": "two faces", "role": "admin"},
        {"user_id": "half bad", "role": "admin"},
        {"user_id": "half bad", "role": "emperor"},
        {"user_id": "bad twice", "role": "emperor"},
        {"user_id": "bad twice", "role": "emperor"},
        {"user_id": "", "org_id": "", "active": "perhaps", "created_at": "soon", "last_login": "2025-06-31"},
        {"user_id": "", "role": "analyst"},
        {"user_id": "stray", "org_id": "nobody"},
    )
    # As the rule of unreadable keys would refuse the whole snapshot, it is switched off.
    oracle = landing.oracle(snapshot_deletes_limit=None)
    assert oracle.silver("users")["user_id"].to_pylist() == ["twice"]
    assert oracle.counts("users") == {
        "landed": 12,
        "accepted": 1,
        "quarantined": 8,
        "duplicates": 3,
        "reasons": {
            "active_invalid": 1,
            "conflicting_rows": 4,
            "created_at_invalid": 1,
            "last_login_invalid": 1,
            "org_id_missing": 1,
            "org_id_unknown": 1,
            "role_unknown": 2,
            "user_id_missing": 2,
        },
    }


def test_masters_are_conformed_and_flagged(landing: Landing) -> None:
    landing.rows(
        "customers_orgs",
        {
            "org_id": "a",
            "plan_tier": "ENTERPRISE",
            "is_enterprise": "false",
            "nps_score": "101",
            "hq_region": "EU West",
        },
        {
            "org_id": "b",
            "signup_date": "",
            "lifecycle_stage": "At Risk",
            "nps_score": "-100.0",
            "hq_region": " Moon base ",
        },
    )
    landing.rows(
        "users",
        {
            "user_id": "1",
            "email": "Some.One@Example.COM",
            "role": "ML-Engineer",
            "active": "",
            "last_login": "2025-05-01",
        },
        {"user_id": "2", "email": "no address", "created_at": "2024-12-31"},
    )
    landing.rows(
        "resources",
        {"resource_id": "1", "tags_json": '["env:prod", "env:dev", "url:http://x", "env:prod"]', "state": "Running"},
        {"resource_id": "2", "tags_json": "[]"},
        {"resource_id": "3", "tags_json": '["nocolon"]'},
        {"resource_id": "4", "tags_json": '["a:1", 2]'},
        {"resource_id": "5", "tags_json": '{"a": "b"}'},
        {"resource_id": "6", "tags_json": '["cut'},
        {"resource_id": "7"},
    )
    oracle = landing.oracle()
    orgs, users = keyed(oracle.silver("customers_orgs"), "org_id"), keyed(oracle.silver("users"), "user_id")
    assert [orgs["a"][c] for c in ("plan_tier", "nps_score", "hq_region", "quality_flags")] == [
        "enterprise", None, "eu-west", ["is_enterprise_contradicts_plan", "nps_score_out_of_range"],
    ]  # fmt: skip
    assert [orgs["b"][c] for c in ("lifecycle_stage", "nps_score", "hq_region", "quality_flags")] == [
        "at_risk", -100, "Moon base", ["signup_date_missing"],
    ]  # fmt: skip
    assert [users["1"][c] for c in ("email", "role", "active", "quality_flags")] == [
        "some.one@example.com", "ml_engineer", False, ["active_missing", "last_login_before_created"],
    ]  # fmt: skip
    assert users["2"]["email"] is None
    assert users["2"]["quality_flags"] == ["created_before_signup", "email_invalid", "last_login_missing"]
    tags = {key: row["tags"] for key, row in keyed(oracle.silver("resources"), "resource_id").items()}
    assert tags == {"1": [("env", ["dev", "prod"]), ("url", ["http://x"])], "2": [], **dict.fromkeys("34567")}
    assert oracle.flags("resources") == {"tag_key_repeated": 1, "tags_unparseable": 4}


# ------------------------------------------------------------------------------------------- snapshots


def test_the_newest_snapshot_is_current_whatever_the_order_of_files(landing: Landing) -> None:
    late = datetime(2025, 12, 1, tzinfo=UTC)
    landing.orgs("a", "b", "c", "d", "e", "f", folder="2025-08-29", at=late)
    landing.orgs("a", "b", "c", "d", "e", folder="2025-08-30", at=NOW)
    landing.orgs("a", "b", "c", "d", "e", "g", at=datetime(2025, 8, 30, 12, tzinfo=UTC))
    landing.rows("users", {"user_id": "1", "role": "admin"}, {"user_id": "2", "org_id": "f"}, folder="2025-08-29")
    landing.rows("users", {"user_id": "1", "role": "analyst"}, {"user_id": "2", "org_id": "f"}, folder="2025-08-28")
    oracle = landing.oracle()
    assert oracle.silver("customers_orgs")["org_id"].to_pylist() == ["a", "b", "c", "d", "e", "g"]
    users = keyed(oracle.silver("users"), "user_id")
    # A closed organisation is known; its users stay.
    assert (users["1"]["role"], users["2"]["org_id"]) == ("admin", "f")
    assert oracle.counts("customers_orgs")["landed"] == 17
    assert oracle.counts("customers_orgs", "2025-08-30/customers_orgs.csv")["landed"] == 5
    assert oracle.refused_snapshots == []
    # A snapshot time that is asked for moves the flat file before the dated ones.
    asked = landing.oracle(snapshot_at=datetime(2025, 8, 1, tzinfo=UTC), snapshot_deletes_limit=None)
    assert asked.silver("customers_orgs")["org_id"].to_pylist() == ["a", "b", "c", "d", "e"]


def test_a_refused_row_is_no_word_on_its_key(landing: Landing) -> None:
    ids = ["kept", "gone", "doubled", "short", *"abcdefg"]
    first = [{"user_id": id_, "role": "admin"} for id_ in ids]
    landing.orgs("a").rows("users", *first, folder="2025-08-01")
    second = [{"user_id": "kept", "role": "emperor"}]
    second += [{"user_id": "doubled", "role": "admin"}, {"user_id": "doubled", "role": "analyst"}]
    second += [{"user_id": id_, "role": "analyst"} for id_ in "abcdefg"]
    landing.rows("users", *second, folder="2025-08-02")
    path = landing.root / "2025-08-02" / "users.csv"
    landing.text("2025-08-02/users.csv", path.read_text() + "short,a\n")
    # Deleted on the 2nd and refused on the 3rd: it stays deleted.
    landing.rows("users", *first, folder="2025-08-03")
    path = landing.root / "2025-08-03" / "users.csv"
    landing.text("2025-08-03/users.csv", path.read_text().replace("gone,a,,admin", "gone,a,,emperor"))

    oracle = landing.oracle()
    assert "gone" not in oracle.silver("users")["user_id"].to_pylist()

    (landing.root / "2025-08-03" / "users.csv").unlink()
    roles = {key: row["role"] for key, row in keyed(landing.oracle().silver("users"), "user_id").items()}
    assert roles == {"kept": "admin", "doubled": "admin", "short": "admin", **dict.fromkeys("abcdefg", "analyst")}


def test_a_snapshot_that_deletes_too_many_or_hides_a_key_is_refused(landing: Landing) -> None:
    landing.orgs(*"abcde", folder="2025-08-01").orgs(*"abc", folder="2025-08-02").orgs(*"abcd", folder="2025-08-03")
    landing.orgs(*"abcd", "", "f", folder="2025-08-04")
    landing.rows("users", {"user_id": "1", "org_id": "f"})
    oracle = landing.oracle()
    assert oracle.silver("customers_orgs")["org_id"].to_pylist() == list("abcd")
    assert oracle.refused_snapshots == ["2025-08-02/customers_orgs.csv", "2025-08-04/customers_orgs.csv"]
    assert oracle.counts("users")["reasons"] == {"org_id_unknown": 1}
    lenient = landing.oracle(snapshot_deletes_limit=None)
    assert lenient.silver("customers_orgs")["org_id"].to_pylist() == [*"abcd", "f"]


def test_of_a_record_the_newest_accepted_delivery_wins(landing: Landing) -> None:
    def touch(id_: str, campaign: str, channel: str = "ads") -> dict[str, str]:
        return {"touch_id": id_, "campaign": campaign, "channel": channel}

    landing.orgs("a")
    landing.rows("marketing_touches", touch("1", "old"), touch("2", "old"), touch("3", "old"), folder="2025-08-01")
    landing.rows("marketing_touches", touch("1", "new"), touch("2", "new", "smoke"), folder="2025-08-02")
    # Of the same snapshot time, the file modified last.
    packed = (landing.root / "2025-08-02" / "marketing_touches.csv").read_bytes().replace(b"new", b"packed")
    landing.text("2025-08-02/marketing_touches.csv.gz", gzip.compress(packed), datetime(2025, 9, 2, tzinfo=UTC))
    oracle = landing.oracle()
    found = keyed(oracle.silver("marketing_touches"), "touch_id")
    assert {key: row["campaign"] for key, row in found.items()} == {"1": "packed", "2": "old", "3": "old"}
    assert found["1"]["_source_file"] == "2025-08-02/marketing_touches.csv.gz"
    assert found["1"]["_snapshot_at"] == datetime(2025, 8, 2)
    assert oracle.counts("marketing_touches")["accepted"] == 5


# --------------------------------------------------------------------------------------------- billing


def invoice(id_: str, subtotal: str, **rest: str) -> dict[str, str]:
    return {"invoice_id": id_, "subtotal": subtotal, **rest}


def test_invoices_are_refused_for_their_reasons(landing: Landing) -> None:
    landing.orgs("a").rows(
        "billing_monthly",
        invoice("1", "1", exchange_rate_to_usd="0"),
        invoice("2", "1", exchange_rate_to_usd=""),
        invoice("3", "1", exchange_rate_to_usd="-1", month="2025-07-02"),
        invoice("4", "", taxes="", month=""),
        invoice("5", "NaN", taxes="1e400", credits="x", month="July", currency="USDT"),
        invoice("6", "1", currency="", exchange_rate_to_usd="one"),
        invoice("", "1"),
        invoice("8", "1", currency=" eur "),
    )
    oracle = landing.oracle()
    assert oracle.counts("billing_monthly")["reasons"] == {
        "credits_invalid": 1,
        "currency_missing": 1,
        "currency_not_iso4217": 1,
        "exchange_rate_to_usd_invalid": 1,
        "exchange_rate_to_usd_missing": 1,
        "exchange_rate_to_usd_not_positive": 2,
        "invoice_id_missing": 1,
        "month_invalid": 1,
        "month_missing": 1,
        "month_not_first_day": 1,
        "subtotal_invalid": 1,
        "subtotal_missing": 1,
        "taxes_invalid": 1,
        "taxes_missing": 1,
    }
    assert only(oracle.silver("billing_monthly"))["currency"] == "EUR"


def test_amounts_are_rounded_once_half_away_from_zero(landing: Landing) -> None:
    draw = random.Random(5)
    cases = [
        ("0.5", "0.000001"),
        ("-0.5", "0.000001"),
        ("0.499999", "0.000001"),
        ("1.5", "0.000001"),
        ("-2", "1.00000025"),
    ]
    cases += [
        ("999999999999.999999", "0.999999999999999999"),
        ("-0.000001", "0.5"),
        ("0.000001", "0.499999999999999999"),
    ]
    cases += [("0.000001", "999999999999999999"), ("1000", "0.000000000000000001"), ("0", "1.1")]
    for _ in range(300):
        amount = Decimal(draw.randrange(-(10**7), 10**7)).scaleb(-draw.randrange(7))
        cases.append((f"{amount:f}", f"{Decimal(draw.randrange(1, 10**18)).scaleb(-draw.randrange(14, 19)):f}"))
    landing.orgs("a").rows(
        "billing_monthly",
        *(
            invoice(str(n), amount, credits=amount.lstrip("-"), exchange_rate_to_usd=rate)
            for n, (amount, rate) in enumerate(cases)
        ),
    )
    found = keyed(landing.oracle().silver("billing_monthly"), "invoice_id")
    with localcontext(prec=80):
        for n, (amount, rate) in enumerate(cases):
            exact = (Decimal(amount) * Decimal(rate)).quantize(Decimal("0.000001"), ROUND_HALF_UP)
            assert (found[str(n)]["subtotal_usd"], found[str(n)]["credits_usd"]) == (exact, abs(exact)), cases[n]
            assert found[str(n)]["revenue_usd"] == exact - abs(exact)


def test_fx_suspect_is_under_a_twentieth_of_the_median_usd_invoice_of_the_month(landing: Landing) -> None:
    landing.orgs("a").rows(
        "billing_monthly",
        # USD, magnitudes 50, 100, 300, 1000: the median is 200, so 10 is the limit.
        invoice("u1", "-100"),
        invoice("u2", "1000"),
        invoice("u3", "100", exchange_rate_to_usd="0.5"),
        invoice("u4", "300"),
        invoice("at", "10", currency="EUR"),
        invoice("under", "-9.999999", currency="EUR"),
        invoice("rate", "1000", currency="ARS", exchange_rate_to_usd="0.0015"),
        # Odd: the median is 100.
        invoice("v1", "1", month="2025-08-01"),
        invoice("v2", "100", month="2025-08-01"),
        invoice("v3", "5000", month="2025-08-01"),
        invoice("at5", "5", month="2025-08-01", currency="EUR"),
        invoice("under5", "4.999999", month="2025-08-01", currency="EUR"),
        # No USD invoice: nothing to compare with.
        invoice("alone", "0.01", month="2025-09-01", currency="EUR"),
    )
    oracle = landing.oracle()
    found = keyed(oracle.silver("billing_monthly"), "invoice_id")
    assert {id_ for id_, row in found.items() if row["fx_suspect"]} == {"under", "rate", "under5"}
    assert found["under"]["quality_flags"] == ["fx_suspect", "is_credit_note"]
    assert found["u3"]["quality_flags"] == ["usd_rate_off_one"]
    assert found["u2"]["quality_flags"] == []


def test_revenue_by_org_month(landing: Landing) -> None:
    landing.orgs(*"abcd").rows(
        "billing_monthly",
        invoice("1", "100", credits="", taxes="21", month="2025-06-01"),
        invoice("2", "150.555", credits="0.555", taxes="10", month="2025-07-01"),
        invoice("3", "-50", taxes="1", month="2025-07-01", currency="EUR", exchange_rate_to_usd="1.1"),
        # September follows no August.
        invoice("4", "10", month="2025-09-01"),
        # After a month with no revenue, and after a negative one: no growth.
        invoice("5", "0", org_id="b", month="2024-12-01"),
        invoice("6", "-5", credits="1", org_id="b", month="2025-01-01"),
        invoice("7", "5", org_id="b", month="2025-02-01"),
        # A suspect month, before and after.
        invoice("8", "1000", org_id="c", month="2025-03-01"),
        invoice("9", "1", org_id="c", month="2025-04-01", currency="ARS"),
        invoice("10", "1000", org_id="d", month="2025-04-01"),
        invoice("11", "1000", org_id="c", month="2025-05-01"),
    )
    found = keyed(landing.oracle().gold("revenue_by_org_month"), "org_id", "month")
    assert found["a", date(2025, 7, 1)] == {
        "org_id": "a", "month": date(2025, 7, 1), "invoices": 2, "credit_notes": 1,
        "subtotal_usd": Decimal("95.555"), "credits_usd": Decimal("0.555"), "taxes_usd": Decimal("11.1"),
        "revenue_usd": Decimal("95"), "invoiced_usd": Decimal("106.1"), "currencies": ["EUR", "USD"],
        "has_fx_suspect": False, "credit_ratio": pytest.approx(0.555 / 95.555, rel=1e-12),
        "mom_growth_pct": pytest.approx(-5, rel=1e-12),
    }  # fmt: skip
    growth = {key: row["mom_growth_pct"] for key, row in found.items() if row["mom_growth_pct"] is not None}
    assert growth == {("a", date(2025, 7, 1)): pytest.approx(-5)}
    assert found["c", date(2025, 4, 1)]["has_fx_suspect"]
    ratios = {key[1].isoformat()[:7]: row["credit_ratio"] for key, row in found.items() if key[0] == "b"}
    assert ratios == {"2024-12": None, "2025-01": None, "2025-02": 0}


# --------------------------------------------------------------------------------- tickets and surveys


def test_tickets_are_told_as_of_the_business_date(landing: Landing) -> None:
    landing.orgs("a").rows(
        "support_tickets",
        {"ticket_id": "1", "resolved_at": "2025-07-10T23:59:59", "csat": "4.0", "sla_breached": "True"},
        {"ticket_id": "2", "resolved_at": "2025-07-11", "csat": "1"},
        {"ticket_id": "3", "csat": "7", "sla_breached": ""},
        {"ticket_id": "4", "resolved_at": "2025-07-01 00:00:00.000001", "severity": "LOW"},
        {"ticket_id": "5", "created_at": "2025-07-11", "severity": "high"},
        {"ticket_id": "6", "created_at": "2025-07-10T23:59:59.999999", "severity": "high", "csat": "4.5"},
        {"ticket_id": "7", "severity": ""},
        {"ticket_id": "8", "resolved_at": "2025-06-30"},
        {"ticket_id": "9", "created_at": "", "csat": "good", "severity": "dire", "resolved_at": "x"},
    )
    oracle = landing.oracle(as_of=date(2025, 7, 10))
    assert oracle.counts("support_tickets")["reasons"] == {
        "created_at_missing": 1, "csat_invalid": 1, "resolved_at_invalid": 1, "resolved_before_created": 1,
        "severity_unknown": 1,
    }  # fmt: skip
    tickets = keyed(oracle.silver("support_tickets"), "ticket_id")
    # 239 h 59 min 59 s, and a microsecond, which is less than half a millionth of an hour.
    assert tickets["1"]["resolution_hours"] == Decimal("239.999722")
    assert (tickets["4"]["resolution_hours"], tickets["4"]["status"]) == (0, "resolved")
    assert (tickets["3"]["csat"], tickets["3"]["status"], tickets["3"]["quality_flags"]) == (
        None,
        "open",
        ["csat_out_of_scale"],
    )
    assert (tickets["1"]["csat"], tickets["6"]["csat"]) == (4, None)
    gold = keyed(oracle.gold("tickets_by_org_date"), "org_id", "date", "severity")
    assert gold["a", date(2025, 7, 1), "low"] == {
        "org_id": "a", "date": date(2025, 7, 1), "severity": "low", "tickets": 4, "resolved": 2, "open": 2,
        "sla_breached": 1, "sla_breach_rate": 0.25, "avg_csat": 2.5, "avg_resolution_hours": Decimal("119.999861"),
    }  # fmt: skip
    high = gold["a", date(2025, 7, 10), "high"]
    assert [high[c] for c in ("tickets", "resolved", "open", "avg_csat", "avg_resolution_hours")] == [
        1,
        0,
        1,
        None,
        None,
    ]
    assert set(gold) == {
        ("a", date(2025, 7, 1), "low"),
        ("a", date(2025, 7, 1), None),
        ("a", date(2025, 7, 10), "high"),
    }


def test_mean_resolution_hours_are_rounded_half_up(landing: Landing) -> None:
    landing.orgs("a").rows(
        "support_tickets",
        {"ticket_id": "1", "resolved_at": "2025-07-01"},
        {"ticket_id": "2", "resolved_at": "2025-07-01T00:00:00.003600"},
        # Half a millionth of an hour, and just under.
        {"ticket_id": "3", "severity": "high", "resolved_at": "2025-07-01T00:00:00.001800"},
        {"ticket_id": "4", "severity": "medium", "resolved_at": "2025-07-01T00:00:00.001799"},
    )
    gold = keyed(landing.oracle(as_of=date(2025, 7, 1)).gold("tickets_by_org_date"), "severity")
    assert {key: row["avg_resolution_hours"] for key, row in gold.items()} == {
        "low": Decimal("0.000001"), "high": Decimal("0.000001"), "medium": 0,
    }  # fmt: skip


def test_surveys_keep_what_was_reported_and_score_what_is_on_the_scale(landing: Landing) -> None:
    scores = {"01": "10", "02": "7.0", "03": "6", "04": "0", "05": "7.5", "06": "-20", "07": "", "08": "bad"}
    rows = [{"survey_date": f"2025-07-{day}", "nps_score": score} for day, score in scores.items()]
    oracle = landing.orgs("a").rows("nps_surveys", *rows, {"survey_date": "", "nps_score": "1"}).oracle()
    found = [
        (r["nps_score"], r["nps_score_reported"], r["nps_category"]) for r in oracle.silver("nps_surveys").to_pylist()
    ]
    assert found == [
        (10, 10, "promoter"), (7, 7, "passive"), (6, 6, "detractor"), (0, 0, "detractor"),
        (None, Decimal("7.5"), None), (None, -20, None), (None, None, None),
    ]  # fmt: skip
    assert oracle.flags("nps_surveys") == {"nps_score_out_of_scale": 2}
    assert oracle.counts("nps_surveys")["reasons"] == {
        "nps_score_invalid": 1, "nps_score_reported_invalid": 1, "survey_date_missing": 1,
    }  # fmt: skip


def test_customer_summary_has_a_row_for_each_current_organisation(landing: Landing) -> None:
    landing.rows("customers_orgs", *({"org_id": id_, "org_name": id_.upper()} for id_ in "abcde"), folder="2025-08-01")
    landing.rows("customers_orgs", *({"org_id": id_, "org_name": id_.upper()} for id_ in "abcd"))
    landing.rows(
        "resources", *({"resource_id": str(n), "state": s} for n, s in enumerate(["running", "running", "stopped", ""]))
    )
    landing.rows("users", {"user_id": "1"}, {"user_id": "2", "active": "False"}, {"user_id": "3", "active": ""})
    landing.rows("billing_monthly", invoice("1", "10", credits="3"), invoice("2", "-9", month="2025-06-01"))
    landing.rows(
        "support_tickets",
        {"ticket_id": "1", "severity": "Critical"},
        {"ticket_id": "2", "severity": "critical", "resolved_at": "2025-12-01"},
        {"ticket_id": "3", "created_at": "2025-12-01"},
    )
    landing.rows(
        "nps_surveys",
        {"survey_date": "2025-06-01", "nps_score": "9"},
        {"survey_date": "2025-07-01", "nps_score": "-31"},
        {"survey_date": "2025-08-01"},
        {"org_id": "b", "survey_date": "2025-08-01"},
    )
    landing.events(
        {"event_id": "1", "cost_usd_increment": 2},
        {"event_id": "2", "timestamp": "2025-07-01T00:00:00Z", "cost_usd_increment": -0.001},
        {"event_id": "3", "org_id": "e"},
    )
    found = keyed(landing.oracle().gold("customer_summary"), "org_id")
    assert list(found) == list("abcd")
    assert found["a"] == {
        "org_id": "a", "org_name": "A", "industry": None, "plan_tier": "pro", "lifecycle_stage": None,
        "usage_cost_usd": Decimal("1.999"), "revenue_usd": Decimal("-2"),
        "resources_by_state": [("running", 2), ("stopped", 1)], "users": 3, "active_users": 1,
        # As of the business date: the second was resolved and the third created after it.
        "tickets": 2, "open_critical_tickets": 2, "last_nps": -31, "mean_nps": -11,
        "first_usage_date": date(2025, 7, 1), "last_usage_date": date(2025, 7, 20),
    }  # fmt: skip
    assert found["b"] == {
        "org_id": "b", "org_name": "B", "industry": None, "plan_tier": "pro", "lifecycle_stage": None,
        "usage_cost_usd": 0, "revenue_usd": 0, "resources_by_state": [], "users": 0, "active_users": 0,
        "tickets": 0, "open_critical_tickets": 0, "last_nps": None, "mean_nps": None,
        "first_usage_date": None, "last_usage_date": None,
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------- usage and costs


def used(*days: tuple[str, float], org: str = "a", **fields: Any) -> list[dict[str, Any]]:
    """An event for each (date, cost)."""
    return [
        {
            "event_id": f"{org}{n}{fields.get('service', '')}",
            "org_id": org,
            "timestamp": f"{day}T12:00:00Z",
            "cost_usd_increment": cost,
            **fields,
        }
        for n, (day, cost) in enumerate(days)
    ]


def daily(start: str, *costs: float) -> list[tuple[str, float]]:
    """The costs on as many days in a row."""
    first = date.fromisoformat(start)
    return [((first + timedelta(days=n)).isoformat(), cost) for n, cost in enumerate(costs)]


def test_trends_compare_the_cost_of_covered_days(landing: Landing) -> None:
    landing.events(
        *used(("2025-07-01", 7), ("2025-07-08", 14), ("2025-07-16", 2), ("2025-07-17", 100)),
        *used(("2025-07-09", 3), service="genai", region="us-west"),
    )
    trends = landing.oracle(as_of=date(2025, 7, 16)).gold("usage_trends")
    found = {
        key: (row["covered_days"], row["cost_usd"], row["cost_per_day"], row["growth_pct"], row["is_partial"])
        for key, row in keyed(trends, "period_type", "service", "region", "period_start").items()
    }
    days = {key[3].day: row for key, row in found.items() if key[:3] == ("day", "compute", "us-east")}
    assert days == {
        1: (1, 7, 7, None, False),
        8: (1, 14, 14, pytest.approx(1300), False),
        # In the week before, compute cost nothing.
        16: (1, 2, 2, None, False),
        17: (0, 100, None, None, True),
    }
    weeks = {key[3]: row for key, row in found.items() if key[:3] == ("week", "compute", "ALL")}
    assert weeks == {
        date(2025, 6, 30): (6, 7, Decimal("1.166667"), None, True),
        date(2025, 7, 7): (7, 14, 2, pytest.approx(100 * (2 / (7 / 6) - 1)), False),
        date(2025, 7, 14): (3, 102, Decimal("0.666667"), pytest.approx(100 * (1 / 3 - 1)), True),
    }
    assert found["day", "ALL", "ALL", date(2025, 7, 16)][3] == pytest.approx(100 * (2 / (3 / 7) - 1))
    # The 7 dates before the 7th begin before the first usage.
    assert found["month", "ALL", "ALL", date(2025, 7, 1)] == (16, 126, Decimal("1.625"), None, True)
    assert found["quarter", "ALL", "us-west", date(2025, 7, 1)] == (16, 3, Decimal("0.1875"), None, True)
    assert ("week", "genai", "us-east", date(2025, 7, 7)) not in found


def test_services_are_ranked_and_put_in_tiers_by_growth(landing: Landing) -> None:
    costs = {"compute": (10, 341), "genai": (10, 279), "networking": (1, 30.38), "storage": (None, 5)}
    for service, (july, august) in costs.items():
        days = [("2025-08-05", august)] + ([("2025-07-31", july)] if july else [])
        landing.events(*used(*days, service=service), name=f"{service}.jsonl")
    found = keyed(landing.oracle(as_of=date(2025, 8, 31)).gold("service_performance"), "month", "service")
    july, august = ({s: row for (m, s), row in found.items() if m.month == month} for month in (7, 8))
    assert {s: row["cost_rank"] for s, row in july.items()} == {"compute": 1, "genai": 1, "networking": 3}
    assert {s: row["tier"] for s, row in july.items()} == dict.fromkeys(july)
    # Growth of 10, −10, −2 % and none: the limits belong to the tier below, below, above.
    assert {s: row["tier"] for s, row in august.items()} == {
        "compute": "strong", "genai": "under", "networking": "average", "storage": None,
    }  # fmt: skip
    assert july["compute"]["cost_share_pct"] == pytest.approx(1000 / 21)
    assert (july["compute"]["covered_days"], august["compute"]["cost_per_day"]) == (1, 11)


def test_anomalies_stand_out_of_their_own_baseline_and_are_explained(landing: Landing) -> None:
    landing.events(
        *used(*daily("2025-07-01", 1, 2, 3, 4, 5, 6, 7)),
        # Two events of half the cost: the smaller id is told.
        *used(("2025-07-08", 11), org="a", event_id="y", resource_id=None),
        *used(("2025-07-08", 11), org="a", event_id="x", region="us-west"),
        *used(
            *daily("2025-07-01", 0, 0, 0, 0, 0, 0, 0), ("2025-07-09", 4), ("2025-07-09", 3), ("2025-07-09", 3), org="b"
        ),
        *used(*daily("2025-07-01", 0, 0, 0, 0, 0, 0, 0, 9.999999), org="c"),
        # 57 and 56 days before: the first is out of the window, so six are left.
        *used(*daily("2025-05-01", 1, 1, 1, 1, 1, 1, 1), ("2025-06-27", 500), org="d"),
        *used(*daily("2025-07-01", 1000, 1000, *[10] * 28, 11), org="e"),
    )
    found = keyed(landing.oracle().gold("cost_anomalies"), "org_id", "usage_date")
    first = found["a", date(2025, 7, 8)]
    assert {c: first[c] for c in ("baseline_days", "expected_usd", "mad_usd", "impact_usd", "is_anomaly", "above_p99")} == {
        "baseline_days": 7, "expected_usd": 4, "mad_usd": 2, "impact_usd": 18, "is_anomaly": True, "above_p99": True,
    }  # fmt: skip
    assert (first["mad_score"], first["z_score"]) == (pytest.approx(6.0705), pytest.approx(18 / (28 / 6) ** 0.5))
    assert (first["cause"], first["single_event_id"]) == ("single_event", "x")
    assert [tuple(driver.values()) for driver in first["drivers"]] == [
        ("metric", "requests", 22), ("region", "us-east", 11), ("region", "us-west", 11),
    ]  # fmt: skip
    flat = found["b", date(2025, 7, 9)]
    assert (flat["mad_usd"], flat["z_score"], flat["is_anomaly"]) == (Decimal("0.01"), None, True)
    assert (flat["cause"], flat["single_event_id"]) == ("broad", None)
    assert not found["c", date(2025, 7, 8)]["is_anomaly"]
    short = found["d", date(2025, 6, 27)]
    assert (short["baseline_days"], short["expected_usd"], short["mad_usd"], short["is_anomaly"]) == (
        6,
        None,
        None,
        False,
    )
    newest = found["e", date(2025, 7, 31)]
    assert (newest["baseline_days"], newest["expected_usd"], newest["above_p99"]) == (28, 10, True)
    # Of 8 rows the middle two have the mean 4.5, and 22 differs by 17.5.
    landing.events(*used(("2025-07-09", 4.5), event_id="z"), name="more.jsonl")
    after = keyed(landing.oracle().gold("cost_anomalies"), "org_id", "usage_date")["a", date(2025, 7, 9)]
    assert (after["baseline_days"], after["expected_usd"], after["mad_usd"]) == (8, Decimal("4.5"), 2)
    assert (after["impact_usd"], after["mad_score"]) == (0, 0)


def test_spikes_are_dear_beside_the_median_of_their_month_service_and_metric(landing: Landing) -> None:
    landing.events(
        *used(*daily("2025-07-01", 1, 2, 4, 5, 15.000001, 15)),
        *used(("2025-07-01", 500), metric="cpu_hours", unit="hours", event_id="other metric"),
    )
    # The median of 1, 2, 4, 5, 15, 15.000001 is 4.5, so 22.5 is five times as much; nothing is dearer.
    assert landing.oracle().gold("cost_spikes").num_rows == 0
    landing.events(*used(*daily("2025-07-10", 22.500001, 1), org="b", event_id="s"), name="more.jsonl")
    # The middle two are 4 and 5 still.
    spike = only(landing.oracle().gold("cost_spikes"))
    assert (spike["median_usd"], spike["excess_usd"], spike["org_id"]) == (Decimal("4.5"), Decimal("18.000001"), "b")


def test_each_tag_key_allocates_the_whole_month(landing: Landing) -> None:
    tags = {"r1": '["env:prod", "team:x"]', "r2": '["env:prod", "env:dev"]', "r3": "[]", "r4": "broken"}
    landing.orgs("a").rows("resources", *({"resource_id": id_, "tags_json": t} for id_, t in tags.items()))
    for n, resource in enumerate([*tags, "unknown", None]):
        landing.events(*used(("2025-07-01", 2**n), resource_id=resource, event_id=f"e{n}"), name=f"{n}.jsonl")
    found = keyed(landing.oracle().gold("cost_allocation"), "tag_key", "tag_value")
    assert {key: row["cost_usd"] for key, row in found.items()} == {
        ("env", "prod"): 1, ("env", "(conflict)"): 2, ("env", "(none)"): 60, ("team", "x"): 1, ("team", "(none)"): 62,
    }  # fmt: skip


def test_reconciliation_has_a_status_for_each_side_and_size(landing: Landing) -> None:
    usage = {"match": 95, "over": 94.999999, "under": 100, "credit": 10, "suspect": 10}
    billed = {"match": "100", "over": "100", "under": "50", "credit": "-5", "bills": "20"}
    landing.orgs(*usage, "bills").rows(
        "billing_monthly",
        *(invoice(org, amount, org_id=org) for org, amount in billed.items()),
        invoice("eur", "0.5", org_id="suspect", currency="EUR"),
        invoice("june", "100", org_id="match", month="2025-06-01"),
        invoice("august", "100", org_id="match", month="2025-08-01"),
    )
    landing.events(
        *(event for org, cost in usage.items() for event in used(("2025-07-01", cost), org=org)),
        # Usage on 28 of 31 dates of July, on 27 of August; who used it does not count.
        *used(*daily("2025-07-01", *[1] * 28), *daily("2025-08-01", *[1] * 27), org="uses"),
        # Refused lines whose cost can be read.
        *used(("2025-07-02", 7), ("2025-07-03", -2), org="match", value="x", event_id="bad"),
        # It has the id of an accepted event, whose line is smaller.
        *used(("2025-07-01", 99), org="match"),
        *used(("2025-07-02", "free"), org="match", event_id="worse"),
        '{"org_id": "match", "timestamp": "2025-07-02T00:00:00Z", "cost_usd_increment": 1000',
    )
    found = keyed(landing.oracle().gold("cost_billing_reconciliation"), "org_id", "month")
    assert {(org, month.month): row["status"] for (org, month), row in found.items()} == {
        ("match", 6): "no_usage_data", ("match", 7): "matched", ("match", 8): "partial_usage", ("over", 7): "over_billed",
        ("under", 7): "under_billed", ("credit", 7): "credit_note", ("suspect", 7): "currency_suspect",
        ("uses", 7): "usage_only", ("uses", 8): "partial_usage", ("bills", 7): "billing_only",
    }  # fmt: skip
    match, credit = found["match", date(2025, 7, 1)], found["credit", date(2025, 7, 1)]
    assert (match["usage_cost_usd"], match["refused_cost_usd"]) == (95, 99 + 7 - 2)
    assert (credit["difference_usd"], credit["difference_pct"]) == (-15, pytest.approx(-150))
    assert found["match", date(2025, 6, 1)]["usage_cost_usd"] is None
    assert found["uses", date(2025, 7, 1)]["billed_subtotal_usd"] is None
    assert (match["usage_days"], found["uses", date(2025, 8, 1)]["usage_days"]) == (28, 27)


# ------------------------------------------------------------------------------- support, surveys, marketing, logins


def test_support_months_have_percentiles_by_nearest_rank_and_old_open_tickets(landing: Landing) -> None:
    resolved = [{"ticket_id": str(n), "resolved_at": f"2025-07-01T{n:02}:00:00"} for n in range(1, 12)]
    landing.orgs("a").rows(
        "support_tickets",
        *resolved,
        # Resolved after the business date is open, and so is not among the hours.
        {"ticket_id": "late", "resolved_at": "2025-08-01"},
        {"ticket_id": "old", "created_at": "2025-07-01T23:59:59"},
        {"ticket_id": "young", "created_at": "2025-07-02"},
        {"ticket_id": "next", "created_at": "2025-08-01"},
    )
    found = only(landing.oracle(as_of=date(2025, 7, 31)).gold("support_monthly"))
    assert [found[c] for c in ("tickets", "resolved", "open", "open_over_30d")] == [14, 11, 3, 2]
    assert [found[f"{c}_resolution_hours"] for c in ("avg", "p50", "p90")] == [6, 6, 10]


def test_nps_needs_ten_scores(landing: Landing) -> None:
    scores = ["10", "9", "9", "9", "8", "7", "6", "0", "0", "5"]
    july = [{"survey_date": f"2025-07-{n + 1:02}", "nps_score": score} for n, score in enumerate([*scores, "-40", ""])]
    june = [{"survey_date": f"2025-06-{n + 1:02}", "nps_score": score} for n, score in enumerate(scores[:9])]
    found = keyed(landing.orgs("a").rows("nps_surveys", *july, *june).oracle().gold("nps_by_month"), "month")
    assert found[date(2025, 7, 1)] == {
        "month": date(2025, 7, 1), "surveys": 12, "scored": 10, "promoters": 4, "passives": 2, "detractors": 4, "nps": 0,
        "out_of_scale": 1, "mean_reported": pytest.approx(23 / 11), "median_reported": 7,
    }  # fmt: skip
    assert (found[date(2025, 6, 1)]["scored"], found[date(2025, 6, 1)]["nps"]) == (9, None)


def test_revenue_is_split_over_the_conversions_of_two_months_to_the_last_millionth(landing: Landing) -> None:
    dates = {"t0": "2025-05-31", "t1": "2025-06-30", "t2": "2025-07-01", "t3": "2025-07-31", "t4": "2025-08-15"}
    touches = [{"touch_id": t, "timestamp": day, "campaign": t, "converted": "True"} for t, day in dates.items()]
    landing.orgs("a", "b").rows(
        "marketing_touches",
        *touches,
        {"touch_id": "t10", "timestamp": "2025-07-01", "campaign": "t2", "clicked": ""},
        *(
            {"touch_id": f"u{n}", "org_id": "b", "campaign": "b", "clicked": "False", "converted": "True"}
            for n in "123"
        ),
    )
    landing.rows(
        "billing_monthly", invoice("1", "100"), invoice("2", "10", month="2025-08-01"), invoice("3", "-200", org_id="b")
    )
    found = keyed(landing.oracle().gold("marketing_effectiveness"), "month", "campaign")
    influenced = {campaign: row["influenced_revenue_usd"] for (_, campaign), row in found.items()}
    # July over t1, t2, t3, the rest to t1; August over t2, t3, t4, the rest to t2.
    assert influenced == {
        "t0": 0, "t1": Decimal("33.333334"), "t2": Decimal("36.666667"), "t3": Decimal("36.666666"),
        "t4": Decimal("3.333333"), "b": -200,
    }  # fmt: skip
    july = found[date(2025, 7, 1), "t2"]
    assert [july[c] for c in ("touches", "orgs", "clicks", "conversions")] == [2, 1, 1, 1]
    assert (july["click_rate"], found[date(2025, 7, 1), "b"]["conversions_without_click"]) == (0.5, 3)


def test_windows_end_with_the_business_date(landing: Landing) -> None:
    logins = {"1": "2025-07-25", "2": "2025-07-24T23:59:59", "3": "2025-07-02", "4": "2025-07-01", "5": "2025-05-03",
              "6": "2025-05-02", "7": "2025-08-01", "8": ""}  # fmt: skip
    people = [{"user_id": id_, "last_login": login} for id_, login in logins.items()]
    gone = {"user_id": "9", "active": "False", "last_login": "2025-07-31", "role": ""}
    landing.orgs("a", "b").rows("users", *people, gone)
    states = {"runs": "running", "idle": "running", "off": "stopped", "unknown": ""}
    landing.rows("resources", *({"resource_id": id_, "state": state} for id_, state in states.items()))
    for resource, day in {
        "runs": "2025-07-18",
        "idle": "2025-07-17",
        "off": "2025-07-25",
        "unknown": "2025-07-31",
    }.items():
        dates = ((day, 1), ("2025-07-02", 2), ("2025-07-01", 4), ("2025-08-01", 8))
        landing.events(
            *used(*dates[: 4 if resource == "off" else 3], resource_id=resource, org=resource), name=f"{day}.jsonl"
        )
    oracle = landing.oracle(as_of=date(2025, 7, 31))

    activity = keyed(oracle.gold("user_activity"), "org_id")
    assert activity["a"] == {
        "org_id": "a", "users": 9, "active_users": 8, "users_by_role": [("admin", 8)], "logged_in_7d": 1,
        "logged_in_30d": 3, "logged_in_90d": 5, "never_logged_in": 1, "adoption_rate": 0.375,
    }  # fmt: skip
    assert (activity["b"]["users_by_role"], activity["b"]["adoption_rate"]) == ([], None)

    resources = keyed(oracle.gold("resource_utilization"), "resource_id")
    columns = ("is_idle", "events_30d", "cost_30d_usd", "inactive_cost_7d_usd", "inactive_cost_30d_usd")
    assert {id_: tuple(row[c] for c in columns) for id_, row in resources.items()} == {
        "runs": (False, 2, 3, 0, 0), "idle": (True, 2, 3, 0, 0), "off": (False, 2, 3, 1, 3), "unknown": (False, 2, 3, 0, 0),
    }  # fmt: skip
    assert resources["off"]["last_used_at"] == datetime(2025, 8, 1, 12)


# ------------------------------------------------------------------------------------------------------- customers


def test_quintiles_give_equal_values_equal_scores(landing: Landing) -> None:
    signups = {"a": "2025-01-01", "b": "2025-07-02", "c": "2025-07-31", "d": "2025-07-01", "e": "2025-08-01"}
    landing.rows("customers_orgs", *({"org_id": org, "signup_date": day} for org, day in signups.items()))
    landing.events(
        # The third date is the same; before the 90 days; after the business date.
        *used(
            ("2025-07-30", 75), ("2025-07-01", 100), ("2025-07-30", 0), ("2025-05-02", 1), ("2025-08-01", 1), org="a"
        ),
        *used(("2025-07-29", 75.01), ("2025-07-01", 100), org="b"),
        *used(("2025-07-01", 1), org="c"),
    )
    bills = [("a", "7", "50"), ("b", "7", "10"), ("b", "4", "1000"), ("c", "5", "5"), ("c", "6", "15"), ("d", "7", "20"),
             ("d", "8", "900"), ("e", "7", "-5")]  # fmt: skip
    landing.rows(
        "billing_monthly",
        *(invoice(org + m, amount, org_id=org, month=f"2025-0{m}-01") for org, m, amount in bills),
        # It makes July of a suspect, so that a has no value.
        invoice("x", "0.01", currency="EUR"),
    )
    found = keyed(landing.oracle(as_of=date(2025, 7, 31)).gold("customer_rfm"), "org_id")
    columns = ("recency_days", "r", "frequency", "f", "monetary", "m", "segment")
    assert {org: tuple(row[c] for c in columns) for org, row in found.items()} == {
        # A quarter less than before is at risk, a little less than a quarter is not.
        "a": (1, 5, 2, 5, None, 1, "At Risk"),
        "b": (2, 4, 2, 5, 10, 4, "New"),
        "c": (30, 2, 1, 3, 10, 4, "At Risk"),
        "d": (None, 1, 0, 2, 20, 5, "Lost"),
        "e": (None, 1, 0, 2, -5, 2, "Lost"),
    }
    assert (found["a"]["cost_change_pct"], found["d"]["cost_change_pct"]) == (pytest.approx(-25), None)
    assert (found["a"]["rfm_score"], found["a"]["previous_net_cost_usd"]) == (11, 100)


def test_a_day_of_anomaly_counts_with_what_was_expected(landing: Landing) -> None:
    landing.orgs("a").events(*used(*daily("2025-06-20", *[1] * 8), ("2025-07-20", 500)))
    found = only(landing.oracle(as_of=date(2025, 7, 20)).gold("customer_rfm"))
    assert (found["recent_net_cost_usd"], found["previous_net_cost_usd"]) == (8, 1)


def test_health_weighs_the_components_that_are_there(landing: Landing) -> None:
    landing.rows(
        "customers_orgs", {"org_id": "a"}, {"org_id": "b"}, {"org_id": "c"}, {"org_id": "d", "nps_score": "-25"}
    )
    landing.events(*used(("2025-07-03", 30), ("2025-08-31", 10)))
    landing.rows(
        "users",
        *({"user_id": n, "last_login": day} for n, day in [("1", "2025-08-02"), ("2", "2025-08-01"), ("3", "")]),
        {"user_id": "4", "org_id": "d", "active": ""},
    )
    landing.rows(
        "support_tickets",
        *(
            {"ticket_id": n, "created_at": day, "resolved_at": "2025-08-31"}
            for n, day in [("1", "2025-06-03"), ("2", "2025-08-31")]
        ),
        {"ticket_id": "3", "created_at": "2025-08-01", "sla_breached": "True", "resolved_at": "2025-08-02"},
        # Breached before the 90 days, yet open and severe.
        {
            "ticket_id": "4",
            "created_at": "2025-06-02",
            "sla_breached": "True",
            "severity": "high",
            "resolved_at": "2025-09-01",
        },
        *({"ticket_id": f"c{n}", "org_id": "c", "csat": n, "resolved_at": "2025-07-02"} for n in "34"),
        # Open ones outweigh everything: not below 0.
        *({"ticket_id": f"b{n}", "org_id": "b", "severity": "critical"} for n in range(11)),
    )
    landing.rows(
        "nps_surveys",
        {"survey_date": "2025-08-01", "nps_score": "7"},
        {"survey_date": "2025-08-02", "nps_score": "-70"},
        {"survey_date": "2025-09-01", "nps_score": "1"},
    )
    bills = {"08": "50", "06": "100", "05": "50", "04": "30", "03": "7", "09": "5000"}
    landing.rows(
        "billing_monthly",
        *(invoice(month, amount, month=f"2025-{month}-01") for month, amount in bills.items()),
        invoice("suspect", "1", month="2025-07-01", currency="EUR"),
        invoice("compared", "5000", month="2025-07-01", org_id="c"),
        invoice("minus", "-1", month="2025-08-01", org_id="d"),
    )
    oracle = landing.oracle(as_of=date(2025, 8, 31))
    found = keyed(oracle.gold("customer_health"), "org_id")
    components = {
        org: {c["name"]: (c["score"], c["contribution"]) for c in row["health_components"] if c["score"] is not None}
        for org, row in found.items()
    }
    assert components["a"] == {
        "usage": (Decimal("16.666667"), Decimal("4.17")),
        "engagement": (Decimal("83.333333"), Decimal("16.67")),
        "support": (Decimal("56.666667"), Decimal("11.33")),
        "satisfaction": (70, 14),
        # Over the mean of June, May and April; July is suspect.
        "billing": (Decimal("83.333333"), Decimal("12.5")),
    }
    assert components["b"] == {"support": (0, 0)}
    # Without a month before the newest there is nothing to compare it with.
    assert components["c"] == {"support": (100, 50), "satisfaction": (Decimal("62.5"), Decimal("31.25"))}
    assert components["d"] == {
        "support": (100, Decimal("36.36")), "satisfaction": (Decimal("37.5"), Decimal("13.64")), "billing": (0, 0),
    }  # fmt: skip
    assert {org: (row["health_score"], row["health_band"]) for org, row in found.items()} == {
        "a": (Decimal("58.67"), "watch"), "b": (0, "at_risk"), "c": (Decimal("81.25"), "healthy"), "d": (50, "watch"),
    }  # fmt: skip
    # A day earlier the 60 days begin before the first usage.
    before = keyed(landing.oracle(as_of=date(2025, 8, 30)).gold("customer_health"), "org_id")["a"]
    assert before["health_components"][0] == {"name": "usage", "score": None, "weight": 25, "contribution": None}


def test_history_is_told_by_the_masters_of_each_sunday(landing: Landing) -> None:
    for day, plans in {
        "2025-07-19": {"a": "pro", "b": "pro"},
        "2025-07-22": {"a": "enterprise", "b": "pro", "c": "free"},
        "2025-07-23": {"b": "pro", "c": "free"},
        "2025-07-25": {"a": "enterprise", "b": "pro", "c": "free"},
        "2025-07-28": {"a": "enterprise", "c": "free"},
    }.items():
        landing.rows("customers_orgs", *({"org_id": org, "plan_tier": p} for org, p in plans.items()), folder=day)
    landing.rows("users", {"user_id": "1", "org_id": "b", "last_login": "2025-07-18"}, folder="2025-07-19")
    landing.rows("users", {"user_id": "1", "org_id": "b", "last_login": "2025-07-21"}, folder="2025-07-22")
    landing.events(*used(("2025-07-16", 1), org="b"), *used(("2025-08-04", 1), org="a"))
    oracle = landing.oracle(as_of=date(2025, 8, 4), snapshot_deletes_limit=None)

    history = keyed(oracle.gold("customer_history"), "org_id", "week_ending")
    sundays = {"20": ["a", "b"], "27": ["a", "b", "c"], "03": ["a", "c"]}
    assert {(org, day.isoformat()[-2:]) for org, day in history} == {
        (o, day) for day, os in sundays.items() for o in os
    }
    weeks = [history["b", date(2025, 7, day)] for day in (20, 27)]
    # b used something on the 16th, 4 and 11 days before, and nobody else did.
    assert [(row["r"], row["f"], row["segment"]) for row in weeks] == [(4, 5, "Loyal"), (3, 5, "At Risk")]
    assert [row["health_components"][1]["score"] for row in weeks] == [100, 100]

    found = [
        tuple(row[c] for c in ("org_id", "plan_tier", "segment", "effective_from", "effective_to", "is_current"))
        for row in oracle.gold("dim_customer").to_pylist()
    ]
    start, times = datetime(1970, 1, 1), {day: datetime(2025, 7, day) for day in (21, 22, 23, 25, 28)}
    assert sorted(found, key=lambda row: (row[0], row[3])) == [
        ("a", "pro", None, start, times[21], False),
        ("a", "pro", "Lost", times[21], times[22], False),
        ("a", "enterprise", "Lost", times[22], times[23], False),
        # Gone for two days; what was known of its week holds no longer.
        ("a", "enterprise", None, times[25], times[28], False),
        ("a", "enterprise", "Lost", times[28], None, True),
        ("b", "pro", None, start, times[21], False),
        # Deleted in the first moment of the next week: its Sunday tells of it, its version has ended.
        ("b", "pro", "Loyal", times[21], times[28], False),
        ("c", "free", None, times[22], times[28], False),
        ("c", "free", "Lost", times[28], None, True),
    ]


def test_a_customers_page_tells_what_does_not_go_together(landing: Landing) -> None:
    landing.rows(
        "customers_orgs",
        {"org_id": "a", "plan_tier": "free", "lifecycle_stage": "churned"},
        {"org_id": "b", "lifecycle_stage": "lead"},
        {"org_id": "c", "plan_tier": "free", "lifecycle_stage": "active"},
    )
    landing.rows(
        "billing_monthly",
        invoice("1", "31"),
        invoice("2", "62", month="2025-08-01"),
        invoice("3", "9", month="2025-06-01"),
    )
    landing.events(*used(("2025-07-17", 1), ("2025-07-16", 2), ("2025-08-16", 4)), *used(("2025-07-16", 8), org="b"))
    landing.rows("support_tickets", *({"ticket_id": day, "created_at": f"2025-07-{day}"} for day in ("16", "17", "18")))
    oracle = landing.oracle(as_of=date(2025, 8, 15))
    found = keyed(oracle.gold("customer_360"), "org_id")
    # 15 of July's 31 days and 15 of August's.
    assert [found["a"][c] for c in ("revenue_30d_usd", "cost_30d_usd", "events_30d", "tickets_30d")] == [45, 1, 1, 2]
    assert {org: row["contradictions"] for org, row in found.items()} == {
        "a": ["churned_with_cost", "free_plan_with_revenue"], "b": [], "c": [],
    }  # fmt: skip
    segments = keyed(oracle.gold("customer_segments"), "segment")
    assert sum(row["orgs"] for row in segments.values()) == 3
    assert sum(row["revenue_share_pct"] for row in segments.values()) == pytest.approx(100)


# ----------------------------------------------------------------------------- contracts and comparison


# What a mart has beside what follows from the landing files.
LEFT_OUT = {
    "cost_spikes": {"source_file"}, "dim_customer": {"customer_sk", "record_hash"}, "focus_charges": {"region_name", "load_id"},
    "invoice_lines": {"snapshot_at"}, "invoice_gap": {"causes"},
}  # fmt: skip


def spelt(type_: pa.DataType) -> str:
    """The type as a contract spells it."""
    if pa.types.is_map(type_):
        return f"map<{spelt(type_.key_type)},{spelt(type_.item_type)}>"
    if pa.types.is_list(type_):
        return f"array<{spelt(type_.value_type)}>"
    if pa.types.is_struct(type_):
        return f"struct<{','.join(f'{field.name}:{spelt(field.type)}' for field in type_)}>"
    names = {"date32[day]": "date", "bool": "boolean", "int64": "bigint", "int32": "int", "timestamp[us]": "timestamp"}
    return names.get(str(type_), str(type_)).replace("decimal128", "decimal").replace(" ", "")


def test_the_oracle_answers_with_the_declared_columns(landing: Landing) -> None:
    oracle = landing.oracle()
    conf = {
        layer: yaml.safe_load((ROOT / "conf" / f"{layer}.yaml").read_text())["tables"] for layer in ("gold", "silver", "focus")
    }
    conf["gold"] |= conf["focus"]
    measures = yaml.safe_load((ROOT / "conf" / "measures.yaml").read_text())
    # What these two tell is no question of the landing files.
    assert set(conf["gold"]) - set(GOLD) == {"dim_date", "dim_region"}
    for name in GOLD:
        columns = conf["gold"][name]["columns"] | (measures if conf["gold"][name].get("measures") else {})
        declared = {
            column: spec.get("type", "string").replace(" ", "").replace(",why:string", "")
            for column, spec in columns.items()
            if column not in LEFT_OUT.get(name, set())
        }
        assert {field.name: spelt(field.type) for field in oracle.gold(name).schema} == declared, name
    for name in [*MASTERS, *RECORDS, EVENTS]:
        assert set(oracle.silver(name).column_names) <= set(conf["silver"][name]["columns"])


def test_an_empty_landing_folder_has_empty_answers(landing: Landing) -> None:
    oracle = landing.oracle()
    assert all(oracle.gold(name).num_rows == 0 for name in GOLD)
    assert oracle.counts("users") == {"landed": 0, "accepted": 0, "quarantined": 0, "duplicates": 0, "reasons": {}}
    with pytest.raises(KeyError, match="'usage_dayly' is none of usage_daily"):
        oracle.gold("usage_dayly")


def one(**columns: Any) -> pa.Table:
    return pa.table({name: [value] for name, value in columns.items()})


def test_assert_same_passes_over_order_width_and_the_last_bit_of_a_double() -> None:
    moment = datetime(2025, 7, 1, 12)
    entries = pa.map_(pa.string(), pa.int64())
    expected = pa.table(
        {
            "k": ["a", "b"],
            "n": pa.array([1, None], pa.int64()),
            "d": pa.array([Decimal("1.10"), None], pa.decimal128(28, 2)),
            "x": [1.0, 0.0],
            "t": pa.array([moment, None], pa.timestamp("us")),
            "m": pa.array([[("p", 1), ("q", 2)], []], entries),
        }
    )
    actual = pa.table(
        {
            "m": pa.array([[], [("q", 2), ("p", 1)]], entries),
            "t": pa.array([None, moment.replace(tzinfo=UTC)], pa.timestamp("us", "UTC")),
            "x": [0.0, 1.0 + 1e-12],
            "d": pa.array([None, Decimal("1.1")], pa.decimal128(38, 2)),
            "n": pa.array([None, 1], pa.int32()),
            "k": pa.array(["b", "a"], pa.large_string()),
        }
    )
    assert_same(actual, expected, ["k"])


NUMBER = pa.schema({"k": pa.string(), "n": pa.int64()})


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        (one(k="a", d=Decimal("1.1")), one(k="a", d=Decimal("1.2")), "(a).d: Decimal('1.1'), expected Decimal('1.2')"),
        (one(k="a", x=1.0), one(k="a", x=1.00000001), "usage: 1 differences\n  (a).x: 1.0, expected 1.00000001"),
        (one(k="a", n=0), one(k="a", n=None).cast(NUMBER), "(a).n: 0, expected None"),
        (one(k="a"), one(k="b"), "(b): missing\n  (a): not expected"),
        (pa.table({"k": ["a", "a"]}), one(k="a"), "(a): 2 rows in actual"),
        (one(k="a", x=1.0), one(k="a", x=Decimal("1.0")), "column x: type is double, expected decimal(…, 1)"),
        (one(k="a", y=1), one(k="a", x=1), "column x: missing\n  column y: not expected"),
        (one(k="a", l=["x"]), one(k="a", l=["x", "y"]), "(a).l: ['x'], expected ['x', 'y']"),
    ],
)
def test_assert_same_names_table_key_column_and_both_values(actual: pa.Table, expected: pa.Table, message: str) -> None:
    with pytest.raises(AssertionError) as failure:
        assert_same(actual, expected, ["k"], "usage")
    assert message in str(failure.value)


def test_assert_same_shows_the_first_ten_differences() -> None:
    actual, expected = (pa.table({"k": list(range(25)), "v": [v] * 25}) for v in (1, 2))
    with pytest.raises(AssertionError) as failure:
        assert_same(actual, expected, ["k"])
    assert str(failure.value).startswith("table: 25 differences")
    assert len(str(failure.value).splitlines()) == 12
    assert str(failure.value).endswith("… and 15 more")
