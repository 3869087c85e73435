"""Which lines make a micro-batch fail each time: found by halving, so that they can be kept apart and the rest goes on.

A fault that is not of a line (a full disk, a wrong rule) would be found in every half. So no more than a bounded number
of lines is looked for; where there are more, none is blamed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ..common.errors import is_of_the_machine
from ..common.quality import quarantine
from ..common.usage.events import EventModel, read_events

STEP_FAILED = "step_failed"
_MOST_BITS = 62


@dataclass(frozen=True)
class _Group:
    """The lines whose hash ends in these bits, and why judging them failed."""

    bits: int
    ending: int
    error: str

    def of(self, lines: DataFrame) -> DataFrame:
        ending = F.xxhash64("raw").bitwiseAND(F.lit((1 << self.bits) - 1))
        return lines.where(ending == F.lit(self.ending))

    def halves(self) -> tuple[_Group, _Group]:
        bits = self.bits + 1
        return _Group(bits, self.ending, self.error), _Group(bits, self.ending | 1 << self.bits, self.error)


@contextmanager
def persisted(rows: DataFrame) -> Iterator[None]:
    """Keep rows for as long as the block lasts, so that they are computed once."""
    rows.persist(StorageLevel.MEMORY_AND_DISK_DESER)
    try:
        yield
    finally:
        rows.unpersist()


@contextmanager
def _silent(lines: DataFrame) -> Iterator[None]:
    """Keep Spark from logging the failures that are looked for, each with its trace."""
    context, in_python = lines.sparkSession.sparkContext, logging.getLogger("SQLQueryContextLogger")
    was_disabled = in_python.disabled
    context.setLogLevel("OFF")
    in_python.disabled = True
    try:
        yield
    finally:
        in_python.disabled = was_disabled
        context.setLogLevel("ERROR")  # as conf/log4j2.properties has it


def identity(model: EventModel) -> Column:
    """Return the quarantine_id that a line has, or would have."""
    return quarantine.identity(model.contract.name, F.make_valid_utf8("raw"))


def may_be_of_a_line(error: BaseException) -> bool:
    """Tell whether a failure may lie in what a line holds, and not in the machine or in conf/."""
    is_of_spark = isinstance(error, PySparkException | Py4JJavaError) and not isinstance(error, AnalysisException)
    return is_of_spark and not is_of_the_machine(error)


def failing_lines(lines: DataFrame, model: EventModel, most: int) -> dict[str, str]:
    """Return quarantine_id → error of the lines that can't be judged; {} where it is not they, or over `most` of them."""
    found: dict[str, str] = {}
    with persisted(lines), _silent(lines):
        error = _failure(lines, model)
        groups = [] if error is None else [_Group(0, 0, error)]
        while groups:
            if len(groups) + len(found) > most or groups[0].bits > _MOST_BITS:
                return {}
            halves: list[_Group] = []
            for group in groups:
                ids = group.of(lines).select(identity(model)).distinct().limit(2).collect()
                if len(ids) > 1:
                    halves += _failing_halves(group, lines, model)
                elif (error := _failure(group.of(lines), model)) is not None and ids:
                    found[ids[0][0]] = error
            groups = halves
    return found if len(found) <= most else {}


def _failing_halves(group: _Group, lines: DataFrame, model: EventModel) -> list[_Group]:
    """Return the halves of a failing group that fail. Where the first does not, the second does."""
    first, second = group.halves()
    error = _failure(first.of(lines), model)
    if error is None:
        return [second]
    return [_Group(first.bits, first.ending, error)] + ([second] if _failure(second.of(lines), model) else [])


def _failure(lines: DataFrame, model: EventModel) -> str | None:
    """Return why lines can't be judged, None where they can.

    Raises:
        Exception: the machine is at fault.
    """
    try:
        read_events(lines, model).write.format("noop").mode("overwrite").save()
    except Exception as error:
        if not may_be_of_a_line(error):
            raise
        return next((text for text in str(error).splitlines() if text.strip()), type(error).__name__)[:300]
    return None


def judged_apart(lines: DataFrame, model: EventModel, apart: Collection[str]) -> DataFrame:
    """Judge lines as `read_events` does; those of some quarantine_ids are not looked at and refused as step_failed."""
    if not apart:
        return read_events(lines, model)
    is_apart = identity(model).isin(sorted(apart))
    judged, kept = read_events(lines.where(~is_apart), model), lines.where(is_apart)
    unknown = {f.name: F.lit(None).cast(f.dataType) for f in judged.schema if f.name not in kept.columns}
    reasons = {"_reasons": F.array(F.lit(STEP_FAILED)), "quality_flags": F.array().cast("array<string>")}
    return judged.unionByName(kept.withColumns(unknown | reasons))
