"""Bronze → silver for the seven CSV sources: conform, check, keep history, account for every row.

Each step reads as four verbs: read the pending deliveries, transform, check, write. Which deliveries are pending
follows from ops.landed_files and ops.reconciliation; telling a delivery twice changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from ..common import data_quality as quality
from ..common import gates
from ..common.config import Config, Definitions
from ..common.contracts import Table
from ..common.errors import QualityGateError
from ..common.faults import crash_point
from ..common.quarantine import quarantine_rows
from ..common.runs import StepResult
from ..common.scd2 import apply_snapshot, as_of
from ..common.schemas import spark_schema
from .silver import billing, masters, records

ORDER = ("_snapshot_at", "_source_modified_at", "_source_sha256", "_source_file")
"""The newest delivery wins, in whatever order deliveries arrive."""


def subjects(definitions: Definitions) -> Mapping[str, Callable[[DataFrame], DataFrame]]:
    """Return what each table needs between conforming and its rules."""
    return {
        "users": masters.users,
        "resources": masters.resources,
        "billing_monthly": lambda rows: billing.billing_monthly(rows, definitions.usd_rate),
        "support_tickets": records.support_tickets,
        "nps_surveys": lambda rows: records.nps_surveys(rows, definitions.survey_scale),
    }


@dataclass
class Delivery:
    """One ingestion of one file, and where its rows went."""

    path: str
    sha256: str
    run_id: str
    snapshot_at: datetime
    landed: int | None
    """Rows counted when the file was written to bronze."""
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)

    @property
    def id(self) -> str:
        """What names the delivery in ops.reconciliation."""
        return f"{self.path}@{self.sha256}@{self.run_id}"


def pending_deliveries(config: Config, table: Table, full_reload: bool) -> list[Delivery]:
    """Return the ingested files that the silver table has not accounted for yet, oldest snapshot first."""
    files = config.lake.rows("ops.landed_files")
    counted = config.lake.rows("ops.reconciliation", ["table", "delivery"])
    done = set() if full_reload else {row["delivery"] for row in counted if row["table"] == table.name}
    found = [
        Delivery(row["path"], row["sha256"], row["run_id"], row["snapshot_at"], row["rows"])
        for row in sorted(files, key=lambda row: (row["snapshot_at"], row["ingested_at"], row["path"]))
        if row["source"] == table.short_name and row["status"] == "ingested"
    ]
    return [delivery for delivery in found if delivery.id not in done]


def describe(config: Config, table: Table, full_reload: bool) -> str:
    """Say what a run would transform, without writing anything."""
    if not config.lake.exists("ops.landed_files"):
        return "takes every delivery that bronze ingests"
    pending = pending_deliveries(config, table, full_reload)
    named = ", ".join(delivery.path for delivery in pending[:5]) + (" …" if pending[5:] else "")
    return (
        f"takes {len(pending)} delivery(ies): {named}"
        if pending
        else "takes what bronze ingests in this run, else skips it"
    )


def read_deliveries(spark: SparkSession, config: Config, table: Table, deliveries: Sequence[Delivery]) -> DataFrame:
    """Read the bronze rows of some deliveries, with `_delivery` naming the one each row belongs to."""
    rows = config.lake.read(spark, f"bronze.{table.short_name}")
    identity = F.concat_ws("@", "_source_file", "_source_sha256", "_run_id")
    mine = F.col("_source_sha256").isin([d.sha256 for d in deliveries]) & identity.isin([d.id for d in deliveries])
    return rows.where(mine).withColumn("_delivery", identity)


def checked(spark: SparkSession, config: Config, table: Table, rows: DataFrame) -> DataFrame:
    """Return bronze rows conformed and judged, each with its `_outcome`, `_reasons` and `quality_flags`."""
    source_columns = [name for name in rows.columns if not name.startswith("_")]
    payload = F.to_json(F.struct(*sorted(source_columns)))
    conformed = quality.conform(rows.withColumn("_row", payload), table, config.registry.domains)
    if table.reference:
        conformed = _with_references(spark, config, table, conformed)
    derive = subjects(config.settings.definitions).get(table.short_name, lambda same: same)
    judged = quality.judge(derive(conformed), table)
    return quality.settle(judged, table, F.col("_row"))


def _with_references(spark: SparkSession, config: Config, table: Table, rows: DataFrame) -> DataFrame:
    """Judge the references to organisations, and bring the sign-up date that users are compared with."""
    for column, target in table.reference.items():
        owner, _, key = target.rpartition(".")
        known = config.lake.read(spark, owner)
        newest = known.groupBy(F.col(key).alias(column)).agg(
            F.max_by("signup_date", "effective_from").alias("org_signup_date")
        )
        rows = quality.refer(rows, column, newest)
        if table.short_name == "users":
            rows = rows.join(F.broadcast(newest), column, "left")
    return rows


def count_outcomes(rows: DataFrame, deliveries: Sequence[Delivery]) -> None:
    """Count each delivery's rows by outcome, reason and flag, in one job."""
    by_id = {delivery.id: delivery for delivery in deliveries}
    for row in rows.groupBy("_delivery", "_outcome", "_reasons", "quality_flags").count().collect():
        delivery = by_id[row["_delivery"]]
        delivery.outcomes[row["_outcome"]] += row["count"]
        if row["_outcome"] == "quarantined":
            delivery.reasons.update(dict.fromkeys(row["_reasons"], row["count"]))
        elif row["_outcome"] == "accepted":
            delivery.flags.update(dict.fromkeys(row["quality_flags"], row["count"]))


