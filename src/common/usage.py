"""What a usage event means: read a line by its version, conform it, judge it, and measure events.

Batch and stream import this module, so both speeds have one definition. Pure functions of rows and columns; what an
event may be comes as `EventModel` from conf/ (silver.yaml, streaming.yaml, domains.yaml).

A line counts only if it is exactly one JSON object. Spark's parsers let more through, so each line is read as
`[<line>,{"__end":"<hash of the line>"}]`: an array of exactly two elements whose second is the seal means that the
line is one element, complete and alone. What follows a first value, or is cut off, breaks that.

That care costs several times what parsing does, and nearly every line is as plain as can be: one pattern, made from
conf/, says so (`plain_line`), and such a line is parsed once and cast without further looks. It changes no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from .contracts import Domain, Table
from .data_quality import BLANKS, broken, folded
from .schemas import spark_type

MAX_LINE_BYTES = 1 << 20
"""A longer line is no event; it is kept apart as malformed, whole."""

_DECIMAL = r"^[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d{1,3})?$"
_VANISHING = r"^[+-]?(\d+([.]\d*)?|[.]\d+)[eE]-\d+$"
_MAX_NUMBER_LENGTH = 1000
_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)$"
_STRICT_JSON = {
    "mode": "PERMISSIVE",
    "allowSingleQuotes": "false",
    "allowNonNumericNumbers": "false",
    "allowNumericLeadingZeros": "false",
    "allowUnquotedFieldNames": "false",
    "allowUnquotedControlChars": "false",
    "allowComments": "false",
    "allowBackslashEscapingAnyCharacter": "false",
}
_PLAIN_BYTES = 4096
_PLAIN_TIME = r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"'
_PLAIN_TEXT = r'"[!#-\[\]-~]++"'
_PLAIN_NUMBER = r'(?:-?(?:0|[1-9]\d{0,6})(?:[.]\d{1,8})?(?:e-\d{1,2})?|"[-+.0-9]{1,20}")'
_VERSION = "schema_version"
_TIMESTAMP = "timestamp"
_EXACT_COST = "decimal(38,26)"
BUCKET_MINUTES = 15


@dataclass(frozen=True)
class EventModel:
    """What an event line may be: the contract of silver.usage_events, the fields of each version, units, domains."""

    contract: Table
    schema_versions: Mapping[int, Sequence[str]]
    metric_units: Mapping[str, str]
    domains: Mapping[str, Domain]

    @cached_property
    def fields(self) -> list[str]:
        """Every field that some version has, in the order of their first mention, after the version itself."""
        return list(dict.fromkeys([_VERSION, *(field for fields in self.schema_versions.values() for field in fields)]))

    @cached_property
    def conformed(self) -> list[str]:
        """The columns that make up an event's content: two lines of one event that differ here contradict each other."""
        apart = {"unit_imputed", "quality_flags", "load_id"}
        return [name for name in self.contract.columns if name not in apart and not name.startswith("_")]


# --- from lines to judged rows ------------------------------------------------------------------------------------


def read_events(lines: DataFrame, model: EventModel) -> DataFrame:
    """Read, conform and judge event lines.

    Args:
        lines: rows with `raw` (the line) and `_ingested_at`; other columns pass through.
        model: what an event may be.

    Returns:
        `lines` with the contract's columns but load_id, and `_reasons` (the quarantine rules a row breaks, sorted;
        empty for a valid event).
    """
    passing = lines.columns
    judged = judge_events(conform_events(trim_texts(parse_lines(lines, model), model), model), model)
    read = [name for name in model.contract.columns if name not in ("load_id", *passing) and not name.startswith("_")]
    return judged.select(*passing, *read, "_reasons")


def plain_line(model: EventModel) -> str:
    """Return the pattern of a line that needs no care; a line that does not match may still be an event.

    One flat JSON object of known fields, each at most once, because in their order: those of the oldest version, the
    version, what later versions added. Texts are ASCII without blanks or escapes, numbers have at most 15 digits
    (Spark passes numbers through double, exact to there), the time is in UTC to the second.
    """
    oldest, *later = [fields for _, fields in sorted(model.schema_versions.items())]
    in_order = dict.fromkeys([*oldest, _VERSION, *(field for fields in later for field in fields)])
    numbers = _number_fields(model) | {_VERSION}

    def member(field: str) -> str:
        value = _PLAIN_TIME if field == _TIMESTAMP else _PLAIN_NUMBER if field in numbers else _PLAIN_TEXT
        return f'"{field}": ?(?:{value}|null)'

    first, *others = (member(field) for field in in_order)
    return r"^\{" + first + "".join(f"(?:, ?{other})?+" for other in others) + r"\}\z"


