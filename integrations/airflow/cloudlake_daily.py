"""The nightly run as an Airflow DAG: the same scripts as cron calls, in the same order.

Put both files of this folder into the DAGs folder. Airflow's variables:
  cloudlake_project   the checkout (its scripts/ and .venv/)
  cloudlake_lake, cloudlake_landing, cloudlake_conf    folders, where they are not the checkout's own
The project keeps its own environment: it and Airflow's never meet, but for the exit codes.
"""

from __future__ import annotations

import os
import subprocess
from datetime import datetime, timedelta

from airflow.exceptions import AirflowException, AirflowFailException
from airflow.sdk import Variable, dag, task
from cloudlake_exit_codes import meaning, what_follows

FOLDERS = ("lake", "landing", "conf")


def run_script(*command: str) -> None:
    """Run one of cloudlake's commands in the checkout, its output in the task's log.

    Raises:
        AirflowException: another run holds the lake; Airflow tries again.
        AirflowFailException: it failed for good.
    """
    project = Variable.get("cloudlake_project")
    given = {f"CLOUDLAKE_{name.upper()}": Variable.get(f"cloudlake_{name}", default="") for name in FOLDERS}
    environment = {**os.environ, **{name: folder for name, folder in given.items() if folder}}
    # Airflow's own environment is none of the project's business: it finds its Python by itself.
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "SPARK_HOME", "PYSPARK_PYTHON"):
        environment.pop(name, None)
    with subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="")
    follows = what_follows(process.returncode)
    if follows == "again":
        raise AirflowException(meaning(process.returncode))
    if follows == "failed":
        raise AirflowFailException(meaning(process.returncode))


@dag(
    schedule="0 2 * * *",
    start_date=datetime(2025, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 6, "retry_delay": timedelta(minutes=10)},
    tags=["cloudlake"],
    doc_md=__doc__,
)
def cloudlake_daily() -> None:
    """Batch run, then upkeep; a failed run does not keep the lake from upkeep, and stays failed."""

    @task
    def batch() -> None:
        run_script("scripts/run_batch_pipeline.sh")

    @task(trigger_rule="all_done")
    def maintain() -> None:
        run_script(".venv/bin/cloudlake", "maintain")

    @task(trigger_rule="all_success")
    def check() -> None:
        run_script(".venv/bin/cloudlake", "status", "--check")

    ran = batch()
    kept = maintain()
    ran >> kept  # type: ignore[operator]
    [ran, kept] >> check()  # type: ignore[operator]


cloudlake_daily()
