"""Deliveries that nobody foresaw: each row is accounted for, nobody is deleted who stands in the file, the rest goes on."""

from __future__ import annotations

from typing import Any

import pytest
from cloudlake.batch.silver import transformation as silver_transformation
from cloudlake.cli.main import main
from cloudlake.common.clock import now_utc
from cloudlake.common.contracts.table import Rule
from cloudlake.common.quality import gates
from pyspark.sql import SparkSession
from table_by_table import ORGS, TableByTable, org

USERS = "user_id,org_id,email,role,active,created_at,last_login\n"
TICKETS = "ticket_id,org_id,category,severity,created_at,resolved_at,csat,sla_breached\n"
BILLS = "invoice_id,org_id,month,subtotal,credits,taxes,currency,exchange_rate_to_usd\n"
SURVEYS = "org_id,survey_date,nps_score,comment\n"


def user(name: str, email: str = "a@example.com", created: str = "2025-01-01", seen: str = "2025-02-01") -> str:
    return f"{name},o1,{email},admin,True,{created},{seen}\n"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> TableByTable:
    lake = TableByTable(tmp_path_factory.mktemp("odd"), spark)
    lake.deliver(
        "2025-08-01",
        customers_orgs=ORGS + org("o1"),
        users=USERS + "".join(map(user, ("u1", "u2", "u3", "u4", "u5", "u6"))),
    )
    lake.run("customers_orgs", "users")
    return lake


def in_force(lake: TableByTable) -> dict[str, dict[str, Any]]:
    return {row["user_id"]: row for row in lake.config.lake.rows("silver.users") if row["is_current"]}


