"""What the three masters need beyond conforming: organisations, users, resources."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def users(rows: DataFrame) -> DataFrame:
    """Lower-case the address; an account the source says nothing of is not active.

    In and out: conformed users; out also `org_signup_date` where the caller joined it.
    """
    return rows.withColumns({"email": F.lower("email"), "active": F.coalesce("active", F.lit(False))})


def resources(rows: DataFrame) -> DataFrame:
    """Add `tags`, read from `raw.tags_json`."""
    return rows.withColumn("tags", tags(F.col("raw.tags_json")))


def tags(text: Column) -> Column:
    """Return tag key → its distinct values, sorted, from a JSON array of "key:value" strings; NULL for anything else.

    A string is split at its first `:`; one without makes the whole unreadable.
    """
    entries = F.from_json(text, "array<string>", {"mode": "PERMISSIVE"})
    trimmed = F.transform(entries, lambda entry: F.trim(entry))  # noqa: PLW0108  (F.trim alone would be given the index too)
    is_pair = F.forall(trimmed, lambda entry: F.coalesce(entry.rlike("^[^:]+:"), F.lit(False)))
    is_list = F.json_array_length(text).isNotNull()
    pairs = F.transform(
        trimmed,
        lambda entry: F.struct(
            F.trim(F.substring_index(entry, ":", 1)).alias("key"),
            F.trim(F.regexp_replace(entry, "^[^:]+:", "")).alias("value"),
        ),
    )
    keys = F.array_sort(F.array_distinct(F.transform(pairs, lambda pair: pair["key"])))

    def values_of(key: Column) -> Column:
        own = F.filter(pairs, lambda pair: pair["key"] == key)
        return F.array_sort(F.array_distinct(F.transform(own, lambda pair: pair["value"])))

    read = F.map_from_arrays(keys, F.transform(keys, values_of))
    return F.when(is_list & entries.isNotNull() & is_pair, read)
