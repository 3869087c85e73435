"""The only importer of Great Expectations: checks → suite → validation → Data Docs.

Importing this module takes seconds, so it is imported where there is something to validate. The same suite runs over
a pandas frame (small tables) and over a Spark frame (large ones). Personal data is not handed in at all: the caller
replaces its values, so that no sample in a result or a page can show one.
"""

from __future__ import annotations

import html
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
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
    ) -> tuple[list[Finding], ExpectationSuiteValidationResult]:
        """Run a table's suite: checks of rows over `rows`, checks of facts over one row of numbers.

        Returns:
            What was found, in the order of the checks, and what Great Expectations says of it.
        """
        about_rows = [check for check in checks if check.what != "fact"]
        about_facts = [check for check in checks if check.what == "fact"]
        results = self._run(f"{table} rows", about_rows, rows) if about_rows else None
        measured = pd.DataFrame([{check.rule: facts[check.rule] for check in about_facts}])
        said = self._run(f"{table} facts", about_facts, measured) if about_facts else None
        parts = [part for part in (results, said) if part is not None]
        outcomes = [result for part in parts for result in part.results]
        by_rule = {result.expectation_config.meta["rule"]: result for result in outcomes}
        findings = [_finding(check, by_rule[check.rule], facts) for check in checks]
        whole = ExpectationSuiteValidationResult(
            success=all(result.success for result in outcomes),
            results=outcomes,
            suite_name=table,
            statistics=_statistics(outcomes),
            meta=parts[0].meta,
        )
        return findings, whole

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


def _statistics(results: Sequence[Any]) -> dict[str, Any]:
    good = sum(bool(result.success) for result in results)
    return {
        "evaluated_expectations": len(results),
        "successful_expectations": good,
        "unsuccessful_expectations": len(results) - good,
        "success_percent": 100.0 * good / max(len(results), 1),
    }


def write_page(folder: Path, table: str, result: ExpectationSuiteValidationResult) -> None:
    """Write a table's page of the Data Docs: the newest validation."""
    folder.mkdir(parents=True, exist_ok=True)
    page = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result))
    (folder / f"{table}.html").write_text(page, encoding="utf-8")


def write_index(folder: Path, lines: Sequence[tuple[str, str, str]]) -> Path:
    """Write the first page of the Data Docs; a line for each table: name, status, when it was validated."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = [
        (f'<a href="{html.escape(table)}.html">{html.escape(table)}</a>', html.escape(status), html.escape(at))
        for table, status, at in lines
    ]
    rows = "\n".join(f"<tr><td>{'<td>'.join(line)}</tr>" for line in cells)
    path = folder / "index.html"
    path.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><title>cloudlake: data quality</title>"
        "<style>body{font:16px sans-serif;margin:2em auto;max-width:60em}td,th{text-align:left;padding:.3em 1.5em .3em 0}</style>"
        f"<h1>Data quality</h1><table><tr><th>table<th>expectations<th>validated</tr>\n{rows}\n</table></html>\n",
        encoding="utf-8",
    )
    return path
