"""Which columns a column is made from, told by Spark: the analysed plan of each step over empty tables of the contracts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..batch import gold_build
from ..batch.gold_refresh import Plan
from ..batch.silver import transformation
from ..batch.silver.subjects import SUBJECTS, Subject, given
from ..common.config import Config
from ..common.contracts.schemas import spark_schema
from ..common.contracts.table import Registry, Table
from ..common.lake.tables import Lake
from ..common.names import EVENTS
from ..common.usage.events import read_events
from ..streaming.silver_load import event_model
from ..upkeep.analysed_plans import TAG, sources_of
from ..upkeep.lineage import Columns

_ANY_DAY = "2025-08-31"


@dataclass(frozen=True)
class _Declared(Lake):
    """A lake whose tables are empty, and as their contracts say; each is an alias of its name in a plan."""

    registry: Registry | None = None

    def read(self, spark: SparkSession, table: str, version: int | None = None) -> DataFrame:
        """Return the table without rows."""
        assert self.registry is not None
        return spark.createDataFrame([], spark_schema(self.registry[table])).alias(TAG + table)


def derive(spark: SparkSession, config: Config) -> Columns:
    """Return what each column of silver and gold is made from, as Spark's analysed plans have it.

    A column that is made from no column (a constant, a calendar) has no entry; nor has one that the history engine adds.
    """
    found: Columns = {}
    for table, rows in plans(spark, config):
        analysed = json.loads(rows._jdf.queryExecution().analyzed().toJSON())
        made_from = sources_of(analysed)
        found[table.name] = {
            name: sorted(f"{owner}.{column}" for owner, column in made_from[name])
            for name in table.columns
            if made_from.get(name)
        }
    return found


def plans(spark: SparkSession, config: Config) -> Iterator[tuple[Table, DataFrame]]:
    """Yield each table of silver and gold that Spark makes, with the rows that its step would write."""
    with tempfile.TemporaryDirectory() as nowhere:
        lake = _Declared(Path(nowhere), config.lake.conflicts, config.registry)
        declared = replace(config, lake=lake)
        for table in config.registry.layer("silver", "gold"):
            yield table, _rows(spark, declared, table)


def _rows(spark: SparkSession, config: Config, table: Table) -> DataFrame:
    if table.name == EVENTS:
        return read_events(config.lake.read(spark, table.inputs[0]), event_model(config))
    if table.layer == "silver":
        bronze = config.lake.read(spark, f"bronze.{table.short_name}")
        rows = transformation.checked(spark, config, table, bronze.withColumn("_delivery", F.lit("")))
        restate = SUBJECTS.get(table.name, Subject()).restate
        if restate is None:
            return rows
        known = config.settings.definitions.model_dump()
        restated: DataFrame = given(restate, rows.select(*table.column_names), None, table.key, definitions=known)
        return restated
    note: dict[str, Any] = {
        "inputs": dict.fromkeys(table.inputs, 0),
        "as_of": _ANY_DAY,
        "users_since": str(date(2025, 1, 1)),
    }
    return gold_build.computed(spark, config, table, note, Plan(None, ""))