def keep_refused(
    spark: SparkSession, config: Config, table: Table, rows: DataFrame, now: datetime, run_id: str
) -> None:
    """Append refused rows to the quarantine, those that it does not hold yet."""
    name = f"quarantine.{table.short_name}"
    refused = quarantine_rows(rows.where("_outcome = 'quarantined'"), table.name, now, run_id)
    if config.lake.version(name) > 0:
        held = config.lake.read(spark, name).select("quarantine_id")
        refused = refused.join(F.broadcast(held), "quarantine_id", "left_anti")
    config.lake.append(refused.coalesce(1), name, note={"run_id": run_id})


def transform(
    spark: SparkSession, config: Config, table: Table, *, now: datetime, run_id: str, full_reload: bool = False
) -> StepResult:
    """Bring one silver table up to date with the deliveries that landed.

    Raises:
        GateFailed: a snapshot was refused, because it can't be read whole or would delete too much.
    """
    config.lake.create(config.registry[f"quarantine.{table.short_name}"])
    if table.history.kind != "scd2":
        config.lake.create(table)
    deliveries = pending_deliveries(config, table, full_reload)
    if not deliveries:
        return StepResult(skipped=True, message="nothing new")
    rows = checked(spark, config, table, read_deliveries(spark, config, table, deliveries)).persist()
    try:
        count_outcomes(rows, deliveries)
        if any(delivery.outcomes["quarantined"] for delivery in deliveries):
            keep_refused(spark, config, table, rows, now, run_id)
            crash_point("after_quarantine_write")
        write = write_history if table.history.kind == "scd2" else write_records
        write(spark, config, table, rows, deliveries, run_id)
    finally:
        rows.unpersist()
    crash_point("after_silver_write")
    account(config, table, deliveries, now, run_id)
    total = sum((delivery.outcomes for delivery in deliveries), Counter())
    splits = sum((delivery.splits for delivery in deliveries), Counter())
    return StepResult(
        rows_in=sum(total.values()),
        rows_out=total["accepted"],
        quarantined=total["quarantined"],
        duplicates=total["duplicate"],
        message=", ".join(f"{count} {split}" for split, count in splits.items() if count),
        detail={"splits": dict(splits)},
    )


# --- masters ----------------------------------------------------------------------------------------------------


def write_history(
    spark: SparkSession, config: Config, table: Table, rows: DataFrame, deliveries: Sequence[Delivery], run_id: str
) -> None:
    """Tell the history engine each snapshot; a key whose row was refused counts as present and unchanged."""
    business = [
        n
        for n in table.column_names
        if n == "quality_flags" or n not in _HISTORY_COLUMNS | {table.history.surrogate_key}
    ]
    schema = spark_schema(table)
    keys = list(table.key)
    tracked = [n for n in business if n not in keys and n not in table.history.untracked]
    for delivery in deliveries:
        own = rows.where(F.col("_delivery") == delivery.id)
        snapshot = own.where("_outcome = 'accepted'").select(
            *(F.col(n).cast(schema[n].dataType).alias(n) for n in business)
        )
        readable = [F.col(f"raw.{table.columns[key].source or key}").alias(key) for key in keys]
        present = own.where("_outcome = 'quarantined'").select(*readable).dropDuplicates()
        found = compare_snapshot(spark, config, table, delivery, snapshot, present, tracked)
        guard_snapshot(config, table, delivery, found, run_id)
        apply_snapshot(
            spark,
            config.lake.path(table.name),
            snapshot,
            keys=keys,
            snapshot_at=delivery.snapshot_at,
            hard_deletes=table.history.hard_deletes,
            tracked=tracked,
            surrogate_key=str(table.history.surrogate_key),
            changed_at=table.history.changed_at,
            first_effective_from=_start(table.history.first_effective_from),
            present=present,
            run_id=run_id,
        )
        delivery.splits.update({split: found[split] for split in ("inserted", "changed", "unchanged")})


