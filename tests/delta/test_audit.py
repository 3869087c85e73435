"""The audit of whole tables: what is planted is found, what stops a publication stops it, and nothing personal is shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cloudlake.batch import audit as quality_audit
from cloudlake.cli.main import main
from cloudlake.common.config import Config, load_config
from cloudlake.common.errors import QualityGateError
from cloudlake.common.quality.checks import Profile, change_from, facts_of, tables_in, with_views
from pyspark.sql import SparkSession

NOW = datetime(2025, 8, 31, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def version(key: str, value: str, at: datetime = EPOCH, until: datetime | None = None, **columns: Any) -> dict[str, Any]:
    return {key: value, "effective_from": at, "effective_to": until, "is_current": until is None, "is_deleted": False, **columns}


def invoice(number: str, org_id: str, **columns: Any) -> dict[str, Any]:
    return {
        "invoice_id": number, "org_id": org_id, "month": date(2025, 8, 1), "currency": "USD", "subtotal": Decimal("10.5"),
        "exchange_rate_to_usd": Decimal(1), "taxes": Decimal(0), "revenue_usd": Decimal("10.5"), "_source_sha256": "s", "_source_file": "f",
    } | columns  # fmt: skip


def event(number: int, org_id: str, **columns: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}", "event_time": NOW, "usage_date": date(2025, 8, 31), "org_id": org_id, "service": "compute",
        "region": "us-east", "metric": "requests", "cost_usd": Decimal("0.1"), "load_id": 1_000_000_000, "quality_flags": [],
    } | columns  # fmt: skip


CLEAN: dict[str, list[dict[str, Any]]] = {
    "silver.customers_orgs": [version("org_id", "o1", until=NOW), version("org_id", "o1", at=NOW)],
    "silver.users": [version("user_id", "u1", org_id="o1", email="ada@example.com")],
    "bronze.billing_monthly": [{"invoice_id": "i1", "subtotal": " 10.50", "_source_sha256": "s", "_source_file": "f"}],
    "silver.billing_monthly": [invoice("i1", "o1")],
    "silver.usage_events": [event(1, "o1"), event(2, "o1")],
    "gold.usage_daily": [{"usage_date": date(2025, 8, 31), "org_id": "o1", "service": "compute", "region": "us-east", "events": 2, "cost_usd": Decimal("0.2")}],
    "ops.reconciliation": [{"table": "silver.usage_events", "delivery": "1000000000", "landed": 2, "accepted": 2, "quarantined": 0, "duplicates": 0, "counted_at": NOW}],
}  # fmt: skip
PLANTED: dict[str, list[dict[str, Any]]] = {
    "silver.customers_orgs": [version("org_id", "o1", at=NOW - timedelta(days=1))],
    "silver.users": [version("user_id", "u1", org_id="o1", email="eve@example.com"), version("user_id", None, org_id="o8", email="bob@example.com")],  # type: ignore[arg-type]
    "silver.billing_monthly": [invoice("i1", "o9", subtotal=Decimal(99)), invoice("i2", "o1", taxes=None)],
    "silver.usage_events": [event(1, "o7", usage_date=date(2025, 8, 30))],
}  # fmt: skip
BROKEN = {
    ("silver.customers_orgs", "current_versions"): 1,
    ("silver.customers_orgs", "overlapping_versions"): 2,
    ("silver.users", "key"): 2,
    ("silver.users", "user_id_required"): 1,
    ("silver.users", "current_versions"): 1,
    ("silver.users", "org_id_orphans"): 1,
    ("silver.users", "overlapping_versions"): 1,
    ("silver.billing_monthly", "key"): 2,
    ("silver.billing_monthly", "taxes_required"): 1,
    ("silver.billing_monthly", "org_id_orphans"): 1,
    ("silver.billing_monthly", "source_missing"): 1,
    ("silver.billing_monthly", "subtotal_as_delivered"): 88.5 + 10.5,  # i1 differs, i2 stands in no delivery
    ("silver.usage_events", "rows_as_counted"): 1,
    ("silver.usage_events", "organisation_unknown"): 1,
    ("silver.usage_events", "id_on_another_date"): 1,
    ("gold.usage_daily", "total_as_in_inputs"): 1.1,
}
MOVED = {"row_count_change", "null_share_change", "mean_change"}


def write(config: Config, tables: dict[str, list[dict[str, Any]]]) -> None:
    for name, rows in tables.items():
        config.lake.append_small(rows, config.registry[name])


def lake(folder: Path, planted: bool) -> Config:
    config = load_config(lake=str(folder))
    write(config, CLEAN)
    if planted:
        write(config, PLANTED)
    return config


def audit(config: Config, run_id: str, spark: SparkSession | None = None) -> Any:
    return quality_audit.audit(lambda: spark, config, run_id=run_id, now=datetime.now(UTC))  # type: ignore[arg-type,return-value]


def found(config: Config, run_id: str) -> dict[tuple[str, str], float]:
    rows = config.lake.rows("ops.quality_results")
    return {(r["table"], r["rule"]): r["observed"] for r in rows if r["run_id"] == run_id and r["status"] == "failed"}


def test_what_is_planted_is_found_and_a_clean_lake_passes(tmp_path: Path) -> None:
    clean = lake(tmp_path / "clean", planted=False)
    done = audit(clean, "r1")
    assert not found(clean, "r1") and "do not hold" not in done.message
    assert audit(clean, "r2").skipped, "nothing has changed"
    planted = lake(tmp_path / "planted", planted=True)
    with pytest.raises(QualityGateError) as stopped:
        audit(planted, "r1")
    assert stopped.value.exit_code == 3
    assert found(planted, "r1") == pytest.approx(BROKEN)
    message = str(stopped.value)
    assert "silver.users: key: user_id, effective_from stands once: found 2, expected none" in message
    assert message.count("cloudlake gate accept --run r1 --rule") == len([k for k in BROKEN if k[1] not in WARN])
    profile = next(r for r in planted.lake.rows("ops.quality_results") if r["table"] == "silver.users" and r["rule"] == "profile")
    assert '"user_id": 1' in profile["detail"] and profile["rows"] == 3, "null counts are kept"


def fact(config: Config, table: str, rule: str, run_id: str = "r1") -> Any:
    with pytest.raises(QualityGateError):
        audit(config, run_id)
    return found(config, run_id).get((table, rule))


def test_an_event_of_no_load_and_a_counted_load_without_events_are_found(tmp_path: Path) -> None:
    counted = {"table": "silver.usage_events", "accepted": 3, "counted_at": NOW}
    for name, rows, off in (
        ("no load", {"silver.usage_events": [event(3, "o1", load_id=None)]}, 1),
        ("uncounted", {"silver.usage_events": [event(3, "o1", load_id=5)]}, 1),
        ("lost", {"ops.reconciliation": [counted | {"delivery": "1000000007"}]}, 3),
    ):
        config = lake(tmp_path / name, planted=False)
        write(config, rows)
        assert fact(config, "silver.usage_events", "rows_as_counted") == off, name


def test_the_load_that_a_stream_is_writing_is_counted_a_moment_later(tmp_path: Path) -> None:
    config = lake(tmp_path, planted=False)
    usage = {"usage_date": date(2025, 8, 31), "org_id": "o1", "service": "compute", "region": "us-west", "events": 1, "cost_usd": Decimal("0.1")}  # fmt: skip
    write(config, {"silver.usage_events": [event(3, "o1", load_id=1_000_000_001)], "gold.usage_daily": [usage]})
    audit(config, "r1")
    assert ("silver.usage_events", "rows_as_counted") not in found(config, "r1")


def test_a_month_that_a_tag_key_lacks_is_found(tmp_path: Path) -> None:
    config = lake(tmp_path, planted=False)
    resource = {"org_id": "o1", "service": "compute", "region": "us-east", "events": 1}
    usage = [resource | {"usage_date": date(2025, month, 31), "cost_usd": Decimal(month)} for month in (7, 8)]
    tags = [{"month": date(2025, 7, 1), "tag_key": key, "tag_value": "(none)", "cost_usd": Decimal(7)} for key in "ab"]
    tags.append({"month": date(2025, 8, 1), "tag_key": "a", "tag_value": "(none)", "cost_usd": Decimal(8)})
    write(config, {"gold.resource_daily_usage": usage, "gold.cost_allocation": tags})
    assert fact(config, "gold.cost_allocation", "each_key_adds_up") == 8


WARN = {"org_id_orphans", "organisation_unknown", "id_on_another_date"}


def test_spark_finds_the_same_with_the_same_suite(tmp_path: Path, spark: SparkSession) -> None:
    some = ("silver.customers_orgs", "bronze.billing_monthly", "silver.billing_monthly")
    config = load_config(lake=str(tmp_path))
    write(config, {name: CLEAN[name] + PLANTED.get(name, []) for name in some})
    settings = config.settings.model_copy(update={"quality": config.settings.quality.model_copy(update={"pandas_rows": 0, "duckdb_rows": 0})})
    with pytest.raises(QualityGateError):
        audit(replace(config, settings=settings), "r1", spark)
    assert found(config, "r1") == pytest.approx({key: seen for key, seen in BROKEN.items() if key[0] in some})
    assert {r["engine"] for r in config.lake.rows("ops.quality_results")} == {"spark"}


def test_of_a_large_table_the_days_are_checked_that_changed_since_all_its_rows_held(
    tmp_path: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(lake=str(tmp_path))
    quality = config.settings.quality.model_copy(update={"pandas_rows": 2})
    config = replace(config, settings=config.settings.model_copy(update={"quality": quality}))

    def land(load: int, *events: dict[str, Any]) -> None:
        counted = {"table": "silver.usage_events", "delivery": str(load), "accepted": len(events), "counted_at": NOW}
        write(config, {"silver.usage_events": [e | {"load_id": load} for e in events], "ops.reconciliation": [counted]})

    def checked_by(run_id: str) -> tuple[str, float]:
        rows = [r for r in config.lake.rows("ops.quality_results") if r["run_id"] == run_id]
        (key,) = [r for r in rows if r["table"] == "silver.usage_events" and r["rule"] == "key"]
        return key["engine"], key["observed"]

    older = date(2025, 8, 30)
    land(1, event(1, "o1"), event(2, "o1", usage_date=older), event(3, "o1", usage_date=older))
    audit(config, "r1", spark)
    assert checked_by("r1") == ("spark", 0), "nothing was found to hold yet"
    land(2, event(4, "o1"))
    audit(config, "r2", spark)
    assert checked_by("r2") == ("pandas", 0), "two rows of the day that changed"
    land(3, event(3, "o1", usage_date=older))
    for run_id in ("r3", "r4"):
        with pytest.raises(QualityGateError, match="key: event_id, usage_date stands once: found 2"):
            audit(config, run_id, spark)
    assert checked_by("r4") == ("spark", 2), "what did not hold is looked at whole"
    accept = ["gate", "accept", "--lake", str(tmp_path), "--run", "r4", "--rule", "key", "--reason", "known twin"]
    assert main(accept) == 0
    audit(config, "r5", spark)
    land(4, event(5, "o1"))
    with pytest.raises(QualityGateError, match="found 2"):
        audit(config, "r6", spark)
    assert checked_by("r6") == ("spark", 2), "an accepted twin is no sound row"


def test_nothing_personal_reaches_results_pages_or_messages(tmp_path: Path) -> None:
    config = lake(tmp_path, planted=True)
    users = config.registry["silver.users"]
    email = users.columns["email"].model_copy(update={"required": True})
    config.registry.tables["silver.users"] = users.model_copy(update={"columns": {**users.columns, "email": email}})  # type: ignore[index]
    write(config, {"silver.users": [version("user_id", "u9", org_id="o1", email=None)]})
    with pytest.raises(QualityGateError) as stopped:
        audit(config, "r1")
    assert ("silver.users", "email_required") in found(config, "r1")
    assert "@example.com" not in str(stopped.value)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.parts[-2] in ("quality", "gates", "quality_results")]
    assert {path.name for path in written} >= {"index.html", "silver.users.html", "gold.usage_daily.html"}
    assert not [path for path in written if b"@example.com" in path.read_bytes()]
    pages = [path.read_text() for path in written if path.suffix == ".html"]
    assert not [page for page in pages if "http://" in page or "https://" in page or "<script" in page], "a page loads nothing"
    assert all("<code>r1</code>" in page for page in pages), "a page names the run"
    (about_users,) = [path.read_text() for path in written if path.name == "silver.users.html"]
    first = about_users.split("<tbody>")[1].split("</tr>")[0]
    assert "does not hold" in first and "<code>current_versions</code>" in first, "what is wrong stands first"


def test_a_person_lets_a_failure_pass_for_the_data_it_was_found_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = lake(tmp_path, planted=False)
    write(config, {"silver.billing_monthly": [invoice("i1", "o1")]})
    with pytest.raises(QualityGateError):
        audit(config, "r1")
    with pytest.raises(QualityGateError):
        audit(config, "r2")
    assert len({r["table"] for r in config.lake.rows("ops.quality_results") if r["run_id"] == "r2"}) == 1, "what was good is not checked again"
    accept = ["gate", "accept", "--lake", str(tmp_path), "--run", "r2", "--rule", "key", "--reason", "known twin"]
    assert main(accept) == 0
    audit(config, "r3")
    statuses = {r["status"] for r in config.lake.rows("ops.quality_results") if r["run_id"] == "r3" and r["rule"] == "key"}
    assert statuses == {"accepted"} and audit(config, "r4").skipped
    write(config, {"silver.billing_monthly": [invoice("i1", "o1")]})
    with pytest.raises(QualityGateError, match="key: invoice_id stands once: found 3"):
        audit(config, "r5")

    capsys.readouterr()
    assert main(["quality", "--lake", str(tmp_path), "--table", "billing_monthly"]) == 0
    shown = capsys.readouterr().out
    assert "subtotal_as_delivered" in shown and "failed" in shown
    assert main(["quality", "--lake", str(tmp_path), "--json"]) == 0
    assert '"rule": "key"' in capsys.readouterr().out
    assert main(["quality", "--lake", str(tmp_path), "--docs"]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path.resolve() / "quality" / "index.html"
    assert main(["quality", "--lake", str(tmp_path), "--table", "bilings"]) == 2
    assert "no silver or gold table has that name" in capsys.readouterr().err


def test_a_table_that_moves_far_from_its_last_runs_warns(tmp_path: Path) -> None:
    config = lake(tmp_path, planted=False)
    audit(config, "r1")
    more = [invoice(f"x{n}", "o1", currency=None if n % 2 else "EUR", subtotal=Decimal(500)) for n in range(9)]
    write(config, {"silver.billing_monthly": [{**row, "currency": "EUR", "credits": None} for row in more]})
    with pytest.raises(QualityGateError):  # none of them stands in bronze
        audit(config, "r2")
    moved = {rule: seen for (table, rule), seen in found(config, "r2").items() if table == "silver.billing_monthly" and rule in MOVED}
    assert moved == pytest.approx({"row_count_change": 9, "mean_change": 41.957143}, rel=0.1)
    details = {r["rule"]: r["detail"] for r in config.lake.rows("ops.quality_results") if r["run_id"] == "r2" and r["detail"]}
    assert details["row_count_change"] == "1 → 10 rows" and details["mean_change"].startswith("subtotal: 10.5")


def test_changes_are_measured_against_the_median_of_the_last_runs() -> None:
    last = [Profile(rows, {"a": 0, "b": rows}, {"cost": 2.0}) for rows in (100, 1000, 110)]
    change = change_from(Profile(55, {"a": 11, "b": 55, "new": 55}, {"cost": 3.0, "new": 1.0}), last)
    assert change.facts == pytest.approx({"row_count_change": 0.5, "null_share_change": 0.2, "mean_change": 0.5})
    assert change.where["null_share_change"] == "a: 0.0% → 20.0% NULL"
    below = change_from(Profile(5, {}, {"x": -150.0}), [Profile(5, {}, {"x": -100.0})])
    assert below.facts["mean_change"] == pytest.approx(0.5), "a mean below zero moves as far as one above"
    assert change_from(Profile(5), []).facts == {}, "a first run has nothing to compare with"


def test_every_query_of_the_contracts_names_tables_that_exist(tmp_path: Path) -> None:
    registry = load_config(lake=str(tmp_path)).registry
    for table in registry.layer("silver", "gold"):
        for name, fact in facts_of(table).items():
            assert tables_in(fact.measure) and tables_in(fact.measure) <= set(registry.tables), name
    query = "SELECT s.month FROM silver.users s JOIN gold.dim_date WHERE s.name = 'silver.users'"
    assert with_views(query) == "SELECT s.month FROM silver_users s JOIN gold_dim_date WHERE s.name = 'silver.users'"
    assert tables_in("SELECT 'silver.users'") == set()
