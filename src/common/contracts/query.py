"""What a source asks of a database: the SQL of conf/bronze.yaml, and the date that it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from difflib import get_close_matches

BUSINESS_DATE = ":business_date"
_PARTS = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' | "(?:[^"]|"")*"   # texts and names
    | --[^\n]* | /\*.*?\*/                                           # remarks
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$                                # texts between dollars
    | :: | (?P<name>:[A-Za-z_]\w*) | (?P<end>;)
    """,
    re.VERBOSE | re.DOTALL,
)


def dated(sql: str, day: date) -> str:
    """Return a query in which `:business_date` is a date; where it stands in a text or a remark, it stays."""
    return _PARTS.sub(lambda part: f"DATE '{day}'" if part["name"] == BUSINESS_DATE else part[0], sql.strip().rstrip(";"))


def faults_of_query(sql: str) -> Iterator[str]:
    """Yield what keeps a text from being a query that can be asked; what the tables in it are, the server knows."""
    text = sql.strip().rstrip(";")
    if not text.strip():
        yield "is empty; write a SELECT"
    for part in _PARTS.finditer(text):
        if part["end"]:
            yield "is more than one statement; write one SELECT"
            return
        if part["name"] and part["name"] != BUSINESS_DATE and get_close_matches(part["name"], [BUSINESS_DATE], 1, 0.75):
            yield f"'{part['name']}' is no parameter; did you mean '{BUSINESS_DATE}'?"
