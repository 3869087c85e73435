"""The oracle: what silver accepts and what gold must be, in plain SQL over the landing files.

It follows the design, shares no code with the project and never starts Spark. The SQL beside this file is read in the
order macros, csv, events, silver and, when they are asked for, the subjects of gold; this file finds the landing files,
tells DuckDB of them and hands out answers.

    oracle = Oracle(Path("landing"))
    assert_same(actual, oracle.gold("usage_daily"), key=["usage_date", "org_id", "service", "region"])

The deliveries of a landing folder count as told all at once, so of two events with one id the smaller line wins, and
of a master the versions are those that the files in the folder tell: from one flat export, one version since 1970. A flat
export that was overwritten since stands again in a dated folder of a copy.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import yaml

from .compare import assert_same, without_field

__all__ = ["EVENTS", "GOLD", "MASTERS", "RECORDS", "Oracle", "assert_same", "without_field"]

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

# The marts by the file of SQL that makes them. A file is read when one of its marts is first asked for, after the files
# before it: later ones use what earlier ones made.
SUBJECTS = {
    "gold": (
        "usage_daily",
        "org_daily_usage_by_service",
        "revenue_by_org_month",
        "tickets_by_org_date",
        "customer_summary",
    ),
    "gold_usage": (
        "usage_hourly",
        "resource_daily_usage",
        "genai_tokens_by_org_date",
        "usage_trends",
        "service_performance",
        "carbon_footprint",
        "resource_utilization",
    ),
    "gold_contacts": ("support_monthly", "nps_by_month", "marketing_effectiveness", "user_activity"),
    "gold_costs": (
        "cost_anomalies",
        "cost_spikes",
        "cost_allocation",
        "revenue_monthly",
        "cost_billing_reconciliation",
    ),
    "gold_customers": (
        "customer_rfm",
        "customer_health",
        "customer_history",
        "customer_segments",
        "dim_customer",
        "customer_360",
    ),
    "gold_focus": ("focus_charges", "invoice_lines", "invoice_gap"),
}
GOLD = tuple(mart for marts in SUBJECTS.values() for mart in marts)


class Oracle:
    """The answers for one landing folder.

    `as_of` is the business date, else it comes from the events. `ingested_at` is when the events were ingested (else
    now): later than an hour after it lies the future. `snapshot_at` is the snapshot time of flat files, else their
    modification time. `snapshot_deletes_limit` is the share of keys that a master's snapshot may delete without being
    refused; with None no snapshot is refused, unreadable keys or not. `refused_snapshots` names those that were.
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
        self._prepared: set[str] = set()
        self._deletes_limit = snapshot_deletes_limit
        self._sql = duckdb.connect()
        self._sql.execute("SET TimeZone = 'UTC'")
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
        """Return a mart as an Arrow table, with the columns and types of conf/gold.yaml that follow from the landing files.

        Left out are surrogate keys, hashes, names of source files, and the `why` of a health component.
        """
        _one_of(table, GOLD)
        for subject, marts in SUBJECTS.items():
            self._prepare(subject)
            if table in marts:
                break
        return self._answer(f"gold_{table}")

    @property
    def business_date(self) -> date | None:
        """The business date A; None where no event was accepted and none was asked for."""
        return self._sql.execute("SELECT a FROM business_date").fetchall()[0][0]

    def counts(self, source: str, source_file: str | None = None) -> dict[str, Any]:
        """Count a source's rows: landed, accepted, quarantined, duplicates, and reasons by name.

        `source_file` (a CSV file relative to the landing root) restricts the counts to one delivery.
        """
        asked = {"source": _one_of(source, [*MASTERS, *RECORDS, EVENTS]), "source_file": source_file}
        if source == EVENTS:
            asked = {}
            outcomes = """
                SELECT outcome, reasons, 1 AS rows FROM event_outcomes
                UNION ALL SELECT 'duplicate', [], copies - 1 FROM event_outcomes"""
        else:
            outcomes = """
                SELECT CASE WHEN is_repeat THEN 'duplicate' WHEN len(reasons) > 0 THEN 'quarantined'
                            ELSE 'accepted' END AS outcome,
                    CASE WHEN is_repeat THEN [] ELSE reasons END AS reasons, 1 AS rows
                FROM verdicts
                WHERE source = $source AND source_file = coalesce($source_file, source_file)"""
        totals = f"""
            SELECT coalesce(sum(rows), 0)::BIGINT,
                coalesce(sum(rows) FILTER (outcome = 'accepted'), 0)::BIGINT,
                coalesce(sum(rows) FILTER (outcome = 'quarantined'), 0)::BIGINT,
                coalesce(sum(rows) FILTER (outcome = 'duplicate'), 0)::BIGINT
            FROM ({outcomes})"""
        landed, accepted, quarantined, duplicates = self._sql.execute(totals, asked).fetchone()
        reasons = self._sql.execute(
            f"SELECT r, count(*) FROM (SELECT unnest(reasons) AS r FROM ({outcomes})) GROUP BY ALL ORDER BY ALL", asked
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
        rows = self._sql.execute(
            f"SELECT f, count(*) FROM (SELECT unnest(quality_flags) AS f FROM silver_{table}) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        return dict(rows)

    def sql(self, query: str) -> pa.Table:
        """Answer a query over the oracle's views: silver_<table>, verdicts, event_outcomes, and gold_<table> of the marts
        that were asked for before.
        """
        return self._sql.sql(query).to_arrow_table()

    def _answer(self, view: str) -> pa.Table:
        return self.sql(f"SELECT * FROM {view} ORDER BY ALL")

    def _prepare(self, subject: str) -> None:
        if subject not in self._prepared:
            self._run_file(subject)
            self._prepared.add(subject)

    def _run_file(self, name: str) -> None:
        self._sql.execute((HERE / f"{name}.sql").read_text(encoding="utf-8"))

    def _load_domains(self) -> None:
        for name, spellings in _spellings().items():
            self._sql.execute(
                f"SET VARIABLE domain_{name} = (SELECT map_from_entries(list({{k: fold(s), v: c}}))"
                " FROM (SELECT unnest(?) AS s, unnest(?) AS c))",
                [list(spellings), list(spellings.values())],
            )

    def _load_csv_files(self, snapshot_at: datetime | None) -> None:
        self._sql.execute("""
            CREATE TABLE csv_files (source VARCHAR, source_file VARCHAR, file_rank INT, snapshot_at TIMESTAMP,
                modified_at TIMESTAMP, sha256 VARCHAR, content VARCHAR, key_columns VARCHAR[])""")
        for source, keys in (MASTERS | RECORDS).items():
            for rank, file in enumerate(sorted(_deliveries(self.landing, source, snapshot_at))):
                times = (_naive(file.snapshot_at), _naive(file.modified_at))
                text = _text(self.landing / file.source_file)
                self._sql.execute(
                    "INSERT INTO csv_files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [source, file.source_file, rank, *times, file.sha256, text, keys],
                )
        self._run_file("csv")

    def _load_event_files(self, ingested_at: datetime) -> None:
        clock = [_naive(ingested_at)]
        self._sql.execute("CREATE TABLE event_clock AS SELECT CAST(? AS TIMESTAMP) AS ingested_at", clock)
        paths = [str(path) for path in sorted((self.landing / "usage_events_stream").glob("*.jsonl"))]
        paths = [path for path in paths if not Path(path).name.startswith((".", "_"))]
        self._sql.execute("CREATE TABLE event_files (content BLOB)")
        if paths:
            self._sql.execute("INSERT INTO event_files SELECT content FROM read_blob(?)", [paths])
        self._run_file("events")

    def _build(self) -> None:
        # The organisations come first: they decide which references are known.
        self._tell_snapshots("customers_orgs")
        self._sql.execute("INSERT INTO known_orgs SELECT DISTINCT key FROM told")
        self._tell_snapshots("users")
        self._tell_snapshots("resources")
        self._run_file("silver")

    def _tell_snapshots(self, master: str) -> None:
        """Find the current version of each key: the snapshots are told in the order of their times.

        A snapshot speaks of every key: it has an accepted row, or a refused one (no word: what was, stands), or none
        (deleted). One with an unreadable key, or that deletes too many, is refused as a whole.
        """
        files = self._sql.execute(
            "SELECT source_file, snapshot_at FROM csv_headers JOIN csv_files USING (source, source_file)"
            " WHERE source = ? ORDER BY file_rank",
            [master],
        ).fetchall()
        self._sql.execute("CREATE OR REPLACE TABLE told (key VARCHAR)")
        for source_file, snapshot_at in files:
            here = {"source": master, "file": source_file}
            self._sql.execute(
                "CREATE OR REPLACE TABLE seen AS SELECT key FROM judged WHERE source = $source AND source_file = $file",
                here,
            )
            present, deleted, unreadable = self._sql.execute(
                "SELECT count(*), count(*) FILTER (NOT EXISTS (FROM seen s WHERE s.key = c.key)),"
                f" (SELECT count(*) FROM seen WHERE key IS NULL) FROM current_{master} c"
            ).fetchone()
            limit = self._deletes_limit
            if limit is not None and (unreadable or deleted > limit * present):
                self.refused_snapshots.append(source_file)
                continue
            self._sql.execute(
                "CREATE OR REPLACE TABLE news AS SELECT key, source_file, row_no FROM accepted"
                " WHERE source = $source AND source_file = $file",
                here,
            )
            self._sql.execute(f"""
                DELETE FROM current_{master} c WHERE NOT EXISTS (FROM seen s WHERE s.key = c.key);
                DELETE FROM current_{master} c WHERE EXISTS (FROM news n WHERE n.key = c.key);
                INSERT INTO current_{master} FROM news;
                INSERT INTO told SELECT key FROM news""")
            # Of two snapshots for one time the one told last counts.
            for table in ("told_snapshots", "told_states", "told_keys"):
                self._sql.execute(f"DELETE FROM {table} WHERE master = ? AND snapshot_at = ?", [master, snapshot_at])
            for table, rows in (
                ("told_snapshots", ""),
                ("told_states", f", key, source_file, row_no FROM current_{master}"),
                ("told_keys", ", key FROM seen"),
            ):
                self._sql.execute(f"INSERT INTO {table} SELECT ?, ?{rows}", [master, snapshot_at])


@dataclass(frozen=True, order=True)
class _Delivery:
    """A file of a source; the order is that of the deliveries, the newest last."""

    snapshot_at: datetime
    modified_at: datetime
    sha256: str
    source_file: str


@cache
def _spellings() -> dict[str, dict[str, str]]:
    """Return each enumeration of conf/domains.yaml as a map from a spelling to its value."""
    domains = yaml.safe_load(DOMAINS.read_text(encoding="utf-8"))
    return {
        name: {value: value for value in domain["values"]} | domain.get("aliases", {})
        for name, domain in domains.items()
    }


def _deliveries(landing: Path, source: str, flat_snapshot_at: datetime | None) -> list[_Delivery]:
    """Find a source's files, flat and in dated folders."""
    found = []
    for path in [*landing.glob(f"{source}.csv*"), *landing.glob(f"*/{source}.csv*")]:
        folder = path.relative_to(landing).parent.name
        if path.name not in {f"{source}.csv", f"{source}.csv.gz"} or not re.fullmatch(r"(\d{4}-\d{2}-\d{2})?", folder):
            continue
        modified_at = EPOCH + timedelta(microseconds=path.stat().st_mtime_ns // 1000)
        snapshot_at = flat_snapshot_at or modified_at
        if folder:
            snapshot_at = datetime.fromisoformat(folder).replace(tzinfo=UTC)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        found.append(_Delivery(snapshot_at, modified_at, sha256, str(path.relative_to(landing))))
    return found


def _text(path: Path) -> str:
    """Return a CSV file's text without its byte order mark."""
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")


def _naive(moment: datetime) -> datetime:
    """Return the instant in UTC without a zone, as DuckDB's TIMESTAMP has it."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _one_of(name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise KeyError(f"{name!r} is none of {', '.join(known)}")
    return name
