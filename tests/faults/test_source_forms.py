"""The same invoices as plain CSV, as a European CSV and as an Excel workbook give the same rows of silver."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from cloudlake.common.contracts.dialect import Dialect
from cloudlake.common.contracts.table import Registry
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


def silver(folder: Path, spark: SparkSession, content: str | bytes, **declared: Any) -> dict[Any, dict[str, Any]]:
    folder.mkdir()
    lake = TableByTable(folder, spark)
    tables = dict(lake.config.registry.tables)
    tables["bronze.billing_monthly"] = tables["bronze.billing_monthly"].model_copy(update=declared)
    lake.config = replace(lake.config, registry=Registry(tables, lake.config.registry.domains))
    with (WORKBOOKS / "billing_monthly.csv").open(newline="") as file:
        orgs = sorted({row["org_id"] for row in csv.DictReader(file)})
    lake.deliver("2025-09-01", customers_orgs=ORGS + "".join(map(org, orgs)))
    place = lake.landing / "2025-09-01" / str(declared.get("file", "billing_monthly.csv"))
    place.write_bytes(content.encode("cp1252") if isinstance(content, str) else content)
    lake.run("customers_orgs", "billing_monthly")
    assert not lake.config.lake.rows("quarantine.billing_monthly")
    rows = lake.config.lake.rows("silver.billing_monthly")
    return {row["invoice_id"]: {name: value for name, value in row.items() if not name.startswith("_")} for row in rows}


def test_plain_european_and_excel_give_the_same_silver(tmp_path: Path, spark: SparkSession) -> None:
    plain = (WORKBOOKS / "billing_monthly.csv").read_text()
    expected = silver(tmp_path / "plain", spark, plain)
    assert len(expected) == len(plain.splitlines()) - 1
    abroad_rows = european(list(csv.DictReader(plain.splitlines())))
    assert silver(tmp_path / "european", spark, abroad_rows, dialect=EUROPEAN) == expected
    workbook = (WORKBOOKS / "billing_monthly.xlsx").read_bytes()
    assert silver(tmp_path / "excel", spark, workbook, file="billing_monthly.xlsx") == expected
