"""Real receivers of notifications on this machine: an HTTP server and an SMTP server that keep what they are told."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller


class Webhook:
    """A real HTTP server that keeps what it is told; `answer` is the status it gives."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.tokens: set[str | None] = set()
        self.answer = 200
        self.asked = 0
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                webhook.asked += 1
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if webhook.answer == 200:
                    webhook.told.append((self.headers["Idempotency-Key"], body))
                webhook.tokens.add(self.headers["Authorization"])
                self.send_response(webhook.answer)
                if webhook.answer == 302:
                    self.send_header("Location", webhook.url)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextmanager
def listening() -> Iterator[Webhook]:
    """A webhook for the length of a block."""
    hook = Webhook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


class Mailbox:
    """A real SMTP server that keeps what it is sent."""

    def __init__(self, port: int = 0) -> None:
        self.mails: list[Any] = []
        self.port = port or free_port()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope)
        return "250 kept"

    @contextmanager
    def open(self) -> Iterator[Mailbox]:
        controller = Controller(self, hostname="127.0.0.1", port=self.port, loop=asyncio.new_event_loop())
        controller.start()
        try:
            yield self
        finally:
            controller.stop()
            controller.loop.close()

    @property
    def target(self) -> dict[str, Any]:
        return {"kind": "email", "host": "127.0.0.1", "port": self.port, "sender": "a@x.org", "recipients": ["b@x.org"]}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
