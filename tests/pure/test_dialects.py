"""An export written as a European spreadsheet writes it is, once its dialect is declared, in bronze as the plain one is."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cloudlake.batch.bronze import ingestion
from cloudlake.batch.bronze.dialects import kinds_of
from cloudlake.batch.bronze.exports import Export, read_export
from cloudlake.batch.bronze.scanning import FileRefusedError
from cloudlake.common.config import Config, load_config
from cloudlake.common.contracts.dialect import Dialect
from cloudlake.common.contracts.table import Table
from cloudlake.common.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime.now(UTC)
SOURCES = ("customers_orgs", "users", "resources", "billing_monthly", "support_tickets", "marketing_touches", "nps_surveys")
EUROPEAN = """    dialect:
      encoding: latin-1
      delimiter: ";"
      decimal_mark: ","
      thousands_mark: "."
      date_format: DD.MM.YYYY
      columns: {Datum: month, Währung: currency}
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A generated delivery with texts that only quotes, or an encoding, keep whole."""
    folder = tmp_path_factory.mktemp("plain")
    generate = [sys.executable, str(ROOT / "scripts" / "generate_landing_data.py"), "--out", str(folder / "landing"), "--seed", "5", "--clean"]
    subprocess.run([*generate, "--days", "3", "--orgs", "12", "--events-per-day", "5", "--files", "1"], check=True, capture_output=True)
    comments = folder / "landing" / "nps_surveys.csv"
    comments.write_text(comments.read_text() + 'o1,2025-08-01,7,"Größe; ""gut"", 1.234,5 €?\nzweite Zeile"\n'.replace("€", "§"))
    return load_config(str(ROOT / "conf"), str(folder / "lake"), str(folder / "landing"))


@pytest.fixture(scope="module")
def european(plain: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The same delivery, written in the other way and declared so."""
    folder = tmp_path_factory.mktemp("european")
    conf, landing = folder / "conf", folder / "landing"
    shutil.copytree(ROOT / "conf", conf)
    declared = (conf / "bronze.yaml").read_text(encoding="utf-8")
    for source in SOURCES:
        declared = declared.replace(f"    file: {source}.csv\n", f"    file: {source}.csv\n{EUROPEAN}")
    (conf / "bronze.yaml").write_text(declared, encoding="utf-8")
    landing.mkdir()
    for source in SOURCES:
        rows = list(csv.reader(io.StringIO((plain.landing / f"{source}.csv").read_text(encoding="utf-8"), newline="")))
        written = io.StringIO(newline="")
        csv.writer(written, delimiter=";").writerows(translated(rows, kinds_of(plain.registry, plain.registry[f"bronze.{source}"])))
        (landing / f"{source}.csv").write_bytes(written.getvalue().encode("latin-1"))
    return load_config(str(conf), str(folder / "lake"), str(landing))


def translated(rows: list[list[str]], kinds: dict[str, str]) -> list[list[str]]:
    names = {"month": "Datum", "currency": "Währung"}
    header = rows[0]
    return [[names.get(name, name) for name in header], *([abroad(cell, kinds.get(name)) for name, cell in zip(header, row, strict=True)] for row in rows[1:])]


def abroad(cell: str, kind: str | None) -> str:
    if kind == "time":
        return re.sub(r"^(\d{4})-(\d\d)-(\d\d)", r"\3.\2.\1", cell)
    if kind == "number" and re.fullmatch(r"-?\d+([.]\d+)?", cell):
        whole, _, rest = cell.partition(".")
        grouped = f"{int(whole):,}".replace(",", ".")
        return ("-" if whole == "-0" else "") + grouped + ("," + rest if rest else "")
    return cell


def taken(config: Config, source: str) -> list[dict[str, Any]]:
    table = config.registry[f"bronze.{source}"]
    result = ingestion.ingest(config, table, now=NOW, run_id="r1")
    assert result.rows_out and not result.fault, (source, result.fault)
    names = [name for name in table.columns if name[0] != "_" or name == "_corrupt_record"]
    return [{name: row[name] for name in names} for row in config.lake.rows(table.name)]


@pytest.mark.parametrize("source", SOURCES)
def test_a_declared_european_export_is_in_bronze_what_the_plain_one_is(source: str, plain: Config, european: Config) -> None:
    written = (european.landing / f"{source}.csv").read_bytes()
    assert written != (plain.landing / f"{source}.csv").read_bytes()
    here, there = taken(plain, source), taken(european, source)
    assert here == there
    assert all(row["_corrupt_record"] is None for row in there)
    if source == "billing_monthly":
        assert re.search(rb";\d{2}\.\d{2}\.\d{4};", written) and re.search(rb"\d\.\d{3},\d", written), "nothing was written abroad"
    if source == "nps_surveys":
        assert there[-1]["comment"] == 'Größe; "gut", 1.234,5 §?\nzweite Zeile'


def table_with(config: Config, source: str, **dialect: Any) -> tuple[Table, dict[str, str]]:
    table = config.registry[f"bronze.{source}"].model_copy(update={"dialect": Dialect(**dialect)})
    return table, kinds_of(config.registry, table)


