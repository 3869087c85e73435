"""What gold costs: all of it from two million events, one more day on a short and on a long history, nothing new.

The long history has ten times the days of the short one, at the same number of events a day. One more day on it should
cost no more than 1.3 times what it costs on the short one. Prints a table and writes benchmarks/results/marts.json.

    .venv/bin/python benchmarks/marts.py [--days 60] [--events-per-day 3600]
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import date, timedelta
from pathlib import Path

from cloudlake.common.config import load_config
from run import Measured, generate, show
from run import run as measured

LAST_DAY = date(2025, 8, 31)


class History:
    """A lake with a history of some days, that takes one more day at a time."""

    def __init__(self, scratch: Path, days: int, events_per_day: int) -> None:
        self.days, self.landing, self.lake = days, scratch / f"landing_{days}", scratch / f"lake_{days}"
        generate(self.landing, "--days", str(days), "--events-per-day", str(events_per_day))
        self.pattern = [line for path in sorted(self.events.glob("*.jsonl")) for line in self._lines_of(path)]

    @property
    def events(self) -> Path:
        return self.landing / "usage_events_stream"

    def _lines_of(self, path: Path) -> list[str]:
        return [line for line in path.read_text().splitlines() if f'"timestamp":"{LAST_DAY}T' in line]

    def add_day(self, number: int) -> None:
        """Land the last day's events again, as those of a later day."""
        day = LAST_DAY + timedelta(days=number)
        lines = [line.replace(str(LAST_DAY), str(day)).replace("evt_", f"evt_{number}_") for line in self.pattern]
        (self.events / f"day_{day}.jsonl").write_text("\n".join(lines) + "\n")

    def batch(self, what: str, *arguments: str) -> tuple[Measured, Measured]:
        """Run the batch; return what the whole of it and what gold alone took."""
        where = ("--landing", str(self.landing), "--lake", str(self.lake))
        whole, _ = measured(what, "scripts/run_batch_pipeline.sh", *where, *arguments)
        rows = load_config(lake=str(self.lake)).lake.rows("ops.job_runs")
        newest = max(row["run_id"] for row in rows)
        gold = [row for row in rows if row["run_id"] == newest and row["step"].startswith("gold.")]
        span = max(row["ended_at"] for row in gold) - min(row["started_at"] for row in gold)
        return whole, Measured(f"{what}: gold", span.total_seconds(), 0.0)


def one_more_day(history: History) -> tuple[Measured, Measured]:
    """The second of two further days: the first one settles the files of the first build."""
    history.add_day(1)
    history.batch("settle")
    history.add_day(2)
    return history.batch(f"one more day on {history.days} days")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--events-per-day", type=int, default=3600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloudlake-marts-") as scratch:
        short = History(Path(scratch), options.days, options.events_per_day)
        long = History(Path(scratch), 10 * options.days, options.events_per_day)
        short.batch("first")
        long.batch("first")
        rows = [*long.batch(f"full gold, {10 * options.days} days", "--jobs", "gold", "--full-reload")]
        for few, many in zip(one_more_day(short), one_more_day(long), strict=True):
            many.ratio = many.seconds / few.seconds
            rows += [few, many]
        rows.append(long.batch("nothing new")[0])
    show(rows, "marts.json")


if __name__ == "__main__":
    main()
