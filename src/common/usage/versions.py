"""How the versions of an event say the same thing: under another name, or in another unit. Without Spark.

A version lists the fields that its lines have (conf/streaming.yaml, schema_versions). What it calls otherwise, or counts
in a power of ten of what the platform counts in, is told by `renamed`: field → {field: as the line has it, times: 0.01}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ..contracts.table import Table
from ..errors import did_you_mean

VERSION, TIMESTAMP = "schema_version", "timestamp"
"""The fields that every line needs: the first tells how to read the others, the second fills event_time and usage_date."""


@dataclass(frozen=True)
class Said:
    """How a line says a field: by what name, and how many powers of ten its number is away from the field's own unit."""

    name: str
    exponent: int = 0


Versions = Mapping[int, Sequence[str]]
Renamed = Mapping[int, Mapping[str, Said]]


def exponent_of(times: Decimal) -> int | None:
    """Return n where a factor is 10ⁿ, else None."""
    sign, digits, exponent = times.normalize().as_tuple()
    return exponent if (sign, digits) == (0, (1,)) and isinstance(exponent, int) else None


def ways(field: str, versions: Versions, renamed: Renamed) -> dict[int, Said]:
    """Return how each version that has a field says it."""
    found = {}
    for version, names in versions.items():
        others = renamed.get(version, {})
        if field in others:
            found[version] = others[field]
        elif field in names and field not in {said.name for said in others.values()}:
            found[version] = Said(field)
    return found


def fields_behind(versions: Versions, renamed: Renamed) -> dict[str, set[str]]:
    """Return name in a line → the fields that it may stand for."""
    found: dict[str, set[str]] = {}
    for version, names in versions.items():
        meant = {said.name: field for field, said in renamed.get(version, {}).items()}
        for name in names:
            found.setdefault(name, set()).add(meant.get(name, name))
    return found


def faults_of_versions(contract: Table, versions: Versions, renamed: Renamed) -> Iterator[str]:
    """Yield what `renamed` says that the versions and the contract do not bear out."""
    columns = {column.source or name: column.type for name, column in contract.columns.items() if not column.derived}
    fields = {TIMESTAMP: "timestamp", **columns}
    for version, others in renamed.items():
        where = f"events.renamed.{version}"
        if version not in versions:
            yield f"{where}: there is no such version in schema_versions"
            continue
        for field, said in others.items():
            if field not in fields or field == VERSION:
                yield f"{where}.{field}: is no field of an event{did_you_mean(field, fields)}"
            elif said.exponent and not is_number(fields[field]):
                yield f"{where}.{field}.times: {field} is no number"
            if said.name not in versions[version]:
                known = versions[version]
                yield f"{where}.{field}.field: '{said.name}' is not a field of that version{did_you_mean(said.name, known)}"
    for name, meant in fields_behind(versions, renamed).items():
        if len({fields.get(field, "string") for field in meant}) > 1:
            yield f"events.schema_versions: '{name}' is of one type in one version and of another in another; rename one"


def is_number(kind: str) -> bool:
    """Tell whether a column's type is that of a number."""
    return kind.startswith("decimal") or kind in ("int", "bigint")
