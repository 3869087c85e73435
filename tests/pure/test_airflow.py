"""The Airflow DAG: what exit codes mean to it, and, where Airflow is installed, that it is one."""

from __future__ import annotations

import json
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
from flow import ROOT

FOLDER = ROOT / "integrations" / "airflow"
sys.path.insert(0, str(FOLDER))
from cloudlake_exit_codes import meaning, what_follows  # noqa: E402

PARSED = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({folder!r})
dag = bag.dags["cloudlake_daily"]
print("FOUND", json.dumps([
    {{str(k): str(v) for k, v in bag.import_errors.items()}}, dag.max_active_runs, dag.catchup,
    {{t.task_id: [sorted(t.upstream_task_ids), t.retries, t.trigger_rule.value] for t in dag.tasks}},
]))
"""
RUN = """
import sys
sys.path.insert(0, {folder!r})
import cloudlake_daily as dag
dag.Variable = type("Known", (), {{"get": staticmethod(lambda name, default=None: default if default is not None else {project!r})}})
try:
    dag.run_script("sh", "-c", "exit " + sys.argv[1])
    print("FOUND done")
except Exception as error:
    print("FOUND", type(error).__name__)
"""


@pytest.mark.parametrize(
    ("code", "follows"), [(0, "done"), (1, "failed"), (2, "failed"), (3, "failed"), (4, "again"), (137, "failed"), (-9, "failed")]
)
def test_only_a_held_lock_is_worth_another_try(code: int, follows: str) -> None:
    assert what_follows(code) == follows
    assert code == 0 or meaning(code)


def test_a_gate_and_a_lock_are_told_apart_by_name() -> None:
    assert "gate" in meaning(3) and "another run" in meaning(4) and "killed" in meaning(-9)


def test_the_dag_parses_and_retries_a_held_lock_alone(tmp_path: Path) -> None:
    """With CLOUDLAKE_AIRFLOW_PYTHON, the Python of an environment that has Airflow, by Airflow itself; else as Python."""
    python = os.environ.get("CLOUDLAKE_AIRFLOW_PYTHON")
    py_compile.compile(str(FOLDER / "cloudlake_daily.py"), cfile=str(tmp_path / "compiled"), doraise=True)
    if python is None:
        return
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": str(FOLDER)}

    def said(code: str, *arguments: str) -> str:
        done = subprocess.run([python, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert "FOUND" in done.stdout, done.stderr[-2000:]
        return done.stdout.partition("FOUND ")[2].splitlines()[0]

    errors, runs, catchup, tasks = json.loads(said(PARSED.format(folder=str(FOLDER))))
    assert (errors, runs, catchup) == ({}, 1, False)
    assert tasks["batch"] == [[], 6, "all_success"] and tasks["maintain"] == [["batch"], 6, "all_done"]
    assert tasks["check"][0] == ["batch", "maintain"]
    run = RUN.format(folder=str(FOLDER), project=str(ROOT))
    assert [said(run, code) for code in "0134"] == ["done", "AirflowFailException", "AirflowFailException", "AirflowException"]
