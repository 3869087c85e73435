#!/usr/bin/env python3
"""Write a synthetic landing zone: seven CSV sources, usage events, and manifest.json with their truth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from landing_data import delivery
from landing_data.options import CSV_DIRT, DEFAULT_RATES, EVENT_DIRT, Options, faults

EXAMPLES = """
examples:
  # the default delivery: 60 days, 80 organisations, 43,200 events in 120 files
  scripts/generate_landing_data.py --out datalake/landing --seed 7

  # two million events
  scripts/generate_landing_data.py --out large --events-per-day 36000 --files 400

  # five daily exports of the masters beside the flat ones, to see history grow
  scripts/generate_landing_data.py --out history --snapshots 5

  # nothing injected but 5 % duplicate events
  scripts/generate_landing_data.py --out retries --clean --rate duplicate_events=0.05

exit codes: 0 done, 1 writing failed, 2 bad arguments
"""


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read on."""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def rate(text: str) -> tuple[str, float]:
    """The kind and the share of a `--rate KIND=SHARE`."""
    kind, _, share = text.partition("=")
    if kind not in DEFAULT_RATES:
        known = ", ".join(DEFAULT_RATES)
        raise argparse.ArgumentTypeError(f"no kind of dirt is called {kind!r}; there are {known}")
    try:
        return kind, float(share)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write KIND=SHARE, such as {kind}=0.01") from None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    kinds = "\n".join(
        ["kinds of injected dirt, and their default rates as a share of all lines of events:"]
        + [f"  {kind:<25} {share:<7g} {meaning}" for kind, (share, meaning) in EVENT_DIRT.items()]
        + ["and as a share of the rows of a CSV file:"]
        + [f"  {kind:<25} {share:<7g} {meaning}" for kind, (share, meaning) in CSV_DIRT.items()]
    )
    command = OneLineParser(
        prog="generate_landing_data.py",
        description=__doc__,
        epilog=f"{kinds}\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = Options()
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write; made if missing")
    for name, meaning in (
        ("seed", "equal seed and options give equal bytes"),
        ("days", "days of events, the last one 2025-08-31"),
        ("orgs", "organisations; users, resources, invoices, tickets, touches and surveys grow with them"),
        ("events-per-day", "lines of events a day, injected ones included"),
        ("files", "files of events; each spans all days"),
        ("snapshots", "dated daily exports of the masters beside the flat files"),
    ):
        default = getattr(usual, name.replace("-", "_"))
        command.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{meaning} (default {default})")
    command.add_argument(
        "--rate", type=rate, action="append", default=[], metavar="KIND=SHARE",
        help="how much of one kind of injected dirt, 0 to 0.5; may be repeated (kinds below)",
    )  # fmt: skip
    command.add_argument(
        "--clean", action="store_true", help="inject only what --rate asks for; the measured dirt stays"
    )
    command.add_argument(
        "--force", action="store_true", help="write although DIR holds landing files of another origin"
    )
    return command


def main(arguments: list[str] | None = None) -> int:
    """Write the landing zone that the command line asks for."""
    command = parser()
    asked = command.parse_args(arguments)
    usual = dict.fromkeys(DEFAULT_RATES, 0.0) if asked.clean else DEFAULT_RATES
    options = Options(
        seed=asked.seed,
        days=asked.days,
        orgs=asked.orgs,
        events_per_day=asked.events_per_day,
        files=asked.files,
        snapshots=asked.snapshots,
        rates=usual | dict(asked.rate),
    )
    if found := faults(options):
        command.error("; ".join(found))
    try:
        (asked.out / delivery.EVENTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        command.error(f"--out {asked.out} cannot be written: {error.strerror}")
    try:
        sources = delivery.write(asked.out, options, asked.force)
    except delivery.OccupiedError as error:
        command.error(f"{error}: choose another --out, or --force to overwrite files of the same name")
    except OSError as error:
        print(f"{command.prog}: error: writing to {asked.out} failed: {error}", file=sys.stderr)
        return 1
    events = sources["usage_events"]
    print(f"{asked.out}: {events['rows']:,} events in {events['files']:,} files, and the CSV sources")
    return 0


if __name__ == "__main__":
    sys.exit(main())
