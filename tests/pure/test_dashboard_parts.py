"""The dashboard's parts as values: formats, charts, doors, escaping. No lake, no server, no browser."""

from __future__ import annotations

import doctest
import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from cloudlake.common.errors import ConfigurationError
from cloudlake.serving.dashboard import formats, security
from cloudlake.serving.dashboard.asking import Answer, Shape
from cloudlake.serving.dashboard.blocks import figure, grid
from cloudlake.serving.dashboard.charts import grouped_chart, series_chart, waterfall_chart
from cloudlake.serving.dashboard.model import Page, Section
from cloudlake.serving.dashboard.pages import PAGES
from cloudlake.serving.dashboard.pages.finops import finops
from cloudlake.serving.dashboard.rendering import as_json, render_page
from cloudlake.serving.dashboard.snapshots import Kept, Snapshots

MONEY = {"day": Shape("date"), "service": Shape("string"), "cost_usd": Shape("decimal(28,6)", "USD", "Cost, USD", "gold.usage_daily")}


def answer(*rows: tuple[Any, ...], **about: Any) -> Answer:
    return Answer("costs", [dict(zip(MONEY, row, strict=True)) for row in rows], MONEY, as_of="2025-08-31", **about)


def test_the_examples_in_the_docstrings_hold() -> None:
    for module in (formats, security):
        assert doctest.testmod(module).failed == 0


def test_what_is_unknown_is_not_shown_as_zero() -> None:
    assert formats.shown(None, "USD") == formats.NOTHING != formats.shown(Decimal(0), "USD") == "$0.00"
    nothing = figure(answer(), "cost_usd", "Cost")
    assert nothing.value == formats.NOTHING


def test_a_chart_holds_the_numbers_of_the_answer_and_a_missing_point_of_a_stack_is_zero() -> None:
    days = [date(2025, 8, 1), date(2025, 8, 2)]
    rows = answer((days[0], "b", Decimal("1.5")), (days[0], "a", Decimal(2)), (days[1], "a", Decimal(3)))
    stacked = grouped_chart(rows, "Cost", "day", "service", "cost_usd", stack=True)
    assert [(one["name"], one["data"]) for one in stacked.option["series"]] == [("a", [2.0, 3.0]), ("b", [1.5, 0])]
    lines = grouped_chart(rows, "Cost", "day", "service", "cost_usd")
    assert lines.option["series"][1]["data"] == [1.5, None], "a line has a gap where nothing is known"
    assert stacked.option["xAxis"]["data"] == ["2025-08-01", "2025-08-02"] and stacked.option["xAxis"]["name"]
    assert stacked.option["yAxis"]["name"].endswith("USD") and stacked.rows[0] == ["2025-08-01", "$2.00", "$1.50"]


def test_a_chart_of_nothing_but_unknown_values_says_what_to_do_instead() -> None:
    rows = answer((date(2025, 8, 1), "a", None))
    chart = series_chart(rows, "Cost", "day", ["cost_usd"], empty="Type this.")
    assert not chart.option and chart.empty == "Type this."
    broken = series_chart(answer(failure="gold.usage_daily is gone"), "Cost", "day", ["cost_usd"])
    assert broken.failure == "gold.usage_daily is gone" and not broken.option


def test_a_table_that_may_be_higher_than_its_box_says_how_many_rows_it_has() -> None:
    rows = [(date(2025, 8, 1), str(number), Decimal(1)) for number in range(30)]
    told = [grid(answer(*rows[:many]), "Rows", list(MONEY), limit=20).more for many in (3, 20, 30)]
    assert told == ["", "20 rows.", "The first 20 of 30; the query has them all."]


def test_a_waterfall_goes_from_the_first_to_the_last_total() -> None:
    rows = [{"step": step, "amount_usd": Decimal(amount)} for step, amount in (("usage", 10), ("tax", 4), ("credit", -6), ("billed", 8))]
    shapes = {"step": Shape("string"), "amount_usd": Shape("decimal(28,6)", "USD")}
    chart = waterfall_chart(Answer("gap", rows, shapes), "Gap", "step", "amount_usd")
    drawn = {one["name"]: one["data"] for one in chart.option["series"]}
    assert drawn == {"from": [0.0, 10.0, 8.0, 0.0], "total": [10.0, None, None, 8.0], "more": [None, 4.0, None, None],
                     "less": [None, None, 6.0, None]}  # fmt: skip
    assert [row[1] for row in chart.rows] == ["$10.00", "$4.00", "−$6.00", "$8.00"]


def test_names_from_the_data_cannot_become_markup() -> None:
    evil = '</script><img src=x onerror="alert(1)">'
    rows = answer((date(2025, 8, 1), evil, Decimal(1)))
    blocks = [grid(rows, "Rows", list(MONEY)), grouped_chart(rows, "Cost", "day", "service", "cost_usd")]
    page = render_page(Page("x", evil, evil, [Section(evil, blocks)]))
    assert "<img" not in page and page.count("</script>") == page.count("<script ")
    assert json.loads(str(as_json({"a": evil}))) == {"a": evil}


def test_every_number_of_a_page_names_its_query_and_a_failure_stops_nothing_else() -> None:
    asked = []

    def ask(query: str, filters: Any = None) -> Answer:
        asked.append(query)
        return Answer(query, failure="the table is gone" if query == "cost-by-day" else "", hint="nothing")

    html = render_page(finops(ask, {"org": "org_a"}))
    assert "No answer: the table is gone" in html and html.count('class="failure"') == 1
    assert all(f"/queries/{query}" in html for query in ("cost-total", "anomalies", "carbon"))