def parse_lines(lines: DataFrame, model: EventModel) -> DataFrame:
    """Add `said`, a struct of the fields' texts: NULL where a line is not exactly one JSON object; and `_is_plain`."""
    fields = ", ".join(f"`{name}` STRING" for name in model.fields)
    is_plain = (F.octet_length("raw") <= _PLAIN_BYTES) & F.col("raw").rlike(plain_line(model))
    rows = lines.withColumn("_is_plain", F.coalesce(is_plain, F.lit(False)))
    is_readable = ~F.col("_is_plain") & (F.octet_length("raw") <= MAX_LINE_BYTES) & F.is_valid_utf8("raw")
    rows = rows.withColumn("_seal", F.when(is_readable, F.xxhash64("raw").cast("string")))
    sealed = F.when(is_readable, F.concat(F.lit("["), "raw", F.lit(',{"__end":"'), "_seal", F.lit('"}]')))
    rows = rows.withColumn("_read", F.from_json(sealed, f"array<struct<{fields}, `__end` STRING>>", _STRICT_JSON))
    first, last = F.get("_read", F.lit(0)), F.get("_read", F.lit(1))
    is_alone = (F.size("_read") == 2) & first.isNotNull() & (last.getField("__end") == F.col("_seal"))
    careful = F.struct(*(first.getField(name).alias(name) for name in model.fields))
    plain = F.from_json(F.when(F.col("_is_plain"), F.col("raw")), f"struct<{fields}>", _STRICT_JSON)
    said = F.when(F.col("_is_plain"), plain).when(is_alone & _has_distinct_keys(), careful)
    return rows.withColumn("said", said).drop("_read", "_seal")


def _has_distinct_keys() -> Column:
    """Tell whether no key of the object stands twice in the line."""
    keys = F.json_object_keys("raw")
    return F.size(keys) == F.size(F.array_distinct(keys))


def trim_texts(rows: DataFrame, model: EventModel) -> DataFrame:
    """Replace `said` by a column `said_<field>` for each field: trimmed, NULL where nothing is left; adds `is_object`."""
    numbers = _number_fields(model)
    is_long = ~F.col("_is_plain") & F.col("raw").rlike(r":\s*-?[0-9.]{16}")
    rows = rows.withColumns({"_has_long_number": is_long, "is_object": F.col("said").isNotNull()})
    texts = {}
    for field in model.fields:
        text = F.col("said").getField(field)
        whole = _every_digit(field, text) if field in numbers else text
        trimmed = F.nullif(F.btrim(whole, F.lit(BLANKS)), F.lit(""))
        texts[f"said_{field}"] = F.when(F.col("_is_plain"), text).otherwise(trimmed)
    return rows.withColumns(texts).drop("said", "_has_long_number")


def _number_fields(model: EventModel) -> set[str]:
    columns = model.contract.columns.items()
    return {column.source or name for name, column in columns if _is_number(column.type)} - {_VERSION}


def conform_events(rows: DataFrame, model: EventModel) -> DataFrame:
    """Bring the texts to the contract's types and enumerations, by version: adds its columns, `exact_cost` before rounding."""
    said = F.col(f"said_{_TIMESTAMP}")
    event_time = F.when(F.col("_is_plain") | said.rlike(_TIME), said.try_cast("timestamp"))
    rows = rows.withColumns({_VERSION: _known_version(F.col(f"said_{_VERSION}"), model), "event_time": event_time})
    emptied = {}
    for field in model.fields:
        having = [number for number, fields in model.schema_versions.items() if field in fields]
        if field != _VERSION and len(having) < len(model.schema_versions):
            emptied[f"said_{field}"] = F.when(F.col(_VERSION).isin(having), F.col(f"said_{field}"))
    rows = rows.withColumns(emptied)
    values = {"exact_cost": _number(F.col("said_cost_usd_increment"), _EXACT_COST, "_is_plain")}
    for name, column in model.contract.columns.items():
        if not column.derived and name != _VERSION:
            text = F.col(f"said_{column.source or name}")
            if column.domain is not None:
                values[name] = _canonical(text, model.domains[column.domain].spellings)
            else:
                values[name] = text if column.type == "string" else _number(text, column.type, "_is_plain")
    rows = rows.withColumns(values).withColumn("metric_unit", _lookup(model.metric_units, F.col("metric")))
    return rows.withColumns(
        {
            "usage_date": F.to_date("event_time"),
            # A unit that nobody knows stays as it is, so that it contradicts its metric.
            "unit": F.coalesce("unit", "said_unit", "metric_unit"),
            "unit_imputed": F.col("said_unit").isNull() & F.col("metric_unit").isNotNull(),
        }
    )


