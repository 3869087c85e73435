"""A private PostgreSQL for tests: its own folder, a free port of 127.0.0.1, gone with its fixture."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest

PASSWORD = "secret word"


def binaries() -> Path | None:
    """Where the server's programs are: Debian's newest, else those on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).parent if on_path else None


class Server:
    """A server; as root it runs as the user postgres, because it refuses root."""

    def __init__(self) -> None:
        where = binaries()
        if where is None:
            missing = "no PostgreSQL is installed; scripts/install_test_services.sh installs it as root"
            assert not os.environ.get("CI"), missing
            pytest.skip(missing)
        self.bin = where
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        if self.user:
            shutil.chown(self.folder, "postgres")
        (self.folder / "password").write_text(f"{PASSWORD}\n")
        (self.folder / "password").chmod(0o644)
        self.run("initdb", "-D", "data", "-U", "cloudlake", "-A", "scram-sha-256", "--pwfile=password", "-E", "UTF8", "--locale=C", "--no-sync")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([*self.user, str(self.bin / program), *arguments], cwd=self.folder, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL) if program != "pg_ctl" else subprocess.run(
            [*self.user, str(self.bin / program), *arguments], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, (program, arguments, done.stderr)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c full_page_writes=off"
        self.run("pg_ctl", "-D", "data", "-w", "-t", "30", "-l", "log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder)

    def dsn(self, password: str = quote(PASSWORD), database: str = "postgres") -> str:
        return f"postgresql://cloudlake:{password}@127.0.0.1:{self.port}/{database}"
