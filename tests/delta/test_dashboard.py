"""The dashboard's server over a hand-made lake: pages, the API, writes, what is refused. Neither Spark nor a browser."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dashboard_lake as lake
import httpx
import pytest
from cloudlake.alerts import judging
from cloudlake.cli.main import main
from cloudlake.common.config import Config
from cloudlake.serving.dashboard.security import doors
from cloudlake.serving.dashboard.server import Decisions, application
from cloudlake.serving.publication import publish
from cloudlake.serving.queries import answer, open_reader
from pyarrow import parquet
from starlette.testclient import TestClient

PAGES = ("/", "/finops", "/customers", "/support", "/product", "/operations", "/customers/org_a", "/queries", "/queries/daily-costs")
HERE = "http://127.0.0.1:8090"


def client(config: Config, **about: Any) -> TestClient:
    decisions = Decisions(
        lambda alert, now: judging.acknowledge(config, alert, now),
        lambda alert, until, now: judging.silence(config, alert, None, None, until, now),
    )
    app = application(config, doors(about.get("host", "127.0.0.1"), about.get("token")), decisions)
    return TestClient(app, base_url=HERE, follow_redirects=False)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return lake.build(tmp_path_factory.mktemp("dashboard"))


@pytest.fixture
def web(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr("cloudlake.serving.dashboard.snapshots.LOOK_AGAIN_SECONDS", 0.0)
    with client(config) as found:
        yield found


def csrf(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
    assert found
    return found[1]


def test_every_page_answers_from_one_publication_without_a_failure_or_anything_personal(web: TestClient) -> None:
    for path in PAGES:
        page = web.get(path)
        assert page.status_code == 200 and 'class="failure"' not in page.text, path
        assert lake.SECRET not in page.text and "private.example" not in page.text, path
        assert not re.search(r"""(src|href|action)=["'](https?:)?//""", page.text), "everything is of this server"
    for path in PAGES[:7]:
        assert "run <code>r1</code>" in web.get(path).text and "business date 2025-08-31" in web.get(path).text
    assert "Acme &lt;Cloud&gt; &amp; Sons" in web.get("/customers").text
    assert "boom &lt;b&gt;" in web.get("/operations").text and "interrupted" in web.get("/operations").text


def test_an_etag_is_of_the_publication_and_of_what_came_since(config: Config, web: TestClient) -> None:
    first = web.get("/finops")
    known = {"If-None-Match": first.headers["etag"]}
    assert web.get("/finops", headers=known).status_code == 304
    assert web.get("/api/v1/query/today", headers=known).status_code == 304
    before = web.get("/api/v1/query/cost-total", params={"org": "org_c"}).json()["rows"][0]["cost_usd"]
    at = datetime(2025, 8, 31, 15, tzinfo=UTC)
    lake.put(config, "speed.usage_increments", [lake.increment(lake.LOAD + 2, at, "11.125", "org_c")])
    again = web.get("/finops", headers=known)
    assert again.status_code == 200 and again.headers["etag"] != first.headers["etag"]
    after = web.get("/api/v1/query/cost-total", params={"org": "org_c"}).json()["rows"][0]["cost_usd"]
    assert Decimal(str(after)) - Decimal(str(before)) == Decimal("11.125"), "this minute's events are in"
    publish(config, "r2")
    assert web.get("/").text.count("r1") >= 1, "nothing new was published"


def test_the_api_gives_what_the_query_gives_in_every_format(config: Config, web: TestClient) -> None:
    asked = {"org": "org_a", "from": "2025-08-20"}
    with open_reader(config) as reader:
        expected = answer(reader, "daily-costs", asked)
    found = web.get("/api/v1/query/daily-costs", params=asked)
    body = json.loads(found.text, parse_float=Decimal)
    assert [Decimal(row["cost_usd"]) for row in body["rows"]] == [row["cost_usd"] for row in expected.rows()]
    assert body["publication"]["run_id"] == "r1" and body["as_of"] == "2025-08-31" and len(body["rows"]) == 36
    file = web.get("/api/v1/query/daily-costs", params={**asked, "format": "parquet"})
    assert parquet.read_table(io.BytesIO(file.content)).equals(expected.table)
    table = web.get("/api/v1/query/customers", headers={"Accept": "text/csv"})
    assert "'=Cell(1)" in table.text and table.headers["content-type"].startswith("text/csv")
    document = web.get("/api/v1/openapi.json").json()
    assert set(document["paths"]) == {f"/api/v1/query/{name}" for name in reader.declarations.queries}
    names = {one["name"] for one in document["paths"]["/api/v1/query/daily-costs"]["get"]["parameters"]}
    assert names == {"from", "to", "org", "service", "format"}


