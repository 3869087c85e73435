"""A run as OpenLineage events: that it began and how it ended, with schema, columns, statistics and quality of its tables.

Events go to `<lake>/lineage/<run>.jsonl`, one a line, and over HTTP where conf/lake.yaml names a receiver. A receiver that
is dead or slow holds nothing up: what it did not take is in the file.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    JobFacet,
    RunFacet,
    column_lineage_dataset,
    data_quality_assertions_dataset,
    data_quality_metrics_input_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
    symlinks_dataset,
)
from openlineage.client.serde import Serde

from ..common.config import Config
from ..common.contracts.table import Table
from .lineage import Lineage, load_lineage

LOG = logging.getLogger("cloudlake.lineage")
NAMESPACE = "cloudlake"
PRODUCER = "urn:cloudlake"
BATCH = "batch"
PROFILE = "profile"
RESULTS = "ops.quality_results"
_ENDS = {"failed": RunState.FAIL, "not_run": RunState.ABORT, "interrupted": RunState.ABORT}


@dataclass(frozen=True)
class StepEnd:
    """How a step ended: what an event says of it."""

    step: str
    status: str
    started_at: datetime
    ended_at: datetime
    rows_out: int = 0
    bytes_written: int = 0
    error: str = ""


@dataclass(frozen=True)
class Story:
    """What the events of one run have in common."""

    config: Config
    lineage: Lineage
    run_id: str

    @classmethod
    def of(cls, config: Config, run_id: str) -> Story:
        """Return the story of a run that begins."""
        return cls(config, load_lineage(config), run_id)

    # --- events -------------------------------------------------------------------------------------------------------

    def begun(self, at: datetime) -> RunEvent:
        """Return the event that the whole run has begun."""
        return self._event(RunState.START, at, BATCH)

    def step(self, end: StepEnd) -> list[RunEvent]:
        """Return the events of a step: that it began, and how it ended."""
        table = self.config.registry.tables.get(end.step)
        reads = [self._input(self.config.registry[name]) for name in table.inputs] if table else []
        reads = reads or (self._audited() if end.step == "quality" and end.status == "done" else [])
        is_written = table is not None and end.status == "done"
        writes = [self._output(table, end)] if table is not None and is_written else []
        state = _ENDS.get(end.status, RunState.COMPLETE)
        return [
            self._event(RunState.START, end.started_at, end.step),
            self._event(state, end.ended_at, end.step, error=end.error, inputs=reads, outputs=writes),
        ]

    def ended(self, at: datetime, status: str, error: str) -> RunEvent:
        """Return the event that the whole run has ended."""
        return self._event(_ENDS.get(status, RunState.COMPLETE), at, BATCH, error=error)

    def _event(
        self,
        state: RunState,
        at: datetime,
        step: str,
        *,
        error: str = "",
        inputs: Sequence[InputDataset] = (),
        outputs: Sequence[OutputDataset] = (),
    ) -> RunEvent:
        facets: dict[str, RunFacet] = {}
        if step != BATCH:
            whole = parent_run.Run(runId=self._uuid(BATCH))
            facets["parent"] = parent_run.ParentRunFacet(
                run=whole, job=parent_run.Job(NAMESPACE, BATCH), producer=PRODUCER
            )
        if error:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message=error, programmingLanguage="python", producer=PRODUCER
            )
        kind: dict[str, JobFacet] = {
            "jobType": job_type_job.JobTypeJobFacet(
                processingType="BATCH",
                integration="SPARK",
                jobType="JOB" if step == BATCH else "TASK",
                producer=PRODUCER,
            )
        }
        job = Job(NAMESPACE, BATCH if step == BATCH else f"{BATCH}.{step}", facets=kind)
        run = Run(self._uuid(step), facets=facets)
        return RunEvent(
            eventType=state,
            eventTime=at.isoformat(),
            run=run,
            job=job,
            inputs=list(inputs),
            outputs=list(outputs),
            producer=PRODUCER,
        )

    def _uuid(self, step: str) -> str:
        """Return the id of a run or of one of its steps; the same whoever asks."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER}:{self.run_id}:{step}"))

    # --- datasets -----------------------------------------------------------------------------------------------------

    def _name(self, table: str) -> str:
        return self.config.lake.path(table)

    def _about(self, table: Table) -> dict[str, Any]:
        fields = [
            schema_dataset.SchemaDatasetFacetFields(name=name, type=column.type, description=column.description)
            for name, column in table.columns.items()
        ]
        known_as = symlinks_dataset.Identifier(namespace=NAMESPACE, name=table.name, type="TABLE")
        return {
            "schema": schema_dataset.SchemaDatasetFacet(fields=fields, producer=PRODUCER),
            "symlinks": symlinks_dataset.SymlinksDatasetFacet(identifiers=[known_as], producer=PRODUCER),
        }

    def _input(self, table: Table) -> InputDataset:
        return InputDataset("file", self._name(table.name), facets=self._about(table))

    def _output(self, table: Table, end: StepEnd) -> OutputDataset:
        facets = self._about(table)
        columns = self.lineage.columns.get(table.name, {})
        if columns:
            fields = {
                name: column_lineage_dataset.Fields(inputFields=self._fields(made)) for name, made in columns.items()
            }
            facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(fields=fields, producer=PRODUCER)
        written = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=end.rows_out, size=end.bytes_written, producer=PRODUCER
        )
        return OutputDataset("file", self._name(table.name), facets=facets, outputFacets={"outputStatistics": written})

    def _fields(self, columns: Iterable[str]) -> list[column_lineage_dataset.InputField]:
        split = [column.rpartition(".") for column in columns]
        return [
            column_lineage_dataset.InputField(
                namespace="file",
                name=self._name(table),
                field=column,
                transformations=[column_lineage_dataset.Transformation(type="DIRECT")],
            )
            for table, _, column in split
        ]

    def _audited(self) -> list[InputDataset]:
        """Return the tables that the audit looked at, with what it found."""
        lake = self.config.lake
        by_table: dict[str, list[dict[str, Any]]] = {}
        for row in lake.rows(RESULTS, filters=[("run_id", "=", self.run_id)]):
            by_table.setdefault(row["table"], []).append(row)
        found = []
        for name, rows in sorted(by_table.items()):
            dataset = self._input(self.config.registry[name])
            dataset.inputFacets = _quality(rows)
            found.append(dataset)
        return found


