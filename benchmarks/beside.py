"""What a change is worth: one row of the README's table measured in this checkout and in another one, in turn.

    .venv/bin/python benchmarks/beside.py ROW [--beside CHECKOUT] [--rounds 1]

Rows: `full` (default delivery, empty lake), `day` (one more day of 720 events on it), `nothing` (nothing new), `full-large`
and `day-large` (the same on 2.16 million events), `stream` (landing → silver of 2.16 million events, beside DuckDB),
`fresh` (landing → live read at 500 events a second), `snapshots` (three years of daily exports), `merge` (changes in 1 %
of a million keys beside a plain MERGE), `tests`, `setup` (a clean clone set up, and the quick start).

The other checkout is set up and of an older commit. Prints seconds, CPU seconds of the whole process tree, and old ÷ new;
writes benchmarks/results/beside-ROW.json. Machines are noisy: compare ratios, and CPU rather than wall time.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

from run import ROOT, Measured, generate, run, show
from yardstick import yardstick

LAST_DAY = date(2025, 8, 31)
LARGE = ("--events-per-day", "36000", "--files", "400")
DAY = 720
BY_SCRIPT = {
    "fresh": ("benchmarks/stream.py", "--only", "steady"),
    "snapshots": ("benchmarks/snapshots.py",),
    "merge": ("benchmarks/scd2.py", "--only", "changes"),
}
"""Rows that a benchmark of their own measures: the yardstick is in it."""


class Lake:
    """A landing zone and a lake that one checkout fills."""

    def __init__(self, checkout: Path, scratch: Path, *size: str) -> None:
        self.checkout, self.landing, self.lake = checkout, scratch / "landing", scratch / "lake"
        generate(self.landing, *size)

    def batch(self, what: str) -> Measured:
        where = ("--landing", str(self.landing), "--lake", str(self.lake))
        return run(what, "scripts/run_batch_pipeline.sh", *where, checkout=self.checkout)[0]

    def add_day(self, number: int) -> None:
        """Land 720 of the last day's events again, as those of a later day."""
        folder, day = self.landing / "usage_events_stream", LAST_DAY + timedelta(days=number)
        lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines())
        mine = [line for line in lines if f'"timestamp":"{LAST_DAY}T' in line][:DAY]
        moved = [line.replace(str(LAST_DAY), str(day)).replace("evt_", f"evt_{number}_") for line in mine]
        (folder / f"day_{day}.jsonl").write_text("\n".join(moved) + "\n")

    def one_more_day(self) -> Measured:
        """The second of two further days: the first one settles the files of the first build."""
        self.batch("first")
        self.add_day(1)
        self.batch("settle")
        self.add_day(2)
        return self.batch("one more day")


def full(checkout: Path, scratch: Path, *size: str) -> Measured:
    return Lake(checkout, scratch, *size).batch("full run")


def day(checkout: Path, scratch: Path, *size: str) -> Measured:
    return Lake(checkout, scratch, *size).one_more_day()


def day_large(checkout: Path, scratch: Path) -> Measured:
    """One more day on the large delivery; its ratio is to one more day on the default delivery."""
    small, large = day(checkout, scratch / "small"), day(checkout, scratch / "large", *LARGE)
    large.ratio = large.cpu_seconds / small.cpu_seconds
    large.what += f": {large.ratio:.2f} × that on the default delivery"
    return large


def nothing(checkout: Path, scratch: Path) -> Measured:
    lake = Lake(checkout, scratch)
    lake.batch("first")
    return lake.batch("nothing new")


def stream(checkout: Path, scratch: Path) -> Measured:
    lake = Lake(checkout, scratch, *LARGE)
    where = ("--landing", str(lake.landing), "--lake", str(lake.lake))
    before = yardstick(lake.landing, scratch / "yardstick.parquet")
    found, _ = run("landing → silver", "scripts/run_streaming_pipeline.sh", "once", *where, checkout=checkout)
    found.ratio = found.seconds / min(before, yardstick(lake.landing, scratch / "yardstick.parquet"))
    found.what += f", start of Java included: {found.ratio:.1f} × DuckDB"
    return found


def tests(checkout: Path, scratch: Path) -> Measured:
    return run("the tests", "scripts/run_tests.sh", checkout=checkout)[0]


def setup(checkout: Path, scratch: Path) -> Measured:
    clone = scratch / "clone"
    subprocess.run(["git", "clone", "--quiet", str(checkout), str(clone)], check=True)
    return run("set-up and quick start", "scripts/quick_start.sh", checkout=clone)[0]


ROWS: dict[str, Callable[[Path, Path], Measured]] = {
    "full": full,
    "day": day,
    "nothing": nothing,
    "full-large": lambda checkout, scratch: full(checkout, scratch, *LARGE),
    "day-large": day_large,
    "stream": stream,
    "tests": tests,
    "setup": setup,
}


def measured(row: str, checkouts: list[Path], rounds: int) -> Iterator[Measured]:
    """Measure a row in each checkout in turn, the other one first; `ratio` of this one's is old ÷ new CPU seconds."""
    for number in range(rounds):
        old = None
        for checkout in checkouts:
            scratch = Path(tempfile.mkdtemp(prefix="cloudlake-beside-"))
            try:
                found = ROWS[row](checkout, scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            found.what = f"{row}, round {number + 1}, {checkout.name}: {found.what}"
            if old is not None:
                found.ratio = old.cpu_seconds / found.cpu_seconds
            old = found
            yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=[*ROWS, *BY_SCRIPT])
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="a checkout of another commit, set up")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    checkouts = [path.resolve() for path in (options.beside, ROOT) if path is not None]
    if options.row in BY_SCRIPT:
        for checkout in checkouts:
            python = str(checkout / ".venv" / "bin" / "python")
            subprocess.run([python, *BY_SCRIPT[options.row]], cwd=checkout, check=True)
        return
    show(list(measured(options.row, checkouts, options.rounds)), f"beside-{options.row}.json")


if __name__ == "__main__":
    main()