def test_a_row_that_can_not_be_read_deletes_nobody_and_a_key_that_can_not_waits_for_a_person(
    lake: TableByTable, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = user("u3", created="1601-01-01", seen="0001-01-01T00:00:00Z") + user("u4", seen="9999-12-31T23:59:59-14:00")
    odd += user("u5", seen="1970-01-01")
    latin = user("u1", "z\xfcrich@example.com").encode("latin-1")
    lake.deliver("2025-08-02", users=(USERS + "u2,o1\n" + odd + user("u6")).encode() + latin)
    lake.run("users")
    users = in_force(lake)
    assert set(users) == {"u1", "u2", "u3", "u4", "u5", "u6"}
    assert users["u1"]["email"] == "a@example.com", "what was known stays in force"
    flags = {
        name: [f for f in users[name]["quality_flags"] if f.endswith("_range")] for name in ("u3", "u4", "u5", "u6")
    }
    late = ["last_login_out_of_range"]
    assert flags == {"u3": ["created_at_out_of_range", *late], "u4": late, "u5": late, "u6": []}
    assert users["u3"]["created_at"] is None and {users[name]["last_login"] for name in ("u3", "u4", "u5")} == {None}

    lake.deliver(
        "2025-08-03", users=(USERS + "".join(map(user, ("u1", "u2", "u3", "u4", "u5")))).encode() + b"u\xfc6,o1\n"
    )
    lake.ingest("users")
    with pytest.raises(gates.GateFailed, match=r"1 row\(s\) without a readable key") as stopped:
        lake.transform("users")
    assert set(in_force(lake)) == set(users), "nobody is deleted"
    config = lake.config
    gates.record_failure(config.lake, config.registry, "r", stopped.value)
    accept = [
        "gate",
        "accept",
        "--run",
        "r",
        "--rule",
        "snapshot_keys",
        "--lake",
        str(config.lake.root),
        "--landing",
        str(lake.landing),
    ]
    assert main([*accept, "--reason", " "]) == 2 and "say why, in words" in capsys.readouterr().err
    with pytest.raises(gates.GateFailed):
        lake.transform("users")
    assert main([*accept, "--reason", "u6 has left"]) == 0
    lake.transform("users")
    assert set(in_force(lake)) == {"u1", "u2", "u3", "u4", "u5"}


def test_a_snapshot_with_a_row_without_a_key_stops_at_snapshot_keys(lake: TableByTable) -> None:
    lake.deliver("2025-08-01", resources="resource_id,org_id,service,region,created_at,state,tags_json\nr1,o1,compute,us-east,2025-01-01,running,[]\n,o1,compute,us-east,2025-01-01,running,[]\n")  # fmt: skip
    lake.ingest("resources")
    with pytest.raises(gates.GateFailed) as stopped:
        lake.transform("resources")
    assert stopped.value.rule == "snapshot_keys"


def test_times_and_numbers_without_room_are_refused_by_name(lake: TableByTable) -> None:
    tickets = {
        "t1": ("2025-07-01", "9999-12-31T23:59:59.999999Z", "5"),
        "t2": ("1970-01-01", "2025-07-02", "5"),
        "t3": ("2025-07-01", "2025-07-02", "5e-999999999"),
        "t4": ("2025-07-01", "2025-07-02", "5E0"),
    }
    rows = [f"{name},o1,billing,low,{made},{done},{csat},False\n" for name, (made, done, csat) in tickets.items()]
    bills = {
        "i1": ("999999999999", "0", "0", "1000000"),
        "i2": ("999999999999", "0", "0", "99999999999999999999"),
        "i3": ("999999999999", "-999999999999", "0", "1"),
        "i4": ("999999999999", "0", "999999999999", "1"),
        "i5": ("1", "1E+999999999", "0", "1"),
        "i6": ("1", "0", "1e400", "1"),
        "i7": ("1", "0", "0", "1e-99"),
        "i8": ("999999999999", "0", "0", "1"),
    }
    bill = [f"{name},o1,2025-07-01,{a},{c},{t},EUR,{rate}\n" for name, (a, c, t, rate) in bills.items()]
    early = "i9,o1,0001-01-01,1,0,0,EUR,1\n"
    lake.deliver("2025-08-01", support_tickets=TICKETS + "".join(rows), billing_monthly=BILLS + "".join(bill) + early)
    lake.run("support_tickets", "billing_monthly")
    assert {name: row["reasons"] for name, row in lake.refused("support_tickets").items()} == {
        "t1": ["resolved_at_out_of_range"],
        "t2": ["created_at_out_of_range"],
        "t3": ["csat_invalid"],
    }
    assert {name: row["reasons"] for name, row in lake.refused("billing_monthly").items()} == {
        "i1": ["usd_out_of_range"],
        "i2": ["usd_out_of_range"],
        "i3": ["usd_out_of_range"],
        "i4": ["usd_out_of_range"],
        "i5": ["credits_invalid"],
        "i6": ["taxes_invalid"],
        "i7": ["exchange_rate_to_usd_not_positive"],
        "i9": ["month_out_of_range"],
    }
    assert lake.counts("support_tickets") == (4, 1, 3) and lake.counts("billing_monthly") == (9, 1, 8)


def test_rows_that_make_a_step_fail_are_found_kept_apart_and_replayed_after_a_fix(lake: TableByTable) -> None:
    days = [f"o1,2025-07-{day:02},7,{'fail' if day in (3, 8) else 'other'}\n" for day in range(1, 11)]
    lake.deliver("2025-08-01", nps_surveys=SURVEYS + "".join(days[:5]))
    lake.deliver("2025-08-02", nps_surveys=SURVEYS + "".join(days[5:]))
    table = lake.config.registry["silver.nps_surveys"]
    fault = Rule(when="1 / (length(comment) - 4) > 9", level="warn", description="divides by zero on four letters")
    faulty = table.model_copy(update={"rules": {**table.rules, "faulty": fault}})
    lake.ingest("nps_surveys")

    def run(contract: Any, **options: Any) -> Any:
        session: Any = lambda: lake.spark  # noqa: E731
        return silver_transformation.transform(session, lake.config, contract, now=now_utc(), run_id="r", **options)

    done = run(faulty)
    assert "fails on 2 row(s) in a way nobody foresaw (DIVIDE_BY_ZERO)" in done.fault
    assert (done.rows_out, done.quarantined) == (8, 2) and lake.counts("nps_surveys") == (10, 8, 2)
    refused = lake.config.lake.rows("quarantine.nps_surveys")
    assert [row["reasons"] for row in refused] == [["step_failed"]] * 2 and all(
        "fail" in row["payload"] for row in refused
    )
    assert run(faulty).skipped, "what was kept apart waits"

    again = run(table, replayed=[row["quarantine_id"] for row in refused])
    assert not again.fault and len(lake.config.lake.rows("silver.nps_surveys")) == 10
    assert {row["status"] for row in lake.config.lake.rows("quarantine.nps_surveys")} == {"replayed"}

    broken = table.model_copy(update={"rules": {"faulty": fault.model_copy(update={"when": "no_such_column > 1"})}})
    with pytest.raises(Exception, match="no_such_column"):  # a broken step is not the rows' fault
        run(broken, full_reload=True)
