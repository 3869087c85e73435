"""How the files of a source are written, as conf/bronze.yaml declares it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator


def _text_encoding(name: str) -> str:
    try:
        found = codecs.lookup(name)
    except LookupError:
        raise ValueError(f"'{name}' is no encoding; write utf-8, utf-16, latin-1, cp1252, …") from None
    if not found._is_text_encoding:
        raise ValueError(f"'{name}' encodes no text; write utf-8, utf-16, latin-1, cp1252, …")
    return found.name


class Dialect(BaseModel):
    """How an export is written: what is not declared is the plain form, and never guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: Annotated[str, AfterValidator(_text_encoding)] = "utf-8"
    """What its bytes mean; a file that is not so is refused, or the rows of it that are not."""
    delimiter: Literal[",", ";", "\t", "|"] = ","
    decimal_mark: Literal[".", ","] = "."
    thousands_mark: Literal["", ".", ",", "'", " "] = ""
    """What may stand between the groups of three digits of a number."""
    date_format: str = "YYYY-MM-DD"
    """YYYY, MM and DD with what stands between them; a time of day may follow."""
    columns: Mapping[str, str] = Field(default_factory=dict)
    """Header names as delivered → ours."""
    sheet: str = ""
    """The sheet of an Excel workbook; the first where none is named."""

    @field_validator("date_format")
    @classmethod
    def _names_each_part(cls, form: str) -> str:
        if sorted(re.findall("YYYY|MM|DD", form)) != ["DD", "MM", "YYYY"] or re.search(
            r"[A-Za-z0-9]", re.sub("YYYY|MM|DD", "", form)
        ):
            raise ValueError(f"'{form}' is no form of a date; write YYYY, MM and DD once each, as in DD.MM.YYYY")
        return form

    @model_validator(mode="after")
    def _marks_differ(self) -> Dialect:
        if self.thousands_mark == self.decimal_mark:
            raise ValueError(f"thousands_mark and decimal_mark are both '{self.decimal_mark}'")
        return self

    @property
    def read_as(self) -> str:
        """What of the dialect decides on cells and columns, in words; empty where the file is plain. Of the encoding, the rows tell."""
        plain = Dialect()
        named = ("delimiter", "decimal_mark", "thousands_mark", "date_format", "columns", "sheet")
        return " ".join(
            f"{name}={getattr(self, name)}" for name in named if getattr(self, name) != getattr(plain, name)
        )
