"""How an export writes numbers and dates, undone: its cells as a plain CSV file has them. Nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from ...common.contracts.dialect import Dialect
from ...common.contracts.table import Registry, Table

Cell = Callable[[str], str | None]
"""A cell's text → the text that a plain CSV would have; None where it reads otherwise there than it was meant."""
_NUMBERS = ("decimal", "int", "bigint", "double")
_TIMES = ("date", "timestamp")
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d+)?")
_PARTS = {"YYYY": r"(?P<y>\d{4})", "MM": r"(?P<m>\d{1,2})", "DD": r"(?P<d>\d{1,2})"}


def kinds_of(registry: Registry, table: Table) -> dict[str, str]:
    """Return the columns of a source that silver reads as a number or a time: name → number or time."""
    silver = registry.tables.get(f"silver.{table.short_name}")
    found: dict[str, str] = {}
    for name, column in silver.columns.items() if silver else ():
        kind = (column.parse or column.type).partition("(")[0]
        if not column.derived and kind in (*_NUMBERS, *_TIMES):
            found[column.source or name] = "time" if kind in _TIMES else "number"
    return found


def cells_of(dialect: Dialect, names: Sequence[str], kinds: Mapping[str, str]) -> dict[int, Cell]:
    """Return what undoes the dialect, by the position of the column; nothing for a plain one."""
    readers: dict[str, Cell] = {}
    if dialect.decimal_mark != "." or dialect.thousands_mark:
        readers["number"] = _numbers(dialect)
    if dialect.date_format != "YYYY-MM-DD":
        readers["time"] = _times(dialect.date_format)
    return {place: readers[kinds[name]] for place, name in enumerate(names) if kinds.get(name) in readers}


def _numbers(dialect: Dialect) -> Cell:
    mark, group = re.escape(dialect.decimal_mark), re.escape(dialect.thousands_mark)
    whole = rf"(\d+|\d{{1,3}}({group}\d{{3}})+)" if group else r"\d+"
    declared = re.compile(rf"[+-]?{whole}({mark}\d*)?([eE][+-]?\d+)?")

    def plain(text: str) -> str | None:
        told = text.strip()
        if declared.fullmatch(told):
            ungrouped = told.replace(dialect.thousands_mark, "") if group else told
            return ungrouped.replace(dialect.decimal_mark, ".")
        return None if _PLAIN_NUMBER.fullmatch(told) else text

    return plain


def _times(form: str) -> Cell:
    pattern = "".join(_PARTS.get(part, re.escape(part)) for part in re.split("(YYYY|MM|DD)", form))
    declared = re.compile(rf"{pattern}(?P<rest>[T ].*)?", re.ASCII)

    def plain(text: str) -> str:
        found = declared.fullmatch(text.strip())
        return f"{found['y']}-{found['m']:0>2}-{found['d']:0>2}{found['rest'] or ''}" if found else text

    return plain