def test_what_is_asked_wrongly_is_told_with_the_nearest_name(web: TestClient) -> None:
    for path, status, said in (
        ("/api/v1/query/daily-cost", 404, "did you mean 'daily-costs'"),
        ("/api/v1/query/daily-costs?org=org_aa", 400, "org_a"),
        ("/api/v1/query/daily-costs?from=yesterday", 400, "YYYY-MM-DD"),
        ("/api/v1/query/daily-costs?orgs=org_a", 400, "did you mean 'org'"),
        ("/api/v1/query/daily-costs?format=jsn", 400, "json"),
        ("/api/v1/nothing", 404, "openapi.json"),
    ):
        found = web.get(path)
        assert found.status_code == status and said in found.json()["error"], path
    page = web.get("/finops", params={"org": "org_aa"})
    assert page.status_code == 400 and "org_a" in page.text
    assert 'value="org_aa"' in page.text, "what was typed stays, to be mended"
    for path in ("/finops?org=org_aa&service=nix", "/support?org=org_aa", "/product?org=org_aa", "/queries/daily-costs?org=org_aa",
                 "/customers/org_aa"):  # fmt: skip
        page = web.get(path)
        assert page.status_code == (404 if path.startswith("/customers") else 400), path
        assert page.text.count("no organisation is called") == page.text.count('role="alert"') == 1, path
        assert "No answer" not in page.text and "data-chart" not in page.text and "data-refresh" not in page.text, path
        assert 'href="/customers">Customers</a>' in page.text.split('role="alert"')[1], "a remedy that is no shell command"
    for path in ("/finops?orgs=org_a", "/?org=org_a", "/customers/org_a?from=2025-08-01"):
        page = web.get(path)
        assert page.status_code == 400 and "this page has no such filter" in page.text and "data-chart" not in page.text, path
    assert "did you mean &#39;org&#39;" in web.get("/finops?orgs=org_a").text
    assert "Nothing has been published" not in web.get("/nowhere").text
    assert web.get("/nowhere").status_code == 404 and web.get("/static/nothing.js").status_code == 404
    for path in ("/static/..%2fserver.py", "/quality/..%2fpublished.json", "/quality/%2e%2e%2fpublished.json", "/quality/x.html"):
        assert web.get(path).status_code == 404, path


def test_what_a_filter_does_not_narrow_says_so(config: Config, web: TestClient) -> None:
    with open_reader(config) as reader:
        queries = reader.declarations.queries
    about = {"org": ("org_b", "all organisations"), "from": ("2025-08-20", "all dates"), "service": ("genai", "all services"),
             "severity": ("high", "all severities"), "band": ("watch", "all customers")}  # fmt: skip
    pages = {"finops": ("org", "from", "service"), "support": ("org", "from", "severity"), "product": ("org", "from"),
             "customers": ("band",)}  # fmt: skip
    for path, names in pages.items():
        asked = {name: about[name][0] for name in names}
        text = web.get(f"/{path}", params=asked).text
        assert 'class="scope"' not in web.get(f"/{path}").text, "without a filter everything is of all"
        seen = 0
        for block in re.findall(r'<(?:figure|section) class="block.*?</(?:figure|section)>|<div class="figure.*?</div>', text, re.DOTALL):
            (name,) = set(re.findall(r'href="/queries/([a-z-]+)', block))
            wider = dict.fromkeys(about[one][1] for one in names if one not in queries[name].filters)
            said = ", ".join(wider).capitalize()
            assert re.findall(r'<p class="scope">(.*?)</p>', block) == ([said] if said else []), (path, name)
            seen += 1
        assert seen > 2, path


def test_the_age_of_the_data_is_told_by_the_clock_and_the_contract(web: TestClient) -> None:
    for path in ("/", "/operations"):
        page = web.get(path).text
        assert re.search(r"The newest event is [\d,]+ d old \(limit 36 h\)", page) and "2025-08-31 " in page, path


def test_searching_the_customers_keeps_how_they_are_sorted(web: TestClient) -> None:
    page = web.get("/customers", params={"sort": "cost_30d_usd", "order": "down"}).text
    form = page.split('<form class="filters"')[1].split("</form>")[0]
    kept = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', form))
    assert kept == {"sort": "cost_30d_usd", "order": "down"}
    assert "hidden" not in web.get("/customers").text.split('<form class="filters"')[1].split("</form>")[0]


EVIL = (
    "'; DROP VIEW gold.dim_customer; --", "' OR 1=1 --", "read_text('/etc/passwd')", "$org", "\x00", "{{7*7}}<script>alert(1)</script>",
)  # fmt: skip


