"""How long a publication into PostgreSQL takes, beside a plain COPY of the same rows by psql into tables without a key.

Over a lake that is there, which is copied and not touched, or one of the product's own run over a generated delivery
(`--events-per-day 36000` is two million events, minutes). The server is a private one, as the tests have it, and forgets
everything. Prints a table and writes benchmarks/results/postgres.json: first publication, nothing new, one day that costs
more in gold.usage_hourly, every row compared.

    .venv/bin/python benchmarks/postgres.py [--lake DIR | --events-per-day N]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_postgresql import dbapi
from cloudlake.common.config import Config, load_config
from cloudlake.serving.postgres import Published, publish
from cloudlake.serving.publication import publish as put_in_force

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from postgres_server import Server  # noqa: E402
from queries import build  # noqa: E402

CHANGED = "gold.usage_hourly"


def copied(lake: Path, scratch: Path) -> Config:
    """Copy what is published of a lake, so that a table of it can be changed."""
    target = scratch / "lake"
    shutil.copytree(
        lake, target, ignore=shutil.ignore_patterns("bronze", "quarantine", "landing", "checkpoints")
    )
    landing = scratch / "nothing"
    landing.mkdir()
    return load_config(lake=str(target), landing=str(landing))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def a_day_costs_more(config: Config) -> int:
    """Write the last date of a mart anew with other costs, as a run does, and put it in force; returns its rows."""
    table = config.registry[CHANGED]
    newest = config.lake.newest(CHANGED, "usage_date")
    rows = config.lake.read_small(CHANGED, filters=[("usage_date", "=", newest)])
    place = rows.column_names.index("cost_usd")
    dearer = pc.add(rows["cost_usd"], pa.scalar(1)).cast(rows.schema.field(place).type)
    rows = rows.set_column(place, rows.schema.field(place), dearer)
    config.lake.replace_small(rows, table, where=f"usage_date = '{newest}'", note=config.lake.last_note(CHANGED))
    put_in_force(config, "dearer")
    return len(rows)


def copy_of(server: Server, told: list[Published], folder: Path) -> float:
    """Return how long psql takes to copy the published rows from CSV files into tables without a key, in one transaction."""
    names = [one.table.partition(".")[2] for one in told]
    files = {name: folder / f"{name}.csv" for name in names}
    psql = [str(server.bin / "psql"), server.dsn(), "-q", "-v", "ON_ERROR_STOP=1"]
    out = [f"\\copy cloudlake.{name} to '{file}' csv" for name, file in files.items()]
    made = ["CREATE SCHEMA plain;", *(f"CREATE TABLE plain.{name} (LIKE cloudlake.{name});" for name in names)]
    into = ["BEGIN;", *(f"\\copy plain.{name} from '{file}' csv" for name, file in files.items()), "COMMIT;"]
    subprocess.run(psql, input="\n".join([*out, *made]), text=True, check=True)
    seconds, _ = timed(lambda: subprocess.run(psql, input="\n".join(into), text=True, check=True))
    return seconds


def counted(server: Server) -> int:
    with dbapi.connect(server.dsn()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT sum(row_count)::bigint FROM cloudlake._publications")
        return int(cursor.fetchall()[0][0])


def measure(config: Config, server: Server, scratch: Path) -> dict[str, Any]:
    os.environ["CLOUDLAKE_POSTGRES_DSN"] = server.dsn()
    first, told = timed(lambda: publish(config))
    nothing, _ = timed(lambda: publish(config))
    changed = a_day_costs_more(config)
    day, _ = timed(lambda: publish(config))
    full, _ = timed(lambda: publish(config, full=True))
    copy = copy_of(server, told, scratch)
    seconds = {"copy": copy, "first": first, "nothing_new": nothing, "one_day": day, "full": full}
    return {
        "tables": len(told),
        "rows": counted(server),
        "rows_of_the_day": changed,
        "seconds": seconds,
        "first_by_copy": first / copy,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", help="a lake that has been published")
    parser.add_argument("--events-per-day", type=int, default=720)
    options = parser.parse_args()
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            lake = Path(options.lake) if options.lake else build(scratch, options.events_per_day)
            (scratch / "copy").mkdir()
            config = copied(lake, scratch / "copy")
            usage = config.lake.read_small("gold.org_daily_usage_by_service", columns=["events"])
            told = {"events": pc.sum(usage["events"]).as_py(), "load": os.getloadavg()[0], "cores": os.cpu_count()}
            told |= measure(config, server, scratch)
    finally:
        server.remove()
    print(
        f"{told['events']:,} events, {told['rows']:,} rows of {told['tables']} tables, load {told['load']:.1f} on {told['cores']} cores"
    )
    for name, seconds in told["seconds"].items():
        print(f"{name:12} {seconds:7.2f} s  {seconds / told['seconds']['copy']:6.1f} x COPY")
    target = ROOT / "benchmarks" / "results" / "postgres.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
