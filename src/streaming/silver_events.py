"""bronze → silver.usage_events, its quarantine and the speed increments: one micro-batch, four commits, exactly once.

The order of the commits is quarantine, silver, increments, reconciliation. A micro-batch that is run again after a
crash finds what is committed by app id and batch (Delta skips those writes), derives the increments from silver's
rows of its load_id, and takes its counts from silver's note. So it ends as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.clock import now_utc
from ..common.config import Config
from ..common.contracts.schemas import arrow_schema
from ..common.errors import CloudlakeError, QualityGateError
from ..common.faults import crash_point
from ..common.lake.duck import connected
from ..common.lake.tables import Lake
from ..common.quality import quarantine
from ..common.quality.rows import leave_out
from ..common.usage.events import EventModel
from ..common.usage.sums import increments_sql
from .bronze_events import BRONZE
from .checkpoints import LOADS_PER_GENERATION, Checkpoint, Load, begin, raise_generation, resume
from .classification import IS_VALID, fingerprint, refused_rows, split, suspect_fingerprints, verdicts
from .counts import Counts, count_outcomes, reconciliation_row
from .isolation import STEP_FAILED, failing_lines, identity, judged_apart, may_be_of_a_line, persisted

SILVER = "silver.usage_events"
QUARANTINE = "quarantine.usage_events"
INCREMENTS = "speed.usage_increments"
RECONCILIATION = "ops.reconciliation"
JOB = "silver_usage_events"


@dataclass(frozen=True)
class Classified:
    """Where lines go: rows for silver, rows for quarantine, and how many of each."""

    accepted: DataFrame
    refused: DataFrame
    counts: Counts
    failing: Mapping[str, str] = field(default_factory=dict)
    """quarantine_id → error of the lines that made the step fail."""


def event_model(config: Config) -> EventModel:
    """Return what conf/ says about events."""
    events = config.stream.events
    return EventModel(
        config.registry[SILVER],
        events.schema_versions,
        events.metric_units,
        config.registry.domains,
        events.said_as(),
    )


class SilverQuery:
    """The query that takes lines from bronze to silver. The caller holds the stream lock."""

    def __init__(self, session: Callable[[], SparkSession], config: Config, run_id: str) -> None:
        """Continue the checkpoint, or begin a new generation where the old one ended.

        `session` gives the Spark session, when it is needed.
        """
        self._session, self.config, self.run_id = session, config, run_id
        self.lake: Lake = config.lake
        self.model = event_model(config)
        self.totals = Counts()
        self.micro_batches = 0
        self.counted: dict[int, Counts] = {}
        """The newest micro-batches' counts, until somebody takes them."""
        self.failure: Exception | None = None
        self.warnings: list[str] = []
        had_silver = self.lake.exists(SILVER)
        for table in (SILVER, QUARANTINE, INCREMENTS, RECONCILIATION):
            self.lake.create(config.registry[table])
        self.checkpoint = self._checkpoint(had_silver)
        newest = self.lake.newest(RECONCILIATION, "to_version")  # of events alone: a file has no range
        self.done_version = -1 if newest is None else int(newest)
        """The version of bronze up to which silver holds everything."""

    @property
    def spark(self) -> SparkSession:
        """The session the query runs in."""
        return self._session()

    # --- the life of the query ---

    def _checkpoint(self, had_silver: bool) -> Checkpoint:
        source = self.lake.table_id(BRONZE)
        found = resume(self.lake, JOB) if had_silver else None
        overtaken = (self.largest_load_id() or 0) // LOADS_PER_GENERATION  # by a reload
        if found is not None and found.begun.get("source") == source and found.generation >= overtaken:
            return found
        last = self._finish_last_load()
        largest = max(self.largest_load_id() or 0, last.get("load_id", 0))
        position = last.get("next", {}) if last.get("source") == source else {}
        version, index = position.get("version", 0), position.get("index", -1)
        done = self.lake.files_added(BRONZE, version)[: index + 1] if index >= 0 else []
        return begin(
            self.lake,
            JOB,
            at_least=largest // LOADS_PER_GENERATION,
            source=source,
            from_version=version,
            done_files=done,
        )

    def has_work(self) -> bool:
        """Tell whether bronze has lines that silver has not seen, or a micro-batch is unfinished."""
        if self.checkpoint.has_unfinished_batch():
            return True
        begin_at = {"reservoirVersion": self.checkpoint.begun["from_version"], "index": -1}
        offset = self.checkpoint.newest_offset() or begin_at
        is_behind = int(offset["index"]) >= 0 or self.lake.rows_since(BRONZE) >= int(offset["reservoirVersion"])
        return is_behind and self.lake.has_files(BRONZE)

    def stream(self) -> DataFrame:
        """Return the stream of bronze's lines from where this generation begins."""
        trigger, begun = self.config.stream.trigger, self.checkpoint.begun
        reader = self.spark.readStream.format("delta").options(
            maxFilesPerTrigger=str(trigger.max_files), maxBytesPerTrigger=trigger.max_bytes, skipChangeCommits="true"
        )
        if self.lake.has_version(BRONZE, begun["from_version"]):
            reader = reader.option("startingVersion", begun["from_version"])
        lines = reader.load(self.lake.path(BRONZE))
        if begun["done_files"]:
            lines = lines.where(~F.col("_metadata.file_name").isin(begun["done_files"]))
        return lines.select("raw", "_source_file", "_ingested_at")

    def take(self, lines: DataFrame, batch_id: int) -> None:
        """Process one micro-batch; may be called again for one that was begun."""
        load = self._load(batch_id)
        transaction = self.checkpoint.transaction(batch_id)
        if self.lake.has_transaction(SILVER, transaction):
            counts = Counts(**self._note_of(load.load_id)["counts"])
        else:
            counts = self._append_events(lines, load)
        if counts.landed == 0:
            self.done_version = load.to_version
            return
        crash_point("stream_after_silver")
        if counts.accepted:
            self._append_increments(load.load_id)
        crash_point("stream_after_increments")
        self._reconcile(self._note(load, counts))
        crash_point("stream_after_reconciliation")
        self.micro_batches += 1
        self.totals.add(counts)
        self.done_version = load.to_version
        self.counted = {number: found for number, found in self.counted.items() if number >= batch_id - 10}
        self.counted[batch_id] = counts

    def _load(self, batch_id: int) -> Load:
        start, end = self.checkpoint.offset(batch_id - 1), self.checkpoint.offset(batch_id)
        if end is None:
            raise CloudlakeError(
                f"{self.checkpoint.folder}: offsets/{batch_id} is missing; delete the folder, nothing is lost"
            )
        version, index = int(end["reservoirVersion"]), int(end["index"])
        first = int(start["reservoirVersion"]) if start else int(self.checkpoint.begun["from_version"])
        last = version if index >= 0 else version - 1
        return Load(self.checkpoint.load_id(batch_id), batch_id, first, last, version, index)

    # --- the four commits ---

    def _append_events(self, lines: DataFrame, load: Load) -> Counts:
        transaction = self.checkpoint.transaction(load.batch_id)
        with self.classified(lines, load) as found:
            self._stop_where_a_rule_demands(found.counts)
            note = self._note(load, found.counts) | ({"step_failed": found.failing} if found.failing else {})
            if found.counts.quarantined:
                self.lake.append(found.refused.coalesce(1), QUARANTINE, note=note, transaction=transaction)
            crash_point("stream_after_quarantine")
            if found.counts.accepted:
                self.lake.append(found.accepted, SILVER, note=note, transaction=transaction)
        return found.counts

    @contextmanager
    def classified(self, lines: DataFrame, load: Load, from_scratch: bool = False) -> Iterator[Classified]:
        """Judge lines and tell where each goes, against what was committed under smaller load_ids.

        Lines that make it fail are found, told, and refused as step_failed; a fault that is not theirs is raised.
        `from_scratch`: against nothing (a reload).
        """
        apart = set() if from_scratch else self._kept_apart(load)
        if apart:
            self._tell(len(apart))
        with ExitStack() as stack:
            try:
                found = stack.enter_context(self._classified(lines, load.load_id, from_scratch, apart))
            except Exception as error:
                failing = {} if apart or not may_be_of_a_line(error) else self._failing(lines, load, from_scratch)
                if not failing:
                    raise
                found = stack.enter_context(self._classified(lines, load.load_id, from_scratch, failing.keys()))
                found = replace(found, failing=failing)
            yield found

    def _kept_apart(self, load: Load) -> set[str]:
        """Return the lines that an earlier attempt at this micro-batch has kept apart; it must be told no other tale."""
        if self.micro_batches or not self.lake.has_transaction(QUARANTINE, self.checkpoint.transaction(load.batch_id)):
            return set()
        kept = self.lake.read_small(
            QUARANTINE, columns=["quarantine_id", "reasons"], filters=[("load_id", "=", load.load_id)]
        )
        return {row["quarantine_id"] for row in kept.to_pylist() if STEP_FAILED in row["reasons"]}

    def _failing(self, lines: DataFrame, load: Load, from_scratch: bool) -> dict[str, str]:
        if not from_scratch and self.lake.has_transaction(QUARANTINE, self.checkpoint.transaction(load.batch_id)):
            return {}  # What this micro-batch refuses is written already; another outcome would not be.
        failing = failing_lines(lines, self.model, self.config.stream.trigger.most_apart)
        if failing:
            self._tell(len(failing), f" ({min(failing.values())})")
        return failing

    def _tell(self, number: int, why: str = "") -> None:
        self.warnings.append(
            f"{number} line(s) made {SILVER} fail{why}; they are kept apart as {STEP_FAILED}. Mend the cause, then "
            f"cloudlake quarantine replay --reason {STEP_FAILED}"
        )

    @contextmanager
    def _classified(
        self, lines: DataFrame, load_id: int, from_scratch: bool, apart: Collection[str]
    ) -> Iterator[Classified]:
        spark = lines.sparkSession
        judged = self._without_discarded(judged_apart(lines, self.model, apart))
        judged = judged.withColumn("_fingerprint", fingerprint())
        with ExitStack() as cached:
            cached.enter_context(persisted(judged))
            # Of valid lines: what others say may be beyond any calendar.
            day = F.when(F.expr(IS_VALID), F.col("usage_date"))
            dates = {row[0]: row[1] for row in judged.groupBy(day).count().collect()}
            earlier, refused = None, None
            if not from_scratch:
                earlier, refused = self._earlier_events(spark, load_id, dates), self._refused_earlier(spark, load_id)
            suspects = suspect_fingerprints(judged, earlier)
            cached.enter_context(persisted(suspects))
            plain, examined, contenders = split(judged, suspects, earlier)
            cached.enter_context(persisted(examined))
            decided = verdicts(examined, contenders, refused, self.model)
            cached.enter_context(persisted(decided))
            accepted = plain.unionByName(decided.where("_outcome = 'accepted'"), allowMissingColumns=True)
            accepted = accepted.withColumn("load_id", F.lit(load_id).cast("bigint"))
            yield Classified(
                accepted.select(*self.model.contract.column_names).repartition("usage_date"),
                refused_rows(decided, load_id, self.run_id, now_utc()),
                count_outcomes(plain, decided, sum(dates.values()), self._warnings()),
            )

    def _refused_earlier(self, spark: SparkSession, load_id: int) -> DataFrame | None:
        if not self.lake.has_files(QUARANTINE):
            return None
        refused = self.lake.read(spark, QUARANTINE).where(F.col("load_id") < load_id)
        return refused.select("quarantine_id").distinct()

    def _warnings(self) -> list[str]:
        return [name for name, rule in self.model.contract.rules.items() if rule.level == "warn"]

    def _without_discarded(self, judged: DataFrame) -> DataFrame:
        """Refuse lines that a person has discarded, whatever the rules say of them by now."""
        discarded = quarantine.discarded(self.lake, QUARANTINE)
        if not discarded:
            return judged
        ids = judged.sparkSession.createDataFrame([(one,) for one in discarded], "quarantine_id string")
        return leave_out(judged, ids, identity(self.model))

    def _stop_where_a_rule_demands(self, counts: Counts) -> None:
        """Let the micro-batch fail, before anything of it is written, where lines break a rule of level `fail`."""
        for name, rule in self.model.contract.rules.items():
            if rule.level == "fail" and counts.reasons.get(name):
                raise QualityGateError(
                    f"{SILVER}: {counts.reasons[name]} line(s) break {name}: {rule.description}. Nothing of the micro-batch was "
                    f"written. Where the lines should be kept apart instead, give the rule the level quarantine in conf/silver.yaml."
                )

    def _earlier_events(self, spark: SparkSession, load_id: int, dates: Mapping[date | None, int]) -> DataFrame | None:
        """Return silver's events of the dates at hand that were committed before; None where no such date exists."""
        present = {date.fromisoformat(text) for text in self.lake.partition_values(SILVER, "usage_date")}
        at_hand = sorted(present & {day for day in dates if day is not None})
        if not at_hand:
            return None
        silver = self.lake.read(spark, SILVER, self.lake.version(SILVER))
        return silver.where(F.col("usage_date").isin(at_hand) & (F.col("load_id") < load_id))

    def _append_increments(self, load_id: int) -> None:
        """Sum silver's rows of a load. DuckDB adds decimals as whole numbers: a tenth of what Spark needs for it."""
        generation, batch_id = divmod(load_id, LOADS_PER_GENERATION)
        transaction = Checkpoint(self.lake.root, JOB, generation).transaction(batch_id)
        with connected() as connection:
            # Of the load's own files: to look at all of silver would cost more with each day of its history.
            files = self.lake.files_holding(SILVER, "load_id", load_id)
            connection.read_parquet(files, union_by_name=True).create_view("events")
            rows = connection.sql(increments_sql(load_id)).to_arrow_reader(100_000)
            note = {"load_id": load_id, "run_id": self.run_id}
            self.lake.append_arrow(rows, self.config.registry[INCREMENTS], note=note, transaction=transaction)

    def _reconcile(self, note: Mapping[str, Any]) -> None:
        row = reconciliation_row(SILVER, note, self.run_id, now_utc())
        contract = self.config.registry[RECONCILIATION]
        if note.get("reload"):
            # The counts of the loads that the reload took the place of go with the same commit.
            rows = pa.Table.from_pylist([row], schema=arrow_schema(contract))
            self.lake.replace_small(rows, contract, where=f"\"table\" = '{SILVER}'", note=note)
        else:
            self.lake.append_small([row], contract, note)

    # --- all at once ---

    def reload(self) -> Counts:
        """Make silver anew from bronze: the same events, in one commit under one load_id of a raised generation.

        Writes no increments: the marts have to be rebuilt, and until they are published, what was served stays. Lines
        that are refused now and were not are added to quarantine, where statuses survive; open ones that are accepted
        now, because conf/ has changed, count as replayed. The next micro-batch begins after the reload, with another
        generation. Run again after a crash, it does all of it again.
        """
        bronze = self.lake.version(BRONZE)
        lines = self.lake.read(self.spark, BRONZE, bronze).select("raw", "_source_file", "_ingested_at")
        largest = max(self.largest_load_id() or 0, int(self._last_counted().get("load_id", 0)))
        generation = raise_generation(self.lake, JOB, at_least=largest // LOADS_PER_GENERATION)
        load = Load(generation * LOADS_PER_GENERATION, 0, 0, bronze, bronze + 1, -1)
        with self.classified(lines, load, from_scratch=True) as found:
            note = self._note(load, found.counts) | {"source": self.lake.table_id(BRONZE), "reload": True}
            known = self._refused_earlier(self.spark, load.load_id)
            refused = found.refused if known is None else found.refused.join(known, "quarantine_id", "left_anti")
            if not refused.isEmpty():
                self.lake.append(refused.coalesce(1), QUARANTINE, note=note)
            crash_point("reload_after_quarantine")
            self.lake.replace(found.accepted, SILVER, note=note)
            still_refused = {row[0] for row in found.refused.select("quarantine_id").collect()}
        crash_point("reload_after_silver")
        self._reconcile(note)
        healed = {row["quarantine_id"] for row in quarantine.open_rows(self.lake, QUARANTINE)} - still_refused
        if healed:
            registry = self.config.registry
            quarantine.resolve(self.lake, registry, QUARANTINE, healed, quarantine.REPLAYED, now_utc(), note)
        self.checkpoint = self._checkpoint(had_silver=True)
        return found.counts

    def _note(self, load: Load, counts: Counts) -> dict[str, Any]:
        return {
            "load_id": load.load_id,
            "run_id": self.run_id,
            "source": self.checkpoint.begun["source"],
            "from_version": load.from_version,
            "to_version": load.to_version,
            "next": {"version": load.next_version, "index": load.next_index},
            "counts": asdict(counts),
        }

    # --- what was committed before ---

    def _note_of(self, load_id: int) -> dict[str, Any]:
        for commit in self.lake.newest_first(SILVER):
            if commit.note.get("load_id") == load_id:
                return commit.note
        raise CloudlakeError(f"{SILVER}: no commit speaks of load_id {load_id}, though Delta knows its transaction")

    def _newest_note(self, table: str) -> dict[str, Any]:
        # load_ids grow with the commits
        return next((commit.note for commit in self.lake.newest_first(table) if "load_id" in commit.note), {})

    def largest_load_id(self) -> int | None:
        """Return the largest load_id that silver holds, None where it is empty."""
        largest = self.lake.newest(SILVER, "load_id")
        return None if largest is None else int(largest)

    def _finish_last_load(self) -> dict[str, Any]:
        """Finish the micro-batch whose checkpoint was lost; return the note of the last one that is complete.

        Where silver has its rows, its increments and counts are derived from them. Where it has not, its lines will
        come again under another load_id, so what it refused is taken back.
        """
        last, written = self._last_counted(), self._newest_note(SILVER)
        if written.get("load_id", 0) > last.get("load_id", 0):
            last = written
            if not last.get("reload"):
                self._append_increments(last["load_id"])
            self._reconcile(last)
        done = last.get("load_id", 0)
        if self._newest_note(QUARANTINE).get("load_id", 0) > done:
            self.lake.delete(QUARANTINE, f"load_id > {done}", note={"run_id": self.run_id})
        return last

    def _last_counted(self) -> dict[str, Any]:
        """Return the note of the newest count; from its row, where the log no longer goes back to its commit."""
        note = self._newest_note(RECONCILIATION)
        if note:
            return note
        rows = self.lake.read_small(RECONCILIATION, filters=[("table", "=", SILVER)]).to_pylist()
        if not rows:
            return note
        newest = max(rows, key=lambda row: int(row["delivery"]))
        position = {"version": newest["to_version"] + 1, "index": -1}
        return {"load_id": int(newest["delivery"]), "source": self.lake.table_id(BRONZE), "next": position}
