"""What conf/focus.yaml declares of the export: the columns of each data set, and what a validator says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...common.contracts.loading import explain, read_yaml
from ...common.errors import ConfigurationError

Version = Literal["1.2", "1.4"]
VERSIONS: tuple[Version, ...] = ("1.2", "1.4")
"""The versions of FOCUS that can be written."""


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExportColumn(_Declared):
    """A column of a file: SQL over the mart that it comes from, its type, and the versions that have it."""

    sql: str
    type: str = Field(default="string", pattern=r"^(string|timestamp|bigint|boolean|decimal\(\d+,\d+\))$")
    versions: tuple[Version, ...] = VERSIONS


class RedLine(_Declared):
    """A line that the official validator draws: how many violations, as SQL over a file, and whether only of claimed criteria."""

    violations: str
    claimed: bool = False


class ExportSettings(_Declared):
    """`export` of conf/focus.yaml."""

    provider_name: str = Field(min_length=1)
    payment_terms: str | None
    memory_limit: str
    columns: dict[str, ExportColumn]
    invoice_detail: dict[str, ExportColumn]
    billing_period: dict[str, ExportColumn]
    criteria: tuple[str, ...]
    red_lines: dict[str, RedLine]

    def datasets(self, version: Version) -> Mapping[str, Mapping[str, ExportColumn]]:
        """Return the data sets of a version, each with its columns; Invoice Detail only where its terms are known."""
        columns = {name: column for name, column in self.columns.items() if version in column.versions}
        if version == "1.2":
            return {"Cost and Usage": columns}
        details = {"Invoice Detail": self.invoice_detail} if self.payment_terms else {}
        return {"Cost and Usage": columns, **details, "Billing Period": self.billing_period}

    def constants(self) -> dict[str, str | None]:
        """Return the values that a column's SQL may name with a $."""
        return {"$provider_name": self.provider_name, "$payment_terms": self.payment_terms}


def load_export(conf: Path) -> ExportSettings:
    """Return what a folder of declarations says of the export.

    Raises:
        ConfigurationError: with every fault.
    """
    content = read_yaml(conf / "focus.yaml") or {}
    if "export" not in content:
        raise ConfigurationError("conf/focus.yaml: export is missing; it declares the files of cloudlake export focus")
    try:
        return ExportSettings.model_validate(content["export"])
    except ValidationError as error:
        raise ConfigurationError(explain(error, "conf/focus.yaml: export", ExportSettings)) from None
