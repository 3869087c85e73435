"""A span of dates of a table made anew from what it is made of, and what depends on it: events, records, parts of marts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from ..batch.gold import mart_of
from ..batch.silver.backfilling import backfill_records
from ..common.config import Config, require_landing
from ..common.contracts.table import Table
from ..common.errors import ConfigurationError
from ..common.lake.books import Finding
from ..common.lake.duck import connected
from ..common.names import EVENTS
from ..common.session import Sessions
from ..common.steps import StepResult
from ..streaming.backfilling import backfill_events
from . import stream_run, trust
from .batch_run import Options, Run, run_batch
from .steps import StepRecord
from .upkeep_run import Recorded, recorded

_NOT_MADE = {
    "bronze": "it holds what landed, and is made of nothing before it",
    "quarantine": "it follows from the table that refuses",
    "speed": "it follows from silver with each micro-batch",
    "serving": "scripts/run_serving_layer.sh makes it anew",
    "ops": "it is a record",
}


@dataclass(frozen=True)
class Span:
    """What is made anew: a table, from a date to a date, both included."""

    table: Table
    first: date
    last: date

    @property
    def is_told_anew(self) -> bool:
        """Whether the table is a history: what holds on a date follows from every snapshot before it."""
        return self.table.layer == "silver" and self.table.history.kind == "scd2"

    def __str__(self) -> str:
        return f"{self.table.name} from {self.first} to {self.last}"


def span_of(config: Config, table: str, first: date, last: date) -> Span:
    """Return what is to be made anew.

    Raises:
        ConfigurationError: there is no such table, it is made of nothing that the lake keeps, it has not been made yet, or
            the span is empty or beyond the dates of conf/.
    """
    contract, times = config.registry[table], config.settings.times
    faults = []
    if contract.layer not in ("silver", "gold"):
        faults.append(
            f"--table {table}: only tables of silver and gold can be made anew for a span: {_NOT_MADE[contract.layer]}"
        )
    elif not config.lake.exists(table):
        faults.append(f"--table {table}: the lake has no such table yet; scripts/run_batch_pipeline.sh makes it")
    if last < first:
        faults.append(f"--to {last}: it is before --from {first}")
    for option, day in (("--from", first), ("--to", last)):
        if not times.earliest <= day <= times.latest:
            faults.append(
                f"{option} {day}: dates lie between {times.earliest} and {times.latest} (times in conf/lake.yaml)"
            )
    if faults:
        raise ConfigurationError(faults)
    span = Span(contract, first, last)
    if contract.layer == "gold" and mart_of(contract).part:
        _require_dates(config, span)
    return span


def _require_dates(config: Config, span: Span) -> None:
    """Check that a mart, or a silver table that it is made of, has something around the span."""
    made_of = [
        config.registry[name] for name in config.registry.upstream([span.table.name]) if name.startswith("silver.")
    ]
    dated = {table.name: table.dated_by for table in made_of if table.dated_by}
    ends = [
        _ends(config, name, column) for name, column in {**dated, span.table.name: mart_of(span.table).part}.items()
    ]
    known = [day for pair in ends if pair for day in pair]
    slack = timedelta(days=31 if mart_of(span.table).unit == "month" else 0)
    if not known or span.last < min(known) or span.first > max(known) + slack:
        what = f"dates from {min(known)} to {max(known)}" if known else "no rows"
        raise ConfigurationError(
            f"--from {span.first} --to {span.last}: {span.table.name} and what it is made of have {what}"
        )


def _ends(config: Config, name: str, column: str) -> tuple[date, date] | None:
    if not config.lake.exists(name):
        return None
    with connected(rows=config.lake.dataset(name)) as connection:
        ((first, last),) = connection.sql(f'SELECT min("{column}")::DATE, max("{column}")::DATE FROM rows').fetchall()
    return None if first is None else (first, last)


def plan_backfill(config: Config, span: Span) -> list[str]:
    """Say what a backfill would do, without doing it."""
    name, what = span.table.name, f"makes {span} anew"
    if span.is_told_anew:
        what = f"makes {name} anew as a whole: what holds on a date follows from every snapshot before it"
    elif span.table.layer == "gold" and not mart_of(span.table).part:
        what = f"makes {name} anew as a whole: it is no union of days or months"
    elif name == EVENTS:
        held = [
            day for day in config.lake.partition_values(name, "usage_date") if f"{span.first}" <= day <= f"{span.last}"
        ]
        what += (
            f", in one commit; now it has events of {len(held)} of these {(span.last - span.first).days + 1} date(s)"
        )
    marts = [mart for mart in _marts(config, span) if mart != name]
    return [
        what,
        f"builds what depends on it: {', '.join(marts) or 'nothing'}",
        "publishes, and brings the served tables to it",
    ]


def run_backfill(config: Config, span: Span, *, on_end: Callable[[StepRecord], None], master: str | None = None) -> Run:
    """Make a span of a table anew in one commit, then what depends on it; killed in the middle, it is typed again.

    `on_end` hears of each step of the run that builds the marts; `master` is where Spark runs, for the line that resumes it.

    Raises:
        LockedError: a batch runs, or, where it is about events, a stream.
        ConfigurationError: there is nothing of these dates.
        CloudlakeError: something failed.
    """
    sessions = Sessions("cloudlake-backfill")
    if span.table.layer == "silver":
        folders = {"lake": str(config.lake.root), "landing": str(config.landing), "conf": str(config.conf)}
        asked = Recorded("backfill", {"again": {span.table.name: (span.first, span.last)}, "master": master, **folders})
        locks = ("batch", "stream") if span.table.name == EVENTS else ("batch",)
        recorded(config, asked, locks, lambda run_id: (None, _silver(sessions, config, span, run_id)))
    jobs = (*([span.table.name] if span.is_told_anew else []), *_marts(config, span), "serving")
    options = Options(
        jobs=jobs, parallel=config.settings.parallel, again={span.table.name: (span.first, span.last)}, master=master
    )
    ran = run_batch(config, options, on_end=on_end)
    if ran.exit_code == 0 and span.is_told_anew:
        storage = config.lake.storage
        for aside in storage.entries("aside"):
            if aside.name.startswith(span.table.name) and "-backfill-" in aside.name:
                storage.delete_folder(aside.path)
    return ran


def _marts(config: Config, span: Span) -> list[str]:
    below = config.registry.downstream([span.table.name])
    return [t.name for t in config.registry.layer("gold") if t.name in below and config.lake.exists(t.name)]


def _silver(sessions: Sessions, config: Config, span: Span, run_id: str) -> StepResult:
    if span.table.name == EVENTS:
        require_landing(config)
        stream_run.take_once(sessions, config, run_id)
        counts = backfill_events(sessions, config, run_id, span.first, span.last)
        trust.close(config)
        return StepResult(counts.landed, counts.accepted, counts.quarantined, counts.duplicates)
    if span.is_told_anew:
        finding = Finding(span.table.name, "removed", "a backfill was asked for")
        return StepResult(message=trust.tell_anew(config, span.table, finding, f"backfill-{run_id}"))
    count = backfill_records(sessions(), config, span.table, span.first, span.last, run_id)
    trust.close(config)
    return StepResult(rows_out=count)
