"""Named crash points, so that a test can kill the process between any two commits."""

from __future__ import annotations

import os
import signal


def crash_point(name: str) -> None:
    """Kill this process at once where the environment variable CLOUDLAKE_CRASH_AT names this point."""
    if os.environ.get("CLOUDLAKE_CRASH_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
