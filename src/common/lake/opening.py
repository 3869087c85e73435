"""Delta tables opened without Spark, wherever they lie."""

from __future__ import annotations

import os

from deltalake import DeltaTable

from .stores import rust_options


def is_table(path: str | os.PathLike[str]) -> bool:
    """Tell whether a Delta table lies at `path`."""
    return DeltaTable.is_deltatable(str(path), rust_options(path))


def open_table(
    path: str | os.PathLike[str], version: int | None = None, *, without_files: bool = False, skip_stats: bool = False
) -> DeltaTable:
    """Open the table at `path` without Spark, wherever it lies."""
    return DeltaTable(str(path), version, rust_options(path), without_files=without_files, skip_stats=skip_stats)
