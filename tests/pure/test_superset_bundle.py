"""The bundle for Superset follows the contracts, and says at once what a chart names that no contract has."""

from __future__ import annotations

import subprocess
import sys
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloudlake.common.config import Config, load_config
from cloudlake.common.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "integrations" / "superset"))
import bundle  # noqa: E402

REQUIRED = {
    "databases": {"database_name", "sqlalchemy_uri", "uuid", "version"},
    "datasets": {"table_name", "schema", "columns", "metrics", "uuid", "database_uuid", "version"},
    "charts": {"slice_name", "viz_type", "params", "uuid", "dataset_uuid", "version"},
    "dashboards": {"dashboard_title", "position", "metadata", "uuid", "version"},
}
"""What Superset's import demands."""


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(str(ROOT / "conf"))


@pytest.fixture(scope="module")
def bodies(config: Config) -> dict[str, Any]:
    return {name.partition("/")[2]: yaml.safe_load(body) for name, body in bundle.files(config).items()}


def of(bodies: dict[str, Any], kind: str) -> list[Any]:
    return [body for name, body in bodies.items() if name.startswith(kind + "/")]


def test_each_file_has_what_the_import_demands_and_what_it_points_at(bodies: dict[str, Any]) -> None:
    assert bodies["metadata.yaml"]["type"] == "Dashboard"
    for kind, keys in REQUIRED.items():
        assert of(bodies, kind)
        for body in of(bodies, kind):
            assert keys <= set(body), body["uuid"]
            uuid.UUID(body["uuid"])
    ids = {kind: {body["uuid"] for body in of(bodies, kind)} for kind in REQUIRED}
    assert len(set().union(*ids.values())) == sum(len(of(bodies, kind)) for kind in REQUIRED), "one uuid for two things"
    assert {body["database_uuid"] for body in of(bodies, "datasets")} == ids["databases"]
    assert {body["dataset_uuid"] for body in of(bodies, "charts")} <= ids["datasets"]
    (board,) = of(bodies, "dashboards")
    placed = [part["meta"] for part in board["position"].values() if isinstance(part, dict) and part["type"] == "CHART"]
    assert sorted(meta["uuid"] for meta in placed) == sorted(ids["charts"])
    rows = [part for part in board["position"].values() if isinstance(part, dict) and part["type"] == "ROW"]
    assert [sum(board["position"][child]["meta"]["width"] for child in row["children"]) for row in rows] == [12] * len(rows)


def test_every_published_table_is_a_dataset_described_as_its_contract_does(config: Config, bodies: dict[str, Any]) -> None:
    tables = {table.short_name: table for table in config.registry.layer("gold", "serving")}
    assert {body["table_name"] for body in of(bodies, "datasets")} == set(tables)
    for body in of(bodies, "datasets"):
        table = tables[body["table_name"]]
        told = {column["column_name"]: column["description"] for column in body["columns"]}
        assert told.pop("_published_run")
        assert told == {name: column.description for name, column in table.columns.items()}, table.name


def test_a_filter_reaches_only_charts_of_tables_that_have_its_column(config: Config, bodies: dict[str, Any]) -> None:
    (board,) = of(bodies, "dashboards")
    numbers = {part["meta"]["chartId"]: part["meta"]["uuid"] for part in board["position"].values() if isinstance(part, dict) and part["type"] == "CHART"}
    columns = {body["uuid"]: {column["column_name"] for column in body["columns"]} for body in of(bodies, "datasets")}
    of_chart = {body["uuid"]: columns[body["dataset_uuid"]] for body in of(bodies, "charts")}
    for told in board["metadata"]["native_filter_configuration"]:
        wanted = {number for number, chart in numbers.items() if told["targets"][0]["column"]["name"] in of_chart[chart]}
        assert 0 < len(wanted) < len(numbers)
        assert set(told["chartsInScope"]) == wanted
        assert set(told["scope"]["excluded"]) == set(numbers) - wanted


def test_a_chart_of_what_no_contract_has_is_refused_with_every_fault(config: Config, tmp_path: Path) -> None:
    charts = yaml.safe_load(bundle.CHARTS.read_text(encoding="utf-8"))
    charts["charts"]["nps"]["table"] = "gold.nps_by_mont"
    charts["charts"]["sla"]["metrics"] = {"rate": "SUM(sla_breeched)::float8 / COUNT(*)"}
    charts["charts"]["health"]["kind"] = "pei"
    charts["rows"][0].remove("cost")
    wrong = tmp_path / "charts.yaml"
    wrong.write_text(yaml.safe_dump(charts), encoding="utf-8")
    with pytest.raises(ConfigurationError) as refused:
        bundle.files(config, charts=wrong)
    said = str(refused.value)
    for fault in ("did you mean 'gold.nps_by_month'", "did you mean 'sla_breached'", "did you mean 'pie'", "found cost"):
        assert fault in said, said
    assert "float8" not in said


def test_the_zip_is_the_same_each_time_and_holds_no_password(tmp_path: Path) -> None:
    written = []
    for name in ("a.zip", "b.zip"):
        command = [sys.executable, str(ROOT / "integrations" / "superset" / "bundle.py"), "--out", str(tmp_path / name), "--conf", str(ROOT / "conf")]
        subprocess.run(command, check=True, capture_output=True, env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"})
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    with zipfile.ZipFile(tmp_path / "a.zip") as made:
        assert yaml.safe_load(made.read("cloudlake/databases/cloudlake.yaml"))["sqlalchemy_uri"] == bundle.DATABASE
    assert ":XXXXXXXXXX@" in bundle.DATABASE
