"""Lines that a message tells people to type, with the folders that they named: without them the line means another lake."""

from __future__ import annotations

import re
import shlex
from argparse import Namespace

from .arguments import FOLDERS

_VERBS = "accept|ack|discard|list|once|replay|resend|show|silence|start|status|stop|unsilence|verify"
_COMMANDS = (
    "alerts|backfill|dashboard|dictionary|doctor|erase|gate|history|lineage|maintain|publish|quality|quarantine|query|report|"
    "rollback|runs|schema|sql|status"
)
_LINE = re.compile(
    r"(?:scripts/run_(?:batch_pipeline|streaming_pipeline|serving_layer|dashboard)\.sh"
    rf"|(?<![\w./-])cloudlake (?:{_COMMANDS}))"
    rf"(?: (?:{_VERBS})\b(?!:))?(?! (?:--lake|--landing|--conf|run)\b)"
)


def folders_of(options: Namespace) -> str:
    """Return the folders that a command was given, as they are typed; empty where it took those of the environment or conf/."""
    named = [(option, getattr(options, option.removeprefix("--"), None)) for option in FOLDERS]
    return " ".join(shlex.join([option, folder]) for option, folder in named if folder)


def typed(text: str, options: Namespace) -> str:
    """Return a message in which every line to type names the folders that this command was given."""
    folders = folders_of(options)
    return _LINE.sub(lambda line: f"{line[0]} {folders}", text) if folders else text