def test_data_older_than_its_limit_is_never_shown_as_of_now() -> None:
    newest = datetime(2025, 8, 31, 23, tzinfo=UTC)
    rows = [{"what": "newest event", "newest": newest, "rows": 1}, {"what": "newest delivery", "newest": newest, "rows": 1}]

    def html(page: Callable[..., Page], hours: float) -> str:
        fresh = Answer("freshness", rows, made_at=newest + timedelta(hours=hours), max_age_hours=36)
        return render_page(page(lambda name, filters=None: fresh if name == "freshness" else Answer(name), {}))

    for page in (PAGES[""], PAGES["operations"]):
        old, new = html(page, 24 * 453), html(page, 36)
        assert "The newest event is 453 d old (limit 36 h): what follows is of 2025-08-31, not of now." in old
        assert 'class="figure bad"' in old and "2025-08-31 23:00" in old and "beginning of its hour; 453 d old (limit 36 h)" in old
        assert 'class="stale"' not in new and 'class="figure bad"' not in new and "36 h old (limit 36 h)" in new
    assert "This minute" not in html(PAGES[""], 37) and ">Now<" not in html(PAGES[""], 37) and ">Now<" in html(PAGES[""], 36)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html(PAGES["operations"], 50).split(">Freshness<")[1].split("</table>")[0])
    assert cells[2:6] == ["50 h", "36 h", "stale", "1"] and cells[8:12] == ["50 h", formats.NOTHING, formats.NOTHING, "1"]


def test_beyond_loopback_a_token_that_cannot_be_guessed_is_demanded() -> None:
    assert not security.doors("127.0.0.1", None).token and not security.doors("::1", None).token
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.com"):
        with pytest.raises(ConfigurationError, match="CLOUDLAKE_DASHBOARD_TOKEN"):
            security.doors(host, None)
        with pytest.raises(ConfigurationError, match="could be guessed"):
            security.doors(host, "short")
    door = security.doors("0.0.0.0", "0123456789abcdef")
    assert door.lets_in({"authorization": "Bearer 0123456789abcdef"}) and not door.lets_in({"authorization": "Bearer no"})
    assert not door.lets_in({}) and not door.lets_in({"cookie": f"{security.COOKIE}=0123456789abcdef"})
    assert door.lets_in({"cookie": f"{security.COOKIE}={door.made('session')}"})
    other = security.doors("0.0.0.0", "0123456789abcdef")
    assert not other.lets_in({"cookie": f"{security.COOKIE}={door.made('session')}"}), "a session is of one process"
    assert door.knows_host("10.0.0.7:8090") and not door.knows_host("evil.example:8090")


def test_tokens_sessions_and_forms_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    class Watched:
        """What security knows as hmac; whatever is equal is equal only by the constant comparison."""

        new = staticmethod(security.hmac.new)

        @staticmethod
        def compare_digest(one: bytes, other: bytes) -> bool:
            compared.append((one, other))
            return True

    door = security.doors("0.0.0.0", "0123456789abcdef")
    monkeypatch.setattr(security, "hmac", Watched)
    asked = [{"authorization": "Bearer wrong"}, {"cookie": f"{security.COOKIE}=wrong"}]
    assert [door.lets_in(headers) for headers in asked] == [True, True] and door.is_form("wrong") and door.is_token("wrong")
    assert [one for one, _ in compared] == [b"wrong"] * 4


def test_a_name_that_somebody_points_here_is_not_answered() -> None:
    door = security.doors("127.0.0.1", None, ("board.example",))
    good = ("127.0.0.1:8090", "localhost", "[::1]:8090", "board.example")
    bad = ("evil.example", "127.0.0.1.evil.example", "10.0.0.7", "", "localhost@evil.example", "evil.example/127.0.0.1", "localhost#")
    assert [door.knows_host(host) for host in (*good, *bad)] == [True] * len(good) + [False] * len(bad)


def test_what_many_ask_for_at_once_is_made_once() -> None:
    kept: Kept[int] = Kept(2)
    made: list[int] = []

    def make() -> int:
        time.sleep(0.05)
        made.append(1)
        return len(made)

    threads = [threading.Thread(target=lambda: kept.get("a", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1] and kept.get("a", make) == 1
    kept.get("b", make), kept.get("c", make)
    assert kept.get("a", make) == 4, "what was not asked for longest goes first"


class Opened:
    """A state that counts how often it is open."""

    run_id = published_at = as_of = ""
    open = 0

    def __init__(self) -> None:
        Opened.open += 1

    def answer(self, name: str, filters: Any) -> Answer:
        return Answer(name)

    def close(self) -> None:
        Opened.open -= 1


def test_a_snapshot_lives_as_long_as_its_last_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudlake.serving.dashboard.snapshots.LOOK_AGAIN_SECONDS", 0.0)
    state = ["one"]
    snapshots: Snapshots[Opened] = Snapshots(lambda: state[0], Opened)
    with snapshots.current() as first:
        state[0] = "two"
        with snapshots.current() as second:
            assert first is not second and first.etag != second.etag and Opened.open == 2
        with snapshots.current() as third:
            assert third is second
    assert Opened.open == 1, "the first is closed when its reader has gone"
