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

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ..contracts.schemas import spark_type
from ..contracts.table import Domain, Table
from ..quality.rows import BLANKS, broken
from .sums import MEASURES, TOTALS, measure_sql, wide_sql
from .texts import INTEGERS, any_of, canonical, every_digit, in_unit, looked_up, names_of, number_in, shifted
from .versions import TIMESTAMP, VERSION, Renamed, Said, fields_behind, is_number, ways

MAX_LINE_BYTES = 1 << 20
"""A longer line is no event; it is kept apart as malformed, whole."""

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
_PLAIN_VERSION = r"(?:0|[1-9]\d{0,3})"
_PLAIN_DIGITS = 8
_PLAIN_NOTHING = r"(?!)"
_COST_FIELD = "cost_usd_increment"
_EXACT_COST = "decimal(38,26)"


@dataclass(frozen=True)
class EventModel:
    """What an event line may be: the contract of silver.usage_events, the fields of each version, units, domains.

    `renamed` says which fields a version calls otherwise, or gives in another unit (versions.py).
    """

    contract: Table
    schema_versions: Mapping[int, Sequence[str]]
    metric_units: Mapping[str, str]
    domains: Mapping[str, Domain]
    renamed: Renamed = dataclasses.field(default_factory=dict)

    @cached_property
    def fields(self) -> list[str]:
        """Every name that a line of some version has, in the order of their first mention, after the version itself."""
        return list(dict.fromkeys([VERSION, *(name for names in self.schema_versions.values() for name in names)]))

    @cached_property
    def meant(self) -> dict[str, set[str]]:
        """Name in a line → the fields that it stands for in some version; nearly always itself alone."""
        return fields_behind(self.schema_versions, self.renamed)

    def ways(self, field: str) -> dict[int, Said]:
        """Return how each version that has a field says it."""
        return ways(field, self.schema_versions, self.renamed)

    def other_names(self, field: str) -> list[str]:
        """Return what versions call a field that has another name in others."""
        return [fields[field].name for _, fields in sorted(self.renamed.items()) if field in fields]

    def is_shifted(self, name: str) -> bool:
        """Tell whether some version gives the number of that name in another unit."""
        others = (said for fields in self.renamed.values() for said in fields.values())
        return any(said.name == name and said.exponent for said in others)

    @cached_property
    def numbers(self) -> dict[str, str]:
        """The names in a line that hold numbers, with the types of their columns; the version is not one of them."""
        columns = self.contract.columns.items()
        found = {column.source or name: column.type for name, column in columns if is_number(column.type)}
        names = {name: found[field] for name, meant in self.meant.items() for field in meant if field in found}
        return {name: kind for name, kind in {**found, **names}.items() if name != VERSION}

    @cached_property
    def steps(self) -> list[dict[str, Column]]:
        """What reading a line takes: columns, step by step, each of those before. Built once, applied to each micro-batch."""
        return [*_parse(self), *_trim(self), *_conform(self), *_judge(self)]

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
    judged = reduce(DataFrame.withColumns, model.steps, lines)
    read = [name for name in model.contract.columns if name not in ("load_id", *passing) and not name.startswith("_")]
    return judged.select(*passing, *read, "_reasons")


def plain_line(model: EventModel) -> str:
    """Return the pattern of a line that needs no care; a line that does not match may still be an event.

    One flat JSON object of known fields, each at most once, because in their order: those of the oldest version, the
    version, what later versions added; a new name stands where the old one stood.
    Texts are ASCII without blanks or escapes, the time is in UTC to the second,
    numbers fit their column's type.
    """
    oldest, *later = [names for _, names in sorted(model.schema_versions.items())]
    named = [*oldest, VERSION, *(name for names in later for name in names)]
    in_order = dict.fromkeys(name for field in named for name in (field, *model.other_names(field)))

    def member(name: str) -> str:
        if name in model.numbers:
            kind, is_shifted = model.numbers[name], model.is_shifted(name)
            whole = _PLAIN_NOTHING if is_shifted and kind in INTEGERS else ""
            value = whole or _plain_number(kind, has_exponent=not _is_exact(name, model))
        elif name == VERSION:
            value = _PLAIN_VERSION
        else:
            value = _PLAIN_TIME if TIMESTAMP in model.meant.get(name, ()) else _PLAIN_TEXT
        return f'"{name}": ?(?:{value}|null)'

    first, *others = (member(name) for name in in_order)
    return r"^\{" + first + "".join(f"(?:, ?{other})?+" for other in others) + r"\}\z"


