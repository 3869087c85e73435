"""`cloudlake export focus`: the charges of the publication in force, as the files that FinOps tools read."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from .arguments import Commands, Parser, add_command, add_verbs, month

if TYPE_CHECKING:
    from ..common.config import Config

EXAMPLES = """examples:
  cloudlake export focus --out exports                              every month, FOCUS 1.4, Parquet
  cloudlake export focus --version 1.2 --format csv --out exports
  cloudlake export focus --from 2025-07 --to 2025-08 --out exports  these months anew, others stay
  cloudlake export focus --org org_1a2b --out for_nimbus            one customer

FOCUS is the FinOps Open Cost and Usage Specification; docs/focus.md says what is in the files and what holds of them.
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    export = add_command(commands, "export", "Write published data as files for other tools.", EXAMPLES)
    verbs = add_verbs(export, "what")
    focus = add_command(
        verbs, "focus", "Every charge, as FOCUS has it: OUT/focus/VERSION/MONTH/.", EXAMPLES, within=True
    )
    focus.add_argument("--version", choices=("1.2", "1.4"), default="1.4", help="of FOCUS (default 1.4)")
    focus.add_argument("--from", dest="first", type=month, metavar="MONTH", help="first month, as in 2025-07")
    focus.add_argument("--to", dest="last", type=month, metavar="MONTH", help="last month")
    focus.add_argument("--org", metavar="ORG", help="one organisation")
    focus.add_argument("--format", choices=("parquet", "csv"), default="parquet", help="of the files (default parquet)")
    focus.add_argument("--out", required=True, metavar="DIR", help="the folder to write into")
    focus.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Export, and say what is in the files."""
    from pathlib import Path

    from ..serving.focus import Selection, export_focus

    selection = Selection(arguments.version, arguments.format, arguments.first, arguments.last, arguments.org)
    told = export_focus(config, Path(arguments.out), selection)
    for name, period in told["periods"].items():
        for file, said in period["files"].items():
            print(f"{name}/{file:24} {said['rows']:>10,} rows  {_costs(said)}".rstrip())
    for dataset, why in told["left_out"].items():
        print(f"{dataset}: not written, {why}")
    run_id = told["publication"]["run_id"]
    laws = {name.split("_")[1] for name in told["laws"]}  # one law is measured twice: law_3_usage_of_a_day, …_of_a_service
    print(f"{Path(arguments.out, 'focus', arguments.version)}: run {run_id}; {len(laws)} laws hold, see metadata.json")
    return 0


def _costs(said: dict[str, Any]) -> str:
    return f"{said['cost_usd']} USD" if "cost_usd" in said else ""
