"""Bronze → silver for the CSV sources: conform, check, keep history, account for every row.

Each step reads as four verbs: read the pending deliveries, transform and check, keep what is refused, write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ...common.config import Config
from ...common.contracts.table import Table
from ...common.errors import CloudlakeError
from ...common.faults import crash_point
from ...common.names import LANDED
from ...common.quality import gates, quarantine
from ...common.quality import rows as quality
from ...common.session import Sessions
from ...common.steps import Expected, StepResult
from ..bronze.deliveries import (
    Delivery,
    account,
    count_outcomes,
    find_retyped,
    landed_deliveries,
    payload_of,
    pending_deliveries,
    read_deliveries,
)
from . import isolation, rejudging
from .history import write_history
from .subjects import SUBJECTS, Subject, given
from .upsert import write_records


def describe(config: Config, table: Table, full_reload: bool, expected: Expected) -> str:
    """Say what a run would transform, without writing anything; what it would change is added to `expected`."""
    will_land = f"bronze.{table.short_name}" in expected
    if will_land or full_reload:
        expected[table.name] = None
    if not config.lake.exists(LANDED):
        return "takes every delivery that bronze ingests"
    pending = pending_deliveries(config, table, full_reload)
    named = ", ".join(delivery.path for delivery in pending[:5]) + (" …" if pending[5:] else "")
    if pending:
        expected[table.name] = None
        return f"takes {len(pending)} delivery(ies): {named}"
    return "takes what bronze ingests in this run" if will_land else "skips it: nothing new"


def checked(spark: SparkSession, config: Config, table: Table, rows: DataFrame) -> DataFrame:
    """Return bronze rows conformed and judged, each with its `_outcome`, `_reasons` and `quality_flags`."""
    times = config.settings.times
    limits = (times.earliest, times.latest)
    conformed = quality.conform(rows.withColumn("_row", payload_of(rows)), table, config.registry.domains, limits)
    if table.reference:
        conformed = _with_references(spark, config, table, conformed)
    derive = SUBJECTS.get(table.name, Subject()).derive
    if derive:
        conformed = given(derive, conformed, definitions=config.settings.definitions.model_dump())
    judged = quality.judge(conformed, table)
    discarded = quarantine.discarded(config.lake, f"quarantine.{table.short_name}")
    if discarded:
        ids = spark.createDataFrame([(one,) for one in discarded], "quarantine_id string")
        judged = quality.leave_out(judged, ids, quarantine.identity(table.name, F.col("_row")))
    return quality.settle(judged, table, F.col("_row"))


def _with_references(spark: SparkSession, config: Config, table: Table, rows: DataFrame) -> DataFrame:
    """Judge the references to other tables, and bring from the rows that they name what the contract's rules ask for."""
    for column, target in table.reference.items():
        owner, _, key = target.rpartition(".")
        brought = {name: source for name, source in table.brings.items() if source.startswith(f"{column}.")}
        has_history = config.registry[owner].history.kind == "scd2"
        newest = _newest(config.lake.read(spark, owner), key, column, brought, has_history)
        rows = quality.refer(rows, column, newest)
        if brought:
            rows = rows.join(F.broadcast(newest), column, "left")
    return rows


def _newest(owner: DataFrame, key: str, column: str, brought: Mapping[str, str], has_history: bool) -> DataFrame:
    """Return each key of a table, called `column`, with columns of its newest version."""
    values = {name: F.col(source.partition(".")[2]) for name, source in brought.items()}
    if not has_history or not values:
        return owner.select(F.col(key).alias(column), *(value.alias(name) for name, value in values.items())).distinct()
    newest = (F.max_by(value, "effective_from").alias(name) for name, value in values.items())
    return owner.groupBy(F.col(key).alias(column)).agg(*newest)


def keep_refused(
    spark: SparkSession, config: Config, table: Table, rows: DataFrame, now: datetime, run_id: str
) -> None:
    """Append refused rows to the quarantine, those that it does not hold yet."""
    name = f"quarantine.{table.short_name}"
    distinct = quarantine.once_each(rows.where("_outcome = 'quarantined'"), table.name)
    refused = quarantine.quarantine_rows(distinct, now, run_id)
    if config.lake.version(name) > 0:
        held = config.lake.read(spark, name).select("quarantine_id")
        refused = refused.join(F.broadcast(held), "quarantine_id", "left_anti")
    config.lake.append(refused.coalesce(1), name, note={"run_id": run_id})


def stop_where_a_rule_demands(config: Config, table: Table, deliveries: Sequence[Delivery], run_id: str) -> None:
    """Stop the step where rows break a rule of level `fail`, until a person lets that delivery pass without them.

    Raises:
        GateFailed: naming the rule, the delivery and how many of its rows break it.
    """
    for delivery in deliveries:
        subject = f"{delivery.path}@{delivery.sha256}"
        for name, rule in table.rules.items():
            count = delivery.reasons[name]
            if rule.level == "fail" and count and not gates.is_accepted(config.lake, name, subject):
                found = f"{table.name}: {count} row(s) of {delivery.path} break {name}: {rule.description}."
                raise gates.GateFailed(name, table.name, subject, found, run_id)