def test_no_filter_lets_anything_through_and_no_answer_holds_anything_personal(config: Config, web: TestClient) -> None:
    with open_reader(config) as reader:
        queries = reader.declarations.queries
    known = {"org": "org_a", "tag": "env"}
    for query in queries.values():
        needed = {name: known[name] for name, one in query.filters.items() if one.needed}
        whole = web.get(f"/api/v1/query/{query.name}", params=needed)
        assert whole.status_code == 200, query.name
        assert lake.SECRET not in whole.text and "private.example" not in whole.text, query.name
        for number, name in enumerate(query.filters):
            evil = EVIL[number % len(EVIL)]
            found = web.get(f"/api/v1/query/{query.name}", params=needed | {name: evil})
            assert found.status_code == 400 or found.json()["rows"] == [], (query.name, name, evil)
    for evil in EVIL:
        for path in ("/finops", "/queries/daily-costs"):
            page = web.get(path, params={"org": evil, "service": evil, "from": evil})
            assert page.status_code == 400 and "<script>alert" not in page.text and ">49<" not in page.text
        assert web.get("/customers", params={"search": evil}).status_code == 200
        segment = web.get("/customers", params={"segment": evil})
        assert segment.status_code == 400 and "<script>alert" not in segment.text
    assert web.get("/").text.count('class="failure"') == 0, "every table is still there"


def test_an_alert_is_acknowledged_and_silenced_by_our_own_forms_only(config: Config, web: TestClient) -> None:
    alert, page = f"{1:064x}", web.get("/operations")
    form = {"csrf": csrf(page), "alert": alert}
    ours = {"Origin": HERE}
    for headers, data in (
        ({}, form),  # no browser says so little
        ({"Origin": "http://evil.example"}, form),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, form),
        (ours, form | {"csrf": "0" * 64}),
        (ours, {"alert": alert}),
    ):
        assert web.post("/alerts/acknowledge", data=data, headers=headers).status_code == 403
    assert web.post("/alerts/acknowledge", content=b"x" * 20_000, headers=ours).status_code == 403
    assert web.get("/alerts/acknowledge").status_code == 405
    done = web.post("/alerts/acknowledge", data=form, headers=ours)
    assert done.status_code == 303 and done.headers["location"] == "/operations?said=acknowledged"
    assert {row["alert_id"][-1]: row["status"] for row in config.lake.rows("speed.alerts")} == {"1": "acknowledged", "2": "open"}
    after = web.get(done.headers["location"])
    assert "The alert is acknowledged." in after.text and "acknowledged" in after.text
    assert web.post("/alerts/silence", data=form | {"hours": "-1"}, headers=ours).status_code == 409
    assert web.post("/alerts/silence", data=form | {"hours": "8"}, headers=ours).status_code == 303
    (silence,) = config.lake.rows("ops.alert_silences")
    assert silence["alert_id"] == alert and (silence["until"] - silence["at"]).total_seconds() == 8 * 3600


