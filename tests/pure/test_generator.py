"""The landing data generator: its shape, its dirt, and its manifest against a recount of the files."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "generate_landing_data.py"
Row = dict[str, str]

KEYS = {
    "customers_orgs": ["org_id"],
    "users": ["user_id"],
    "resources": ["resource_id"],
    "billing_monthly": ["invoice_id"],
    "support_tickets": ["ticket_id"],
    "marketing_touches": ["touch_id"],
    "nps_surveys": ["org_id", "survey_date"],
}
SERVICES = "compute storage database networking analytics genai"
REGIONS = "us-east us-west eu-west eu-central sa-east ap-south ap-northeast"
NAMES = {
    "hq_region": REGIONS,
    "region": REGIONS,
    "service": SERVICES,
    "plan_tier": "free standard pro enterprise",
    "lifecycle_stage": "lead prospect active at_risk churned",
    "marketing_source": "ads event organic partner referral",
    "role": "admin analyst data_engineer developer devops ml_engineer",
    "state": "running stopped terminated",
    "category": "availability billing integration performance security usability",
    "severity": "low medium high critical",
    "channel": "ads email event in_app",
}
CASTS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(
        ["signup_date", "created_at", "last_login", "month", "resolved_at", "timestamp", "survey_date"],
        date.fromisoformat,
    ),
    **dict.fromkeys(["subtotal", "credits", "taxes", "exchange_rate_to_usd", "nps_score", "csat"], Decimal),
    **dict.fromkeys(
        ["active", "is_enterprise", "sla_breached", "clicked", "converted"],
        {"True": 1, "False": 0}.__getitem__,
    ),
}
UNITS = {"requests": "count", "cpu_hours": "hours", "storage_gb_hours": "gb_hours"}


def generate(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as people do."""
    command = [sys.executable, str(SCRIPT), "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def generated(out: Path, *arguments: str) -> Path:
    done = generate(out, *arguments)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("default"), "--seed", "7")


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five dated exports and a flat one."""
    size = ("--snapshots", "5", "--days", "8", "--events-per-day", "50", "--files", "3")
    return generated(tmp_path_factory.mktemp("history"), "--seed", "3", *size)


@pytest.fixture(scope="session")
def filthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of dirt many times over, with snapshots."""
    kinds = manifest(generated(tmp_path_factory.mktemp("kinds"), *SMALL))["generator"]["options"]["rates"]
    rates = [argument for kind in kinds for argument in ("--rate", f"{kind}=0.03")]
    size = ("--snapshots", "2", "--orgs", "200", "--days", "12", "--events-per-day", "700", "--files", "7")
    return generated(tmp_path_factory.mktemp("filthy"), "--seed", "11", *size, *rates)


SMALL = ("--days", "4", "--orgs", "6", "--events-per-day", "30", "--files", "5")


