"""The bundle in a real Superset over a real PostgreSQL: imported, opened in Chromium, every chart drawn, a filter tried.

A small lake written by hand is published into a private server. Exit code 1 where the import or a chart fails; the
dashboard's picture is kept to be looked at. scripts/check_superset.sh makes the environment and calls this.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]
import bundle  # noqa: E402
import dashboard_lake  # noqa: E402
from cloudlake.serving.postgres import publish  # noqa: E402
from postgres_server import PASSWORD, Server  # noqa: E402

SETTINGS = """
SECRET_KEY = {key!r}
SQLALCHEMY_DATABASE_URI = "sqlite:///{folder}/superset.db"
TALISMAN_ENABLED = False
"""


class Superset:
    """A Superset with its own folder, to which commands are given."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.log = folder / "superset.log"
        self.password = secrets.token_hex(8)
        settings = folder / "superset_config.py"
        settings.write_text(SETTINGS.format(key=secrets.token_hex(24), folder=folder), encoding="utf-8")
        self.environment = {**os.environ, "SUPERSET_CONFIG_PATH": str(settings), "FLASK_APP": "superset"}

    def run(self, *command: str) -> None:
        """Run a command to its end.

        Raises:
            SystemExit: it failed; its last lines are shown.
        """
        print(f"superset {command[0]}", flush=True)
        done = subprocess.run(
            [self.program, *command], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"superset {' '.join(command[:2])} failed:\n{(done.stdout + done.stderr)[-3000:]}")

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve the pages while the block runs; yields the address."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        with self.log.open("w", encoding="utf-8") as log:
            server = subprocess.Popen(
                [self.program, "run", "-h", "127.0.0.1", "-p", str(port)], env=self.environment, stdout=log, stderr=log
            )
            try:
                _wait_for(f"{address}/health")
                yield address
            finally:
                server.terminate()
                server.wait(30)


def _wait_for(address: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("Chromium: none found; scripts/install_test_services.sh installs it as root")
    return found


def _log_in(page: Page, address: str, password: str) -> None:
    page.goto(f"{address}/login/")
    page.fill("input[type=text]", "admin")
    page.fill("input[type=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url, timeout=120_000)


def imported(page: Page, address: str, file: Path, database_password: str) -> list[str]:
    """Import a bundle of the type `assets`, with the password that it leaves open; returns what is wrong."""
    token = page.request.get(f"{address}/api/v1/security/csrf_token/").json()["result"]
    answer = page.request.post(
        f"{address}/api/v1/assets/import/",
        headers={"X-CSRFToken": token, "Referer": f"{address}/"},
        multipart={
            "bundle": {"name": file.name, "mimeType": "application/zip", "buffer": file.read_bytes()},
            "passwords": json.dumps({"databases/cloudlake.yaml": database_password}),
        },
        timeout=300_000,
    )
    return [] if answer.ok else [f"import: {answer.status} {answer.text()[:2000]}"]


def looked_at(page: Page, address: str, charts: int, picture: str) -> list[str]:
    """Open the dashboard until every chart is drawn, and take its picture; returns what is wrong."""
    failed: list[str] = []
    page.on("response", lambda answer: failed.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.goto(f"{address}/superset/dashboard/cloudlake/")
    # A chart asks for its data when it comes into view: the window is as high as the page.
    drawn = "document.querySelectorAll('[data-test=slice-container]').length"
    busy = "document.querySelectorAll('[data-test=loading-indicator]').length"
    page.wait_for_function(f"{drawn} >= {charts} && {busy} === 0", timeout=300_000)
    page.wait_for_timeout(3000)  # the last animation
    page.screenshot(path=picture)
    empty = page.get_by_text("No results were returned for this query").count()
    told = page.locator("[role=alert]").all_inner_texts()
    return [*failed, *told, *([f"{empty} chart(s) without rows"] if empty else [])]


def main() -> int:
    """Import the bundle and look at it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--superset", required=True, help="its program, in an environment of its own")
    parser.add_argument("--picture", required=True, help="where the dashboard's picture goes")
    options = parser.parse_args()
    server = Server()
    faults: list[str] = []
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            os.environ["CLOUDLAKE_POSTGRES_DSN"] = server.dsn()
            config = dashboard_lake.build(folder)
            publish(config)
            address = server.dsn("XXXXXXXXXX").replace("postgresql://", "postgresql+psycopg2://")
            files = bundle.files(config, address, kind="assets")
            bundle.write(folder / "bundle.zip", files)
            superset = Superset(options.superset, folder)
            superset.run("db", "upgrade")
            person = ["--firstname", "a", "--lastname", "b", "--email", "admin@example.com"]
            superset.run("fab", "create-admin", "--username", "admin", "--password", superset.password, *person)
            superset.run("init")
            charts = sum("/charts/" in name for name in files)
            with superset.serving() as pages, sync_playwright() as play:
                browser = play.chromium.launch(executable_path=_chromium(), args=["--no-sandbox", "--disable-gpu"])
                page = browser.new_page(viewport={"width": 1400, "height": 3300})
                _log_in(page, pages, superset.password)
                for _ in range(2):  # again, over what is there
                    faults = faults or imported(page, pages, folder / "bundle.zip", PASSWORD)
                faults = faults or looked_at(page, pages, charts, options.picture)
                browser.close()
    finally:
        server.remove()
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    print(f"{len(faults)} fault(s); look at {options.picture}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
