"""The files of one billing period: written by DuckDB in a fixed order, so that the same rows give the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import duckdb

from ...common.errors import CloudlakeError
from ...common.lake.duck import literal_path, text_of
from ..queries import Reader
from .declaration import ExportColumn, RedLine

Form = Literal["parquet", "csv"]
CHARGES, LINES = "gold.focus_charges", "gold.invoice_lines"
_ROW_GROUP = 100_000
_TYPES = {"string": "VARCHAR", "timestamp": "TIMESTAMP WITH TIME ZONE"}


@dataclass(frozen=True)
class File:
    """A written file: its rows, the sums of its costs, and its bytes."""

    dataset: str
    path: Path
    rows: int
    sums: Mapping[str, Any]

    def described(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = self.path.stat().st_size
        return {"dataset": self.dataset, "rows": self.rows, **self.sums, "bytes": size, "sha256": digest}


@dataclass(frozen=True)
class Writer:
    """Writes files of one publication, of one organisation where one is named."""

    reader: Reader
    form: Form
    constants: Mapping[str, str | None]
    red_lines: Mapping[str, RedLine]
    org: str | None

    def charges(self, folder: Path, month: date, columns: Mapping[str, ExportColumn]) -> Iterator[File]:
        """Write the charges of a month that an invoice carries, and those that none does yet.

        Raises:
            CloudlakeError: a file does not add up to the mart.
        """
        for name, is_open in (("invoiced", False), ("open", True)):
            where = f"billing_month = DATE '{month}' AND invoice_id IS {'' if is_open else 'NOT '}NULL"
            said = self._sums(f"SELECT {_SUMMED} FROM {CHARGES} WHERE {self._chosen(where)}")
            if not said:
                continue
            path = folder / f"{name}.{self.form}"
            self._write(
                path, columns, f"{CHARGES} WHERE {self._chosen(where)}", self.reader.config.registry[CHARGES].key
            )
            written = self._sums(f"SELECT {_WRITTEN} FROM {self._read(path)}")
            if written != said:
                raise CloudlakeError(
                    f"{path.name} of {month:%Y-%m}: it adds up to {written}, and {CHARGES} to {said}; nothing was exported"
                )
            yield File("Cost and Usage", path, sum(one[1] for one in said), _told(said) | self._red_lines(path))

    def invoice_detail(self, folder: Path, month: date, columns: Mapping[str, ExportColumn]) -> Iterator[File]:
        """Write the lines of a month's invoices."""
        chosen = self._chosen(f"billing_month = DATE '{month}'")
        source = f"{LINES} WHERE {chosen}"
        rows = self.reader.run(
            f"SELECT billing_currency, count(*), sum(billed_cost), sum(cost_usd), 0 FROM {source} GROUP BY ALL ORDER BY ALL"
        )
        said = [tuple(row.values()) for row in rows.rename_columns(list("abcde")).to_pylist()]
        if said:
            path = folder / f"invoice_detail.{self.form}"
            self._write(path, columns, source, ("invoice_detail_id",))
            sums = _told(said)
            del sums["events"]
            yield File("Invoice Detail", path, sum(one[1] for one in said), sums)

    def billing_period(
        self, folder: Path, month: date, columns: Mapping[str, ExportColumn], as_of: date | None
    ) -> Iterator[File]:
        """Write what is to be said of a month: closed once an invoice of it is there and the business date lies after it."""
        has_passed = f"coalesce(DATE '{as_of}' >= end_, false)" if as_of else "false"
        source = f"""(
            SELECT billing_month, closed, greatest(billing_month, newest, CASE WHEN closed THEN end_ END) AS last_updated FROM (
                SELECT *, newest IS NOT NULL AND {has_passed} AS closed FROM (
                    SELECT DATE '{month}' AS billing_month, DATE '{month}' + INTERVAL 1 MONTH AS end_, max(snapshot_at) AS newest
                    FROM {LINES} WHERE billing_month = DATE '{month}')))"""
        path = folder / f"billing_period.{self.form}"
        self._write(path, columns, source, ("billing_month",))
        yield File("Billing Period", path, 1, {})

    def _red_lines(self, path: Path) -> dict[str, Any]:
        """Return what the official validator will find in a file: by what is claimed, the red lines and their violations."""
        if not self.red_lines:
            return {}
        measures = ", ".join(f"CAST({line.violations} AS BIGINT)" for line in self.red_lines.values())
        (counts,) = self._execute(f"SELECT {measures} FROM {self._read(path)}").fetchall()
        red = {name: count for name, count in zip(self.red_lines, counts, strict=True) if count}
        unclaimed = {name: count for name, count in red.items() if not self.red_lines[name].claimed}
        return {"red_lines": {"unclaimed": unclaimed, "claimed": red}}

    def _chosen(self, where: str) -> str:
        return f"{where} AND org_id = {_literal(self.org)}" if self.org is not None else where

    def _write(self, path: Path, columns: Mapping[str, ExportColumn], source: str, key: Sequence[str]) -> None:
        selected = ", ".join(f'{self._value(column)} AS "{name}"' for name, column in columns.items())
        order = ", ".join(f"{name} NULLS FIRST" for name in key)
        how = (
            f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP}"
            if self.form == "parquet"
            else "FORMAT csv, HEADER"
        )
        self._execute(f"COPY (SELECT {selected} FROM {source} ORDER BY {order}) TO {_literal(str(path))} ({how})")

    def _value(self, column: ExportColumn) -> str:
        sql = column.sql
        for name, value in self.constants.items():
            sql = sql.replace(name, _literal(value))
        typed = f"CAST({sql} AS {_TYPES.get(column.type, column.type)})"
        if column.type == "timestamp" and self.form == "csv":
            return f"strftime(CAST({typed} AS TIMESTAMP), '%Y-%m-%dT%H:%M:%SZ')"
        return typed

    def _read(self, path: Path) -> str:
        place = _literal(literal_path(str(path)))
        return (
            f"read_parquet({place})"
            if self.form == "parquet"
            else f"read_csv({place}, all_varchar = true, header = true)"
        )

    def _sums(self, sql: str) -> list[tuple[Any, ...]]:
        return self._execute(f"{sql} GROUP BY 1 ORDER BY 1").fetchall()

    def _execute(self, sql: str) -> duckdb.DuckDBPyConnection:
        try:
            return self.reader.connection.execute(sql)
        except duckdb.OutOfMemoryException:
            raise CloudlakeError(
                "export: its memory did not do; raise export.memory_limit in conf/focus.yaml"
            ) from None
        except duckdb.IOException as error:
            raise OSError(str(error).splitlines()[0]) from None


_SUMMED = "billing_currency, count(*), sum(billed_cost), sum(cost_usd), CAST(coalesce(sum(events), 0) AS BIGINT)"
_WRITTEN = """BillingCurrency, count(*), sum(CAST(BilledCost AS DECIMAL(38, 6))),
    sum(CAST(PricingCurrencyEffectiveCost AS DECIMAL(38, 6))), CAST(coalesce(sum(CAST(x_Events AS BIGINT)), 0) AS BIGINT)"""


def _told(sums: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Return sums by currency as the manifest has them."""
    return {
        "billed_cost": {currency: format(billed, "f") for currency, _, billed, _, _ in sums},
        "cost_usd": format(sum((usd for _, _, _, usd, _ in sums), Decimal(0)), "f"),
        "events": sum(events for *_, events in sums),
    }


def _literal(text: str | None) -> str:
    return "NULL" if text is None else text_of(text)