def _told(retyped: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [
        f"{path}: {name} has changed its type, all {count} values are refused"
        for path, columns in retyped.items()
        for name, count in columns.items()
    ]


def _step_failed(table: Table, rows: int, error: Exception) -> str:
    """Say what was kept apart and why, without a value of the rows."""
    condition = getattr(error, "getCondition", lambda: None)() or type(error).__name__
    return (
        f"the step fails on {rows} row(s) in a way nobody foresaw ({condition}); they are kept apart and the rest went on. "
        f"After a fix: cloudlake quarantine replay --table {table.short_name} --reason {isolation.STEP_FAILED}"
    )


def _tell(
    spark: SparkSession,
    config: Config,
    table: Table,
    judged: DataFrame,
    deliveries: Sequence[Delivery],
    now: datetime,
    run_id: str,
    *,
    settles: bool,
) -> dict[str, dict[str, int]]:
    """Count, keep what is refused, write what is accepted, account for all; returns the columns of another type."""
    for delivery in deliveries:
        delivery.forget()
    rows = judged.persist()
    try:
        count_outcomes(rows, table, deliveries)
        retyped = find_retyped(rows, table, deliveries)
        stop_where_a_rule_demands(config, table, deliveries, run_id)
        if any(delivery.outcomes["quarantined"] for delivery in deliveries):
            keep_refused(spark, config, table, rows, now, run_id)
            crash_point("after_quarantine_write")
        write = write_history if table.history.kind == "scd2" else write_records
        write(spark, config, table, rows, deliveries, run_id)
        crash_point("after_silver_write")
        account(config, table, deliveries, now, run_id)
        if settles:
            rejudging.settle(spark, config, table, rows, now, run_id)
        return retyped
    finally:
        rows.unpersist()


def transform(
    sessions: Sessions,
    config: Config,
    table: Table,
    *,
    now: datetime,
    run_id: str,
    full_reload: bool = False,
    replayed: Collection[str] = (),
) -> StepResult:
    """Bring one silver table up to date with the deliveries that landed, and with refused rows that may enter now.

    Args:
        replayed: ids of refused rows that a person wants judged again, beside those that have healed.

    Raises:
        GateFailed: a rule of level `fail` is broken, or a snapshot can't be read whole or would delete too much.

    Rows that the step fails on in a way that nobody foresaw are kept apart as `step_failed` and told as a fault.
    """
    config.lake.create(config.registry[f"quarantine.{table.short_name}"])
    if table.history.kind != "scd2":
        config.lake.create(table)
    pending = {delivery.id for delivery in pending_deliveries(config, table, full_reload)}
    back = rejudging.healed(config, table) | set(replayed)
    if not pending and not back:
        return StepResult(skipped=True, message="nothing new")
    spark = sessions()
    again = rejudging.deliveries_holding(spark, config, table, back) if back else set()
    deliveries = rejudging.with_their_snapshots(table, landed_deliveries(config, table), pending, again)
    if not deliveries:
        return StepResult(skipped=True, message="nothing new")
    landed = read_deliveries(spark, config, table, deliveries)
    judge = partial(checked, spark, config, table)

    def tell(rows: DataFrame) -> dict[str, dict[str, int]]:
        return _tell(spark, config, table, rows, deliveries, now, run_id, settles=bool(back) or full_reload)

    fault = ""
    try:
        retyped = tell(judge(landed))
    except CloudlakeError:
        raise
    except Exception as error:
        culprits = isolation.find_culprits(judge, landed, deliveries)
        if not culprits:
            raise
        fault = _step_failed(table, len(culprits), error)
        is_culprit = isolation.place(landed).isin(culprits)
        rest = judge(landed.where(~is_culprit))
        retyped = tell(rest.unionByName(isolation.kept_apart(landed.where(is_culprit), rest)))
    return _result(deliveries, retyped, fault)


def _result(
    deliveries: Sequence[Delivery], retyped: Mapping[str, Mapping[str, int]], fault: str
) -> StepResult:
    total = sum((delivery.outcomes for delivery in deliveries), Counter())
    splits = sum((delivery.splits for delivery in deliveries), Counter())
    return StepResult(
        rows_in=sum(total.values()),
        rows_out=total["accepted"],
        quarantined=total["quarantined"],
        duplicates=total["duplicate"],
        message="; ".join([", ".join(f"{count} {split}" for split, count in splits.items() if count), *_told(retyped)]),
        fault=fault,
        detail={"splits": dict(splits), "retyped": retyped},
    )
