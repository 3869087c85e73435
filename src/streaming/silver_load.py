"""One load of event lines: judged, told apart against what the lake holds, and the commits of what became of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.clock import now_utc
from ..common.config import Config
from ..common.contracts.schemas import arrow_schema
from ..common.errors import QualityGateError
from ..common.lake.duck import connected, view_files
from ..common.lake.log import Transaction
from ..common.names import EVENTS as SILVER
from ..common.names import INCREMENTS, RECONCILIATION
from ..common.names import REFUSED_EVENTS as QUARANTINE
from ..common.quality import quarantine
from ..common.quality.outcomes import Outcomes
from ..common.quality.rows import leave_out
from ..common.usage.events import EventModel
from ..common.usage.sums import increments_sql
from .checkpoints import LOADS_PER_GENERATION, transaction_of
from .classification import IS_VALID, fingerprint, refused_rows, split, suspect_fingerprints, verdicts
from .committed import made_anew
from .counts import count_outcomes, held_by_load, load_row, newest_of_each, restated
from .isolation import STEP_FAILED, failing_lines, identity, judged_apart, may_be_of_a_line, persisted

JOB = "silver_usage_events"


@dataclass(frozen=True)
class Classified:
    """Where lines go: rows for silver, rows for quarantine, and how many of each."""

    accepted: DataFrame
    refused: DataFrame
    counts: Outcomes
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


class Loader:
    """Judges lines, and commits what became of them; `warnings` has what a person should know.

    The caller holds the stream lock.
    """

    def __init__(self, config: Config, run_id: str) -> None:
        self.config, self.lake, self.run_id = config, config.lake, run_id
        self.model = event_model(config)
        self.warnings: list[str] = []

    @contextmanager
    def classified(
        self, lines: DataFrame, load_id: int, transaction: Transaction | None, *, may_repeat: bool = False
    ) -> Iterator[Classified]:
        """Judge lines and tell where each goes, against what was committed under smaller load_ids.

        Lines that make it fail are found, told, and refused as step_failed; a fault that is not theirs is raised.

        Args:
            lines: rows with `raw`, `_source_file`, `_ingested_at`.
            load_id: the load.
            transaction: under what name the load is written; None: against nothing, all at once (a reload).
            may_repeat: whether an attempt at this load may have been cut off before.
        """
        from_scratch = transaction is None
        has_refused = transaction is not None and may_repeat and self.lake.has_transaction(QUARANTINE, transaction)
        apart = self._kept_apart(load_id) if has_refused else set()
        if apart:
            self._tell(len(apart))
        with ExitStack() as stack:
            try:
                found = stack.enter_context(self._classified(lines, load_id, from_scratch, apart))
            except Exception as error:
                # What the load has refused is written already; another outcome would not be.
                failing = {} if has_refused or not may_be_of_a_line(error) else self._failing(lines)
                if not failing:
                    raise
                found = stack.enter_context(self._classified(lines, load_id, from_scratch, failing.keys()))
                found = replace(found, failing=failing)
            yield found

    def _kept_apart(self, load_id: int) -> set[str]:
        """Return the lines that an earlier attempt at this load has kept apart; it must be told no other tale."""
        kept = self.lake.read_small(
            QUARANTINE, columns=["quarantine_id", "reasons"], filters=[("load_id", "=", load_id)]
        )
        return {row["quarantine_id"] for row in kept.to_pylist() if STEP_FAILED in row["reasons"]}

    def _failing(self, lines: DataFrame) -> dict[str, str]:
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
                earlier, refused = self._earlier_events(spark, load_id, dates), self.refused_earlier(spark, load_id)
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

    def refused_earlier(self, spark: SparkSession, load_id: int) -> DataFrame | None:
        """Return the ids of the lines that loads before have refused; None where there are none."""
        if not self.lake.has_files(QUARANTINE):
            return None
        refused = self.lake.read(spark, QUARANTINE).where(F.col("load_id") < load_id)
        return refused.select("quarantine_id").distinct()

    def new_refusals(self, found: Classified, load_id: int) -> DataFrame:
        """Return those of the refused lines that no load before has refused: the others stand in quarantine already."""
        known = self.refused_earlier(found.refused.sparkSession, load_id)
        return found.refused if known is None else found.refused.join(known, "quarantine_id", "left_anti")

    def _warnings(self) -> list[str]:
        return [name for name, rule in self.model.contract.rules.items() if rule.level == "warn"]

    def _without_discarded(self, judged: DataFrame) -> DataFrame:
        """Refuse lines that a person has discarded, whatever the rules say of them by now."""
        discarded = quarantine.discarded(self.lake, QUARANTINE)
        if not discarded:
            return judged
        ids = judged.sparkSession.createDataFrame([(one,) for one in discarded], "quarantine_id string")
        return leave_out(judged, ids, identity(self.model))

    def _earlier_events(self, spark: SparkSession, load_id: int, dates: Mapping[date | None, int]) -> DataFrame | None:
        """Return silver's events of the dates at hand that were committed before; None where no such date exists."""
        present = {date.fromisoformat(text) for text in self.lake.partition_values(SILVER, "usage_date")}
        at_hand = sorted(present & {day for day in dates if day is not None})
        if not at_hand:
            return None
        silver = self.lake.read(spark, SILVER, self.lake.version(SILVER))
        return silver.where(F.col("usage_date").isin(at_hand) & (F.col("load_id") < load_id))

    # --- commits ---

    def stop_where_a_rule_demands(self, counts: Outcomes) -> None:
        """Let the micro-batch fail, before anything of it is written, where lines break a rule of level `fail`."""
        for name, rule in self.model.contract.rules.items():
            if rule.level == "fail" and counts.reasons.get(name):
                raise QualityGateError(
                    f"{SILVER}: {counts.reasons[name]} line(s) break {name}: {rule.description}. Nothing of the micro-batch was "
                    f"written. Where the lines should be kept apart instead, give the rule the level quarantine in conf/silver.yaml."
                )

    def append_increments(self, load_id: int) -> None:
        """Sum silver's rows of a load. DuckDB adds decimals as whole numbers: a tenth of what Spark needs for it."""
        generation, batch_id = divmod(load_id, LOADS_PER_GENERATION)
        transaction = transaction_of(JOB, generation, batch_id)
        with connected() as connection:
            # Of the load's own files: to look at all of silver would cost more with each day of its history.
            files = self.lake.files_holding(SILVER, "load_id", load_id)
            view_files(connection, "events", files)
            rows = connection.sql(increments_sql(load_id)).to_arrow_reader(100_000)
            note = {"load_id": load_id, "run_id": self.run_id}
            self.lake.append_arrow(rows, self.config.registry[INCREMENTS], note=note, transaction=transaction)

    def reconcile(self, note: Mapping[str, Any]) -> None:
        """Note where the lines of a load went."""
        row = load_row(SILVER, note, self.run_id, now_utc())
        contract = self.config.registry[RECONCILIATION]
        if not made_anew(note):
            self.lake.append_small([row], contract, note)
            return
        # What the load took over of those before it leaves their counts in the same commit; a reload took all of it.
        rest = [] if note.get("reload") else restated(newest_of_each(self.lake), held_by_load(self.lake), note)
        rows = pa.Table.from_pylist([*rest, row], schema=arrow_schema(contract))
        self.lake.replace_small(rows, contract, where=f"\"table\" = '{SILVER}'", note=note)