def manifest(landing: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((landing / "manifest.json").read_text())
    return found


def rows_of(path: Path) -> list[Row]:
    """The rows that fit their header."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]


def raw_lines(landing: Path) -> list[str]:
    paths = sorted((landing / "usage_events_stream").glob("*.jsonl"))
    return [line for path in paths for line in path.read_text().split("\n")[:-1]]


def strictly_one_object(line: str) -> dict[str, Any] | None:
    """The object, or None where the line is not exactly one JSON object with distinct keys."""

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    def no_constant(name: str) -> None:
        raise ValueError(name)

    try:
        found = json.loads(line, object_pairs_hook=distinct, parse_constant=no_constant)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def events_of(landing: Path) -> list[dict[str, Any]]:
    return [event for event in map(strictly_one_object, raw_lines(landing)) if event]


def digest(landing: Path) -> dict[str, str]:
    files = [path for path in landing.rglob("*") if path.is_file()]
    return {str(path.relative_to(landing)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def share(rows: list[Any], condition: Callable[[Any], bool]) -> float:
    return sum(map(condition, rows)) / len(rows)


# --- a recount of the files by the rules of the tables, independent of how the generator counts ---


def conformed(name: str, value: str) -> str | None:
    """The name that a spelling stands for."""
    plain = re.sub(r"[ _-]+", "_", value.strip().lower())
    return {re.sub("[_-]", "_", known): known for known in NAMES[name].split()}.get(plain)


def csv_reasons(source: str, row: Row, orgs: set[str]) -> Iterator[str]:
    yield from (f"{column}_missing" for column in KEYS[source] if not row[column])
    for column, value in row.items():
        if column in NAMES and value and conformed(column, value) is None:
            yield f"{column}_unknown"
        if column in CASTS and value:
            try:
                CASTS[column](value)
            except (ValueError, ArithmeticError, KeyError):
                yield f"{column}_invalid"
    if source != "customers_orgs" and row["org_id"] not in orgs:
        yield "org_id_unknown"
    if source == "billing_monthly":
        yield from (
            f"{name}_missing" for name in ("subtotal", "taxes", "exchange_rate_to_usd") if not row[name]
        )
        if row["exchange_rate_to_usd"] and Decimal(row["exchange_rate_to_usd"]) <= 0:
            yield "exchange_rate_to_usd_not_positive"
        if row["currency"] not in ("USD", "EUR", "ARS"):
            yield "currency_not_iso4217"
        if not row["month"].endswith("-01"):
            yield "month_not_first_day"
    if source == "support_tickets":
        if not row["created_at"]:
            yield "created_at_missing"
        elif "" < row["resolved_at"] < row["created_at"] and row["created_at"] != "2025-06-31":
            yield "resolved_before_created"
    if source == "marketing_touches" and not row["timestamp"]:
        yield "touched_at_missing"


def csv_flags(source: str, row: Row, context: dict[str, Any]) -> Iterator[str]:
    def given(column: str, condition: Callable[[Decimal], bool]) -> bool:
        return bool(row[column]) and condition(Decimal(row[column]))

    signup = context["signups"].get(row["org_id"])
    if source == "customers_orgs":
        is_enterprise_plan = conformed("plan_tier", row["plan_tier"]) == "enterprise"
        yield from ["signup_date_missing"] * (not row["signup_date"])
        yield from ["nps_score_out_of_range"] * given("nps_score", lambda score: not -100 <= score <= 100)
        yield from ["is_enterprise_contradicts_plan"] * (
            (row["is_enterprise"] == "True") != is_enterprise_plan
        )
    if source == "users":
        is_address = re.match(r"^[\w.+-]+@[\w-]+(\.[\w-]+)+$", row["email"])
        yield from ["email_invalid"] * (is_address is None)
        yield from ["last_login_missing"] * (not row["last_login"])
        yield from ["last_login_before_created"] * ("" < row["last_login"] < row["created_at"])
        yield from ["created_before_signup"] * bool(signup and row["created_at"] < signup)
        yield from ["active_missing"] * (not row["active"])
    if source == "resources" and row["tags_json"]:
        try:
            pairs = {tuple(tag.split(":", 1)) for tag in json.loads(row["tags_json"])}
            yield from ["tag_key_repeated"] * (len(pairs) > len({pair[0] for pair in pairs}))
        except ValueError:
            yield "tags_unparseable"
    if source == "billing_monthly":
        is_usd, rate = row["currency"] == "USD", Decimal(row["exchange_rate_to_usd"])
        yield from ["is_credit_note"] * given("subtotal", lambda amount: amount < 0)
        yield from ["credit_note_with_tax"] * (Decimal(row["subtotal"]) < 0 < Decimal(row["taxes"]))
        yield from ["usd_rate_off_one"] * (is_usd and not Decimal("0.995") <= rate <= Decimal("1.005"))
        middle = context["medians"].get(row["month"], Decimal(0))
        yield from ["fx_suspect"] * (not is_usd and in_usd(row) * 20 < middle)
    if source == "support_tickets":
        in_scale = given("csat", lambda score: score in (1, 2, 3, 4, 5))
        resolved = row["resolved_at"] and datetime.fromisoformat(row["resolved_at"]).replace(tzinfo=UTC)
        yield from ["csat_out_of_scale"] * (bool(row["csat"]) and not in_scale)
        yield from ["csat_on_open_ticket"] * (in_scale and not row["resolved_at"])
        yield from ["resolved_after_snapshot"] * bool(resolved and resolved > context["snapshot_at"])
    if source == "marketing_touches":
        yield from ["converted_without_click"] * (row["converted"] == "True" and row["clicked"] == "False")
    if source == "nps_surveys":
        yield from ["nps_score_out_of_scale"] * given("nps_score", lambda score: score not in range(11))


def in_usd(row: Row) -> Decimal:
    amount = Decimal(row["subtotal"]) * Decimal(row["exchange_rate_to_usd"])
    return abs(amount).quantize(Decimal("0.000001"), ROUND_HALF_UP)


def recounted_csv(source: str, path: Path, signups: dict[str, str]) -> dict[str, Any]:
    """What becomes of each row of one file; the file's modification time is the time of the snapshot."""
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    reasons, flags, seen, fits = Counter[str](), Counter[str](), set[tuple[str, ...]](), list[Row]()
    duplicates = quarantined = 0
    contents = defaultdict[tuple[str, ...], set[tuple[str, ...]]](set)
    for cells in lines:
        if tuple(cells) in seen:
            duplicates += 1
        elif len(cells) != len(header):
            quarantined += 1
            reasons["malformed_row"] += 1
        else:
            row = dict(zip(header, cells, strict=True))
            fits.append(row)
            contents[tuple(row[column] for column in KEYS[source])].add(tuple(cells))
        seen.add(tuple(cells))
    accepted = []
    for row in fits:
        found = list(csv_reasons(source, row, set(signups)))
        if len(contents[tuple(row[column] for column in KEYS[source])]) > 1:
            found.append("conflicting_rows")
        reasons.update(found)
        if found:
            quarantined += 1
        else:
            accepted.append(row)
    usd = defaultdict[str, list[Decimal]](list)
    for row in accepted:
        if row.get("currency") == "USD":
            usd[row["month"]].append(in_usd(row))
    context = {
        "signups": signups,
        "medians": {month: median(amounts) for month, amounts in usd.items()},
        "snapshot_at": datetime.fromtimestamp(path.stat().st_mtime, UTC),
    }
    for row in accepted:
        flags.update(csv_flags(source, row, context))
    return counts(len(lines), len(accepted), duplicates, quarantined, reasons, flags)


def counts(
    rows: int, accepted: int, duplicates: int, quarantined: int, *found: Counter[str]
) -> dict[str, Any]:
    return {
        "rows": rows,
        "accepted": accepted,
        "duplicates": duplicates,
        "quarantined": quarantined,
        "reasons": dict(found[0]),
        "flags": dict(found[1]),
    }


def number(value: Any) -> Decimal | None:
    """The decimal number that a JSON value is or spells, if any."""
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", str(value)):
        return None
    return Decimal(str(value))


def event_reasons(event: dict[str, Any]) -> Iterator[str]:
    required = ["event_id", "org_id", "timestamp", "service", "region", "metric", "cost_usd_increment"]
    yield from (f"{name}_missing" for name in required if event.get(name) in (None, ""))
    if event["schema_version"] not in (1, 2):
        yield "schema_version_unknown"
    if event.get("timestamp"):
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["timestamp"]):
            yield "timestamp_invalid"
        elif event["timestamp"] > "2026":
            yield "timestamp_in_future"
    for name in ("value", "cost_usd_increment", "carbon_kg", "genai_tokens"):
        if event.get(name) not in (None, "") and number(event[name]) is None:
            yield f"{name}_invalid"
    if (number(event["value"]) or 0) < 0:
        yield "value_negative"
    if (number(event.get("cost_usd_increment")) or 0) < Decimal("-0.01"):
        yield "cost_negative"
    if event.get("unit") and event.get("metric") and UNITS[event["metric"]] != event["unit"]:
        yield "unit_contradicts_metric"


