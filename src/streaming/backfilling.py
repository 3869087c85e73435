"""Events of a span of dates made anew from bronze, in one commit; all other dates stay as they are.

Events are settled date by date (a repeat carries its time), so the span needs no other line than its own. It comes under
one load_id of a raised generation, without increments: what is served stays until the marts that are built from it are
published. As a reload takes the place of every load before it, a backfill takes over what those loads hold of its dates,
and their counts in ops.reconciliation with it (counts.restated): together the counts stay what bronze holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..common.clock import now_utc
from ..common.config import Config
from ..common.errors import ConfigurationError
from ..common.faults import crash_point
from ..common.lake.duck import connected
from ..common.names import BRONZE_EVENTS as BRONZE
from ..common.names import EVENTS as SILVER
from ..common.names import REFUSED_EVENTS as QUARANTINE
from ..common.quality import quarantine
from ..common.quality.outcomes import Outcomes
from ..common.usage.events import read_events
from .classification import KEY
from .committed import require_lines
from .counts import Row, newest_of_each
from .isolation import STEP_FAILED, identity, persisted
from .reentry import judge
from .silver_events import SilverQuery
from .silver_load import Classified

_LINE = ("raw", "_source_file", "_ingested_at")


@dataclass(frozen=True)
class _Refusals:
    """What is refused now and was not, and what was refused and is not any more; how many keys lines of each have."""

    new: DataFrame
    newly: int
    new_keys: int
    healed: Counter[tuple[int, tuple[str, ...]]]
    """How many lines that some load refused for some reasons are refused no more."""
    healed_keys: int
    marked: list[str]
    """The ids of every open refusal that counts as replayed from now on."""


def backfill_events(
    session: Callable[[], SparkSession], config: Config, run_id: str, first: date, last: date
) -> Outcomes:
    """Make the events of some dates anew; the caller holds the stream lock, and has taken what had landed.

    Killed at any point, the dates are as they were or made anew, and their counts follow when the stream goes on;
    typed again, it ends as if nothing had happened. Returns where the lines of these dates went.

    Raises:
        ConfigurationError: neither bronze nor silver has a line of these dates.
        CloudlakeError: bronze no longer holds every line of these dates; nothing was changed.
    """
    lake, silver = config.lake, SilverQuery(session, config, run_id)
    require_lines(lake, since=first)
    load = silver.raised_load()
    lines = _lines_of(silver, load.to_version, first, last)
    with persisted(lines), silver.loader.classified(lines.select(*_LINE), load.load_id, None) as found:
        silver.loader.stop_where_a_rule_demands(found.counts)
        counted = newest_of_each(lake)
        if not found.counts.landed and not _held(config, counted, first, last)[1]:
            raise ConfigurationError(
                f"--from {first} --to {last}: {SILVER} has no event of these dates, and {BRONZE} no line"
            )
        refusals = _refusals(silver, lines, found, load.load_id)
        note = silver.note(load, _taken_over(found.counts, refusals)) | {
            "source": lake.table_id(BRONZE),
            "backfill": [str(first), str(last)],
            "healed": [[load, reasons, number] for (load, reasons), number in sorted(refusals.healed.items())],
            "off": _off(config, counted, first, last, found.counts, refusals),
        }
        if refusals.newly:
            lake.append(refusals.new.coalesce(1), QUARANTINE, note=note)
        crash_point("backfill_after_quarantine")
        where = f"usage_date >= DATE'{first}' AND usage_date <= DATE'{last}'"
        lake.replace(found.accepted, SILVER, where=where, note=note)
    crash_point("backfill_after_silver")
    silver.loader.reconcile(note)
    crash_point("backfill_after_reconciliation")
    quarantine.resolve(lake, config.registry, QUARANTINE, refusals.marked, quarantine.REPLAYED, now_utc(), note)
    silver.begin_again()
    return found.counts


def _lines_of(silver: SilverQuery, version: int, first: date, last: date) -> DataFrame:
    """Return bronze's lines whose events lie on the dates, with their key and what they would be called in quarantine.

    Those that the step has failed on stay kept apart.
    """
    lake = silver.lake
    lines = lake.read(silver.spark, BRONZE, version).select(*_LINE)
    name = identity(silver.loader.model)
    rows = lake.rows(QUARANTINE, ["quarantine_id", "reasons"], [("status", "!=", quarantine.REPLAYED)])
    apart = [row["quarantine_id"] for row in rows if STEP_FAILED in row["reasons"]]
    if apart:
        lines = lines.where(~name.isin(apart))
    judged = read_events(lines, silver.loader.model).where(F.col("usage_date").between(first, last))
    return judged.select(*_LINE, *KEY, name.alias("quarantine_id"))


def _refusals(silver: SilverQuery, lines: DataFrame, found: Classified, load_id: int) -> _Refusals:
    """Compare what is refused with what was: by the name that a line has in quarantine."""
    lake = silver.lake
    new = silver.loader.new_refusals(found, load_id)
    still = {row[0] for row in found.refused.select("quarantine_id").collect()}
    fresh = {row[0] for row in new.select("quarantine_id").collect()}
    waiting = {row["quarantine_id"]: row for row in quarantine.open_rows(lake, QUARANTINE)}
    keys = _keys(lines, fresh | (waiting.keys() - still))
    marked = sorted(waiting.keys() & keys.keys() - still)
    # A backfill that was killed has taken some of them already: silver has them, and their counts have moved.
    payloads = {one: waiting[one]["payload"] for one in marked}
    told = judge(silver.spark, silver.config, payloads, now_utc()) if payloads else {}
    healed = [one for one in marked if not told[one].in_silver]
    return _Refusals(
        new,
        len(fresh),
        len({keys[one] for one in fresh}),
        Counter((int(waiting[one]["load_id"]), tuple(sorted(waiting[one]["reasons"]))) for one in healed),
        len({keys[one] for one in healed}),
        marked,
    )


def _keys(lines: DataFrame, ids: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """Return quarantine_id → key, of the lines of the span among some."""
    if not ids:
        return {}
    rows = lines.where(F.col("quarantine_id").isin(sorted(ids))).select("quarantine_id", *KEY).distinct().collect()
    return {row[0]: tuple(row[1:]) for row in rows}


def _taken_over(counts: Outcomes, refusals: _Refusals) -> Outcomes:
    """Return the counts of the load: the events it holds, and the lines that are refused only now.

    A line that repeats another stays counted where it came. The two that differ: a line that was refused, and repeats
    one that was refused beside it; and the other way round.
    """
    repeats = (refusals.healed.total() - refusals.healed_keys) - (refusals.newly - refusals.new_keys)
    reasons: dict[str, int] = {}
    if refusals.newly:
        told = refusals.new.select(F.explode("reasons").alias("reason")).groupBy("reason").count().collect()
        reasons = {row[0]: int(row[1]) for row in told}
    landed = counts.accepted + refusals.newly + repeats
    return Outcomes(landed, counts.accepted, refusals.newly, repeats, reasons, dict(counts.flags))


def _held(config: Config, counted: Sequence[Row], first: date, last: date) -> tuple[int, int]:
    """Return how many counted events silver has, of all dates and of the span."""
    newest = max((int(row["delivery"]) for row in counted), default=-1)
    sql = f"""
        SELECT count(*), count(*) FILTER (usage_date BETWEEN DATE '{first}' AND DATE '{last}')
        FROM events WHERE load_id <= {newest}
    """
    with connected(events=config.lake.dataset(SILVER)) as connection:
        ((every, inside),) = connection.sql(sql).fetchall()
    return int(every), int(inside)


def _off(
    config: Config, counted: Sequence[Row], first: date, last: date, counts: Outcomes, refusals: _Refusals
) -> int:
    """Return by how many events the counts are off outside the span: the audit must still find those afterwards."""
    every, inside = _held(config, counted, first, last)
    lost_inside = counts.accepted - inside - refusals.healed_keys + refusals.new_keys
    return int(sum(row["accepted"] for row in counted) - every - lost_inside)
