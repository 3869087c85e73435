"""A real S3 server on a free port of 127.0.0.1, in memory, and a proxy before it that misbehaves as it is told."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType

import pytest
from cloudlake.common.lake.storage import Storage

KEY, SECRET = "key-of-the-tests", "secret-of-the-tests"
BUCKET = "lake"


def server_program() -> Path:
    program = Path(sys.executable).with_name("gofakes3")
    if not program.exists():
        missing = f"{program}: there is no S3 server; scripts/install_test_services.sh builds it where there is Go"
        assert not os.environ.get("CI"), missing
        pytest.skip(missing)
    return program


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class S3Server:
    """gofakes3 with one bucket; `environment` is what leads cloudlake there."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [server_program(), "-backend", "memory", "-host", f"127.0.0.1:{self.port}", "-initialbucket", BUCKET],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the S3 server did not start")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Proxy:
    """Stands before a server. `behaviour` says what becomes of a request, from its method and path:

    "pass"; "503"; "slow": no answer for a second; "cut": it is passed on, and its answer is not. `seen` counts what it did.
    """

    def __init__(self, server: S3Server) -> None:
        self.behaviour = lambda method, path: "pass"
        self.seen: list[tuple[str, str, str]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_all(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                does = proxy.behaviour(self.command, self.path)
                proxy.seen.append((does, self.command, self.path))
                if does == "503":
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if does == "slow":
                    time.sleep(1.5)
                    self.close_connection = True
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    upstream.putheader(name, value)
                upstream.endheaders(body)
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                if does == "cut":
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_all

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def upload(folder: Path, zone: Storage) -> None:
    """Put the files of a folder in the store, under the same names."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            zone.replace(str(file.relative_to(folder)), file.read_bytes())
