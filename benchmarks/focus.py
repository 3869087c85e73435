"""What the FOCUS export costs: the whole command over a lake, and a month of a million charges beside DuckDB alone.

DuckDB alone writes the same columns of the same rows as Parquet, in no order, and reads nothing back. Each is a process of
its own, whose peak memory is told. Prints a table and writes benchmarks/results/focus.json.

    .venv/bin/python benchmarks/focus.py --lake DIR [--rows 1000000]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from cloudlake.common.config import load_config
from cloudlake.serving.focus import Selection, export_focus, load_export
from cloudlake.serving.focus.writing import CHARGES, Writer
from cloudlake.serving.queries import open_reader

ROOT = Path(__file__).resolve().parents[1]
MONTH = date(2025, 7, 1)


def exported(lake: str, folder: Path, rows: int) -> int:
    """The whole command; returns the rows that it wrote."""
    told = export_focus(load_config(lake=lake), folder / "out", Selection("1.4"))
    return sum(total["rows"] for total in told["sums"].values())


def _writer(lake: str, folder: Path, rows: int) -> Any:
    """A writer over a month that repeats the lake's charges until there are so many rows."""
    config = load_config(lake=lake)
    settings = load_export(config.conf)
    reader = open_reader(config)
    reader.require([CHARGES])
    reader.connection.execute(f"SET temp_directory = '{folder / 'spill'}'")
    reader.connection.execute(f"SET memory_limit = '{settings.memory_limit}'")
    (there,) = reader.connection.sql(f"SELECT count(*) FROM {CHARGES}").fetchall()[0]
    source = f"""SELECT c.* REPLACE (org_id || '_' || n AS org_id, DATE '{MONTH}' AS billing_month, coalesce(invoice_id, 'i') AS invoice_id)
        FROM lake_charges c, range({-(-rows // there)}) AS times(n)"""
    reader.connection.execute(f"ALTER VIEW {CHARGES} RENAME TO lake_charges")
    reader.connection.execute(f"CREATE VIEW {CHARGES} AS {source.replace('lake_charges', 'gold.lake_charges')}")
    return Writer(reader, "parquet", settings.constants(), {}, None), settings.datasets("1.4")["Cost and Usage"]


def sorted_and_checked(lake: str, folder: Path, rows: int) -> int:
    """One month as the export writes it: in order, and read back."""
    writer, columns = _writer(lake, folder, rows)
    return sum(file.rows for file in writer.charges(folder, MONTH, columns))


def duckdb_alone(lake: str, folder: Path, rows: int) -> int:
    """The same rows and columns, as they come."""
    writer, columns = _writer(lake, folder, rows)
    selected = ", ".join(f'{writer._value(column)} AS "{name}"' for name, column in columns.items())
    target = folder / "plain.parquet"
    copied = writer.reader.connection.execute(
        f"COPY (SELECT {selected} FROM {CHARGES}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)"
    )
    return int(copied.fetchall()[0][0])


def _child(work: Callable[[str, Path, int], int], lake: str, rows: int, told: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="cloudlake-focus-") as folder:
        started, used = time.perf_counter(), time.process_time()
        written = work(lake, Path(folder), rows)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        told.put(
            {
                "rows": written,
                "seconds": time.perf_counter() - started,
                "cpu_seconds": time.process_time() - used,
                "peak_mb": usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2),
            }
        )


def measured(work: Callable[[str, Path, int], int], lake: str, rows: int) -> dict[str, Any]:
    """Run something in a process of its own."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    child = context.Process(target=_child, args=(work, lake, rows, told))
    child.start()
    result: dict[str, Any] = {"what": work.__name__, **told.get(timeout=3600)}
    child.join()
    result["seconds_a_million"] = result["seconds"] * 1_000_000 / result["rows"]
    result["cpu_a_million"] = result["cpu_seconds"] * 1_000_000 / result["rows"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", required=True, help="a lake that has been published")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    lake = str(Path(options.lake).resolve())
    results = [measured(work, lake, options.rows) for work in (exported, sorted_and_checked, duckdb_alone)]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for row in results:
        print(
            f"{row['what']:20} {row['rows']:>10,} rows  {row['seconds']:7.1f} s  {row['cpu_seconds']:7.1f} s of CPU  "
            f"{row['seconds_a_million']:7.1f} s a million  {row['cpu_a_million']:6.1f} of CPU  peak {row['peak_mb']:6.0f} MB"
        )
    target = ROOT / "benchmarks" / "results" / "focus.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"load": os.getloadavg()[0], "results": results}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
