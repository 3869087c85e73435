"""Three years of daily exports of the masters that land at once, and the next day's on top of them.

80 organisations, 800 users and 400 resources, of which 2 % change a day. The next day on the long history should cost
no more than on a short one. Prints a table and writes benchmarks/results/snapshots.json; seconds of CPU are of the whole
process tree.

    .venv/bin/python benchmarks/snapshots.py [--days 1100] [--short 30]
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from cloudlake.common.config import load_config
from run import Measured, generate, run, show

CHANGES = {"customers_orgs": "sales_rep", "users": "email", "resources": "tags_json"}
"""Master → the column that changes."""
JOBS = tuple(CHANGES)
FIRST = date(2022, 1, 1)
SHARE = 0.02


class Exports:
    """Masters that change from day to day."""

    def __init__(self, landing: Path) -> None:
        self.rng = random.Random(7)
        self.tables = {name: list(csv.reader((landing / f"{name}.csv").read_text().splitlines())) for name in JOBS}

    def next_day(self) -> None:
        """Let a share of the rows of each master change."""
        for name, (header, *rows) in self.tables.items():
            column = header.index(CHANGES[name])
            for row in rows:
                if self.rng.random() < SHARE:
                    row[column] = self._value(name)

    def _value(self, name: str) -> str:
        number = self.rng.randrange(10**6)
        return {"customers_orgs": f"rep_{number}", "users": f"u{number}@example.com"}.get(name, f'["env:{number}"]')

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, rows in self.tables.items():
            with (folder / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows(rows)


def histories(scratch: Path, short: int, days: int) -> Iterator[Measured]:
    """Load a short and a long history at once, and the next day on each."""
    generate(
        scratch / "masters",
        "--clean",
        "--days",
        "1",
        "--files",
        "1",
        "--events-per-day",
        "10",
        "--rate",
        "missing_values=0",
    )
    nights = []
    for length in (short, days):
        exports, landing, lake = Exports(scratch / "masters"), scratch / f"landing_{length}", scratch / f"lake_{length}"
        for day in range(length):
            exports.next_day()
            exports.write(landing / str(FIRST + timedelta(days=day)))
        where = ("--landing", str(landing), "--lake", str(lake), "--jobs", *JOBS)
        loaded, _ = run(f"{length} daily snapshots of three masters at once", "scripts/run_batch_pipeline.sh", *where)
        lake_of = load_config(lake=str(lake)).lake
        commits = {name: len(lake_of.commits(f"silver.{name}")) for name in JOBS}
        loaded.what += f"; commits of a history: {max(commits.values())}"
        yield loaded
        exports.next_day()
        exports.write(landing / str(FIRST + timedelta(days=length)))
        night, _ = run(f"the next day on {length}", "scripts/run_batch_pipeline.sh", *where)
        nights.append(night)
        night.ratio = night.cpu_seconds / nights[0].cpu_seconds
        yield night


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=1100)
    parser.add_argument("--short", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloudlake-snapshots-") as scratch:
        show(list(histories(Path(scratch), options.short, options.days)), "snapshots.json")


if __name__ == "__main__":
    main()