def _plain_number(kind: str, has_exponent: bool) -> str:
    """Return the pattern of a number that a type has room for. (Nothing is said of digits that rounding takes away.)"""
    if kind in INTEGERS:
        return r"-?(?:0|[1-9]\d{0,8})"
    precision, scale = (int(digits) for digits in re.findall(r"\d+", kind))
    room = min(_PLAIN_DIGITS, precision - scale) - 1  # one digit less: rounding may need it
    if room < 1:
        return _PLAIN_NOTHING
    number = rf"-?(?:0|[1-9]\d{{0,{room - 1}}})(?:[.]\d{{1,{_PLAIN_DIGITS}}})?"
    exponent = r"(?:e-\d{1,2})?" if has_exponent else ""
    return rf'(?:{number}{exponent}|"{number}")'


def _is_exact(name: str, model: EventModel) -> bool:
    """Tell whether every digit of a number matters: of the cost, and of what is brought to another unit."""
    return _COST_FIELD in model.meant.get(name, (name,)) or model.is_shifted(name)


def _plain_type(name: str, model: EventModel) -> str:
    """Return the type as which a field of a plain line is read: that of its column; with every digit where they matter."""
    if name in model.numbers and _is_exact(name, model):
        return f"decimal({2 * _PLAIN_DIGITS},{_PLAIN_DIGITS})"
    return "int" if name == VERSION else model.numbers.get(name, "string")


def _parse(model: EventModel) -> Iterator[dict[str, Column]]:
    """Two structs of the fields: `plain`, typed, of a plain line; `said`, their texts, of any other line that is exactly
    one JSON object. `_is_plain` tells which; both are NULL where a line is no object.
    """
    fields = ", ".join(f"`{name}` STRING" for name in model.fields)
    typed = ", ".join(f"`{name}` {_plain_type(name, model)}" for name in model.fields)
    is_plain = (F.octet_length("raw") <= _PLAIN_BYTES) & F.col("raw").rlike(plain_line(model))
    yield {"_is_plain": F.coalesce(is_plain, F.lit(False))}
    is_readable = ~F.col("_is_plain") & (F.octet_length("raw") <= MAX_LINE_BYTES) & F.is_valid_utf8("raw")
    yield {"_seal": F.when(is_readable, F.xxhash64("raw").cast("string"))}
    sealed = F.concat(F.lit("["), "raw", F.lit(',{"__end":"'), "_seal", F.lit('"}]'))
    yield {
        "plain": F.from_json(F.when(F.col("_is_plain"), F.col("raw")), f"struct<{typed}>", _STRICT_JSON),
        "_read": F.from_json(sealed, f"array<struct<{fields}, `__end` STRING>>", _STRICT_JSON),
    }
    first, last = F.get("_read", F.lit(0)), F.get("_read", F.lit(1))
    is_alone = (F.size("_read") == 2) & first.isNotNull() & (last.getField("__end") == F.col("_seal"))
    careful = F.struct(*(first.getField(name).alias(name) for name in model.fields))
    # Not `&`: where the left side is NULL, the right side would be computed, and it reads the line once more.
    yield {"said": F.when(is_alone, F.when(_has_distinct_keys(), careful))}


def _has_distinct_keys() -> Column:
    """Tell whether no key of the object stands twice in the line."""
    keys = F.json_object_keys("raw")
    return F.size(keys) == F.size(F.array_distinct(keys))


