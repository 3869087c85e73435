"""bronze → silver.usage_events, its quarantine and the speed increments: one micro-batch, four commits, exactly once.

The order of the commits is quarantine, silver, increments, reconciliation. A micro-batch that is run again after a
crash finds what is committed by app id and batch (Delta skips those writes), derives the increments from silver's
rows of its load_id, and takes its counts from silver's note. So it ends as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.clock import now_utc
from ..common.config import Config
from ..common.errors import CloudlakeError
from ..common.faults import crash_point
from ..common.lake.tables import Lake
from ..common.names import BRONZE_EVENTS as BRONZE
from ..common.names import EVENTS as SILVER
from ..common.names import INCREMENTS, RECONCILIATION
from ..common.names import REFUSED_EVENTS as QUARANTINE
from ..common.quality import quarantine
from ..common.quality.outcomes import Outcomes
from .checkpoints import LOADS_PER_GENERATION, Checkpoint, Load, begin, raise_generation, resume
from .committed import largest_load_id, last_counted, made_anew, newest_note, note_of
from .silver_load import JOB, Loader


class SilverQuery:
    """The query that takes lines from bronze to silver. The caller holds the stream lock."""

    def __init__(self, session: Callable[[], SparkSession], config: Config, run_id: str) -> None:
        """Continue the checkpoint, or begin a new generation where the old one ended.

        `session` gives the Spark session, when it is needed.
        """
        self._session, self.config, self.run_id = session, config, run_id
        self.lake: Lake = config.lake
        self.loader = Loader(config, run_id)
        self.totals = Outcomes()
        self.micro_batches = 0
        self.counted: dict[int, Outcomes] = {}
        """The newest micro-batches' counts, until somebody takes them."""
        self.failure: Exception | None = None
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

    @property
    def warnings(self) -> list[str]:
        """What went wrong and did not stop the query."""
        return self.loader.warnings

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
            counts = Outcomes(**note_of(self.lake, load.load_id)["counts"])
        else:
            counts = self._append_events(lines, load)
        if counts.landed == 0:
            self.done_version = load.to_version
            return
        crash_point("stream_after_silver")
        if counts.accepted:
            self.loader.append_increments(load.load_id)
        crash_point("stream_after_increments")
        self.loader.reconcile(self.note(load, counts))
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
                f"{self.checkpoint.place}: offsets/{batch_id} is missing; delete the folder, nothing is lost"
            )
        version, index = int(end["reservoirVersion"]), int(end["index"])
        first = int(start["reservoirVersion"]) if start else int(self.checkpoint.begun["from_version"])
        last = version if index >= 0 else version - 1
        return Load(self.checkpoint.load_id(batch_id), batch_id, first, last, version, index)

    # --- the four commits ---

    def _append_events(self, lines: DataFrame, load: Load) -> Outcomes:
        transaction = self.checkpoint.transaction(load.batch_id)
        repeats = not self.micro_batches
        with self.loader.classified(lines, load.load_id, transaction, may_repeat=repeats) as found:
            self.loader.stop_where_a_rule_demands(found.counts)
            note = self.note(load, found.counts) | ({"step_failed": found.failing} if found.failing else {})
            if found.counts.quarantined:
                self.lake.append(found.refused.coalesce(1), QUARANTINE, note=note, transaction=transaction)
            crash_point("stream_after_quarantine")
            if found.counts.accepted:
                self.lake.append(found.accepted, SILVER, note=note, transaction=transaction)
        return found.counts

    # --- all at once ---

    def reload(self) -> Outcomes:
        """Make silver anew from bronze: the same events, in one commit under one load_id of a raised generation.

        Writes no increments: the marts have to be rebuilt, and until they are published, what was served stays. Lines
        that are refused now and were not are added to quarantine, where statuses survive; open ones that are accepted
        now, because conf/ has changed, count as replayed. The next micro-batch begins after the reload, with another
        generation. Run again after a crash, it does all of it again.
        """
        load = self.raised_load()
        lines = self.lake.read(self.spark, BRONZE, load.to_version).select("raw", "_source_file", "_ingested_at")
        with self.loader.classified(lines, load.load_id, None) as found:
            note = self.note(load, found.counts) | {"source": self.lake.table_id(BRONZE), "reload": True}
            refused = self.loader.new_refusals(found, load.load_id)
            if not refused.isEmpty():
                self.lake.append(refused.coalesce(1), QUARANTINE, note=note)
            crash_point("reload_after_quarantine")
            self.lake.replace(found.accepted, SILVER, note=note)
            still_refused = {row[0] for row in found.refused.select("quarantine_id").collect()}
        crash_point("reload_after_silver")
        self.loader.reconcile(note)
        healed = {row["quarantine_id"] for row in quarantine.open_rows(self.lake, QUARANTINE)} - still_refused
        if healed:
            registry = self.config.registry
            quarantine.resolve(self.lake, registry, QUARANTINE, healed, quarantine.REPLAYED, now_utc(), note)
        self.begin_again()
        return found.counts

    def raised_load(self) -> Load:
        """Return the first load of a raised generation; it has all of bronze behind it, and the next begins after that."""
        bronze = self.lake.version(BRONZE)
        largest = max(self.largest_load_id() or 0, int(last_counted(self.lake).get("load_id", 0)))
        generation = raise_generation(self.lake, JOB, at_least=largest // LOADS_PER_GENERATION)
        return Load(generation * LOADS_PER_GENERATION, 0, 0, bronze, bronze + 1, -1)

    def begin_again(self) -> None:
        """Begin a new generation after a load that has made events anew."""
        self.checkpoint = self._checkpoint(had_silver=True)

    def note(self, load: Load, counts: Outcomes) -> dict[str, Any]:
        """Return what the commits of a load say of it: where its lines went, and where the next load begins."""
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

    def largest_load_id(self) -> int | None:
        """Return the largest load_id that silver holds, None where it is empty."""
        return largest_load_id(self.lake)

    def _finish_last_load(self) -> dict[str, Any]:
        """Finish the micro-batch whose checkpoint was lost; return the note of the last one that is complete.

        Where silver has its rows, its increments and counts are derived from them. Where it has not, its lines will
        come again under another load_id, so what it refused is taken back.
        """
        last, written = last_counted(self.lake), newest_note(self.lake, SILVER)
        if written.get("load_id", 0) > last.get("load_id", 0):
            last = written
            if not made_anew(last):
                self.loader.append_increments(last["load_id"])
            self.loader.reconcile(last)
        done = last.get("load_id", 0)
        if newest_note(self.lake, QUARANTINE).get("load_id", 0) > done:
            self.lake.delete(QUARANTINE, f"load_id > {done}", note={"run_id": self.run_id})
        return last