_HISTORY_COLUMNS = {"effective_from", "effective_to", "is_current", "is_deleted", "record_hash"}


def _start(text: str | None) -> datetime | str | None:
    """Read first_effective_from: a date is a time, anything else names a column."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return text
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def compare_snapshot(
    spark: SparkSession,
    config: Config,
    table: Table,
    delivery: Delivery,
    snapshot: DataFrame,
    present: DataFrame,
    tracked: Sequence[str],
) -> dict[str, int]:
    """Count a snapshot's rows against the versions in force at its time: inserted, changed, unchanged; known, missing keys."""
    if not config.lake.exists(table.name):
        return {"inserted": delivery.outcomes["accepted"], "changed": 0, "unchanged": 0, "known": 0, "missing": 0}
    keys = list(table.key)
    content = F.to_json(F.struct(*tracked), quality.EXACT)
    in_force = as_of(config.lake.read(spark, table.name), delivery.snapshot_at).select(*keys, content.alias("_old"))
    told = snapshot.select(*keys, content.alias("_new"))
    both = in_force.join(told, keys, "full").join(present.withColumn("_present", F.lit(True)), keys, "left")
    old, new = F.col("_old"), F.col("_new")
    counts = both.agg(
        F.count_if(new.isNotNull() & old.isNull()).alias("inserted"),
        F.count_if(new != old).alias("changed"),
        F.count_if(new == old).alias("unchanged"),
        F.count_if(old.isNotNull()).alias("known"),
        F.count_if(old.isNotNull() & new.isNull() & F.col("_present").isNull()).alias("missing"),
    )
    return {name: int(count) for name, count in counts.collect()[0].asDict().items()}


def guard_snapshot(config: Config, table: Table, delivery: Delivery, found: Mapping[str, int], run_id: str) -> None:
    """Refuse a snapshot that has a row without a key, or lacks too many of the keys in force at its time.

    Raises:
        GateFailed: with the counts and how to let it pass.
    """
    subject = f"{delivery.path}@{delivery.sha256}"
    keyless = sum(delivery.reasons[f"{key}_missing"] for key in table.key)
    if keyless and not gates.is_accepted(config.lake, "snapshot_keys", subject):
        message = f"{table.name}: snapshot {delivery.path} has {keyless} row(s) without a key, so nobody can tell which keys it lacks."
        raise gates.GateFailed("snapshot_keys", table.name, subject, message, run_id)
    limit = config.settings.snapshot_deletes_limit
    exceeds = found["known"] > 0 and found["missing"] / found["known"] > limit
    if exceeds and not gates.is_accepted(config.lake, "snapshot_deletes", subject):
        message = (
            f"{table.name}: snapshot {delivery.path} lacks {found['missing']} of {found['known']} keys, more than {limit:.0%} "
            f"(snapshot_deletes_limit in conf/lake.yaml)."
        )
        raise gates.GateFailed("snapshot_deletes", table.name, subject, message, run_id)


# --- records ----------------------------------------------------------------------------------------------------


def write_records(
    spark: SparkSession, config: Config, table: Table, rows: DataFrame, deliveries: Sequence[Delivery], run_id: str
) -> None:
    """Upsert accepted rows by key: the newest delivery wins, in whatever order they arrive."""
    keys = list(table.key)
    schema = spark_schema(table)
    accepted = rows.where("_outcome = 'accepted'").select(
        "_delivery", *(F.col(n).cast(schema[n].dataType).alias(n) for n in table.column_names)
    )
    newest = Window.partitionBy(*keys).orderBy(*(F.desc(name) for name in ORDER))
    ranked = accepted.withColumn("_rank", F.row_number().over(newest))
    kept = config.lake.read(spark, table.name) if config.lake.version(table.name) > 0 else None
    content = [n for n in table.column_names if n not in ORDER and n != "fx_suspect"]
    split = classify(ranked, kept, keys, content).persist()
    try:
        by_id = {delivery.id: delivery for delivery in deliveries}
        counts = (
            split.groupBy("_delivery", "_split")
            .agg(F.count(F.lit(1)).alias("rows"), F.max("_write").alias("write"))
            .collect()
        )
        for row in counts:
            by_id[row["_delivery"]].splits[row["_split"]] += row["rows"]
        if not any(row["write"] for row in counts):
            return
        new = split.where("_write").select(*table.column_names)
        if table.short_name == "billing_monthly":
            new = restate_months(new, kept, keys, config.settings.definitions.fx_suspect_share)
        note = {"run_id": run_id, "deliveries": [delivery.id for delivery in deliveries]}
        if kept is None:
            config.lake.append(new.coalesce(1), table.name, note=note)
        else:
            config.lake.merge(spark, new, table.name, keys, note=note)
    finally:
        split.unpersist()