def _trim(model: EventModel) -> Iterator[dict[str, Column]]:
    """A column `said_<field>` for each field: its text, trimmed, NULL where nothing is left; and `is_object`.

    A plain line's numbers need no text: `said_<field>` is NULL, the number stays in `plain`.
    """
    is_long = ~F.col("_is_plain") & F.col("raw").rlike(r":\s*-?[0-9.]{16}")
    yield {"_has_long_number": is_long, "is_object": F.col("_is_plain") | F.col("said").isNotNull()}
    texts = {}
    for field in model.fields:
        text = F.col("said").getField(field)
        whole = every_digit(field, text) if field in model.numbers else text
        trimmed = F.when(~F.col("_is_plain"), F.nullif(F.btrim(whole, F.lit(BLANKS)), F.lit("")))
        is_text = _plain_type(field, model) == "string"
        texts[f"said_{field}"] = F.when(F.col("_is_plain"), _plain(field)).otherwise(trimmed) if is_text else trimmed
    yield texts


def _plain(field: str) -> Column:
    return F.col("plain").getField(field)


def _conform(model: EventModel) -> Iterator[dict[str, Column]]:
    """The contract's columns, in their types and enumerations, by version; and `exact_cost`, before rounding."""
    is_plain = F.col("_is_plain")
    version = F.when(is_plain, F.when(_plain(VERSION).isin(list(model.schema_versions)), _plain(VERSION)))
    yield {VERSION: version.otherwise(_known_version(F.col(f"said_{VERSION}"), model))}

    renamed = (field for fields in model.renamed.values() for field in fields)
    fields = dict.fromkeys(field for field in (*model.fields, *renamed) if field != VERSION)
    yield {
        f"said_{field}": _of_version(field, model, lambda said: shifted(F.col(f"said_{said.name}"), said.exponent))
        for field in fields
    }

    def number(field: str, kind: str) -> Column:
        plain = _of_version(field, model, lambda said: in_unit(_plain(said.name), said.exponent).cast(spark_type(kind)))
        return F.when(is_plain, plain).otherwise(number_in(F.col(f"said_{field}"), kind))

    said = F.col(f"said_{TIMESTAMP}")
    # The session is in UTC; looking at the Z costs as much as the rest.
    in_utc = F.substring(said, 1, 19).try_cast("timestamp")
    event_time = F.when(is_plain, in_utc).when(said.rlike(_TIME), said.try_cast("timestamp"))
    values = {"event_time": event_time, "exact_cost": number(_COST_FIELD, _EXACT_COST)}
    for name, column in model.contract.columns.items():
        if not column.derived and name != VERSION:
            field = column.source or name
            text = F.col(f"said_{field}")
            if column.domain is not None:
                values[name] = canonical(text, model.domains[column.domain].spellings)
            else:
                values[name] = text if column.type == "string" else number(field, column.type)
    yield values
    yield {"metric_unit": looked_up(model.metric_units, F.col("metric"))}
    yield {
        "usage_date": F.to_date("event_time"),
        # A unit that nobody knows stays as it is, so that it contradicts its metric.
        "unit": F.coalesce("unit", "said_unit", "metric_unit"),
        "unit_imputed": F.col("said_unit").isNull() & F.col("metric_unit").isNotNull(),
    }


def _known_version(text: Column, model: EventModel) -> Column:
    versions = {str(number): number for number in model.schema_versions}
    whole = F.regexp_extract(text, r"^(\d+)[.]0*$", 1)
    return F.coalesce(looked_up(versions, text), looked_up(versions, whole))


def _of_version(field: str, model: EventModel, read: Callable[[Said], Column]) -> Column:
    """Read a field by the line's version; NULL where that has no such field."""
    having: dict[Said, list[int]] = {}
    for version, said in model.ways(field).items():
        having.setdefault(said, []).append(version)
    if len(having) == 1 and len(model.ways(field)) == len(model.schema_versions):
        return read(next(iter(having)))
    found = (F.when(F.col(VERSION).isin(versions), read(said)) for said, versions in having.items())
    return F.coalesce(*found, F.lit(None))


