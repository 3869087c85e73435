"""Records of a span of dates made anew from every delivery that bronze holds, in one commit; all others stay as they are."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from ...common.config import Config
from ...common.contracts.schemas import spark_schema
from ...common.contracts.table import Table
from ...common.errors import CloudlakeError, ConfigurationError
from ...common.faults import crash_point
from ...common.quality import quarantine
from ..bronze.deliveries import ORDER, landed_deliveries, read_deliveries
from .subjects import SUBJECTS, Subject, given
from .transformation import checked


def backfill_records(spark: SparkSession, config: Config, table: Table, first: date, last: date, run_id: str) -> int:
    """Make the records of some dates anew, as all deliveries together say; returns how many there are.

    What a delivery was counted as stays: it is told nothing new.

    Raises:
        ConfigurationError: neither bronze nor silver has a record of these dates.
        CloudlakeError: the rules of now refuse other rows than those of then; nothing was changed.
    """
    rows = checked(spark, config, table, read_deliveries(spark, config, table, landed_deliveries(config, table)))
    rows = rows.persist()
    try:
        _require_judged_as_before(spark, config, table, rows)
        dated = f"CAST({table.dated_by} AS DATE)"
        of_the_span = _newest(config, table, rows).where(f"{dated} BETWEEN DATE'{first}' AND DATE'{last}'")
        where = f"{dated} >= DATE'{first}' AND {dated} <= DATE'{last}'"
        count = of_the_span.count()
        if not count and config.lake.read(spark, table.name).where(where).isEmpty():
            raise ConfigurationError(
                f"--from {first} --to {last}: no delivery has a record of {table.name} of these dates"
            )
        note = config.lake.last_note(table.name) | {"run_id": run_id, "backfill": [str(first), str(last)]}
        config.lake.replace(of_the_span.coalesce(1), table.name, where=where, note=note)
    finally:
        rows.unpersist()
    crash_point("backfill_after_silver")
    return count


def _newest(config: Config, table: Table, rows: DataFrame) -> DataFrame:
    """Return what the newest delivery says of each key."""
    schema, keys = spark_schema(table), list(table.key)
    accepted = rows.where("_outcome = 'accepted'").select(
        *(F.col(name).cast(schema[name].dataType).alias(name) for name in table.column_names)
    )
    newest = Window.partitionBy(*keys).orderBy(*(F.desc(name) for name in ORDER))
    winners = accepted.withColumn("_rank", F.row_number().over(newest)).where("_rank = 1").drop("_rank")
    subject = SUBJECTS.get(table.name, Subject())
    if subject.restate:
        winners = given(subject.restate, winners, None, keys, definitions=config.settings.definitions.model_dump())
    return winners.select(*table.column_names)


def _require_judged_as_before(spark: SparkSession, config: Config, table: Table, rows: DataFrame) -> None:
    """Check that exactly those rows are refused that quarantine has: else their counts and statuses would have to follow."""
    name = quarantine.identity(table.name, F.col("_payload")).alias("quarantine_id")
    refused = rows.where("_outcome = 'quarantined'").select(name).distinct()
    others = rows.where("_outcome <> 'quarantined'").select(name)
    held = config.lake.read(spark, f"quarantine.{table.short_name}")
    new = refused.join(held, "quarantine_id", "left_anti").count()
    waiting = held.where(F.col("status") == quarantine.OPEN).select("quarantine_id")
    back = waiting.join(others, "quarantine_id", "left_semi").join(refused, "quarantine_id", "left_anti").count()
    if new or back:
        raise CloudlakeError(
            f"{table.name}: by the rules and references of now {new} row(s) are refused that were not, and {back} enter that "
            "were refused; a span alone can't tell that. Nothing was changed; to judge every delivery again: "
            f"scripts/run_batch_pipeline.sh --full-reload --jobs {table.short_name}"
        )
