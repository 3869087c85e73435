"""Refused event lines that come back: a line enters bronze again and takes the ordinary way of every line.

A line enters only if it would be accepted, and only once: bronze knows it by its source file, `replay:<quarantine_id>`.
Whether it counts as replayed is read from silver, so a crash leaves nothing half done: the same command again goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.config import Config
from ..common.faults import crash_point
from ..common.names import BRONZE_EVENTS as BRONZE
from ..common.names import EVENTS as SILVER
from ..common.names import REFUSED_EVENTS as QUARANTINE
from ..common.quality import quarantine
from ..common.usage.events import read_events
from .classification import KEY
from .isolation import STEP_FAILED, failing_lines, identity, may_be_of_a_line
from .pipeline import run_once
from .silver_load import event_model


@dataclass(frozen=True)
class Verdict:
    """What becomes of a line that is told again: its reasons where it stays refused, and whether silver has it."""

    reasons: list[str]
    in_silver: bool


def replay(
    spark: SparkSession, config: Config, lines: Mapping[str, str], *, now: datetime, run_id: str
) -> dict[str, list[str]]:
    """Take refused lines to bronze and on to silver, each once; the caller holds the stream lock.

    Args:
        lines: quarantine_id → the line, corrected or as it was.

    Returns:
        quarantine_id → the reasons, for those that stay refused.
    """
    before = entered(config, list(lines))
    verdicts = judge(spark, config, {one: line for one, line in lines.items() if one not in before}, now)
    mark(config, [one for one, verdict in verdicts.items() if verdict.in_silver], now, run_id)
    wanted = {one: lines[one] for one, v in verdicts.items() if not v.reasons and not v.in_silver}
    if wanted:
        enter(spark, config, wanted, now, run_id)
    run_once(lambda: spark, config, run_id)
    verdicts |= settle(spark, config, now, run_id)
    return {one: verdict.reasons for one, verdict in verdicts.items() if verdict.reasons}


def entered(config: Config, ids: list[str]) -> set[str]:
    """Return those of some refused lines that have entered bronze again. Needs no Spark."""
    if not ids or config.lake.version(BRONZE) < 1:
        return set()
    names = [quarantine.ENTRY + one for one in ids]
    found = config.lake.read_small(BRONZE, columns=["_source_file"], filters=[("_source_file", "in", names)])
    return {name.removeprefix(quarantine.ENTRY) for name in found["_source_file"].to_pylist()}


def judge(spark: SparkSession, config: Config, lines: Mapping[str, str], now: datetime) -> dict[str, Verdict]:
    """Judge lines by the rules of now, and against the events that silver holds.

    Args:
        lines: quarantine_id → the line, corrected or as it was.
        now: the time they would be ingested at.
    """
    frame = spark.createDataFrame(list(lines.items()), "quarantine_id string, raw string")
    return _verdicts(spark, config, frame.withColumn("_ingested_at", F.lit(now)))


def _verdicts(spark: SparkSession, config: Config, lines: DataFrame) -> dict[str, Verdict]:
    """Judge lines; those that make it fail, still or again, stay refused as step_failed."""
    try:
        return _judged(spark, config, lines)
    except Exception as error:
        model, most = event_model(config), max(lines.count(), 1)
        failing = failing_lines(lines, model, most) if may_be_of_a_line(error) else {}
        if not failing:
            raise
        is_failing = identity(model).isin(sorted(failing))
        apart = {
            row[0]: Verdict([STEP_FAILED], False) for row in lines.where(is_failing).select("quarantine_id").collect()
        }
        return apart | _judged(spark, config, lines.where(~is_failing))


def _judged(spark: SparkSession, config: Config, lines: DataFrame) -> dict[str, Verdict]:
    model = event_model(config)
    content = F.struct(*model.conformed)
    # The flags are looked at as well, though nobody asks for them here: what the stream can't judge must fail here too.
    judged = read_events(lines, model).select(
        "quarantine_id", "_reasons", "quality_flags", *KEY, content.alias("_content")
    )
    held = config.lake.read(spark, SILVER).select(*KEY, content.alias("_held"), F.lit(True).alias("_is_held"))
    wanted = F.broadcast(judged.select(*KEY).distinct())
    joined = judged.join(held.join(wanted, list(KEY), "left_semi"), list(KEY), "left")
    is_same = F.col("_content").eqNullSafe(F.col("_held"))
    found = {}
    asked = joined.select("quarantine_id", "_reasons", "_is_held", is_same, "quality_flags")
    for one, reasons, is_held, same, _ in asked.collect():
        contradicts = not reasons and is_held and not same
        now = ["event_id_conflict"] if contradicts else list(reasons)
        found[one] = Verdict(now, bool(is_held and not now))
    return found


def enter(spark: SparkSession, config: Config, lines: Mapping[str, str], now: datetime, run_id: str) -> None:
    """Append lines to bronze in one commit; the caller holds the stream lock and has looked what has entered before."""
    frame = spark.createDataFrame(list(lines.items()), "quarantine_id string, raw string")
    rows = frame.select(
        "raw",
        F.concat(F.lit(quarantine.ENTRY), "quarantine_id").alias("_source_file"),
        F.lit(now).alias("_source_modified_at"),
        F.lit(now).alias("_ingested_at"),
        F.lit(now.date()).alias("ingest_date"),
    )
    config.lake.append(rows.coalesce(1), BRONZE, note={"run_id": run_id, "job": "replay", "lines": len(lines)})
    crash_point("after_replay_bronze")


def settle(spark: SparkSession, config: Config, now: datetime, run_id: str) -> dict[str, Verdict]:
    """Mark the lines that silver has taken as replayed; those that turned out to be refused get their reasons of now."""
    waiting = {row["quarantine_id"]: row["reasons"] for row in quarantine.open_rows(config.lake, QUARANTINE)}
    mine = sorted(entered(config, list(waiting)))
    if not mine:
        return {}
    names = [quarantine.ENTRY + one for one in mine]
    lines = config.lake.read(spark, BRONZE).where(F.col("_source_file").isin(names))
    one = F.substring_index("_source_file", ":", -1).alias("quarantine_id")
    found = _verdicts(spark, config, lines.select(one, "raw", "_ingested_at"))
    lake, registry, note = config.lake, config.registry, {"run_id": run_id}
    taken = [one for one, verdict in found.items() if verdict.in_silver]
    quarantine.resolve(lake, registry, QUARANTINE, taken, quarantine.REPLAYED, now, note)
    other = {o: v.reasons for o, v in found.items() if v.reasons and v.reasons != waiting[o]}
    quarantine.restate(lake, registry, QUARANTINE, other, note)
    return found


def mark(config: Config, ids: list[str], now: datetime, run_id: str) -> None:
    """Note that silver holds the content of some refused lines already."""
    quarantine.resolve(config.lake, config.registry, QUARANTINE, ids, quarantine.REPLAYED, now, {"run_id": run_id})
