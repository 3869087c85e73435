"""Which line is new, which repeats an earlier one, and which contradicts it.

Decided once for each micro-batch (or reload) against what was committed before it, in whatever order its lines come:
the first in bronze wins (`_ingested_at` is one time for all lines of a commit), among those of one commit the smaller
raw line. So it makes no difference how bronze's commits are cut into micro-batches, and a reload decides alike. Only
suspects pay for a comparison: rows whose fingerprint (a 64-bit hash of the key) occurs twice. A collision makes a row
a suspect, nothing worse.

Pure functions of rows that `usage.read_events` has judged.
"""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from ..common.quality import refusal
from ..common.usage.events import EventModel

KEY = ("event_id", "usage_date")
IS_VALID = "size(_reasons) = 0"
IS_REFUSED = "size(_reasons) > 0"
_ARRIVAL = ("_ingested_at", "raw", "_source_file")


def fingerprint() -> Column:
    """Return the hash that two rows with one key share."""
    return F.xxhash64(*KEY)


def suspect_fingerprints(judged: DataFrame, earlier: DataFrame | None) -> DataFrame:
    """Return the distinct `_fingerprint`s that occur twice among valid rows, or among them and in earlier events."""
    valid = judged.where(IS_VALID).select("_fingerprint")
    repeated = valid.groupBy("_fingerprint").count().where("count > 1").select("_fingerprint")
    if earlier is None:
        return repeated
    known = earlier.select(fingerprint().alias("_fingerprint")).join(valid, "_fingerprint", "left_semi")
    return repeated.union(known).distinct()


def split(
    judged: DataFrame, suspects: DataFrame, earlier: DataFrame | None
) -> tuple[DataFrame, DataFrame, DataFrame | None]:
    """Return the valid rows nobody suspects, the rows to decide over, and the earlier events that matter to those."""
    if suspects.count() == 0:
        return judged.where(IS_VALID), judged.where(IS_REFUSED), None
    marked = judged.join(suspects.withColumn("_is_suspect", F.lit(True)), "_fingerprint", "left")
    plain = marked.where(IS_VALID).where("_is_suspect IS NULL").drop("_is_suspect")
    examined = marked.where(f"{IS_REFUSED} OR _is_suspect").drop("_is_suspect")
    if earlier is not None:
        earlier = earlier.withColumn("_fingerprint", fingerprint()).join(suspects, "_fingerprint", "left_semi")
    return plain, examined, earlier


def verdicts(
    rows: DataFrame, earlier: DataFrame | None, refused_earlier: DataFrame | None, model: EventModel
) -> DataFrame:
    """Decide over refused rows and suspects.

    Args:
        rows: judged rows: every refused one, and every valid one under a suspect fingerprint.
        earlier: the events committed before, at least those under the keys of `rows`; None where there are none.
        refused_earlier: `quarantine_id`s of lines refused before; None where there are none.
        model: what an event is.

    Returns:
        `rows` with `_outcome` (accepted, quarantined or duplicate), `quarantine_id` and `payload` (NULL on accepted
        rows), and the reason `event_id_conflict` where another content came first.
    """
    valid = _settle_keys(rows.where(IS_VALID), earlier, model)
    refused = rows.where(IS_REFUSED).withColumn("_outcome", F.lit("quarantined"))
    return _settle_refused(valid.unionByName(refused), refused_earlier, model)


def _settle_keys(valid: DataFrame, earlier: DataFrame | None, model: EventModel) -> DataFrame:
    content = F.struct(*model.conformed)
    contenders = valid.withColumns({"_content": content, "_came_first": F.lit(False)})
    if earlier is not None:
        first = earlier.select(*KEY, content.alias("_content"), F.lit(True).alias("_came_first"))
        contenders = contenders.unionByName(first, allowMissingColumns=True)
    in_order = Window.partitionBy(*KEY).orderBy(F.desc("_came_first"), *_ARRIVAL)
    contenders = contenders.withColumns(
        {"_rank": F.row_number().over(in_order), "_winner": F.first("_content").over(in_order)}
    ).where(~F.col("_came_first"))
    is_same = F.col("_content").eqNullSafe(F.col("_winner"))
    outcome = (
        F.when(F.col("_rank") == 1, F.lit("accepted")).when(is_same, F.lit("duplicate")).otherwise(F.lit("quarantined"))
    )
    conflict = F.when(outcome == "quarantined", F.array(F.lit("event_id_conflict"))).otherwise(F.col("_reasons"))
    return contenders.withColumns({"_outcome": outcome, "_reasons": conflict}).drop(
        "_content", "_came_first", "_rank", "_winner"
    )


def _settle_refused(rows: DataFrame, refused_earlier: DataFrame | None, model: EventModel) -> DataFrame:
    """A refused line that was refused before, or twice in this batch, is kept once; the others are duplicates."""
    is_refused = F.col("_outcome") == "quarantined"
    payload = F.when(is_refused, F.make_valid_utf8("raw"))
    identity = F.when(is_refused, refusal.identity(model.contract.name, payload))
    rows = rows.withColumns({"payload": payload, "quarantine_id": identity})
    if refused_earlier is not None:
        known = refused_earlier.select("quarantine_id", F.lit(True).alias("_known"))
        rows = rows.join(known, "quarantine_id", "left")
    else:
        rows = rows.withColumn("_known", F.lit(None).cast("boolean"))
    # Rows that are not refused are spread, so that they do not all meet in the window of NULL.
    place = F.coalesce("quarantine_id", F.col("_fingerprint").cast("string"))
    rank = F.row_number().over(Window.partitionBy(place).orderBy(*_ARRIVAL))
    is_repeat = is_refused & ((F.col("_rank") > 1) | F.col("_known").isNotNull())
    rows = rows.withColumn("_rank", rank)
    return rows.withColumn("_outcome", F.when(is_repeat, F.lit("duplicate")).otherwise(F.col("_outcome"))).drop(
        "_rank", "_known"
    )


def refused_rows(judged: DataFrame, load_id: int, run_id: str, now: datetime) -> DataFrame:
    """Bring quarantined rows of `verdicts` to the columns of quarantine.usage_events."""
    refused = judged.where("_outcome = 'quarantined'").withColumn("reasons", F.col("_reasons"))
    return refusal.quarantine_rows(
        refused.select("quarantine_id", "payload", "reasons", "_source_file"), now, run_id, load_id
    )
