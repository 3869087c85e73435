"""The same invoices as plain CSV, as a European CSV, as an Excel workbook and from a database give the same rows of silver."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from adbc_driver_postgresql import dbapi
from cloudlake.batch.bronze.sources import business_date_of
from cloudlake.common.clock import now_utc
from cloudlake.common.contracts.dialect import Dialect
from cloudlake.common.contracts.table import Registry
from cloudlake.common.settings.lake import Server as Database
from postgres_server import Server
from pyspark.sql import SparkSession
from table_by_table import ORGS, TableByTable, org

WORKBOOKS = Path(__file__).resolve().parents[1] / "pure" / "workbooks"
EUROPEAN = Dialect(encoding="cp1252", delimiter=";", decimal_mark=",", thousands_mark=".", date_format="DD.MM.YYYY")
NUMBERS = ("subtotal", "credits", "taxes", "exchange_rate_to_usd")


def european(rows: list[dict[str, str]]) -> str:
    lines = [";".join(rows[0])]
    for row in rows:
        day = f"{date.fromisoformat(row['month']):%d.%m.%Y}"
        cells = {name: abroad(text) if name in NUMBERS else text for name, text in (row | {"month": day}).items()}
        lines.append(";".join(cells.values()))
    return "\r\n".join(lines) + "\r\n"


def abroad(number: str) -> str:
    whole, _, rest = number.partition(".")
    if not whole.lstrip("-0"):
        return number.replace(".", ",")
    return f"{int(whole):,}".replace(",", ".") + ("," + rest if rest else "")


def silver(folder: Path, spark: SparkSession, content: str | bytes | None, **declared: Any) -> dict[Any, dict[str, Any]]:
    """The invoices and their organisations in silver, by their keys; without a content both are in a database."""
    folder.mkdir()
    lake = TableByTable(folder, spark)
    tables = dict(lake.config.registry.tables)
    for name in ("customers_orgs", "billing_monthly") if content is None else ("billing_monthly",):
        form = {"query": f"TABLE {name}", **declared} if content is None else declared
        tables[f"bronze.{name}"] = tables[f"bronze.{name}"].model_copy(update=form)
    settings = lake.config.settings.model_copy(update={"databases": {"erp": Database(dsn="${ERP_DSN}")}})
    lake.config = replace(lake.config, settings=settings, registry=Registry(tables, lake.config.registry.domains))
    if content is not None:
        day = str(business_date_of(None, now_utc()))
        lake.deliver(day, customers_orgs=organisations())
        place = lake.landing / day / str(declared.get("file", "billing_monthly.csv"))
        place.write_bytes(content.encode("cp1252") if isinstance(content, str) else content)
    lake.run("customers_orgs", "billing_monthly")
    found: dict[Any, dict[str, Any]] = {}
    for name, key in (("customers_orgs", "org_id"), ("billing_monthly", "invoice_id")):
        assert not lake.config.lake.rows(f"quarantine.{name}")
        rows = lake.config.lake.rows(f"silver.{name}")
        found |= {row[key]: {name: value for name, value in row.items() if not name.startswith("_")} for row in rows}
    return found


def organisations() -> str:
    with (WORKBOOKS / "billing_monthly.csv").open(newline="") as file:
        orgs = sorted({row["org_id"] for row in csv.DictReader(file)})
    return ORGS + "".join(map(org, orgs))


def fill(server: Server, plain: str) -> None:
    """Put what the CSV files have into tables of a database, each value in its own type."""
    kinds = {
        "customers_orgs": "text, text, text, text, text, boolean, date, text, text, text, integer",
        "billing_monthly": "text, text, date, numeric, numeric(20,2), numeric, char(3), numeric",
    }
    with dbapi.connect(server.dsn(), autocommit=True) as connection, connection.cursor() as cursor:
        for name, text in (("customers_orgs", organisations()), ("billing_monthly", plain)):
            header, *rows = csv.reader(text.splitlines())
            columns = ", ".join(f"{column} {kind}" for column, kind in zip(header, kinds[name].split(", "), strict=True))
            values = ", ".join("(" + ", ".join(f"'{cell}'" if cell else "NULL" for cell in row) + ")" for row in rows)
            cursor.execute(f"CREATE TABLE {name} ({columns})")
            cursor.execute(f"INSERT INTO {name} VALUES {values}")


def test_plain_european_excel_and_a_database_give_the_same_silver(
    tmp_path: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = (WORKBOOKS / "billing_monthly.csv").read_text()
    expected = silver(tmp_path / "plain", spark, plain)
    assert len(expected) == len(plain.splitlines()) - 1 + len(organisations().splitlines()) - 1
    abroad_rows = european(list(csv.DictReader(plain.splitlines())))
    assert silver(tmp_path / "european", spark, abroad_rows, dialect=EUROPEAN) == expected
    workbook = (WORKBOOKS / "billing_monthly.xlsx").read_bytes()
    assert silver(tmp_path / "excel", spark, workbook, file="billing_monthly.xlsx") == expected
    server = Server()
    try:
        fill(server, plain)
        monkeypatch.setenv("ERP_DSN", server.dsn())
        assert silver(tmp_path / "database", spark, None, file=None, database="erp", set_name="erp") == expected
    finally:
        server.remove()
