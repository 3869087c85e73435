"""The dashboard in a real Chromium over a hand-made lake: what a person sees, types and is told. No Spark, no batch run."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dashboard_lake as lake
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from cloudlake.alerts import judging
from cloudlake.cli.main import main
from cloudlake.common.config import Config
from cloudlake.serving.dashboard import server
from cloudlake.serving.dashboard.security import doors
from cloudlake.serving.publication import publish
from cloudlake.serving.queries import answer, open_reader
from flow import wait_for
from playwright.sync_api import Browser, Page, expect, sync_playwright

PAGES = ("/", "/finops", "/customers", "/support", "/product", "/operations", "/customers/org_a", "/queries", "/queries/daily-costs")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None and not os.environ.get("CI"):
    pytest.skip("no Chromium is installed; scripts/install_test_services.sh installs it as root", allow_module_level=True)
SERIES = """place => echarts.getInstanceByDom(place).getOption().series.map(one => [one.name, one.data])"""
MISSED = """query => [...document.querySelectorAll(query)]
    .filter(one => one.checkVisibility() && !window.reached.has(one)).map(one => one.outerHTML)"""
FOCUSABLE = "a[href], button, select, input:not([type=hidden]), summary, [tabindex='0']"


class Served:
    """A dashboard that serves a lake from this process."""

    def __init__(self, config: Config) -> None:
        decisions = server.Decisions(
            lambda alert, now: judging.acknowledge(config, alert, now),
            lambda alert, until, now: judging.silence(config, alert, None, None, until, now),
        )
        app = server.application(config, doors("127.0.0.1", None), decisions)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        self.thread.start()
        wait_for(lambda: self.server.started)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """An open page looks again three times a second, and the server with it."""
    patch = pytest.MonkeyPatch()
    patch.setattr(server, "REFRESH_SECONDS", 0.3)
    patch.setattr("cloudlake.serving.dashboard.snapshots.LOOK_AGAIN_SECONDS", 0.2)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "CI needs Chromium: scripts/install_test_services.sh installs it as root"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return lake.build(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def board(config: Config) -> Iterator[Served]:
    found = Served(config)
    yield found
    found.stop()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[[bool], tuple[Config, Served]]]:
    """A lake of a test's own, built or empty, and a dashboard over it."""
    found: list[Served] = []

    def made(is_built: bool) -> tuple[Config, Served]:
        config = lake.build(tmp_path) if is_built else lake.opened(tmp_path)
        found.append(Served(config))
        return config, found[-1]

    yield made
    for one in found:
        one.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose errors, and whose requests to anywhere but this machine, fail the test."""
    yield from watched(browser)


def watched(browser: Browser, **about: Any) -> Iterator[Page]:
    wrong: list[str] = []
    found = browser.new_page(**about)
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("console", lambda said: wrong.append(said.text) if said.type == "error" and "503" not in said.text else None)
    found.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(("http://127.0.0.1:", "file:", "data:")) else None)
    yield found
    found.close()
    assert not wrong


def go(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("body[data-ready]")


def numbers(page: Page, title: str) -> dict[str, list[Any]]:
    """What the chart under a title holds, as ECharts has it."""
    place = page.locator("figure.chart", has=page.get_by_role("heading", name=title, exact=True)).locator("[data-chart]")
    return dict(place.evaluate(SERIES))


def pivoted(config: Config, query: str, filters: dict[str, str], along: str, group: str, value: str) -> dict[str, list[float]]:
    """The same from the query itself."""
    with open_reader(config) as reader:
        rows = answer(reader, query, filters).rows()
    axis = sorted({row[along] for row in rows})
    found = {(row[group], row[along]): float(row[value]) for row in rows}
    return {name: [found.get((name, at), 0) for at in axis] for name in sorted({row[group] for row in rows})}


def test_every_page_draws_its_charts_and_fits_a_phone(board: Served, page: Page) -> None:
    for path in PAGES:
        page.set_viewport_size({"width": 1280, "height": 900})
        go(page, board.url + path)
        expect(page.locator("h1")).to_have_count(1)
        charts = page.locator("[data-chart]")
        assert charts.count() == page.locator("[data-chart] svg").count()
        assert charts.count() > 0 or path in ("/queries", "/queries/daily-costs")
        page.set_viewport_size({"width": 390, "height": 844})
        wait_for(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"), 5)  # charts shrink after it


BROKEN_WORDS = """() => [...document.querySelectorAll('td:not(.long)')].flatMap(cell => {
    const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), range = document.createRange(), found = [];
    while (walk.nextNode()) for (const word of walk.currentNode.data.matchAll(/[\\w,.$%]+/g)) {
        range.setStart(walk.currentNode, word.index); range.setEnd(walk.currentNode, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) found.push(word[0]);
    }
    return found;
})"""


def test_no_word_of_a_table_is_broken_and_the_buttons_of_a_row_are_in_sight(board: Served, page: Page) -> None:
    for width in (1280, 1000):
        page.set_viewport_size({"width": width, "height": 900})
        for path in ("/product", "/operations", "/customers", "/customers/org_a"):
            go(page, board.url + path)
            assert page.evaluate(BROKEN_WORDS) == [], (path, width)
    page.set_viewport_size({"width": 700, "height": 900})
    go(page, f"{board.url}/operations")
    alerts = page.locator(".scroll[aria-label=Alerts]")
    box = alerts.bounding_box()
    assert box and alerts.evaluate("it => it.scrollWidth > it.clientWidth"), "the row is wider than its box"
    buttons = [one.bounding_box() for one in alerts.get_by_role("button").all()]
    assert len(buttons) >= 2 and all(one and one["x"] + one["width"] <= box["x"] + box["width"] for one in buttons)


def test_charts_hold_the_numbers_that_the_queries_give_and_filters_change_them_and_the_address(
    config: Config, board: Served, page: Page
) -> None:
    how = ("usage_date", "service", "cost_usd")
    go(page, board.url + "/finops")
    everybody = numbers(page, "Cost by day and service")
    assert everybody == pivoted(config, "cost-by-day", {}, *how)
    page.get_by_role("combobox", name="Organisation").fill("org_b")
    page.locator("input[name=from]").fill("2025-08-10")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/finops?*")
    page.wait_for_selector("body[data-ready]")
    assert re.search(r"\?org=org_b&from=2025-08-10(&tag=\w+)?$", page.url), "what is not asked for is not in the address"
    one = numbers(page, "Cost by day and service")
    assert one == pivoted(config, "cost-by-day", {"org": "org_b", "from": "2025-08-10"}, *how) and one != everybody
    page.go_back()
    page.wait_for_selector("body[data-ready]")
    assert page.url.endswith("/finops") and numbers(page, "Cost by day and service") == everybody
    with open_reader(config) as reader:
        hours = answer(reader, "today-by-hour").rows()
        bands = answer(reader, "health-bands").rows()
    go(page, board.url + "/")
    drawn = numbers(page, "Cost of the newest date, summed up hour by hour")
    assert drawn["the newest date"] == [row["cost_usd"] and float(row["cost_usd"]) for row in hours]
    assert drawn["usual"] == [float(row["usual_cost_usd"]) for row in hours]
    assert list(numbers(page, "Customers by health").values()) == [[row["orgs"] for row in bands]]


def test_customers_are_searched_sorted_and_followed_to_their_page(board: Served, page: Page) -> None:
    go(page, board.url + "/customers")
    rows = page.locator("section.grid tbody tr")
    assert rows.locator("td:first-child").all_inner_texts() == ["org_c", "org_b", "org_a"], "worst health first"
    page.get_by_role("link", name="Organisation name").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text(re.compile("Organisation name"))
    assert rows.locator("td:first-child").all_inner_texts() == ["org_c", "org_a", "org_b"]
    page.get_by_label("Name or id").fill("acme")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="org_a").click()
    expect(page.locator("h1")).to_have_text("Acme <Cloud> & Sons")


def test_the_keyboard_reaches_everything(board: Served, page: Page) -> None:
    go(page, board.url + "/operations")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    wanted = page.locator(FOCUSABLE).count()
    page.evaluate("window.reached = new Set([document.activeElement])")
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        page.evaluate("window.reached.add(document.activeElement)")
    assert not page.evaluate(MISSED, FOCUSABLE)
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("details[open] table").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(board: Served, browser: Browser, scheme: str) -> None:
    for page in watched(browser, color_scheme=scheme):
        for path in PAGES if scheme == "light" else ("/", "/finops", "/operations"):
            go(page, board.url + path)
            found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            serious = {one["id"]: one["nodes"][0]["html"] for one in found if one["impact"] in ("serious", "critical")}
            assert not serious, f"{path}: {serious}"


def test_dark_and_print_have_colours_of_their_own(board: Served, browser: Browser) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('[data-chart] svg text')).fill"
    for page in watched(browser, color_scheme="dark"):
        go(page, board.url + "/finops")
        assert page.evaluate(paper) == "rgb(18, 22, 28)" and page.evaluate(ink) != "rgb(27, 36, 48)"
        page.emulate_media(media="print")
        wait_for(lambda page=page: page.evaluate(ink) in ("rgb(85, 96, 110)", "rgb(27, 36, 48)"))  # type: ignore[misc]
        assert page.evaluate(paper) == "rgb(255, 255, 255)"
        expect(page.locator("nav")).to_be_hidden()
        sizes = page.locator("[data-chart] svg").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
        assert sizes and min(sizes) > 100, "charts are printed"
        expect(page.locator("form.filters")).to_be_hidden()


def test_an_alert_that_arrives_is_shown_in_the_open_page_and_can_be_acknowledged(fresh: Any, page: Page) -> None:
    config, board = fresh(True)
    go(page, board.url + "/operations")
    page.evaluate("document.querySelector('[data-chart]').firstElementChild.dataset.mark = 'kept'")
    page.evaluate("window.marked = true; document.querySelector('details').open = true")
    lake.put(config, "speed.alerts", [lake.alert(7, message="a new trouble")])
    expect(page.get_by_text("a new trouble")).to_be_visible()
    assert page.evaluate("window.marked") and page.evaluate("document.querySelector('details').open"), "the page was not loaded anew"
    assert page.evaluate("document.querySelector('[data-chart]').firstElementChild.dataset.mark") == "kept", "charts were not drawn anew"
    page.get_by_role("row", name=re.compile("a new trouble")).get_by_role("button", name=re.compile("^Acknowledge")).click()
    expect(page.get_by_text("The alert is acknowledged.")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("a new trouble"))).to_contain_text("acknowledged")
    assert {row["status"] for row in config.lake.rows("speed.alerts") if row["message"] == "a new trouble"} == {"acknowledged"}


def test_a_publication_in_between_renews_the_open_page_as_a_whole(fresh: Any, page: Page) -> None:
    config, board = fresh(True)
    go(page, board.url + "/product")
    title = "Net promoter score by month"
    assert numbers(page, title) == {"NPS": [33.5]}
    page.locator("figure.chart", has_text=title).locator("summary").focus()
    lake.put(config, "gold.nps_by_month", [{"month": date(2025, 9, 1), "surveys": 11, "scored": 11, "nps": -4.5, "out_of_scale": 0}])
    lake.put(config, "gold.user_activity", [])
    publish(config, "r2")
    expect(page.locator("#publication")).to_contain_text("run r2")
    assert numbers(page, title) == {"NPS": [33.5, -4.5]}
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY", "the focus stays where it was"


def test_an_empty_lake_says_what_to_type_and_the_open_page_fills_when_something_is_published(fresh: Any, page: Page) -> None:
    config, board = fresh(False)
    go(page, board.url + "/")
    expect(page.get_by_text("scripts/quick_start.sh")).to_be_visible()
    lake.build(config.landing.parent)
    expect(page.locator("h1")).to_have_text("Overview")
    assert numbers(page, "Events a minute over the last 24 hours")["events a minute"]


def test_the_report_opens_from_disk_with_the_same_figures(config: Config, board: Served, page: Page, tmp_path: Path) -> None:
    title = "Cost by day and service"
    go(page, board.url + "/finops")
    served = numbers(page, title)
    figures = page.locator(".figure .value").all_inner_texts()
    assert main(["report", "--lake", str(config.lake.root), "--out", str(tmp_path / "r.html")]) == 0
    go(page, (tmp_path / "r.html").as_uri())
    assert numbers(page, title) == served and page.locator("[data-chart]").count() == page.locator("[data-chart] svg").count() > 15
    assert page.locator("#p2 .figure .value").all_inner_texts() == figures
    page.get_by_role("link", name="cost-by-day").first.click()
    expect(page.get_by_text("cloudlake query cost-by-day", exact=True)).to_be_in_viewport()


def test_what_the_stream_brings_is_in_the_figures_of_the_next_look(fresh: Any, page: Page) -> None:
    config, board = fresh(True)
    go(page, board.url + "/finops?org=org_b")
    value = page.locator(".figure", has_text="Cost in the span").locator(".value")
    before = Decimal(value.inner_text().strip("$").replace(",", ""))
    at = datetime(2025, 8, 31, 15, tzinfo=UTC)
    lake.put(config, "speed.usage_increments", [lake.increment(lake.LOAD + 3, at, "1000.50", "org_b")])
    expect(value).to_have_text(f"${before + Decimal('1000.50'):,.2f}")
