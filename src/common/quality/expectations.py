"""The only importer of Great Expectations: checks → suite → validation.

Importing this module takes seconds, so it is imported where there is something to validate. The same suite runs over
a pandas frame (small tables) and over a Spark frame (large ones). Personal data is not handed in at all: the caller
replaces its values, so that no sample in a result or a page can show one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults
from pyspark.sql import DataFrame

from .checks import Check


@dataclass(frozen=True)
class Finding:
    """How a check ended: whether it holds, the number that was seen, and how many rows are against it."""

    check: Check
    holds: bool
    observed: float | None
    unexpected: int


class Suites:
    """One context for all suites of a run; validations may run side by side."""

    def __init__(self) -> None:
        stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        self._context = gx.get_context(
            mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=stores)
        )
        self._context.variables.progress_bars = {"globally": False}
        self._lock = threading.Lock()
        self._pandas = self._context.data_sources.add_pandas("pandas")
        self._spark: Any = None

    def validate(
        self, table: str, checks: Sequence[Check], rows: pd.DataFrame | DataFrame, facts: Mapping[str, float]
    ) -> list[Finding]:
        """Run a table's suite, checks of rows over `rows`, checks of facts over one row of numbers; in the order of the checks."""
        about_rows = [check for check in checks if check.what != "fact"]
        about_facts = [check for check in checks if check.what == "fact"]
        results = self._run(f"{table} rows", about_rows, rows) if about_rows else None
        measured = pd.DataFrame([{check.rule: facts[check.rule] for check in about_facts}])
        said = self._run(f"{table} facts", about_facts, measured) if about_facts else None
        parts = [part for part in (results, said) if part is not None]
        outcomes = [result for part in parts for result in part.results]
        by_rule = {result.expectation_config.meta["rule"]: result for result in outcomes}
        return [_finding(check, by_rule[check.rule], facts) for check in checks]

    def _run(
        self, name: str, checks: Sequence[Check], rows: pd.DataFrame | DataFrame
    ) -> ExpectationSuiteValidationResult:
        with self._lock:
            if isinstance(rows, pd.DataFrame):
                source = self._pandas
            else:
                self._spark = self._spark or self._context.data_sources.add_spark("spark", persist=False)
                source = self._spark
            asset = source.add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
        suite = gx.ExpectationSuite(name=name, expectations=[_expectation(check) for check in checks])
        return batch.validate(suite, result_format="SUMMARY")


def _expectation(check: Check) -> Any:
    about: dict[str, Any] = {
        "notes": check.description,
        "meta": {"rule": check.rule, "kind": check.kind, "level": check.level},
    }
    if check.what == "not_null":
        return gxe.ExpectColumnValuesToNotBeNull(column=check.columns[0], **about)
    if check.what == "unique" and len(check.columns) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=check.columns[0], **about)
    if check.what == "unique":
        return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(check.columns), ignore_row_if="never", **about)
    return gxe.ExpectColumnValuesToBeBetween(column=check.rule, min_value=check.low, max_value=check.high, **about)


def _finding(check: Check, result: Any, facts: Mapping[str, float]) -> Finding:
    error = (result.exception_info or {}).get("exception_message")
    if error:
        raise RuntimeError(f"Great Expectations could not check {check.rule}: {error}")
    unexpected = int(result.result.get("unexpected_count") or 0)
    observed = facts[check.rule] if check.what == "fact" else float(unexpected)
    return Finding(check, bool(result.success), observed, unexpected)
