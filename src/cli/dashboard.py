"""`cloudlake dashboard`: serve the pages and the JSON API until interrupted."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from .arguments import Commands, Parser, add_command

if TYPE_CHECKING:
    from ..common.config import Config

TOKEN = "CLOUDLAKE_DASHBOARD_TOKEN"
EXAMPLES = f"""examples:
  scripts/run_dashboard.sh                              on http://127.0.0.1:8090, for this machine only
  scripts/run_dashboard.sh --port 8091 --lake /data/lake
  {TOKEN}=$(openssl rand -hex 16) scripts/run_dashboard.sh --host 0.0.0.0
"""


def register(commands: Commands[Parser]) -> None:
    """Add the command."""
    board = add_command(commands, "dashboard", "Serve the dashboard and the JSON API over the lake.", EXAMPLES)
    board.add_argument("--port", type=int, default=8090, metavar="PORT", help="default 8090; 0 takes a free one")
    board.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS",
        help=f"default 127.0.0.1; beyond this machine {TOKEN} must be set",
    )  # fmt: skip
    board.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="another name that browsers may know this server by, such as that of a proxy",
    )  # fmt: skip
    board.set_defaults(run=run)


def run(config: Config, arguments: Namespace) -> int:
    """Serve until interrupted."""
    import socket

    import uvicorn

    from ..alerts import judging
    from ..common.errors import ConfigurationError
    from ..serving.dashboard.security import doors
    from ..serving.dashboard.server import Decisions, application

    let_in = doors(arguments.host, os.environ.get(TOKEN), tuple(arguments.allow_host))
    decisions = Decisions(
        lambda alert, now: judging.acknowledge(config, alert, now),
        lambda alert, until, now: judging.silence(config, alert, None, None, until, now),
    )
    app = application(config, let_in, decisions, warm=True)
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((arguments.host, arguments.port))
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"--host {arguments.host} --port {arguments.port}: can't be served ({error}); take another with --port"
            ) from None
        shown = f"[{arguments.host}]" if family == socket.AF_INET6 else arguments.host
        print(f"dashboard: http://{shown}:{listener.getsockname()[1]} (Ctrl-C ends it)", flush=True)
        uvicorn.Server(settings).run(sockets=[listener])
    return 0