def _judge(model: EventModel) -> Iterator[dict[str, Column]]:
    """`_reasons` and `quality_flags`, by what the texts must hold and by the contract's rules."""
    none = F.array().cast("array<string>")
    rules = model.contract.rules
    refusing = _faults(model) | {name: F.expr(rule.when) for name, rule in rules.items() if rule.level != "warn"}
    warning = [F.expr(rule.when) for rule in rules.values() if rule.level == "warn"]
    reasons = (
        F.when(~F.col("is_object"), F.array(F.lit("malformed_json")))
        .when(F.col(VERSION).isNull(), F.array(F.lit("schema_version_unknown")))
        .when(any_of(refusing.values()), names_of(refusing))
        .otherwise(none)
    )
    flags = F.when(any_of(warning), broken(rules, "warn")).otherwise(none)
    yield {"_reasons": reasons, "quality_flags": flags}


def costs_of_refused(refused: DataFrame, renamed: Renamed) -> DataFrame:
    """Return `org_id`, `usage_date` and `cost_usd` of the refused lines that are one JSON object and say all three.

    Args:
        refused: rows of quarantine.usage_events; a line whose object cannot be read is there as malformed_json.
        renamed: what versions call otherwise; a line of a version that nobody knows is read by the fields' own names.
    """
    fields = ("org_id", TIMESTAMP, _COST_FIELD)
    others = [fields_of[field].name for fields_of in renamed.values() for field in fields if field in fields_of]
    schema = ", ".join(f"`{name}` STRING" for name in dict.fromkeys([VERSION, *fields, *others]))
    is_object = ~F.array_contains("reasons", "malformed_json")
    texts = refused.where(is_object).select(F.from_json("payload", schema, _STRICT_JSON).alias("said")).select("said.*")
    texts = texts.select(*(F.nullif(F.btrim(name, F.lit(BLANKS)), F.lit("")).alias(name) for name in texts.columns))
    texts = texts.withColumns({field: _said_by_version(field, renamed) for field in fields})
    event_time = F.when(F.col("timestamp").rlike(_TIME), F.col("timestamp").try_cast("timestamp"))
    cost = number_in(F.col(_COST_FIELD), "decimal(18,6)")
    return texts.select("org_id", F.to_date(event_time).alias("usage_date"), cost.alias("cost_usd")).dropna()


def _said_by_version(field: str, renamed: Renamed) -> Column:
    """Return the text of a field, under the name and in the unit that the line's version gives it."""
    text = F.col(field)
    version = F.regexp_extract(VERSION, r"^(\d+)([.]0*)?$", 1)
    for number, fields in renamed.items():
        if field in fields:
            other = shifted(F.col(fields[field].name), fields[field].exponent)
            text = F.when(version == F.lit(str(number)), other).otherwise(text)
    return text


def _faults(model: EventModel) -> dict[str, Column]:
    """What may be wrong with the text of a field, by reason."""
    said = F.col("said_timestamp")
    found = {"timestamp_missing": said.isNull(), "timestamp_invalid": said.isNotNull() & F.col("event_time").isNull()}
    for name, column in model.contract.columns.items():
        field = column.source or name
        if column.derived or name == VERSION:
            continue
        text = F.col(f"said_{field}")
        if column.required:
            found[f"{field}_missing"] = text.isNull() & F.col(name).isNull()
        if name != "unit" and (column.domain or column.type != "string"):
            fault = "unknown" if column.domain else "invalid"
            found[f"{field}_{fault}"] = text.isNotNull() & F.col(name).isNull()
    return found


# --- measures -----------------------------------------------------------------------------------------------------


def measures(*, wide: bool = False) -> list[Column]:
    """Return the measures as aggregations over events (silver.usage_events).

    `wide` ones hold every sum, whatever its size; the reader brings them to the types that its contract declares.
    """
    read = wide_sql if wide else measure_sql
    return [F.expr(read(name, total)).alias(name) for name, (total, _) in TOTALS.items()]


def sum_measures(*without: str, wide: bool = False) -> list[Column]:
    """Return the measures as sums over rows that carry them, except those named; `wide` as in `measures`."""
    read = wide_sql if wide else measure_sql
    return [F.expr(read(name, f"sum({name})")).alias(name) for name in MEASURES if name not in without]