def recounted_events(landing: Path) -> dict[str, Any]:
    """What becomes of each line; which of two contents of one event_id is kept does not matter."""
    lines = raw_lines(landing)
    seen, kept, reasons, flags = set[str](), set[tuple[str, str]](), Counter[str](), Counter[str]()
    duplicates = quarantined = accepted = 0
    for line in lines:
        if line in seen:
            duplicates += 1
            continue
        seen.add(line)
        event = strictly_one_object(line)
        found = ["malformed_json"] if event is None else list(event_reasons(event))
        if event is not None and not found:
            key = (event["event_id"], event["timestamp"][:10])
            found = ["event_id_conflict"] if key in kept else []
            kept.add(key)
        reasons.update(found)
        if event is None or found:
            quarantined += 1
            continue
        accepted += 1
        cost = Decimal(str(event["cost_usd_increment"]))
        flags.update(["value_missing"] * (event["value"] is None))
        flags.update(["cost_slightly_negative"] * (Decimal("-0.01") <= cost < 0))
    return counts(len(lines), accepted, duplicates, quarantined, reasons, flags)


def known_signups(landing: Path) -> dict[str, str]:
    """The organisations that any delivery knows: those with a row that is not refused."""
    signups = {}
    for path in landing.rglob("customers_orgs.csv"):
        rows = rows_of(path)
        contents = defaultdict[str, set[str]](set)
        for row in rows:
            contents[row["org_id"]].add(str(row))
        for row in rows:
            if len(contents[row["org_id"]]) == 1 and not list(csv_reasons("customers_orgs", row, set())):
                signups[row["org_id"]] = row["signup_date"]
    return signups


