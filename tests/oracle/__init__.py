"""The oracle: what silver accepts and what gold must be, in plain SQL over the landing files.

It follows the design, shares no code with the project and never starts Spark. The SQL beside this file is read in the
order macros, csv, events, silver, gold; this file finds the landing files, tells DuckDB of them and hands out answers.

    oracle = Oracle(Path("landing"))
    assert_same(actual, oracle.gold("usage_daily"), key=["usage_date", "org_id", "service", "region"])

The deliveries of a landing folder count as told all at once, so of two events with one id the smaller line wins.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import yaml

from .compare import assert_same

__all__ = ["EVENTS", "GOLD", "MASTERS", "RECORDS", "Oracle", "assert_same"]

HERE = Path(__file__).parent
DOMAINS = HERE.parents[1] / "conf" / "domains.yaml"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Each CSV source with the key columns without which a file is refused.
MASTERS = {"customers_orgs": ["org_id"], "users": ["user_id"], "resources": ["resource_id"]}
RECORDS = {
    "billing_monthly": ["invoice_id"],
    "support_tickets": ["ticket_id"],
    "marketing_touches": ["touch_id"],
    "nps_surveys": ["org_id", "survey_date"],
}
EVENTS = "usage_events"
GOLD = ("usage_daily", "org_daily_usage_by_service", "revenue_by_org_month", "tickets_by_org_date", "customer_summary")


class Oracle:
    """The answers for one landing folder.

    `as_of` is the business date, else it comes from the events. `ingested_at` is when the events were ingested (else
    now): later than an hour after it lies the future. `snapshot_at` is the snapshot time of flat files, else their
    modification time. `snapshot_deletes_limit` is the share of keys a master's snapshot may delete without being refused;
    None refuses no snapshot, unreadable keys or not.
    """

    def __init__(
        self,
        landing: Path,
        as_of: date | None = None,
        *,
        ingested_at: datetime | None = None,
        snapshot_at: datetime | None = None,
        snapshot_deletes_limit: float | None = 0.20,
    ) -> None:
        self.landing = Path(landing)
        self.refused_snapshots: list[str] = []
        self._deletes_limit = snapshot_deletes_limit
        self._sql = duckdb.connect(config={"TimeZone": "UTC"})
        self._run_file("macros")
        self._load_domains()
        self._load_csv_files(snapshot_at)
        self._load_event_files(ingested_at or datetime.now(UTC))
        self._sql.execute("CREATE TABLE asked AS SELECT CAST(? AS DATE) AS as_of", [as_of])
        self._build()

    def silver(self, table: str) -> pa.Table:
        """Return silver's rows as an Arrow table, times in UTC without a zone; of a master, the current versions.

        Columns are those of conf/silver.yaml that follow from the landing files: no surrogate keys, history, load_id.
        """
        return self._answer(f"silver_{_one_of(table, [*MASTERS, *RECORDS, EVENTS])}")

    def gold(self, table: str) -> pa.Table:
        """Return a mart as an Arrow table, with the columns and types of conf/gold.yaml."""
        return self._answer(f"gold_{_one_of(table, GOLD)}")

    @property
    def business_date(self) -> date | None:
        """The business date A; None where no event was accepted and none was asked for."""
        return self._sql.execute("SELECT a FROM business_date").fetchone()[0]

    def counts(self, source: str, source_file: str | None = None) -> dict[str, Any]:
        """Count a source's rows: landed, accepted, quarantined, duplicates, and reasons by name.

        `source_file` (a CSV file relative to the landing root) restricts the counts to one delivery.
        """
        if _one_of(source, [*MASTERS, *RECORDS, EVENTS]) == EVENTS:
            outcomes = """
                SELECT outcome, reasons, 1 AS rows FROM event_outcomes
                UNION ALL SELECT 'duplicate', [], copies - 1 FROM event_outcomes"""
        else:
            self._sql.execute("SET VARIABLE source = ?", [source])
            self._sql.execute("SET VARIABLE source_file = ?", [source_file])
            outcomes = """
                SELECT CASE WHEN is_repeat THEN 'duplicate' WHEN len(reasons) > 0 THEN 'quarantined'
                            ELSE 'accepted' END AS outcome,
                    CASE WHEN is_repeat THEN [] ELSE reasons END AS reasons, 1 AS rows
                FROM verdicts
                WHERE source = getvariable('source')
                    AND source_file = coalesce(getvariable('source_file'), source_file)"""
        landed, accepted, quarantined, duplicates = self._sql.execute(f"""
            SELECT coalesce(sum(rows), 0)::BIGINT,
                coalesce(sum(rows) FILTER (outcome = 'accepted'), 0)::BIGINT,
                coalesce(sum(rows) FILTER (outcome = 'quarantined'), 0)::BIGINT,
                coalesce(sum(rows) FILTER (outcome = 'duplicate'), 0)::BIGINT
            FROM ({outcomes})""").fetchone()
        reasons = self._sql.execute(
            f"SELECT reason, count(*) FROM (SELECT unnest(reasons) AS reason FROM ({outcomes})) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        return {
            "landed": landed,
            "accepted": accepted,
            "quarantined": quarantined,
            "duplicates": duplicates,
            "reasons": dict(reasons),
        }

    def flags(self, table: str) -> dict[str, int]:
        """Count silver's quality flags by name."""
        _one_of(table, [*MASTERS, *RECORDS, EVENTS])
        return dict(
            self._sql.execute(
                f"SELECT flag, count(*) FROM (SELECT unnest(quality_flags) AS flag FROM silver_{table}) GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        )

    def sql(self, query: str) -> pa.Table:
        """Answer a query over the oracle's views (silver_<table>, gold_<table>, verdicts, event_outcomes)."""
        return self._sql.sql(query).to_arrow_table()

    def _answer(self, view: str) -> pa.Table:
        return self.sql(f"SELECT * FROM {view} ORDER BY ALL")

    def _run_file(self, name: str) -> None:
        self._sql.execute((HERE / f"{name}.sql").read_text(encoding="utf-8"))

    def _load_domains(self) -> None:
        for name, domain in yaml.safe_load(DOMAINS.read_text(encoding="utf-8")).items():
            spellings = {value: value for value in domain["values"]} | domain.get("aliases", {})
            self._sql.execute(
                f"SET VARIABLE domain_{name} = (SELECT map_from_entries(list({{k: fold(s), v: c}}))"
                " FROM (SELECT unnest(?) AS s, unnest(?) AS c))",
                [list(spellings), list(spellings.values())],
            )

    def _load_csv_files(self, snapshot_at: datetime | None) -> None:
        self._sql.execute("""
            CREATE TABLE csv_files (source VARCHAR, source_file VARCHAR, file_rank INT, snapshot_at TIMESTAMP,
                modified_at TIMESTAMP, sha256 VARCHAR, content VARCHAR, key_columns VARCHAR[])""")
        for source, key_columns in (MASTERS | RECORDS).items():
            for rank, file in enumerate(sorted(_deliveries(self.landing, source, snapshot_at))):
                self._sql.execute(
                    "INSERT INTO csv_files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [source, file.source_file, rank, _naive(file.snapshot_at), _naive(file.modified_at), file.sha256]
                    + [_text(self.landing / file.source_file), key_columns],
                )
        self._run_file("csv")

    def _load_event_files(self, ingested_at: datetime) -> None:
        self._sql.execute("CREATE TABLE event_clock AS SELECT CAST(? AS TIMESTAMP) AS ingested_at", [_naive(ingested_at)])
        paths = [str(path) for path in sorted((self.landing / "usage_events_stream").glob("*.jsonl"))]
        paths = [path for path in paths if not Path(path).name.startswith((".", "_"))]
        self._sql.execute("CREATE TABLE event_files AS SELECT unnest(CAST(? AS VARCHAR[])) AS path", [paths])
        self._run_file("events")

    def _build(self) -> None:
        # The organisations come first: they decide which references are known.
        self._tell_snapshots("customers_orgs", "judged_orgs")
        self._run_file("silver")