def judge_events(rows: DataFrame, model: EventModel) -> DataFrame:
    """Judge by what the texts must hold and by the contract's rules: sets `_reasons` and `quality_flags`."""
    none = F.array().cast("array<string>")
    rules = model.contract.rules
    refusing = _faults(model) | {name: F.expr(rule.when) for name, rule in rules.items() if rule.level != "warn"}
    warning = [F.expr(rule.when) for rule in rules.values() if rule.level == "warn"]
    reasons = (
        F.when(~F.col("is_object"), F.array(F.lit("malformed_json")))
        .when(F.col(_VERSION).isNull(), F.array(F.lit("schema_version_unknown")))
        .when(_any(refusing.values()), _names(refusing))
        .otherwise(none)
    )
    flags = F.when(_any(warning), broken(rules, "warn")).otherwise(none)
    return rows.withColumns({"_reasons": reasons, "quality_flags": flags})


def costs_of_refused(refused: DataFrame) -> DataFrame:
    """Return `org_id`, `usage_date` and `cost_usd` of the refused lines that are one JSON object and say all three.

    Args:
        refused: rows of quarantine.usage_events; a line whose object cannot be read is there as malformed_json.
    """
    is_object = ~F.array_contains("reasons", "malformed_json")
    said = F.from_json("payload", "org_id STRING, timestamp STRING, cost_usd_increment STRING", _STRICT_JSON)
    texts = refused.where(is_object).select(said.alias("said")).select("said.*")
    texts = texts.select(*(F.nullif(F.btrim(name, F.lit(BLANKS)), F.lit("")).alias(name) for name in texts.columns))
    event_time = F.when(F.col("timestamp").rlike(_TIME), F.col("timestamp").try_cast("timestamp"))
    cost = _number(F.col("cost_usd_increment"), "decimal(18,6)")
    return texts.select("org_id", F.to_date(event_time).alias("usage_date"), cost.alias("cost_usd")).dropna()


def _faults(model: EventModel) -> dict[str, Column]:
    """What may be wrong with the text of a field, by reason."""
    said = F.col("said_timestamp")
    found = {"timestamp_missing": said.isNull(), "timestamp_invalid": said.isNotNull() & F.col("event_time").isNull()}
    for name, column in model.contract.columns.items():
        field = column.source or name
        if column.derived or name == _VERSION:
            continue
        text = F.col(f"said_{field}")
        if column.required:
            found[f"{field}_missing"] = text.isNull()
        if name != "unit" and (column.domain or column.type != "string"):
            fault = "unknown" if column.domain else "invalid"
            found[f"{field}_{fault}"] = text.isNotNull() & F.col(name).isNull()
    return found


def _every_digit(field: str, text: Column) -> Column:
    """Return a number's text as the line has it. Spark passes numbers through double, exact to 15 digits only."""
    token = F.regexp_extract("raw", rf'"{field}"\s*:\s*(-?[0-9.]+([eE][+-]?[0-9]+)?)', 1)
    is_same = token.try_cast("double") == text.try_cast("double")
    return F.when(F.col("_has_long_number") & is_same, token).otherwise(text)


def _is_number(kind: str) -> bool:
    return kind.startswith("decimal") or kind in ("int", "bigint")


