"""The dashboard's speed on a built lake: first load of each page in a new browser, and 20 readers at once.

    .venv/bin/python benchmarks/dashboard.py --lake datalake [--seconds 20] [--beside "scripts/run_batch_pipeline.sh …"]

`--beside` is a command that runs while the readers read, such as a batch run on another lake or on this one. Readers ask for
pages one after the other, each time as a browser that has none of it, a tenth of a second apart. Prints a line for each
number and writes them as JSON with --out. Promised: first load ≤ 1 s, p95 of 20 readers ≤ 300 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("/", "/finops", "/customers", "/support", "/product", "/operations")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def started(lake: str) -> tuple[subprocess.Popen[str], str]:
    """Start the server on a free port; return it and its address."""
    command = [sys.executable, "-m", "cloudlake.cli", "dashboard", "--lake", lake, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert server.stdout is not None
    found = re.search(r"http://\S+", server.stdout.readline())
    assert found, "the dashboard did not start"
    return server, found[0]


def first_loads(url: str) -> dict[str, float]:
    """Return the milliseconds from asking for each page to its drawn charts, each in a browser context without a cache."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        browser.new_page().goto("about:blank")
        for path in PAGES:
            page = browser.new_context().new_page()
            page.goto(url + path)
            page.wait_for_selector("body[data-ready]")
            found[path] = float(page.evaluate("document.body.dataset.ready"))
            page.close()
        browser.close()
    return found


def readers(url: str, count: int, seconds: float) -> list[float]:
    """Return the milliseconds of every answer that `count` readers had."""
    took: list[float] = []
    end = time.monotonic() + seconds

    def read(number: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            turn = number
            while time.monotonic() < end:
                begun = time.monotonic()
                client.get(PAGES[turn % len(PAGES)]).raise_for_status()
                took.append(1000 * (time.monotonic() - begun))
                turn += 1
                time.sleep(0.1)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def measured(lake: str, seconds: float, beside: str) -> dict[str, Any]:
    """Start the server, measure, end it."""
    server, url = started(lake)
    try:
        time.sleep(3)  # a person needs longer to type the address
        begun = time.monotonic()
        httpx.get(url, timeout=30)
        answered = round(1000 * (time.monotonic() - begun), 1)
        first = first_loads(url)
        other = subprocess.Popen(shlex.split(beside), stdout=subprocess.DEVNULL) if beside else None
        if other:
            time.sleep(5)
        took = readers(url, 20, seconds)
        is_beside = other is not None and other.poll() is None
        if other:
            other.wait()
    finally:
        server.terminate()
        server.wait()
    p50, p95 = (quantiles(took, n=100)[at - 1] for at in (50, 95))
    return {
        "first_answer_ms": answered, "first_load_ms": first, "answers": len(took), "p50_ms": round(p50, 1), "p95_ms": round(p95, 1),
        "max_ms": round(max(took), 1), "beside": beside, "beside_ran_to_the_end": is_beside, "load_average": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", default="datalake")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--beside", default="", help="a command to run meanwhile")
    parser.add_argument("--out", help="write the numbers here as JSON")
    options = parser.parse_args()
    found = measured(options.lake, options.seconds, options.beside)
    for name, value in found.items():
        print(f"{name:24} {value}")
    if options.out:
        Path(options.out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
