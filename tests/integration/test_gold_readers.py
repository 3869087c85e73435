"""What readers of gold may count on: no Spark needed, nothing personal, a notebook that runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
from cloudlake.common.config import Config
from cloudlake.serving import connect
from deltalake import DeltaTable
from flow import ROOT
from nbclient import NotebookClient


def test_gold_and_serving_are_read_without_spark(first_run: Config) -> None:
    with connect(first_run) as reader:
        for table in first_run.registry.layer("gold", "serving"):
            if table.layer == "serving" and not first_run.lake.exists(table.name):
                continue
            told = reader.execute(f"SELECT * FROM {table.name}").to_arrow_table()
            assert told.column_names == table.column_names, table.name
            assert told.num_rows == first_run.lake.read_small(table.name).num_rows, table.name
            protocol = DeltaTable(first_run.lake.path(table.name)).protocol()
            assert protocol.min_reader_version == 1, f"{table.name} needs a feature that other readers lack"


def test_nothing_personal_is_in_gold_or_serving(first_run: Config) -> None:
    registry = first_run.registry
    personal = {name for table in registry.layer("silver") for name in table.personal}
    assert "email" in personal
    addresses = {row["email"] for row in first_run.lake.rows("bronze.users") if row["email"]}
    assert addresses
    for table in registry.layer("gold", "serving", "speed"):
        assert not table.personal and not personal & set(table.column_names), table.name
        for row in first_run.lake.rows(table.name):
            text = json.dumps(row, default=str)
            assert "@" not in text, table.name


def test_the_notebook_runs_from_top_to_bottom(first_run: Config, tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "gold_tour.ipynb", as_version=4)
    known = dict(os.environ)
    os.environ |= {
        "CLOUDLAKE_LAKE": str(first_run.lake.root),
        "PYTHONPATH": str(ROOT / ".typing"),
        "MPLCONFIGDIR": str(tmp_path),
    }
    try:
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    finally:
        os.environ.clear()
        os.environ.update(known)
    charts = [out for cell in notebook.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(charts) >= 6