def _number(text: Column, kind: str, is_plain: str = "false") -> Column:
    """Return the decimal number that a text writes, rounded once, half away from zero; NULL where it writes none.

    Where the condition `is_plain` holds, the text needs no look before the cast. An exponent of more digits is a number
    too small to matter, or too large for any type; a text of more than a thousand characters is none. (Casting those
    would take minutes.)
    """
    is_short = F.length(text) <= _MAX_NUMBER_LENGTH
    is_decimal = F.expr(is_plain) | (is_short & text.rlike(_DECIMAL))
    plain = F.when(is_decimal, text).when(is_short & text.rlike(_VANISHING), F.lit("0"))
    if kind in ("int", "bigint"):
        whole = plain.try_cast("decimal(38,18)")
        return F.when(whole == F.floor(whole), whole.try_cast(kind))
    return plain.try_cast(spark_type(kind))


def _known_version(text: Column, model: EventModel) -> Column:
    versions = {str(number): number for number in model.schema_versions}
    whole = F.regexp_extract(text, r"^(\d+)[.]0*$", 1)
    return F.coalesce(_lookup(versions, text), _lookup(versions, whole))


def _canonical(text: Column, spellings: Mapping[str, str]) -> Column:
    """Return the canonical value of a spelling, NULL for an unknown one. The canonical spelling itself is the fast path."""
    canonical = sorted(set(spellings.values()))
    return F.when(text.isin(canonical), text).otherwise(_lookup(spellings, folded(text)))


def _lookup(pairs: Mapping[str, str] | Mapping[str, int], key: Column) -> Column:
    literals = [F.lit(item) for pair in pairs.items() for item in pair]
    return F.try_element_at(F.create_map(*literals), key)


def _any(conditions: Iterable[Column]) -> Column:
    return reduce(Column.__or__, [F.coalesce(condition, F.lit(False)) for condition in conditions], F.lit(False))


def _names(conditions: Mapping[str, Column]) -> Column:
    """Return the sorted names of the conditions that are true."""
    return F.array_compact(F.array(*(F.when(conditions[name], F.lit(name)) for name in sorted(conditions))))


# --- measures -----------------------------------------------------------------------------------------------------

_COST, _QUANTITY, _CARBON = "decimal(28,6)", "decimal(30,6)", "decimal(30,9)"
_TYPES = {
    "events": "bigint",
    "cost_usd": _COST,
    "requests": _QUANTITY,
    "cpu_hours": _QUANTITY,
    "storage_gb_hours": _QUANTITY,
    "genai_tokens": "bigint",
    "carbon_kg": _CARBON,
    "carbon_events": "bigint",
    "carbon_cost_usd": _COST,
    "events_without_value": "bigint",
}
MEASURES: tuple[str, ...] = tuple(_TYPES)
"""The measures of usage, in the order of their columns."""
_NULL_WHERE_UNREPORTED = frozenset({"genai_tokens", "carbon_kg"})


def measures() -> list[Column]:
    """Return the measures as aggregations over events (silver.usage_events)."""

    def quantity(metric: str) -> Column:
        return F.sum(F.when(F.col("metric") == metric, F.col("value")))

    sums = {
        "events": F.count(F.lit(1)),
        "cost_usd": F.sum("cost_usd"),
        "requests": quantity("requests"),
        "cpu_hours": quantity("cpu_hours"),
        "storage_gb_hours": quantity("storage_gb_hours"),
        "genai_tokens": F.sum("genai_tokens"),
        "carbon_kg": F.sum("carbon_kg"),
        "carbon_events": F.count("carbon_kg"),
        "carbon_cost_usd": F.sum(F.when(F.col("carbon_kg").isNotNull(), F.col("cost_usd"))),
        "events_without_value": F.count_if(F.col("value").isNull()),
    }
    return [_measure(name, total) for name, total in sums.items()]


def sum_measures(*without: str) -> list[Column]:
    """Return the measures as sums over rows that carry them, except those named."""
    return [_measure(name, F.sum(name)) for name in MEASURES if name not in without]


def _measure(name: str, total: Column) -> Column:
    typed = total.cast(_TYPES[name])
    return (typed if name in _NULL_WHERE_UNREPORTED else F.coalesce(typed, F.lit(0).cast(_TYPES[name]))).alias(name)


def increments(events: DataFrame) -> DataFrame:
    """Sum events to the rows of speed.usage_increments: by load_id, quarter of an hour, organisation, service, region."""
    width = F.lit(BUCKET_MINUTES * 60_000_000)
    bucket = F.timestamp_micros(F.floor(F.unix_micros("event_time") / width) * width)
    return events.groupBy("load_id", bucket.alias("bucket_start"), "org_id", "service", "region").agg(*measures())
