"""Contract rules over rows: conform, judge, and tell accepted, quarantined and repeated rows apart, in one pass.

The columns that the functions here add and pass on:
`raw`          struct of the trimmed source columns, text or NULL
`known`        struct: for each column with a domain, whether the enumeration knows the value (NULL for no value)
`_reasons`     the quarantine rules a row breaks, sorted
`quality_flags` the warn rules a row breaks, sorted
`_outcome`     accepted, quarantined or duplicate
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from ..contracts.schemas import spark_type
from ..contracts.table import Domain, Rule, Table

BLANKS = " \t\r\n\f\u00a0\u3000"
EXACT = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}
"""to_json writes milliseconds by default; equal means equal to the microsecond."""
OUT_OF_RANGE = "_out_of_range"
"""Follows the name of a column whose time lies beyond the limits."""
LEFT_OUT = "discarded"
"""The reason of a row that a person has discarded, whatever the rules say of it."""
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?\s?(Z|UTC|[+-]\d{2}(:?\d{2})?)?)?$"
_DECIMAL = r"^[+-]?(\d{1,64}([.]\d{0,64})?|[.]\d{1,64})([eE][+-]?\d{1,3})?$"
"""No column has room for more; one of a million digits, or an exponent of nine, takes minutes to be read."""


def trimmed(column: Column) -> Column:
    """Return the text without surrounding blanks; NULL where nothing is left."""
    return F.nullif(F.btrim(column, F.lit(BLANKS)), F.lit(""))


def folded(column: Column) -> Column:
    """Return the spelling in which enumerations are compared, as contracts.fold does."""
    return F.lower(F.regexp_replace(column, r"[\s_\-]+", ""))


def conformed_value(text: Column, domain: Domain) -> Column:
    """Return the canonical value of a spelling; an unknown one is NULL, or itself where the domain keeps those."""
    pairs = [F.lit(item) for pair in domain.spellings.items() for item in pair]
    found = F.element_at(F.create_map(*pairs), folded(text))
    return F.coalesce(found, text) if domain.unknown == "keep" else found


def is_known(text: Column, domain: Domain) -> Column:
    """Tell whether the enumeration knows a spelling; NULL for NULL."""
    return folded(text).isin(list(domain.spellings))


def cast_text(text: Column, kind: str) -> Column:
    """Cast trimmed text strictly: NULL where it is not written as its type demands.

    Dates are YYYY-MM-DD, times ISO 8601 (UTC where they name no offset), numbers plain decimals (rounded half away
    from zero to the type's scale), booleans true or false (t, yes, y, 1; f, no, n, 0).
    """
    if kind == "string":
        return text
    if kind in ("int", "bigint"):
        number = F.when(text.rlike(_DECIMAL), text.try_cast("decimal(38,9)"))
        return F.when(number == F.floor(number), number.try_cast(kind))
    if kind == "boolean":
        return text.try_cast("boolean")
    pattern = {"date": _DATE, "timestamp": _TIME}.get(kind, _DECIMAL)
    return F.when(text.rlike(pattern), text.try_cast(spark_type(kind)))


def conform(
    rows: DataFrame, table: Table, domains: Mapping[str, Domain], limits: tuple[date, date] | None = None
) -> DataFrame:
    """Read each declared column from its source text: trim, bring to its enumeration, cast.

    Args:
        rows: bronze rows, all source columns STRING; a source column that a file lacks is NULL.
        table: the silver contract.
        domains: the enumerations by name.
        limits: the first and the last date that a time may lie on.

    Returns:
        `rows` with the table's read columns, `raw`, `known`, `_reasons`
        (<column>_missing, <column>_unknown, <column>_invalid, <column>_out_of_range, or malformed_row alone), and
        `_emptied`: <column>_out_of_range of the times that are dropped instead.
    """
    read = {name: column for name, column in table.columns.items() if not column.derived}
    sources = sorted({column.source or name for name, column in read.items()} | _delivered(rows))
    raw = F.struct(
        *(
            trimmed(F.col(f"`{name}`")).alias(name) if name in rows.columns else F.lit(None).cast("string").alias(name)
            for name in sources
        )
    )
    rows = rows.withColumn("raw", raw)
    values: dict[str, Column] = {}
    reasons: list[Column] = []
    emptied: list[Column] = []
    known: list[Column] = [F.lit(True).alias("_")]
    for name, column in read.items():
        text = F.col("raw").getField(column.source or name)
        if column.domain is not None:
            domain = domains[column.domain]
            values[name] = conformed_value(text, domain)
            known.append(is_known(text, domain).alias(name))
            fault = f"{name}_unknown"
        else:
            values[name] = cast_text(text, column.parse or column.type)
            fault = f"{name}_invalid"
        reasons.append(F.when(text.isNotNull() & values[name].isNull(), F.lit(fault)))
        if column.required:
            reasons.append(F.when(text.isNull(), F.lit(f"{name}_missing")))
        if limits is not None and column.type in ("date", "timestamp"):
            beyond = F.when(~values[name].cast("date").between(*limits), F.lit(f"{name}{OUT_OF_RANGE}"))
            (reasons if column.beyond_limits == "quarantine" else emptied).append(beyond)
    judged = F.when(F.col("_corrupt_record").isNotNull(), F.array(F.lit("malformed_row"))).otherwise(_present(reasons))
    kept = [name for name in rows.columns if name.startswith("_")]
    return rows.select(
        *kept,
        "raw",
        F.struct(*known).alias("known"),
        judged.alias("_reasons"),
        _present(emptied).alias("_emptied"),
        *(value.alias(name) for name, value in values.items()),
    )


def _delivered(rows: DataFrame) -> set[str]:
    return {name for name in rows.columns if not name.startswith("_")}


def _present(names: Sequence[Column]) -> Column:
    """Return the sorted array of the names that are not NULL."""
    return F.array_sort(F.array_compact(F.array(F.lit(None).cast("string"), *names)))


def broken(rules: Mapping[str, Rule], *levels: str) -> Column:
    """Return the sorted names of the rules of some levels that a row breaks."""
    return _present([F.when(F.expr(rule.when), F.lit(name)) for name, rule in rules.items() if rule.level in levels])


def judge(rows: DataFrame, table: Table) -> DataFrame:
    """Apply the contract's rules to conformed rows: adds to `_reasons`, sets `quality_flags`, empties `set_null` columns."""
    is_malformed = F.col("_corrupt_record").isNotNull()
    reasons = F.array_sort(F.array_union(F.col("_reasons"), broken(table.rules, "quarantine", "fail")))
    judged = rows.withColumns(
        {
            "_reasons": F.when(is_malformed, F.col("_reasons")).otherwise(reasons),
            "quality_flags": F.array_sort(F.array_union("_emptied", broken(table.rules, "warn"))),
        }
    )
    emptied = {
        rule.set_null: F.when(~F.array_contains("quality_flags", name), F.col(rule.set_null))
        for name, rule in table.rules.items()
        if rule.set_null is not None
    }
    for name, column in table.columns.items():
        if column.beyond_limits == "empty":
            is_within = ~F.array_contains("_emptied", f"{name}{OUT_OF_RANGE}")
            emptied[name] = F.when(is_within, emptied.get(name, F.col(name)))
    return judged.withColumns(emptied).drop("_emptied")


def refer(rows: DataFrame, column: str, known: DataFrame) -> DataFrame:
    """Add the reason <column>_unknown to rows whose value `known` (one column of that name, unique) does not hold."""
    found = known.select(F.col(column).alias("_referred")).withColumn("_found", F.lit(True))
    joined = rows.join(F.broadcast(found), F.col(column) == F.col("_referred"), "left")
    unknown = F.col(column).isNotNull() & F.col("_found").isNull() & F.col("_corrupt_record").isNull()
    reasons = F.when(unknown, F.array_sort(F.array_append("_reasons", F.lit(f"{column}_unknown"))))
    return joined.withColumn("_reasons", F.coalesce(reasons, F.col("_reasons"))).drop("_referred", "_found")


def leave_out(rows: DataFrame, discarded: DataFrame, identity: Column) -> DataFrame:
    """Add the reason `discarded` to rows that a person has discarded.

    Args:
        rows: judged rows.
        discarded: `quarantine_id`s.
        identity: the quarantine_id that each of the rows has, or would have.
    """
    out = discarded.select(F.col("quarantine_id").alias("_out")).distinct()
    joined = rows.join(F.broadcast(out), identity == F.col("_out"), "left")
    reasons = F.array_sort(F.array_union("_reasons", F.array(F.lit(LEFT_OUT))))
    kept = F.when(F.col("_out").isNotNull(), reasons).otherwise(F.col("_reasons"))
    return joined.withColumn("_reasons", kept).drop("_out")


def settle(rows: DataFrame, table: Table, payload: Column, delivery: str = "_delivery") -> DataFrame:
    """Decide each row's outcome within its delivery.

    A repeat of the same content under one key is a duplicate. Two different contents under one key refuse all of
    them (`conflicting_rows`), because nothing tells which is right, unless a person has discarded all but one. Adds
    `_payload`, `_outcome`.
    """
    keys = list(table.key)
    content = [name for name, column in table.columns.items() if not column.derived]
    readable = F.col("_corrupt_record").isNull() & ~F.array_contains("_reasons", LEFT_OUT)
    for key in keys:
        readable = readable & F.col(key).isNotNull()
    rows = rows.withColumns(
        {
            "_payload": payload,
            "_content": F.when(F.size("_reasons") == 0, F.sha2(F.to_json(F.struct(*content), EXACT), 256)).otherwise(
                F.sha2(payload, 256)
            ),
        }
    ).withColumn("_same_key", F.when(readable, F.to_json(F.struct(*keys))).otherwise(F.col("_content")))
    group = Window.partitionBy(delivery, "_same_key")
    repeat = Window.partitionBy(delivery, "_same_key", "_content").orderBy("_payload")
    rows = rows.withColumns(
        {
            "_conflict": F.min("_content").over(group) != F.max("_content").over(group),
            "_repeat": F.row_number().over(repeat),
        }
    )
    reasons = F.when(F.col("_conflict"), F.array_sort(F.array_append("_reasons", F.lit("conflicting_rows"))))
    rows = rows.withColumn("_reasons", F.coalesce(reasons, F.col("_reasons")))
    outcome = (
        F.when(F.col("_repeat") > 1, F.lit("duplicate"))
        .when(F.size("_reasons") > 0, F.lit("quarantined"))
        .otherwise(F.lit("accepted"))
    )
    return rows.withColumn("_outcome", outcome).drop("_conflict", "_repeat", "_content", "_same_key")