def test_every_answer_carries_the_headers_and_a_stranger_gets_nothing(config: Config, web: TestClient) -> None:
    for path in ("/", "/nowhere", "/api/v1/query/today", "/static/dashboard.js"):
        headers = web.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff" and "server" not in headers
    assert web.get("/", headers={"Host": "evil.example"}).status_code == 421
    token = "0123456789abcdef"
    with client(config, host="0.0.0.0", token=token) as far:
        for path in PAGES:
            found = far.get(path)
            assert found.status_code == 303 and found.headers["location"].startswith("/login?then=") and not found.text
        assert far.get("/api/v1/query/today").status_code == 401
        assert far.get("/api/v1/query/today", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        ours = {"Origin": HERE}
        assert far.post("/login", data={"token": "wrong", "then": "/"}, headers=ours).status_code == 401
        given = far.post("/login", data={"token": token, "then": "//evil.example"}, headers=ours)
        assert given.status_code == 303 and given.headers["location"] == "/"
        assert "HttpOnly" in given.headers["set-cookie"] and "samesite=strict" in given.headers["set-cookie"].lower()
        assert token not in given.headers["set-cookie"] and far.get("/").status_code == 200


def test_an_empty_lake_says_what_to_type_and_fills_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudlake.serving.dashboard.snapshots.LOOK_AGAIN_SECONDS", 0.0)
    empty = lake.opened(tmp_path)
    with client(empty) as web:
        for path in PAGES[:7]:
            page = web.get(path)
            assert page.status_code == 503 and "scripts/quick_start.sh" in page.text and "data-refresh" in page.text
        assert web.get("/queries").status_code == 200
        assert "nothing has been published" in web.get("/api/v1/query/today").json()["error"]
        lake.build(tmp_path)
        assert web.get("/").status_code == 200


def test_one_broken_table_is_named_and_the_rest_works(tmp_path: Path) -> None:
    config = lake.build(tmp_path)
    lake.break_table(config, "gold.cost_anomalies")
    with client(config) as web:
        page = web.get("/finops").text
        assert page.count('<p class="failure"') == 1 and "cost_anomalies" in page
        assert page.count("data-chart=") >= 4, "the other charts are there"
        for path in ("/", "/customers", "/support", "/product", "/operations"):
            assert 'class="failure"' not in web.get(path).text, path
        broken = web.get("/api/v1/query/anomalies")
        assert broken.status_code == 503 and "cost_anomalies" in broken.json()["error"]


def test_the_report_is_one_file_with_the_same_figures(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--lake", str(config.lake.root), "--out", str(tmp_path / "r.html")]
    assert main(["report", *where]) == 0
    text = (tmp_path / "r.html").read_text()
    assert not re.search(r"""(src|href|action)=["'](?!#)""", text.split("<body")[1]), "nothing is loaded, links stay within"
    assert "private.example" not in text and "<form" not in text and "sha256-" in text
    assert all(f"<h1 id=\"p{n}-title\">{title}</h1>" in text for n, title in enumerate(("Overview", "FinOps", "Customers"), 1))
    with client(config) as web:
        options = re.findall(r'data-option="[^"]*">(.*?)</script>', web.get("/finops").text)
    assert len(options) >= 5 and all(option in text for option in options), "the charts hold the same numbers"
    assert "It covers all organisations." in text
    assert main(["report", *where, "--org", "org_b"]) == 0
    one = (tmp_path / "r.html").read_text()
    assert ">Bolt</h1>" in one and "It covers one organisation, Bolt (org_b)" in one
    told = one.split("<body")[1].split("<script>")[0]
    asked = re.findall(r"<code>cloudlake query ([^<]*)</code>", told)
    assert len(asked) >= 15 and all(line.endswith(" --org org_b") for line in asked), "nothing is of all organisations"
    assert not re.search("org_a|org_c|Acme|=Cell", told), "nor of another"
    assert all(f"<h1 id=\"p{n}-title\">{title}</h1>" in one for n, title in enumerate(("Bolt", "FinOps", "Support", "Product"), 1))
    assert main(["report", *where, "--org", "org_bb"]) == 2 and "did you mean 'org_b'" in capsys.readouterr().err
    assert main(["report", "--lake", str(config.lake.root), "--out", str(tmp_path / "no" / "r.html")]) == 2


def test_during_a_publication_a_page_is_of_the_old_or_the_new_set_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudlake.serving.dashboard.snapshots.LOOK_AGAIN_SECONDS", 0.0)
    config = lake.build(tmp_path)
    with client(config) as web:
        months, services = (web.get(f"/api/v1/query/{name}").json() for name in ("monthly-revenue", "nps"))
        for name in ("gold.revenue_monthly", "gold.nps_by_month"):  # a run has written, and not yet published
            lake.put(config, name, [replace_month(config, name)])
        for name, before in (("monthly-revenue", months), ("nps", services)):
            assert web.get(f"/api/v1/query/{name}").json() == before
        publish(config, "r2")
        for name, before in (("monthly-revenue", months), ("nps", services)):
            after = web.get(f"/api/v1/query/{name}").json()
            assert after["publication"]["run_id"] == "r2" and len(after["rows"]) == len(before["rows"]) + 1
        assert "run <code>r2</code>" in web.get("/product").text


def test_no_page_mixes_two_publications_while_one_writes_and_two_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudlake.serving.dashboard.snapshots.LOOK_AGAIN_SECONDS", 0.0)
    config = lake.build(tmp_path)
    rounds, seen, ended = 12, [], threading.Event()

    def months(page: str, title: str) -> int:
        option = re.search(rf'data-option="[^"]*-{title}">(.*?)</script>', page)
        assert option
        return len(json.loads(option[1])["xAxis"]["data"])

    def read(web: TestClient) -> None:
        while not ended.is_set():
            page = web.get("/product").text
            run = re.search(r"run <code>(\w+)</code>", page)
            assert run
            seen.append((run[1], months(page, "net-promoter-score-by-month"), months(page, "cost-by-month-and-service")))

    with client(config) as web:
        readers = [threading.Thread(target=read, args=(web,)) for _ in range(2)]
        for reader in readers:
            reader.start()
        for number in range(rounds):
            month = {"month": date(2024, number + 1, 1)}
            for name in ("gold.nps_by_month", "gold.service_performance"):  # two commits, one publication
                lake.put(config, name, [config.lake.rows(name)[0] | month])
            publish(config, f"p{number + 1}")
        ended.set()
        for reader in readers:
            reader.join()
    assert len({run for run, *_ in seen}) > 2, "readers saw some of the publications come"
    for run, surveys, services in seen:
        published = 0 if run == "r1" else int(run[1:])
        assert (surveys, services) == (1 + published, 2 + published), f"{run} holds the months of another publication"


def replace_month(config: Config, name: str) -> dict[str, Any]:
    row: dict[str, Any] = config.lake.rows(name)[0]
    return row | {"month": replace_day(row["month"])}


def replace_day(day: Any) -> Any:
    return day.replace(year=2024)