def classify(ranked: DataFrame, kept: DataFrame | None, keys: Sequence[str], content: Sequence[str]) -> DataFrame:
    """Tell for each accepted row whether it is inserted, changed, unchanged or superseded, and whether to write it.

    Args:
        ranked: accepted rows with `_rank` 1 for the newest of each key.
        kept: the table as it is, None where it is empty.
        content: the columns that make a row another one; the flag fx_suspect follows from other rows and is left out.
    """
    if kept is None:
        first = F.col("_rank") == 1
        return ranked.withColumns({"_split": F.when(first, "inserted").otherwise("superseded"), "_write": first})
    old = kept.select(*keys, F.struct(*_compared(content)).alias("_old"), F.struct(*ORDER).alias("_old_order"))
    joined = ranked.join(old, list(keys), "left")
    is_known = F.col("_old_order").isNotNull()
    is_newer = F.struct(*ORDER) > F.col("_old_order")
    is_winner = (F.col("_rank") == 1) & (~is_known | is_newer)
    same = F.struct(*_compared(content)).eqNullSafe(F.col("_old"))
    repeats_itself = is_known & (F.struct(*ORDER) == F.col("_old_order"))
    split = (
        F.when(is_winner & ~is_known, "inserted")
        .when((is_winner | repeats_itself) & same, "unchanged")
        .when(is_winner | repeats_itself, "changed")
        .otherwise("superseded")
    )
    return joined.withColumns({"_split": split, "_write": is_winner | (repeats_itself & ~same)})


def _compared(content: Sequence[str]) -> list[Any]:
    without_fx = F.array_remove(F.col("quality_flags"), "fx_suspect").alias("quality_flags")
    return [without_fx if name == "quality_flags" else F.col(name) for name in content]


def restate_months(new: DataFrame, kept: DataFrame | None, keys: Sequence[str], share: float) -> DataFrame:
    """Return the new invoices and the known ones whose fx_suspect they change.

    The median of a month moves with each of its invoices, so the months that an invoice enters or leaves are judged anew.
    """
    if kept is None:
        return billing.with_fx_suspect(new, share)
    left = kept.join(new.select(*keys), list(keys), "left_semi").select("month")
    months = F.broadcast(new.select("month").union(left).distinct())
    staying = kept.join(new.select(*keys), list(keys), "left_anti").join(months, "month", "left_semi")
    told = new.withColumn("_is_new", F.lit(True)).withColumn("_was", F.lit(None).cast("boolean"))
    others = staying.withColumn("_is_new", F.lit(False)).withColumn("_was", F.col("fx_suspect"))
    judged = billing.with_fx_suspect(told.unionByName(others.select(*told.columns)), share)
    return judged.where("_is_new OR _was <> fx_suspect").select(*new.columns)


# --- accounting -------------------------------------------------------------------------------------------------


def account(config: Config, table: Table, deliveries: Sequence[Delivery], now: datetime, run_id: str) -> None:
    """Write each delivery's counts to ops.reconciliation.

    Raises:
        QualityGateError: landed rows are not accepted + quarantined + duplicates, or accepted rows not their split.
    """
    rows: list[dict[str, Any]] = []
    for delivery in deliveries:
        seen = sum(delivery.outcomes.values())
        landed = seen if delivery.landed is None else delivery.landed
        accepted = delivery.outcomes["accepted"]
        if seen != landed:
            raise QualityGateError(
                f"{table.name}: {delivery.path}: {landed} rows landed, but {dict(delivery.outcomes)} were accounted for; "
                f"bronze.{table.short_name} does not hold what was written to it: run cloudlake doctor"
            )
        if sum(delivery.splits.values()) != accepted:
            raise QualityGateError(
                f"{table.name}: {delivery.path}: {accepted} accepted rows, but {dict(delivery.splits)} were accounted for"
            )
        counts: dict[str, Any] = defaultdict(int, delivery.splits)
        rows.append(
            {
                "table": table.name,
                "delivery": delivery.id,
                "run_id": run_id,
                "counted_at": now,
                "landed": landed,
                "accepted": accepted,
                "quarantined": delivery.outcomes["quarantined"],
                "duplicates": delivery.outcomes["duplicate"],
                **{split: counts[split] for split in ("inserted", "changed", "unchanged", "superseded")},
                "reasons": json.dumps(delivery.reasons, sort_keys=True),
                "flags": json.dumps(delivery.flags, sort_keys=True),
                "from_version": None,
                "to_version": None,
            }
        )
    config.lake.append_small(rows, config.registry["ops.reconciliation"], {"run_id": run_id})
