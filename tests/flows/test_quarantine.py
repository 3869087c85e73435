"""Refused rows that come back, once: healed by a new organisation, judged again, corrected, or kept out for good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cloudlake.batch.silver import corrections
from cloudlake.batch.silver import transformation as silver_transformation
from cloudlake.cli.main import main
from cloudlake.common.clock import now_utc
from cloudlake.common.errors import QualityGateError
from cloudlake.common.quality.gates import GateFailed
from cloudlake.runs.record import record_step
from cloudlake.runs.steps import StepRecord
from cloudlake.streaming import reentry as replays
from cloudlake.streaming.pipeline import run_once
from flow import event_line, land_events, opened
from pyspark.sql import SparkSession
from table_by_table import ORGS, TableByTable, org

USERS = "user_id,org_id,email,role,active,created_at,last_login\n"
TICKETS = "ticket_id,org_id,category,severity,created_at,resolved_at,csat,sla_breached\n"


def user(name: str, org_id: str, role: str = "admin") -> str:
    return f"{name},{org_id},{name}@example.com,{role},True,2025-01-01,2025-02-01\n"


def ticket(name: str, org_id: str, resolved: str = "2025-07-02") -> str:
    return f"{name},{org_id},billing,low,2025-07-01,{resolved},3,False\n"


class Batch(TableByTable):
    """What is asked of users and tickets."""

    def versions(self, key: str = "u2") -> list[tuple[Any, ...]]:
        rows = [row for row in self.config.lake.rows("silver.users") if row["user_id"] == key]
        found = [
            (str(row["effective_from"])[:10], str(row["effective_to"])[:10], row["org_id"], row["role"]) for row in rows
        ]
        return sorted(found)

    def correct(self, table: str, mended: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
        silver = self.config.registry[f"silver.{table}"]
        return corrections.take(self.spark, self.config, silver, mended, now=now_utc(), run_id="c")


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Batch:
    """Two days of users and one of tickets, in which the organisation o9 is named before it is known."""
    batch = Batch(tmp_path_factory.mktemp("quarantine"), spark)
    batch.deliver("2025-08-01", customers_orgs=ORGS + org("o1"), users=USERS + user("u1", "o1") + user("u2", "o9") + user("u3", "o1", "king"))  # fmt: skip
    batch.deliver("2025-08-02", users=USERS + user("u1", "o1", "devops") + user("u2", "o9", "devops") + user("u3", "o1", "king"))  # fmt: skip
    batch.deliver(
        "2025-08-02",
        support_tickets=TICKETS + ticket("t1", "o1") + ticket("t2", "o9") + ticket("t3", "o1", "2025-06-01") + ticket("t4", " o9", "2025-06-01")
        + ticket("t5", "o1") + ticket("t5", "o1", "2025-07-09"),
    )  # fmt: skip
    batch.run("customers_orgs", "users", "support_tickets")
    return batch


def test_rows_of_an_unknown_organisation_enter_by_themselves_when_it_arrives(batch: Batch) -> None:
    assert batch.refused("users")["u2"]["reasons"] == ["org_id_unknown"]
    assert batch.refused("support_tickets")["t4"]["reasons"] == ["org_id_unknown", "resolved_before_created"]
    assert (batch.versions(), batch.counts("users"), batch.counts("support_tickets")) == ([], (6, 2, 4), (6, 1, 5))
    assert batch.run("users")["users"].skipped, "nothing has changed for them"

    batch.deliver("2025-08-03", customers_orgs=ORGS + org("o1") + org("o9"))
    batch.run("customers_orgs", "users", "support_tickets")
    assert batch.versions() == [("1970-01-01", "2025-08-02", "o9", "admin"), ("2025-08-02", "None", "o9", "devops")]
    assert batch.counts("users") == (6, 4, 2) and batch.counts("support_tickets") == (6, 2, 4)
    assert {row["ticket_id"] for row in batch.config.lake.rows("silver.support_tickets")} == {"t1", "t2"}
    healed = batch.refused("support_tickets")["t2"]
    assert healed["status"] == "replayed" and healed["resolved_at"] is not None
    waiting = batch.refused("support_tickets")["t4"]
    assert (waiting["status"], waiting["reasons"]) == ("open", ["resolved_before_created"]), "it has one reason less"
    assert {row["status"] for row in batch.refused("users").values()} == {"open", "replayed"}
    again = batch.run("users", "support_tickets")
    assert all(result.skipped for result in again.values())


class Died(Exception):
    pass


def test_a_corrected_row_enters_once_and_is_a_part_of_the_snapshot_it_was_refused_from(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    batch.run("customers_orgs", "users", "support_tickets")
    king, late = batch.refused("users")["u3"]["quarantine_id"], batch.refused("support_tickets")["t3"]["quarantine_id"]
    still = batch.correct("support_tickets", {late: {**json.loads(batch.refused("support_tickets")["t3"]["payload"]), "severity": "huge"}})  # fmt: skip
    assert still == {late: ["resolved_before_created", "severity_unknown"]}, "what would be refused again stays out"
    assert batch.refused("support_tickets")["t3"]["status"] == "open"

    mended_user = {**json.loads(batch.refused("users")["u3"]["payload"]), "role": "admin"}
    mended_ticket = {**json.loads(batch.refused("support_tickets")["t3"]["payload"]), "resolved_at": "2025-07-05"}
    landed = len(batch.config.lake.rows("bronze.support_tickets")), len(batch.config.lake.rows("bronze.users"))

    def die(point: str) -> None:
        raise Died(point)

    with monkeypatch.context() as patched, pytest.raises(Died, match="after_replay_bronze"):
        patched.setattr(corrections, "crash_point", die)
        batch.correct("support_tickets", {late: mended_ticket})
    for _ in range(2):
        assert batch.correct("users", {king: mended_user}) == batch.correct("support_tickets", {late: mended_ticket}) == {}  # fmt: skip
        batch.run("users", "support_tickets")
    after = len(batch.config.lake.rows("bronze.support_tickets")), len(batch.config.lake.rows("bronze.users"))
    assert after == (landed[0] + 1, landed[1] + 1), "each entered bronze once"
    assert batch.versions("u3") == [("1970-01-01", "None", "o1", "admin")], "from the first snapshot; the second had no word of it"  # fmt: skip
    assert len({row["user_id"] for row in batch.config.lake.rows("silver.users") if row["is_current"]}) == 3, "nobody was deleted"  # fmt: skip
    tickets = {row["ticket_id"]: row for row in batch.config.lake.rows("silver.support_tickets")}
    assert str(tickets["t3"]["resolved_at"])[:10] == "2025-07-05"
    assert tickets["t3"]["_source_file"] == f"replay:{late}"
    assert batch.counts("users") == (7, 5, 2) and batch.counts("support_tickets") == (7, 3, 4)
    assert batch.refused("users")["u3"]["status"] == batch.refused("support_tickets")["t3"]["status"] == "replayed"

    before = {name: batch.config.lake.read_small(f"silver.{name}") for name in ("users", "support_tickets")}
    for name, kept in before.items():
        table = batch.config.registry[f"silver.{name}"]
        batch.transform(name, full_reload=True)
        assert batch.config.lake.read_small(f"silver.{name}").sort_by(table.key[0]).equals(kept.sort_by(table.key[0]))
    assert batch.refused("users")["u3"]["status"] == "replayed", "a reload leaves what people have settled"


def test_of_two_rows_that_contradict_each_other_one_enters_when_the_other_is_discarded(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    batch.run("customers_orgs", "support_tickets")
    rows = [row for row in batch.config.lake.rows("quarantine.support_tickets") if '"t5"' in row["payload"]]
    wrong, right = sorted(rows, key=lambda row: "07-09" in row["payload"])
    where = ["--lake", str(batch.config.lake.root), "--landing", str(batch.landing)]
    assert main(["quarantine", "discard", wrong["quarantine_id"][:10], "--reason", "typed twice", *where]) == 0
    batch.run("support_tickets", replayed=[right["quarantine_id"]])
    found = {row["ticket_id"]: str(row["resolved_at"])[:10] for row in batch.config.lake.rows("silver.support_tickets")}
    assert found["t5"] == "2025-07-09"

    payload = json.loads(wrong["payload"])
    batch.deliver("2025-08-05", support_tickets=TICKETS + ticket("t5", "o1"))
    batch.run("support_tickets")
    kept = {row["ticket_id"]: str(row["resolved_at"])[:10] for row in batch.config.lake.rows("silver.support_tickets")}
    assert payload["resolved_at"] == "2025-07-02" and kept["t5"] == "2025-07-09", "what is discarded never enters"
    statuses = {row["quarantine_id"]: row["status"] for row in batch.config.lake.rows("quarantine.support_tickets")}
    assert (statuses[wrong["quarantine_id"]], statuses[right["quarantine_id"]]) == ("discarded", "replayed")

    capsys.readouterr()
    assert main(["quarantine", "show", wrong["quarantine_id"], *where]) == 0
    shown = capsys.readouterr().out
    assert "conflicting_rows" in shown and "typed twice" in shown and "2025-07-02" in shown
    assert main(["quarantine", "show", wrong["quarantine_id"][:9], "--json", *where]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["quarantine_id"] == wrong["quarantine_id"] and told["payload"] == wrong["payload"] and told["status"] == "discarded"
    assert told["discarded"][0]["reason"] == "typed twice" and told["reasons"] == wrong["reasons"] == list(told["rules"])
    assert main(["quarantine", "list", "--table", "support_tickets", "--reason", "conflicting_rows", *where]) == 0
    listed = capsys.readouterr().out
    assert wrong["quarantine_id"][:12] in listed and "discarded" in listed and "replayed" in listed
    assert main(["quarantine", "list", "--table", "support_tickets", "--status", "open", *where]) == 0
    assert wrong["quarantine_id"][:12] not in capsys.readouterr().out
    assert main(["quarantine", "list", "--table", "users", "--json", *where]) == 0
    listed = capsys.readouterr().out
    assert len(json.loads(listed)) == 3 and "@example.com" not in listed, "a list shows no personal data"
    assert main(["quarantine", "discard", right["quarantine_id"], "--reason", "x", *where]) == 2
    assert "it was replayed" in capsys.readouterr().err
    assert main(["quarantine", "show", "zzz", *where]) == 2 and "no refused row has that id" in capsys.readouterr().err
    assert main(["quarantine", "list", "--table", "user", *where]) == 2
    assert "did you mean 'users'?" in capsys.readouterr().err
    assert main(["quarantine", "replay", *where]) == 2 and "say what to replay" in capsys.readouterr().err


def test_a_rule_of_level_fail_stops_the_step_before_anything_is_written(batch: Batch) -> None:
    batch.deliver("2025-08-06", support_tickets=TICKETS + ticket("t8", "o1", "2025-06-30") + ticket("t9", "o1"))
    table = batch.config.registry["silver.support_tickets"]
    rule = table.rules["resolved_before_created"].model_copy(update={"level": "fail"})
    strict = table.model_copy(update={"rules": {**table.rules, "resolved_before_created": rule}})
    batch.ingest("support_tickets")
    before = batch.config.lake.version(table.name), batch.config.lake.version("quarantine.support_tickets")
    with pytest.raises(GateFailed, match=r"1 row\(s\) of 2025-08-06/support_tickets.csv break resolved_before_created"):
        silver_transformation.transform(lambda: batch.spark, batch.config, strict, now=now_utc(), run_id="s")  # type: ignore[arg-type]  # fmt: skip
    assert (batch.config.lake.version(table.name), batch.config.lake.version("quarantine.support_tickets")) == before


def test_a_refused_line_enters_silver_once_corrected_and_a_discarded_one_never(tmp_path: Path, spark: SparkSession) -> None:
    landing = tmp_path / "landing"
    broken = [event_line(1, service="quantum"), event_line(2, service="quantum"), event_line(3, cost_usd_increment=-9)]
    land_events(landing, "a.jsonl", [event_line(0), *broken, event_line(0, region="eu-west")])
    config = opened(tmp_path / "lake", landing)
    run_once(lambda: spark, config, "one")
    ids = {row["payload"]: row["quarantine_id"] for row in config.lake.rows("quarantine.usage_events")}
    first, second, third = (ids[line] for line in broken)
    contradicting = ids[event_line(0)]  # the smaller line wins, and that is the one of eu-west
    where = ["--lake", str(config.lake.root), "--landing", str(landing)]
    assert main(["quarantine", "discard", third, "--reason", "a test", *where]) == 0

    def events() -> list[str]:
        return sorted(row["event_id"] for row in config.lake.rows("silver.usage_events"))

    def replay(lines: dict[str, str]) -> dict[str, list[str]]:
        return replays.replay(spark, config, lines, now=now_utc(), run_id="two")

    refused = {first: ["service_unknown"], contradicting: ["event_id_conflict"]}
    assert replay({first: broken[0], contradicting: event_line(0)}) == refused
    assert config.lake.version("bronze.usage_events") == 1, "what would be refused again enters nowhere"

    replays.enter(spark, config, {first: event_line(1)}, now_utc(), "killed")  # and there the process dies
    for _ in range(2):
        assert replay({first: event_line(1), second: event_line(2), contradicting: event_line(0, region="eu-west")}) == {}
    assert events() == [f"extra_{n:06d}" for n in range(3)]
    entered = {row["_source_file"]: row["event_id"] for row in config.lake.rows("silver.usage_events")}
    assert entered[f"replay:{second}"] == "extra_000002"
    assert len(config.lake.rows("bronze.usage_events")) == 7, "two lines more, and none of what silver held already"
    increments = config.lake.rows("speed.usage_increments")
    assert sum(row["events"] for row in increments) == 3, "the served view follows"

    # The line that was discarded arrives again, when the rules would let it pass.
    contract = config.registry["silver.usage_events"]
    rules = {name: rule for name, rule in contract.rules.items() if name != "cost_negative"}
    config.registry.tables["silver.usage_events"] = contract.model_copy(update={"rules": rules})  # type: ignore[index]
    land_events(landing, "b.jsonl", [broken[2], event_line(4, cost_usd_increment=-9)])
    done = run_once(lambda: spark, config, "three")
    assert (done.accepted, done.quarantined, done.duplicates) == (1, 0, 1)
    assert events() == ["extra_000000", "extra_000001", "extra_000002", "extra_000004"]
    statuses = {row["quarantine_id"]: row["status"] for row in config.lake.rows("quarantine.usage_events")}
    assert statuses == {first: "replayed", second: "replayed", third: "discarded", contradicting: "replayed"}


def test_a_line_that_breaks_a_rule_of_level_fail_stops_the_stream_before_anything_is_written(tmp_path: Path, spark: SparkSession) -> None:  # fmt: skip
    land_events(tmp_path / "landing", "a.jsonl", [event_line(0), event_line(1, value=-1)])
    config = opened(tmp_path / "lake", tmp_path / "landing")
    contract = config.registry["silver.usage_events"]
    strict = contract.rules["value_negative"].model_copy(update={"level": "fail"})
    rules = {**contract.rules, "value_negative": strict}
    config.registry.tables["silver.usage_events"] = contract.model_copy(update={"rules": rules})  # type: ignore[index]
    with pytest.raises(QualityGateError, match=r"1 line\(s\) break value_negative: The value is negative"):
        run_once(lambda: spark, config, "one")
    assert not config.lake.rows("silver.usage_events") and not config.lake.rows("quarantine.usage_events")
    assert run_once(lambda: spark, opened(tmp_path / "lake", tmp_path / "landing"), "two").quarantined == 1, "and goes on"


def test_columns_that_are_new_missing_or_of_another_type_are_reported_and_kept(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    batch.run("customers_orgs", "support_tickets")
    other = TICKETS.replace("sla_breached", "priority")
    rows = "".join(f"d{n},o1,billing,low,2025-07-01,{n}/07/2025,3,high\n" for n in range(1, 5))
    batch.deliver("2025-08-07", support_tickets=other + rows + "d5,o1,billing,low,2025-07-01,,,high\n")
    done = batch.run("support_tickets")["support_tickets"]
    assert (done.rows_out, done.quarantined) == (1, 4), "the rows that can't be read wait"
    assert "2025-08-07/support_tickets.csv: resolved_at has changed its type, all 4 values are refused" in done.message
    assert {row["priority"] for row in batch.config.lake.rows("bronze.support_tickets")} == {"high", None}
    record = StepRecord("silver.support_tickets", "done", now_utc(), now_utc(), done)
    record_step(batch.config.lake, batch.config.registry, "s", record)  # a run after the one that took the file
    capsys.readouterr()
    assert main(["status", "--json", "--lake", str(batch.config.lake.root), "--landing", str(batch.landing)]) == 0
    drift = json.loads(capsys.readouterr().out)["drift"]
    assert drift == [
        {
            "source": "support_tickets",
            "path": "2025-08-07/support_tickets.csv",
            "new": ["priority"],
            "missing": ["sla_breached"],
            "retyped": ["resolved_at"],
        }
    ]