@pytest.mark.parametrize("landing", ["default", "history", "filthy"])
def test_the_manifest_is_what_a_recount_of_the_files_finds(
    landing: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(landing)
    sources, signups = manifest(folder)["sources"], known_signups(folder)
    for source in KEYS:
        for path, told in sources[source]["deliveries"].items():
            found = recounted_csv(source, folder / path, signups)
            assert found == {name: told[name] for name in found}, path
    found = recounted_events(folder)
    assert found == {name: sources["usage_events"][name] for name in found}


@pytest.mark.parametrize("landing", ["default", "history", "filthy"])
def test_rows_are_accepted_quarantined_or_duplicates(landing: str, request: pytest.FixtureRequest) -> None:
    for entry in manifest(request.getfixturevalue(landing))["sources"].values():
        for told in (entry, *entry.get("deliveries", {}).values()):
            assert told["rows"] == told["accepted"] + told["duplicates"] + told["quarantined"]


def test_every_kind_of_dirt_and_every_reason_can_be_had(filthy: Path) -> None:
    told = manifest(filthy)
    sources = told["sources"].values()
    injected = set().union(*(entry["injected"] for entry in sources))
    assert injected == set(told["generator"]["options"]["rates"])
    assert told["sources"]["customers_orgs"]["flags"]["signup_date_missing"] > 0
    events = told["sources"]["usage_events"]
    assert {"event_id_missing", "cost_usd_increment_missing", "genai_tokens_invalid"} < set(events["reasons"])
    # Of 252 each; those with a cost below zero are quarantined and not counted.
    assert 240 < events["counted"]["org_id_unknown"] <= 252
    assert 240 < events["counted"]["resource_id_unknown"] <= 252
    assert len(told["sources"]["billing_monthly"]["reasons"]) == 10


def test_a_clean_delivery_has_only_the_measured_dirt(tmp_path: Path) -> None:
    sources = manifest(generated(tmp_path, "--clean"))["sources"]
    assert all(not entry["injected"] and not entry["duplicates"] for entry in sources.values())
    assert {name: entry["rows"] for name, entry in sources.items() if entry["quarantined"]} == {
        "usage_events": 43200
    }
    assert set(sources["usage_events"]["reasons"]) == {"cost_negative"}


# --- shape and figures of the default delivery ---


def test_the_default_delivery_has_the_measured_size(default: Path) -> None:
    rows = {name: entry["rows"] for name, entry in manifest(default)["sources"].items()}
    assert rows == {
        "customers_orgs": 80,
        "users": 800,
        "resources": 400,
        "billing_monthly": 240,
        "support_tickets": 1000,
        "marketing_touches": 1500,
        "nps_surveys": 92,
        "usage_events": 43200,
    }
    files = sorted((default / "usage_events_stream").iterdir())
    assert len(files) == 120
    assert {path.read_text().count("\n") for path in files} == {360}


def test_an_event_is_written_compactly_in_the_order_of_its_fields(default: Path) -> None:
    place = ["event_id", "timestamp", "org_id", "resource_id", "service", "region"]
    version_1 = [*place, "metric", "value", "unit", "cost_usd_increment", "schema_version"]
    version_2 = [*version_1, "carbon_kg"]
    lines = [line for line in raw_lines(default) if line.startswith('{"event_id":"evt_')]
    orders = Counter(tuple(event) for line in lines if (event := strictly_one_object(line)))
    usual = {tuple(version_1), tuple(version_2), (*version_2, "genai_tokens")}
    assert usual == {order for order, _ in orders.most_common(3)}
    assert share(lines, lambda line: ", " in line or ": " in line) < 0.002


def test_version_2_begins_on_18_july(default: Path) -> None:
    events = [event for event in events_of(default) if str(event.get("timestamp"))[:4] == "2025"]
    days = Counter(event["timestamp"][:10] for event in events)
    assert min(days) == "2025-07-03"
    assert max(days) == "2025-08-31"
    assert len(days) == 60
    assert all(abs(count - 720) < 20 for count in days.values())
    known = [event for event in events if event["schema_version"] in (1, 2)]
    assert all((event["schema_version"] == 2) == (event["timestamp"] >= "2025-07-18") for event in known)


def test_every_file_spans_all_days_in_random_order(default: Path) -> None:
    for path in sorted((default / "usage_events_stream").iterdir())[:10]:
        days = re.findall(r'"timestamp":"(2025-\d\d-\d\d)', path.read_text())
        assert len(set(days)) > 50
        later = sum(after >= before for before, after in pairwise(days))
        assert 0.4 < later / len(days) < 0.6


def test_events_have_the_measured_shares(default: Path) -> None:
    events = events_of(default)
    costs = [event for event in events if isinstance(event.get("cost_usd_increment"), float)]
    resources = {row["resource_id"]: row for row in rows_of(default / "resources.csv")}
    placed = [
        e | resources[e["resource_id"]]
        for e in events
        if e["resource_id"] in resources and e.get("timestamp")
    ]
    assert share(events, lambda e: e["value"] is None) == pytest.approx(0.02, abs=0.003)
    assert share(events, lambda e: number(e["value"]) is not None and isinstance(e["value"], str)) == (
        pytest.approx(0.03, abs=0.004)
    )
    assert share(events, lambda e: e["unit"] is None) == pytest.approx(0.048, abs=0.005)
    assert share(costs, lambda e: e["cost_usd_increment"] < 0) == pytest.approx(0.005, abs=0.001)
    assert share(costs, lambda e: e["cost_usd_increment"] == 0) == pytest.approx(0.06, abs=0.005)
    assert share(costs, lambda e: e["cost_usd_increment"] > 100) == pytest.approx(0.001, abs=0.0005)
    assert -154.5 < min(e["cost_usd_increment"] for e in costs) < -100
    assert 250 < max(e["cost_usd_increment"] for e in costs) < 318
    assert share(placed, lambda e: e["timestamp"][:10] < e["created_at"]) == pytest.approx(0.17, abs=0.025)
    assert share(placed, lambda e: e["state"] == "terminated") == pytest.approx(0.10, abs=0.02)
    assert share(placed, lambda e: e["state"] == "stopped") == pytest.approx(0.30, abs=0.02)
    assert any('"carbon_kg":0,' in line or '"carbon_kg":0}' in line for line in raw_lines(default))
    assert any(re.search(r'"carbon_kg":[\d.]+e-05', line) for line in raw_lines(default))


def test_masters_have_the_measured_shares(default: Path) -> None:
    orgs, users = rows_of(default / "customers_orgs.csv"), rows_of(default / "users.csv")
    resources = rows_of(default / "resources.csv")
    flags = manifest(default)["sources"]["users"]["flags"]
    assert share(orgs, lambda row: row["nps_score"] == "") == pytest.approx(0.14, abs=0.01)
    assert sum(row["nps_score"] == "101.0" for row in orgs) == 1
    contradicting = manifest(default)["sources"]["customers_orgs"]["flags"]["is_enterprise_contradicts_plan"]
    assert contradicting / 80 == pytest.approx(1 / 3, abs=0.05)
    assert share(users, lambda row: row["last_login"] == "") == pytest.approx(0.17, abs=0.01)
    assert flags["last_login_before_created"] / 800 == pytest.approx(0.29, abs=0.02)
    assert flags["created_before_signup"] / 800 == pytest.approx(0.31, abs=0.02)
    assert share(resources, lambda row: row["tags_json"] == "") == pytest.approx(0.21, abs=0.01)


def test_records_have_the_measured_shares(default: Path) -> None:
    invoices, tickets = rows_of(default / "billing_monthly.csv"), rows_of(default / "support_tickets.csv")
    surveys = rows_of(default / "nps_surveys.csv")
    told = {name: entry["flags"] for name, entry in manifest(default)["sources"].items()}
    assert {row["month"] for row in invoices} == {"2025-06-01", "2025-07-01", "2025-08-01"}
    assert share(invoices, lambda row: row["credits"] == "") == pytest.approx(0.57, abs=0.02)
    assert told["billing_monthly"]["is_credit_note"] == told["billing_monthly"]["credit_note_with_tax"]
    assert told["billing_monthly"]["is_credit_note"] / 240 == pytest.approx(0.05, abs=0.01)
    bounds = {"USD": (0.85, 1.12), "EUR": (1.0, 1.2), "ARS": (0.0013, 0.0016)}
    rated = [
        row for row in invoices if row["currency"] in bounds and float(row["exchange_rate_to_usd"] or 0) > 0
    ]
    for row in rated:
        lowest, highest = bounds[row["currency"]]
        assert lowest <= float(row["exchange_rate_to_usd"]) <= highest
        assert row["currency"] != "USD" or float(row["exchange_rate_to_usd"]) != 1
    assert share(tickets, lambda row: row["resolved_at"] == "") == pytest.approx(0.24, abs=0.01)
    assert share(tickets, lambda row: row["csat"] == "") == pytest.approx(0.25, abs=0.01)
    assert share(tickets, lambda row: row["csat"] in ("0.0", "6.0", "7.0")) == pytest.approx(0.04, abs=0.005)
    assert told["support_tickets"]["resolved_after_snapshot"] > 10
    assert told["marketing_touches"]["converted_without_click"] / 1500 == pytest.approx(0.06, abs=0.005)
    scored = [row for row in surveys if row["nps_score"]]
    assert share(surveys, lambda row: row["nps_score"] == "") == pytest.approx(0.21, abs=0.02)
    assert told["nps_surveys"]["nps_score_out_of_scale"] / len(scored) == pytest.approx(0.9, abs=0.03)
    assert share(surveys, lambda row: row["comment"] == "") == pytest.approx(0.11, abs=0.01)


# --- determinism ---


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path: Path) -> None:
    size = (*SMALL, "--snapshots", "2")
    first = digest(generated(tmp_path / "first", "--seed", "5", *size))
    again = digest(generated(tmp_path / "again", "--seed", "5", *size))
    other = digest(generated(tmp_path / "other", "--seed", "6", *size))
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_writing_again_replaces_an_earlier_delivery_whole(tmp_path: Path) -> None:
    once = digest(generated(tmp_path / "once", *SMALL))
    generated(tmp_path / "twice", "--days", "4", "--files", "9", "--snapshots", "3")
    assert digest(generated(tmp_path / "twice", *SMALL)) == once


