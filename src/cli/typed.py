"""Lines that a message tells people to type, with the folders that they named: without them the line means another lake."""

from __future__ import annotations

import pkgutil
import re
import shlex
from argparse import Namespace
from functools import cache
from importlib import import_module

from .arguments import FOLDERS

_SCRIPTS = "batch_pipeline|streaming_pipeline|serving_layer|dashboard"
_VERBS = "accept|ack|discard|list|once|replay|resend|show|silence|start|status|stop|unsilence|verify"


def folders_of(options: Namespace) -> str:
    """Return the folders that a command was given, as they are typed; empty where it took those of the environment or conf/."""
    named = [(option, getattr(options, option.removeprefix("--"), None)) for option in FOLDERS]
    return " ".join(shlex.join([option, folder]) for option, folder in named if folder)


def typed(text: str, options: Namespace) -> str:
    """Return a message in which every line to type names the folders that this command was given."""
    folders = folders_of(options)
    return _line().sub(lambda line: f"{line[0]} {folders}", text) if folders else text


@cache
def _line() -> re.Pattern[str]:
    """Return the pattern of a line's beginning, up to where the folders go: after the command, and its verb."""
    # A command is a module of this room; the few others are no words that stand after the name.
    names = "|".join(module.name for module in pkgutil.iter_modules(import_module(__package__).__path__))
    start = rf"(?:scripts/run_(?:{_SCRIPTS})\.sh|(?<![\w./-])cloudlake (?:{names})\b)"
    return re.compile(rf"{start}(?: (?:{_VERBS})\b(?!:))?(?! (?:--lake|--landing|--conf|run)\b)")
