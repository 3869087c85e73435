"""Operations: what ran, how fresh it is, what was refused and why, what is wrong now and who has taken it on."""

from __future__ import annotations

from collections.abc import Mapping

from ..asking import Answer, Ask
from ..blocks import TONES, figure, grid
from ..charts import grouped_chart, series_chart
from ..model import Action, Figures, Link, Links, Page, Section
from . import filters as form
from .freshness import newest_event, notices, with_ages

HOURS = (("1", "1 hour"), ("8", "8 hours"), ("24", "1 day"), ("168", "1 week"))
DATA_DOCS = "/quality/index.html"


def operations(ask: Ask, filters: Mapping[str, str]) -> Page:
    """Return alerts to act on, runs, freshness, the stream, the quarantine and quality."""
    shown = filters.get("alerts", "")
    alerts = ask("alerts", {"status": shown})
    runs, fresh, deliveries, stream = ask("runs"), ask("freshness"), ask("deliveries"), ask("stream-progress")
    accounts, reasons = ask("accounts"), ask("quarantine-reasons")
    samples = ask("quarantine-samples", form.picked(filters, "table"))
    trend, failures = ask("quality-trend"), ask("quality-failures")
    tables = sorted({str(row["table"]) for row in reasons.rows})
    last = runs.first
    return Page(
        "operations",
        "Operations",
        "Runs, freshness, refused records, quality and alerts. Nothing personal is shown: samples leave addresses out.",
        [
            Section("Alerts", [
                grid(alerts, "Alerts", ["severity", "message", "status", "rule", "org_id", "raised_at", "acknowledged_by",
                     "silenced_until"], actions=[_actions(row) for row in alerts.rows],
                     empty="No alert is open."),
            ]),
            Section("Runs and freshness", [
                Figures([
                    figure(runs, "status", "Last run", tone=TONES.get(str(last.get("status")), ""), note=str(last.get("run_id", ""))),
                    figure(runs, "seconds", "It took"),
                    figure(runs, "rows_out", "It wrote"),
                    newest_event(fresh),
                    figure(stream, "lag_seconds", "Stream lag", note=_stream(stream), row=stream.rows[-1] if stream.rows else {}),
                ]),
                grid(runs, "Runs", ["run_id", "kind", "status", "started_at", "seconds", "steps", "rows_out",
                     "rows_quarantined", "failed_step", "error"],
                     limit=15, empty="Nothing has run yet: scripts/run_batch_pipeline.sh."),
                grid(with_ages(fresh), "Freshness", ["what", "newest", "age", "limit", "state", "rows"], wide=False),
                grid(deliveries, "Deliveries by source", ["source", "files", "refused", "newest_snapshot_at",
                     "newest_ingested_at"], wide=False),
                series_chart(stream, "Lines a second of the stream", "at", {"lines_per_second": "lines a second"}, x="Time, UTC",
                     y="Lines a second",
                             empty="The long-running stream has not run: scripts/run_streaming_pipeline.sh start."),
                series_chart(stream, "Lag of the stream", "at", {"lag_seconds": "seconds"}, x="Time, UTC",
                     y="Age of the oldest file not yet taken",
                             empty="The long-running stream has not run: scripts/run_streaming_pipeline.sh start."),
            ]),
            _accounts(accounts, reasons, samples),
            Section("Quality", [
                grouped_chart(trend, "Expectations that hold, by run and kind", "run_at", "kind", "held_pct", x="Run, UTC",
                     y="Share that holds", wide=True),
                grid(failures, "Expectations that do not hold", ["table", "rule", "level", "observed", "expected", "rows",
                     "checked_at"],
                     limit=30, empty="Every expectation holds."),
                Links("Data Docs", [Link("The validation of every table", DATA_DOCS,
                     "as Great Expectations found it, run by run")], wide=True),
            ]),
        ],
        [form.choice("alerts", "Alerts", filters, ["open", "acknowledged", "resolved"], "open and acknowledged"),
         form.choice("table", "Samples of", filters, tables, "all tables")],
        form.faults(alerts, samples),
        notices(fresh),
    )  # fmt: skip


def _accounts(accounts: Answer, reasons: Answer, samples: Answer) -> Section:
    """Return where every record went, and what was refused."""
    return Section("Where every record went", [
        grid(accounts, "Landed = accepted + quarantined + duplicates", ["table", "landed", "accepted", "quarantined",
             "duplicates", "holds"],
             empty="Nothing has landed yet."),
        grid(reasons, "Refused records by reason", ["table", "reason", "open", "replayed", "discarded"],
             empty="Nothing was refused."),
        grid(samples, "Samples of what was refused", ["table", "reasons", "excerpt", "source_file", "quarantine_id"], limit=20,
             empty="Nothing was refused.",
             lead="Whole rows: cloudlake quarantine show ID. Corrected rows come back by cloudlake quarantine replay."),
    ])  # fmt: skip


def _actions(row: Mapping[str, object]) -> list[Action]:
    if row["status"] == "resolved":
        return []
    about, which = (
        f"{row['rule']} {row['org_id'] or ''} {row['service'] or ''}".strip(),
        {"alert": str(row["alert_id"])},
    )
    silence = Action("/alerts/silence", "Silence", about, which, {"hours": HOURS})
    return (
        [Action("/alerts/acknowledge", "Acknowledge", about, which), silence] if row["status"] == "open" else [silence]
    )


def _stream(stream: Answer) -> str:
    return f"at {stream.rows[-1]['at']:%m-%d %H:%M:%S} UTC" if stream.rows else "it has not run"