def test_flat_files_show_the_time_of_their_export_and_events_the_present(default: Path) -> None:
    exported = datetime(2025, 9, 1, tzinfo=UTC).timestamp()
    assert {path.stat().st_mtime for path in default.glob("*.csv")} == {exported}
    assert all(path.stat().st_mtime > exported for path in (default / "usage_events_stream").iterdir())


# --- snapshots ---


def exports(landing: Path, master: str) -> list[dict[str, Row]]:
    """The rows of each export by key, oldest first, the flat one last."""
    paths = [*sorted(landing.glob(f"*/{master}.csv")), landing / f"{master}.csv"]
    key = KEYS[master][0]
    with_short_rows = []
    for path in paths:
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        cells = header.index(key)
        with_short_rows.append({row[cells]: dict(zip(header, row, strict=False)) for row in rows})
    return with_short_rows


@pytest.mark.parametrize("master", ["customers_orgs", "users", "resources"])
def test_keys_are_inserted_updated_deleted_and_come_back(history: Path, master: str) -> None:
    days = exports(history, master)
    assert len(days) == 6
    inserted, updated, returned = set[str](), set[str](), set[str]()
    known = set(days[0])
    for before, after in pairwise(days):
        deleted = set(before) - set(after)
        assert 0 < len(deleted) <= 0.15 * len(before)
        inserted |= set(after) - known
        returned |= (set(after) - set(before)) & known
        updated |= {key for key in set(before) & set(after) if before[key] != after[key]}
        known |= set(after)
    assert inserted
    assert updated
    assert returned