def _quality(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    assertions = [
        data_quality_assertions_dataset.Assertion(
            assertion=row["kind"],
            name=row["rule"],
            success=row["status"] != "failed",
            severity="error" if row["level"] == "fail" else "warn",
            expected=row["expected"] or None,
            actual=None if row["observed"] is None else f"{row['observed']:g}",
        )
        for row in sorted(rows, key=lambda row: row["rule"])
        if row["rule"] != PROFILE
    ]
    facets: dict[str, Any] = {
        "dataQualityAssertions": data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
            assertions=assertions, producer=PRODUCER
        )
    }
    for row in rows:
        if row["rule"] == PROFILE:
            nulls = json.loads(row["detail"] or "{}").get("nulls", {})
            metrics = data_quality_metrics_input_dataset
            columns = {name: metrics.ColumnMetrics(nullCount=int(count)) for name, count in nulls.items()}
            facets["dataQualityMetrics"] = metrics.DataQualityMetricsInputDatasetFacet(
                columnMetrics=columns, rowCount=row["rows"], producer=PRODUCER
            )
    return facets


# --- where events go ------------------------------------------------------------------------------------------------------


class Journal:
    """Where the events of one run go: a file, and a receiver, which is told by a thread of its own."""

    def __init__(self, config: Config, run_id: str) -> None:
        self._settings = config.settings.lineage
        self._storage, self._path = config.lake.storage, f"lineage/{run_id}.jsonl"
        self.path = self._storage.at(self._path)
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._bell = threading.Event()
        self._closing = False
        self._fault = ""
        self._teller: threading.Thread | None = None
        if self._settings.address:
            self._teller = threading.Thread(target=self._tell, name="lineage", daemon=True)
            self._teller.start()

    def write(self, events: Iterable[RunEvent]) -> None:
        """Keep events; what goes wrong is logged, and the run goes on."""
        lines = [Serde.to_json(event) for event in events]
        with self._lock:
            if self._settings.file:
                try:
                    with self._storage.open_log(self._path) as file:
                        file.write("".join(f"{line}\n" for line in lines).encode())
                except OSError as error:
                    LOG.warning("%s: no lineage is written: %s", self.path, error.strerror)
            self._waiting += lines
        self._bell.set()

    def close(self) -> None:
        """Give the receiver the time of one attempt to take what is left."""
        self._closing = True
        self._bell.set()
        if self._teller is not None:
            self._teller.join(self._settings.timeout_seconds)
            left = len(self._waiting)
            if left or self._fault:
                LOG.warning(
                    "lineage: %d event(s) were not taken (%s); they are in %s",
                    left,
                    self._fault or "too slow",
                    self.path,
                )

    def _tell(self) -> None:
        with requests.Session() as session:
            while not (self._closing and not self._waiting):
                self._bell.wait()
                self._bell.clear()
                while self._waiting and not self._fault:
                    self._send(session, self._waiting[0])
                if self._fault:
                    return

    def _send(self, session: requests.Session, line: str) -> None:
        told = {"Content-Type": "application/json", **self._settings.headers_resolved()}
        try:
            with session.post(
                self._settings.address,
                data=line.encode(),
                headers=told,
                timeout=self._settings.timeout_seconds,
                allow_redirects=False,
                stream=True,
            ) as response:
                if not response.ok or response.is_redirect:
                    self._fault = f"it answers {response.status_code}"
                    return
        except (requests.RequestException, ValueError) as error:
            self._fault = type(error).__name__
            return
        with self._lock:
            self._waiting.pop(0)
