"""Deliveries: which ingested files a silver table has not taken yet, and where each one's rows went.

Pending is what ops.landed_files holds and ops.reconciliation does not; telling a delivery twice changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.erasure import REASON, erased_in
from ...common.errors import QualityGateError
from ...common.names import LANDED, RECONCILIATION
from ...common.quality.outcomes import Outcomes, reconciliation_row
from ...common.quality.quarantine import ENTRY

DELIVERY = "concat_ws('@', _source_file, _source_sha256, _run_id)"
"""The id of the delivery that a bronze row belongs to."""


ORDER = ("_snapshot_at", "_source_modified_at", "_source_sha256", "_source_file")
"""What makes one delivery newer than another."""


FEW = 3
"""So many values tell that a column has changed its type; fewer are just wrong."""


@dataclass
class Delivery:
    """One ingestion of one file, and where its rows went."""

    path: str
    sha256: str
    run_id: str
    snapshot_at: datetime
    landed: int | None
    """Rows counted when the file was written to bronze."""
    erased: int = 0
    """Rows of erased persons among them: they were refused at bronze's door, or taken out of it."""
    keyless: int = 0
    """Rows of which a key can't be read."""
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)

    @property
    def id(self) -> str:
        """What names the delivery in ops.reconciliation."""
        return f"{self.path}@{self.sha256}@{self.run_id}"

    def forget(self) -> None:
        """Begin to count anew."""
        self.keyless = 0
        for counts in (self.outcomes, self.reasons, self.flags, self.splits):
            counts.clear()

    @property
    def corrects(self) -> str | None:
        """The refused row that this delivery corrects, where it is no file but a row that a person has mended."""
        return self.path.removeprefix(ENTRY) if self.path.startswith(ENTRY) else None


def landed_deliveries(config: Config, table: Table) -> list[Delivery]:
    """Return every ingested file of a source, oldest snapshot first, of one snapshot time the one ingested first."""
    mine = config.lake.rows(
        LANDED, filters=[("source", "=", table.short_name), ("status", "=", "ingested")]
    )
    taken = erased_in(config, table.short_name).rows

    def erased(row: Mapping[str, Any]) -> int:
        at_the_door = int(json.loads(row["drift"] or "{}").get(REASON, 0))
        return at_the_door + taken["@".join((row["path"], row["sha256"], row["run_id"]))]

    return [
        Delivery(row["path"], row["sha256"], row["run_id"], row["snapshot_at"], row["rows"], erased(row))
        for row in sorted(mine, key=lambda row: (row["snapshot_at"], row["ingested_at"], row["path"]))
    ]


def pending_deliveries(config: Config, table: Table, full_reload: bool) -> list[Delivery]:
    """Return the ingested files that the silver table has not accounted for yet, oldest snapshot first."""
    counted = config.lake.rows(RECONCILIATION, ["delivery"], [("table", "=", table.name)])
    done = set() if full_reload else {row["delivery"] for row in counted}
    return [delivery for delivery in landed_deliveries(config, table) if delivery.id not in done]


def read_deliveries(spark: SparkSession, config: Config, table: Table, deliveries: Sequence[Delivery]) -> DataFrame:
    """Read the bronze rows of some deliveries, with `_delivery` naming the one each row belongs to."""
    rows = config.lake.read(spark, f"bronze.{table.short_name}").withColumn("_delivery", F.expr(DELIVERY))
    return rows.where(
        F.col("_source_sha256").isin([d.sha256 for d in deliveries])
        & F.col("_delivery").isin([d.id for d in deliveries])
    )


def payload_of(rows: DataFrame) -> Column:
    """Return the text in which a bronze row is kept where it is refused: its columns as JSON, those without value left out."""
    return F.to_json(F.struct(*(f"`{name}`" for name in sorted(rows.columns) if not name.startswith("_"))))


def count_outcomes(rows: DataFrame, table: Table, deliveries: Sequence[Delivery]) -> None:
    """Count each delivery's rows by outcome, reason and flag, and those without a readable key, in one job."""
    by_id = {delivery.id: delivery for delivery in deliveries}
    has_no_key = reduce(Column.__or__, (F.col(f"raw.{table.columns[n].source or n}").isNull() for n in table.key))
    groups = rows.groupBy("_delivery", "_outcome", "_reasons", "quality_flags")
    for row in groups.agg(F.count(F.lit(1)).alias("count"), F.count_if(has_no_key).alias("keyless")).collect():
        delivery = by_id[row["_delivery"]]
        delivery.outcomes[row["_outcome"]] += row["count"]
        delivery.keyless += row["keyless"]
        if row["_outcome"] == "quarantined":
            delivery.reasons.update(dict.fromkeys(row["_reasons"], row["count"]))
        elif row["_outcome"] == "accepted":
            delivery.flags.update(dict.fromkeys(row["quality_flags"], row["count"]))
    for delivery in deliveries:
        if delivery.erased:
            delivery.outcomes["quarantined"] += delivery.erased
            delivery.reasons[REASON] += delivery.erased


def find_retyped(rows: DataFrame, table: Table, deliveries: Sequence[Delivery]) -> dict[str, dict[str, int]]:
    """Return delivery path → column → values, for columns of which a delivery has no single value of the declared type.

    Rows are looked at again only where a tenth of a delivery fails for one column.
    """
    found: dict[str, dict[str, int]] = {}
    for delivery in deliveries:
        seen = sum(delivery.outcomes.values())
        failing = [name for name in table.columns if delivery.reasons[f"{name}_invalid"] * 10 >= max(seen, 1)]
        suspects = {name: F.col("raw").getField(table.columns[name].source or name) for name in failing}
        if not suspects:
            continue
        counts = [F.count(text).alias(f"said_{name}") for name, text in suspects.items()]
        counts += [
            F.count_if(text.isNotNull() & F.col(name).isNotNull()).alias(name) for name, text in suspects.items()
        ]
        row = rows.where(F.col("_delivery") == delivery.id).agg(*counts).collect()[0]
        retyped = {name: row[f"said_{name}"] for name in suspects if row[name] == 0 and row[f"said_{name}"] >= FEW}
        if retyped:
            found[delivery.path] = retyped
    return found


def account(config: Config, table: Table, deliveries: Sequence[Delivery], now: datetime, run_id: str) -> None:
    """Write each delivery's counts to ops.reconciliation.

    Raises:
        QualityGateError: landed rows are not accepted + quarantined + duplicates, or accepted rows not their split.
    """
    rows: list[dict[str, Any]] = []
    for delivery in deliveries:
        seen, accepted = sum(delivery.outcomes.values()), delivery.outcomes["accepted"]
        went = Outcomes(
            seen if delivery.landed is None else delivery.landed,
            accepted,
            delivery.outcomes["quarantined"],
            delivery.outcomes["duplicate"],
            dict(delivery.reasons),
            dict(delivery.flags),
        )
        if not went.hold:
            raise QualityGateError(
                f"{table.name}: {delivery.path}: {went.landed} rows landed, but {dict(delivery.outcomes)} were accounted for; "
                f"bronze.{table.short_name} does not hold what was written to it. Nothing of "
                "it was taken to silver; put the table back as it was, then run scripts/run_batch_pipeline.sh"
            )
        if sum(delivery.splits.values()) != accepted:
            raise QualityGateError(
                f"{table.name}: {delivery.path}: {accepted} accepted rows, but {dict(delivery.splits)} were accounted for"
            )
        rows.append(reconciliation_row(table.name, delivery.id, run_id, now, went, splits=delivery.splits))
    config.lake.append_small(rows, config.registry[RECONCILIATION], {"run_id": run_id})