def test_dated_exports_end_on_the_last_day(history: Path) -> None:
    folders = sorted(path.name for path in history.iterdir() if path.is_dir() and path.name[0] == "2")
    assert folders == ["2025-08-27", "2025-08-28", "2025-08-29", "2025-08-30", "2025-08-31"]
    assert {path.name for path in (history / "2025-08-31").iterdir()} == {
        "customers_orgs.csv",
        "users.csv",
        "resources.csv",
    }


# --- bad arguments ---


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--days", "0"], "--days"),
        (["--orgs", "-3"], "--orgs"),
        (["--events-per-day", "many"], "--events-per-day"),
        (["--files", "999999999"], "--files"),
        (["--snapshots", "-1"], "--snapshots"),
        (["--seed", "-1"], "--seed"),
        (["--rate", "gremlins=0.1"], "gremlins"),
        (["--rate", "nan_values=2"], "nan_values"),
        (["--rate", "nan_values=often"], "nan_values"),
        (["--rate", "duplicate_events=0.5"], "add up"),
    ],
)
def test_a_bad_argument_is_named_in_one_line(tmp_path: Path, arguments: list[str], named: str) -> None:
    done = generate(tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = generate(tmp_path / "file" / "landing", *SMALL)
    assert done.returncode == 2
    assert str(tmp_path / "file") in done.stderr
    assert done.stderr.count("\n") == 1


def test_landing_files_of_another_origin_are_not_overwritten_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id\nu1\n")
    refused = generate(tmp_path, *SMALL)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert (tmp_path / "users.csv").read_text() == "user_id\nu1\n"
    generated(tmp_path, "--force", *SMALL)
    assert len(rows_of(tmp_path / "users.csv")) > 10


def test_the_help_shows_examples_and_every_kind_of_dirt(default: Path) -> None:
    shown = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "examples:" in shown
    assert all(kind in shown for kind in manifest(default)["generator"]["options"]["rates"])