def read(config: Config, content: str, **dialect: Any) -> Export:
    table, kinds = table_with(config, "billing_monthly", **dialect)
    return read_export(content.encode(), table, (), kinds)


def test_a_number_that_reads_otherwise_in_the_plain_form_is_refused_and_not_guessed(plain: Config) -> None:
    content = "invoice_id;month;subtotal\n" + "".join(f"i{n};2025-06-01;{text}\n" for n, text in enumerate(
        ["1.234,5", "1234,5", "-1.234.567", "12.5", "1.23", "n/a", "", "1,5e3", "12.34,5"]))  # fmt: skip
    rows = read(plain, content, delimiter=";", decimal_mark=",", thousands_mark=".").rows
    told = dict(zip(rows["subtotal"].to_pylist(), rows["_corrupt_record"].to_pylist(), strict=True))
    assert told == {"1234.5": None, "-1234567": None, "12.5": "i3;2025-06-01;12.5", "1.23": "i4;2025-06-01;1.23", "n/a": None, None: None,
                    "1.5e3": None, "12.34,5": None}  # fmt: skip
    assert rows["subtotal"].to_pylist()[:2] == ["1234.5", "1234.5"]


def test_dates_keep_their_time_of_day_and_what_is_none_stays_as_it_stands(plain: Config) -> None:
    table, kinds = table_with(plain, "users", date_format="DD/MM/YYYY")
    content = "user_id,created_at,email\nu1,1/8/2025 14:05:06,01/02/2025\nu2,08/31,x\nu3,2025-08-01,x\n"
    rows = read_export(content.encode(), table, (), kinds).rows
    assert rows["created_at"].to_pylist() == ["2025-08-01 14:05:06", "08/31", "2025-08-01"]
    assert rows["email"].to_pylist()[0] == "01/02/2025", "a text is no date"


def test_a_delimiter_that_is_not_declared_is_refused_with_the_line_that_declares_it(plain: Config) -> None:
    for sign, shown in ((";", '";"'), ("\t", '"\\t"'), ("|", '"|"')):
        content = f"invoice_id{sign}month{sign}subtotal\ni1{sign}2025-06-01{sign}1\n"
        with pytest.raises(FileRefusedError) as refused:
            read(plain, content)
        assert f"dialect: {{delimiter: {shown}}} of billing_monthly" in str(refused.value)
        assert read(plain, content, delimiter=sign).rows.num_rows == 1
    with pytest.raises(FileRefusedError, match="separated by ','"):
        read(plain, "invoice_id,month\ni1,2025-06-01\n", delimiter=";")


def test_a_quote_left_open_and_a_cut_line_are_found_with_another_delimiter_too(plain: Config) -> None:
    header = "invoice_id;month;subtotal\n"
    with pytest.raises(FileRefusedError, match="never closed"):
        read(plain, header + 'i1;"2025-06-01;1\ni2;2025-06-01;2\n', delimiter=";")
    with pytest.raises(FileRefusedError, match="the file was cut"):
        read(plain, header + "i1;2025-06-01;1\ni2;2025", delimiter=";")


def test_a_file_is_new_again_when_its_dialect_is_declared_otherwise(tmp_path: Path, plain: Config) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "billing_monthly.csv").write_text("invoice_id,month,subtotal\ni1,01.06.2025,1\n")
    config = load_config(str(ROOT / "conf"), str(tmp_path / "lake"), str(tmp_path / "landing"))
    table = config.registry["bronze.billing_monthly"]
    declared = table.model_copy(update={"dialect": Dialect(date_format="DD.MM.YYYY")})
    runs = enumerate((table, table, declared, declared, table))
    results = [ingestion.ingest(config, one, now=NOW + timedelta(minutes=number), run_id="r") for number, one in runs]
    assert [result.skipped for result in results] == [False, True, False, True, False]
    stored = sorted(config.lake.rows(table.name), key=lambda row: row["_ingested_at"])
    assert [row["month"] for row in stored] == ["01.06.2025", "2025-06-01", "01.06.2025"]
    renamed = table.model_copy(update={"dialect": Dialect(columns={"subtotal": "taxes"})})
    assert not ingestion.ingest(config, renamed, now=NOW + timedelta(hours=1), run_id="r").skipped
    assert {"1"} == {row["taxes"] for row in config.lake.rows(table.name)} - {None}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("date_format: DD.MM", "write YYYY, MM and DD once each"),
        ("decimal_mark: \",\"\n      thousands_mark: \",\"", "both ','"),
        ("delimiter: ':'", "delimiter"),
    ],
)  # fmt: skip
def test_a_dialect_that_means_nothing_is_told_before_anything_is_read(line: str, said: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    bronze = tmp_path / "conf" / "bronze.yaml"
    bronze.write_text(bronze.read_text().replace("    file: users.csv\n", f"    file: users.csv\n    dialect:\n      {line}\n"))
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        load_config(str(tmp_path / "conf"))
