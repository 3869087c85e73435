"""The FOCUS export of a published lake that was written by hand: what is in the files, and what happens where it can't be made."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import resource
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import focus_lake
import pytest
from cloudlake.cli.main import main
from cloudlake.common.config import Config, load_config
from cloudlake.common.errors import ConfigurationError
from cloudlake.serving.focus import Selection, export_focus, load_export
from focus_lake import metered
from pyarrow import parquet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return focus_lake.build(tmp_path_factory.mktemp("charged"))


def run(config: Config, out: Path, *arguments: str) -> int:
    return main(["export", "focus", "--out", str(out), *arguments, "--lake", str(config.lake.root)])


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def manifest(out: Path, version: str = "1.4") -> dict[str, Any]:
    return dict(json.loads((out / "focus" / version / "metadata.json").read_text()))


def test_a_month_has_its_invoiced_and_its_open_charges_apart(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, tmp_path) == 0
    shown = capsys.readouterr().out
    folder = tmp_path / "focus" / "1.4"
    assert set(digests(folder)) == {
        "metadata.json", "2025-06-01/invoiced.parquet", "2025-07-01/invoiced.parquet", "2025-08-01/open.parquet",
        *(f"2025-0{month}-01/billing_period.parquet" for month in (6, 7, 8)),
    }  # fmt: skip
    assert "2025-07-01/invoiced.parquet" in shown and "6 rows" in shown and "Invoice Detail: not written" in shown
    rows = parquet.read_table(folder / "2025-07-01" / "invoiced.parquet").to_pylist()
    assert [(row["BillingAccountId"], row["ChargeCategory"]) for row in rows] == [
        ("org_a", "Adjustment"), ("org_a", "Usage"), ("org_a", "Usage"), ("org_a", "Tax"), ("org_b", "Adjustment"), ("org_b", "Usage"),
    ]  # fmt: skip
    euro = rows[-1]
    assert (euro["BilledCost"], euro["BillingCurrency"], euro["PricingCurrencyEffectiveCost"]) == (
        1,
        "EUR",
        Decimal("1.1"),
    )
    assert euro["ChargePeriodStart"].isoformat() == "2025-07-31T00:00:00+00:00"
    assert euro["ChargePeriodEnd"] == euro["BillingPeriodEnd"]
    (period,) = parquet.read_table(folder / "2025-07-01" / "billing_period.parquet").to_pylist()
    assert (period["BillingPeriodStatus"], period["BillingPeriodLastUpdated"]) == ("Closed", focus_lake.DELIVERED)
    (period,) = parquet.read_table(folder / "2025-08-01" / "billing_period.parquet").to_pylist()
    assert period["BillingPeriodStatus"] == "Open", "no invoice of it is there"


def test_the_manifest_tells_what_the_files_are_and_add_up_to(config: Config, tmp_path: Path) -> None:
    assert run(config, tmp_path) == 0
    folder, told = tmp_path / "focus" / "1.4", manifest(tmp_path)
    assert told["publication"]["run_id"] == "r1" and told["publication"]["as_of"] == "2025-08-31"
    assert len(told["laws"]) == 7 and {float(law["found"]) for law in told["laws"].values()} == {0}
    assert told["sums"] == {
        "invoiced": {"rows": 7, "cost_usd": "4.050000", "events": 6}, "open": {"rows": 1, "cost_usd": "4.000000", "events": 2},
    }  # fmt: skip
    assert told["refused"] == {"events": 1, "invoices": 1, "events_cost_usd": "0.750000"}
    july = told["periods"]["2025-07-01"]["files"]["invoiced.parquet"]
    assert july["billed_cost"] == {"EUR": "0.500000", "USD": "5.500000"} and july["events"] == 6
    found = digests(folder)
    assert {
        name: file["sha256"]
        for m, p in told["periods"].items()
        for n, file in p["files"].items()
        for name in [f"{m}/{n}"]
    } == {name: digest for name, digest in found.items() if name != "metadata.json"}
    (charges, _) = told["Schemas"]
    schema = parquet.read_schema(folder / "2025-08-01" / "open.parquet")
    assert [column["ColumnName"] for column in charges["ColumnDefinition"]] == schema.names
    assert {"ColumnName": "BilledCost", "DataType": "Decimal", "NumericPrecision": 38, "NumberScale": 6} in charges[
        "ColumnDefinition"
    ]


def test_two_exports_of_one_publication_are_the_same_bytes(config: Config, tmp_path: Path) -> None:
    for version, form in (("1.2", "parquet"), ("1.2", "csv"), ("1.4", "parquet"), ("1.4", "csv")):
        arguments = ("--version", version, "--format", form)
        first, second = tmp_path / f"{version}{form}1", tmp_path / f"{version}{form}2"
        for out in (first, second, second):
            assert run(config, out, *arguments) == 0
        assert digests(first) == digests(second), (version, form)


def test_csv_keeps_every_digit_a_z_after_times_and_texts_as_they_are(config: Config, tmp_path: Path) -> None:
    assert run(config, tmp_path, "--format", "csv", "--version", "1.2") == 0
    with (tmp_path / "focus/1.2/2025-07-01/invoiced.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    usage = next(row for row in rows if row["PricingCurrencyEffectiveCost"] == "2.000001")
    assert (usage["ConsumedQuantity"], usage["x_CarbonKg"]) == ("3.000000", "0.000000001")
    assert (usage["ChargePeriodStart"], usage["x_ExchangeRate"]) == ("2025-07-05T00:00:00Z", "1.000000000000000000")
    assert usage["BillingAccountName"] == "org_a, Ltd.\n=1+1" and json.loads(usage["Tags"]) == {
        "note": 'a, "b"',
        "team": "x;y",
    }
    assert (
        usage["ProviderName"] == "Cloudlake"
        and usage["CommitmentDiscountStatus"] == ""
        and "InvoiceDetailId" not in usage
    )
    assert not (tmp_path / "focus/1.2/2025-07-01/billing_period.csv").exists(), "1.2 has charges alone"


def test_the_manifest_of_1_2_tells_the_red_lines_that_the_official_validator_will_draw(tmp_path: Path) -> None:
    nameless = metered("org_c", date(2025, 8, 3), "1") | {"org_name": None}
    config = focus_lake.build(tmp_path, [*focus_lake.CHARGES, nameless])
    for form in ("parquet", "csv"):
        out = tmp_path / form
        assert run(config, out, "--version", "1.2", "--format", form) == 0
        periods = manifest(out, "1.2")["periods"]
        always = {"CostAndUsage-D-048-C": 1, "CostAndUsage-D-056-C": 1}
        named = {"BillingAccountName-C-003-C": 1, "BillingAccountName-C-000-M": 1}
        assert periods["2025-07-01"]["files"][f"invoiced.{form}"]["red_lines"] == {
            "unclaimed": {"InvoiceId-C-004-C": 6}, "claimed": {"InvoiceId-C-004-C": 6} | always,
        }  # fmt: skip
        assert periods["2025-08-01"]["files"][f"open.{form}"]["red_lines"] == {
            "unclaimed": {"InvoiceId-C-005-C": 2}, "claimed": {"InvoiceId-C-005-C": 2} | always | named,
        }  # fmt: skip


def test_the_lines_of_invoices_are_written_where_the_terms_of_payment_are_known(config: Config, tmp_path: Path) -> None:
    conf = focus_lake.with_terms(config, tmp_path, "Net 30")
    assert run(config, tmp_path / "out", "--conf", str(conf)) == 0
    rows = parquet.read_table(tmp_path / "out/focus/1.4/2025-07-01/invoice_detail.parquet").to_pylist()
    assert {row["InvoiceDetailId"]: row["BilledCost"] for row in rows} == {
        "i1:metered-usage": Decimal("3.500001"), "i1:adjustment": Decimal("1.499999"), "i1:tax": Decimal("0.5"),
        "e1:metered-usage": 1, "e1:adjustment": Decimal("-0.5"),
    }  # fmt: skip
    assert {row["PaymentTerms"] for row in rows} == {"Net 30"} and manifest(tmp_path / "out")["left_out"] == {}


def test_one_organisation_is_exported_alone(config: Config, tmp_path: Path) -> None:
    assert run(config, tmp_path, "--org", "org_a") == 0
    told = manifest(tmp_path)
    assert list(told["periods"]) == ["2025-07-01"] and told["sums"]["invoiced"]["rows"] == 4
    assert told["refused"] == {"events_cost_usd": "0.250000"}, "nothing is told of the others"
    text = (tmp_path / "focus/1.4/metadata.json").read_bytes() + (
        tmp_path / "focus/1.4/2025-07-01/invoiced.parquet"
    ).read_bytes()
    assert b"org_b" not in text


def test_chosen_months_are_written_anew_and_others_stay(tmp_path: Path) -> None:
    config = focus_lake.build(tmp_path)
    out = tmp_path / "out"
    assert run(config, out) == 0
    before = digests(out)
    focus_lake.add(config, "r2", metered("org_b", date(2025, 8, 2), "8"))
    assert run(config, out, "--from", "2025-08", "--to", "2025-08") == 0
    after, told = digests(out), manifest(out)
    assert {name for name in after if after[name] != before.get(name)} == {
        "focus/1.4/2025-08-01/open.parquet",
        "focus/1.4/metadata.json",
    }
    assert [entry["run_id"] for entry in told["periods"].values()] == ["r1", "r1", "r2"]
    assert told["changes"] == {"since_run_id": "r1", "periods": {"2025-08-01": "changed"}}
    assert run(config, out) == 0 and manifest(out)["changes"] == told["changes"], (
        "of one publication what changed stays told"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--org", "org_aa"], "--org org_aa: there are no charges of such an organisation; did you mean 'org_a'?"),
        (
            ["--from", "2031-01"],
            "--from 2031-01: no charges in these months; charges are there from 2025-06 to 2025-08",
        ),
        (["--org", "org_a", "--to", "2025-06"], "charges are there from 2025-07 to 2025-07"),
        (["--from", "2025-08", "--to", "2025-07"], "--from 2025-08 is after --to 2025-07"),
        (["--from", "2025-13"], "'2025-13' is not a month; write YYYY-MM"),
        (["--version", "1.3"], "invalid choice: '1.3'"),
    ],
)
def test_what_can_not_be_exported_is_told_before_anything_is_written(
    config: Config, tmp_path: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, tmp_path, *arguments) == 2
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_folder_of_another_selection_or_of_something_else_is_left_alone(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, tmp_path, "--org", "org_a") == 0
    before = digests(tmp_path)
    assert run(config, tmp_path) == 2 and "holds an export of org_a; name another folder" in capsys.readouterr().err
    assert digests(tmp_path) == before
    other = tmp_path / "other" / "focus" / "1.4"
    other.mkdir(parents=True)
    (other / "mine.txt").write_text("mine")
    assert run(config, tmp_path / "other") == 2 and "holds something else than an export" in capsys.readouterr().err
    assert (other / "mine.txt").read_text() == "mine"
    file = tmp_path / "a file"
    file.write_text("")
    assert run(config, file) == 2 and "can't be written" in capsys.readouterr().err


def test_a_publication_that_breaks_a_law_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    charges = [
        row | {"cost_usd": row["cost_usd"] + 1} if row["charge_kind"] == "tax" else row for row in focus_lake.CHARGES
    ]
    config = focus_lake.build(tmp_path, charges)
    assert run(config, tmp_path / "out") == 3
    assert "law_2_months_billed" in capsys.readouterr().err
    assert not list((tmp_path / "out" / "focus").iterdir())


def command(config: Config, out: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "cloudlake.cli",
        "export",
        "focus",
        "--out",
        str(out),
        "--lake",
        str(config.lake.root),
    ]


@pytest.mark.parametrize("point", ["before_focus_rename", "between_focus_renames"])
def test_a_crash_leaves_the_old_export_and_the_next_one_cleans_up(tmp_path: Path, point: str) -> None:
    config = focus_lake.build(tmp_path)
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "CLOUDLAKE_CRASH_AT": point}
    assert run(config, out) == 0
    before = digests(out / "focus" / "1.4")
    focus_lake.add(config, "r2", metered("org_b", date(2025, 8, 2), "8"))
    if point == "between_focus_renames":  # where the file system can't exchange two folders in one step
        code = (
            "import sys\nfrom cloudlake.serving.focus import placing\nplacing.ctypes.CDLL = lambda *_, **__: None\n"
            "from cloudlake.cli.main import main\nsys.exit(main(sys.argv[1:]))"
        )
        line = [sys.executable, "-c", code, *command(config, out)[3:]]
    else:
        line = command(config, out)
    assert subprocess.run(line, env=environment, capture_output=True, check=False).returncode == -9
    left = out / "focus" / ("1.4" if point == "before_focus_rename" else ".1.4.before")
    assert digests(left) == before
    assert run(config, out) == 0
    assert [path.name for path in (out / "focus").iterdir()] == ["1.4"]
    assert manifest(out)["changes"]["since_run_id"] == "r1"


def test_two_exports_into_one_folder_do_not_mix(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, tmp_path) == 0
    held = os.open(tmp_path / "focus", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert run(config, tmp_path) == 4 and "another export is being written there" in capsys.readouterr().err
    os.close(held)
    assert run(config, tmp_path) == 0


def test_a_full_disk_leaves_the_old_export(config: Config, tmp_path: Path) -> None:
    assert run(config, tmp_path) == 0
    before = digests(tmp_path)
    limited = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # noqa: E731
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    done = subprocess.run(
        command(config, tmp_path), env=environment, capture_output=True, text=True, check=False, preexec_fn=limited
    )
    assert done.returncode == 1 and "nothing was exported, and what was there stays" in done.stderr, done.stderr
    assert digests(tmp_path) == before


def test_every_column_comes_from_its_mart_and_stands_in_the_order_of_focus() -> None:
    export, registry = load_export(load_config().conf), load_config().registry
    for version in ("1.2", "1.4"):
        names = list(export.datasets(version)["Cost and Usage"])
        own = [name for name in names if name.startswith("x_")]
        assert names == sorted(names[: -len(own)]) + sorted(own), "columns of ours come last"
    with duckdb.connect() as connection:
        for columns, table in ((export.columns, "gold.focus_charges"), (export.invoice_detail, "gold.invoice_lines")):
            made = ", ".join(
                f"CAST(NULL AS {column.type}) AS {name}" for name, column in registry[table].columns.items()
            )
            for name, column in columns.items():
                sql = column.sql.replace("$provider_name", "'x'").replace("$payment_terms", "'x'")
                assert connection.sql(f"SELECT {sql} AS {name} FROM (SELECT {made})").columns == [name]


def test_a_wrong_declaration_is_told_with_its_place(config: Config, tmp_path: Path) -> None:
    conf = focus_lake.with_terms(config, tmp_path, "3\n  colunms: {}")
    with pytest.raises(ConfigurationError) as caught:
        load_export(conf)
    assert (
        "conf/focus.yaml: export" in str(caught.value)
        and "colunms" in str(caught.value)
        and len(caught.value.faults) == 2
    )


def test_a_program_can_export_as_the_command_does(config: Config, tmp_path: Path) -> None:
    told = export_focus(config, tmp_path, Selection("1.2", first=focus_lake.JULY, last=focus_lake.JULY))
    assert told == manifest(tmp_path, "1.2") and list(told["periods"]) == ["2025-07-01"]
