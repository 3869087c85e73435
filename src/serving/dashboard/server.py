"""The dashboard's server: addresses to pages and answers. It writes nothing but what people decide about alerts."""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ...common.clock import now_utc
from ...common.config import Config
from ...common.errors import CloudlakeError, ConfigurationError, did_you_mean
from ...common.quality.docs import page_of
from ..queries import load_queries
from ..queries.formats import answer_to_json, serialised
from .api import FORMATS, described, openapi
from .lookup import Asked, state_of
from .pages import PAGES, customer, query_page
from .rendering import render, render_page, static_file
from .security import COOKIE, Doors, Guard, local_path
from .snapshots import Made, Snapshot, Snapshots

REFRESH_SECONDS = 5
"""An open page asks again so often; where nothing has changed the answer is empty."""
MOST_BODY = 16_384
"""Bytes of a form; ours need a few hundred."""
MOST_HOURS = 24 * 31
SAID = {"acknowledged": "The alert is acknowledged.", "silenced": "Nobody is told of the alert for that time."}
DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
"""The Data Docs are files that carry their own styles, and nothing else."""


@dataclass(frozen=True)
class Decisions:
    """What people may decide about alerts: the two writes that a page can ask for."""

    acknowledge: Callable[[str, datetime], object]
    """alert_id and time."""
    silence: Callable[[str, datetime, datetime], object]
    """alert_id, until when, and time."""


class Dashboard:
    """The pages over one lake."""

    def __init__(self, config: Config, doors: Doors, decisions: Decisions) -> None:
        self.doors = doors
        self.decisions = decisions
        self.csrf = doors.made("form")
        self._storage = config.lake.storage
        self.queries = load_queries(config.conf, config.registry).queries
        self.snapshots: Snapshots[Asked] = Snapshots(lambda: state_of(config), lambda: Asked(config))

    def warm(self) -> None:
        """Make the pages of the menu once, so that the first reader does not wait for them; without a lake, nothing."""
        for name, page in PAGES.items():
            request = Request({"type": "http", "method": "GET", "path": f"/{name}", "query_string": b"", "headers": []})
            with suppress(CloudlakeError):
                self._rendered(request, page)

    # --- pages ------------------------------------------------------------------------------------------------------

    def page(self, request: Request) -> Response:
        """Answer one of the pages of the menu."""
        name = request.path_params.get("name", "")
        if name not in PAGES:
            return _message("There is no such page", [f"/{name}: the pages are in the menu above."], 404)
        return self._rendered(request, PAGES[name])

    def one_customer(self, request: Request) -> Response:
        """Answer the page of one customer."""
        org_id = request.path_params["org_id"]
        return self._rendered(request, lambda ask, filters: customer(ask, org_id, filters))

    def _rendered(self, request: Request, page: Callable[..., Any]) -> Response:
        asked = dict(parse_qsl(request.url.query, max_num_fields=40))
        with self.snapshots.current() as snapshot:
            if _is_known(request, snapshot.etag):
                return Response(status_code=304, headers={"ETag": snapshot.etag})
            said = SAID.get(asked.pop("said", ""), "")

            def make() -> Made:
                found = page(snapshot.ask, asked)
                about = self._about(snapshot) | ({"live": 0} if found.faults else {})  # a fault does not go by waiting
                status = 404 if found.is_unknown else 400 if found.faults else 200
                return Made(render_page(found, **about, said=said).encode(), status)

            made = snapshot.pages.get((request.url.path, said, *sorted(asked.items())), make)
            return HTMLResponse(made.body, made.status, headers={"ETag": snapshot.etag})

    def _about(self, snapshot: Snapshot[Asked]) -> dict[str, Any]:
        opened = snapshot.opened
        return {
            "live": REFRESH_SECONDS, "etag": snapshot.etag, "csrf": self.csrf, "run_id": opened.run_id,
            "published_at": opened.published_at, "as_of": opened.as_of,
        }  # fmt: skip

    # --- what people decide -----------------------------------------------------------------------------------------

    async def acknowledge(self, request: Request) -> Response:
        """Take an alert on."""
        return await self._decided(
            request, "acknowledged", lambda form, now: self.decisions.acknowledge(form["alert"], now)
        )

    async def silence(self, request: Request) -> Response:
        """Tell nobody of an alert for some hours."""

        def silence(form: Mapping[str, str], now: datetime) -> None:
            hours = form.get("hours", "")
            if not (hours.isascii() and hours.isdigit() and 1 <= int(hours) <= MOST_HOURS):
                raise ConfigurationError(f"hours: '{hours}' is not a whole number from 1 to {MOST_HOURS}")
            self.decisions.silence(form["alert"], now + timedelta(hours=int(hours)), now)

        return await self._decided(request, "silenced", silence)

    async def _decided(
        self, request: Request, said: str, act: Callable[[Mapping[str, str], datetime], object]
    ) -> Response:
        form = await _form(request)
        if form is None or not self.doors.is_form(form.get("csrf", "")):
            return _message(
                "The form is too old",
                ["The server was started anew since that page was loaded: go back, load it again."],
                403,
            )
        if len(form.get("alert", "")) != 64:
            return _message("Which alert?", ["The form names none."], 400)
        try:
            await run_in_threadpool(act, form, now_utc())
        except ConfigurationError as error:
            return _message("That can't be done", str(error).splitlines(), 409)
        self.snapshots.forget()
        return RedirectResponse(f"/operations?{urlencode({'said': said})}", 303)

    # --- queries and the API ----------------------------------------------------------------------------------------

    def query_page(self, request: Request) -> Response:
        """Answer the page of one query: its filters, its columns, its rows, and where else to have them."""
        name = request.path_params["name"]
        if name not in self.queries:
            return _message(
                "There is no such query",
                [f"{name}{did_you_mean(name, self.queries)}. All of them are under /queries."],
                404,
            )
        declared = self.queries[name]
        return self._rendered(request, lambda ask, filters: query_page(ask, declared, filters))

    def all_queries(self, request: Request) -> Response:
        """Answer the list of the queries, which is the documentation of the API."""
        return HTMLResponse(render("queries.html", title="Queries and API", queries=described(self.queries)))

    def openapi(self, request: Request) -> Response:
        """Answer the same for programs."""
        return JSONResponse(openapi(described(self.queries)))

    def query(self, request: Request) -> Response:
        """Answer a named query as JSON, CSV or Parquet; the filters are its parameters."""
        name = request.path_params["name"]
        if name not in self.queries:
            return _fault(404, f"'{name}' is not a query{did_you_mean(name, self.queries)}")
        asked = dict(parse_qsl(request.url.query, max_num_fields=40))
        form = asked.pop("format", "") or _accepted(request)
        if form not in FORMATS:
            return _fault(400, f"format: '{form}' is none of {', '.join(FORMATS)}{did_you_mean(form, FORMATS)}")
        try:
            with self.snapshots.current() as snapshot:
                about = {"ETag": snapshot.etag, "Vary": "Accept"}
                if _is_known(request, snapshot.etag):
                    return Response(status_code=304, headers=about)
                result = snapshot.opened.result(name, asked)
        except ConfigurationError as error:
            return _fault(400, str(error))
        except CloudlakeError as error:
            return _fault(503, str(error))
        body = answer_to_json(result) if form == "json" else serialised(result.table, form)
        if form != "json":
            about["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
        return Response(body, media_type=FORMATS[form], headers=about)

    async def login(self, request: Request) -> Response:
        """Ask for the token; who has it gets a session of this process."""
        then = local_path(request.query_params.get("then", "/"))
        if request.method != "POST":
            return HTMLResponse(render("login.html", title="Token needed", then=then, refused=False))
        form = await _form(request) or {}
        if not self.doors.is_token(form.get("token", "")):
            page = render("login.html", title="Token needed", then=local_path(form.get("then", "/")), refused=True)
            return HTMLResponse(page, 401)
        answer = RedirectResponse(local_path(form.get("then", "/")), 303)
        is_secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, self.doors.made("session"), httponly=True, samesite="strict", secure=is_secure)
        return answer

    def static(self, request: Request) -> Response:
        """Answer a file that pages load; its address changes with its content."""
        name = request.path_params["name"]
        try:
            content = static_file(name)
        except (FileNotFoundError, IsADirectoryError):
            return PlainTextResponse("There is no such file.\n", 404)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(content, media_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    def data_docs(self, request: Request) -> Response:
        """Answer a page of the Data Docs."""
        name = request.path_params["name"]
        pages, page = self._storage, page_of(name)
        if not name.endswith(".html") or not pages.is_file(page):
            said = ["Nothing has been validated yet, or no table has that name. The audit writes these pages:"]
            return _message(
                "No such page of the Data Docs", said, 404, ["scripts/run_batch_pipeline.sh --jobs quality"]
            )
        return HTMLResponse(pages.read(page), headers={"Content-Security-Policy": DOCS_POLICY})


def application(config: Config, doors: Doors, decisions: Decisions, warm: bool = False) -> Starlette:
    """Return the dashboard over a lake as an ASGI application.

    Args:
        config: the lake and its declarations.
        doors: who is let in.
        decisions: what acknowledging and silencing an alert do.
        warm: make the pages at once, beside.
    """
    board = Dashboard(config, doors, decisions)
    if warm:
        threading.Thread(target=board.warm, daemon=True).start()
    routes = [
        Route("/", board.page),
        Route("/login", board.login, methods=["GET", "POST"]),
        Route("/alerts/acknowledge", board.acknowledge, methods=["POST"]),
        Route("/alerts/silence", board.silence, methods=["POST"]),
        Route("/static/{name}", board.static),
        Route("/quality/{name}", board.data_docs),
        Route("/queries", board.all_queries),
        Route("/queries/{name}", board.query_page),
        Route("/api/v1/openapi.json", board.openapi),
        Route("/api/v1/query/{name}", board.query),
        Route("/customers/{org_id}", board.one_customer),
        Route("/{name}", board.page),
    ]
    handlers = {ConfigurationError: _stopped, CloudlakeError: _stopped, 404: _not_found}
    return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(Guard, doors=doors)])


def _stopped(request: Request, error: Exception) -> Response:
    """Say what keeps a page from being made: mostly, that there is no lake yet."""
    if request.url.path.startswith("/api/"):
        return _fault(503, str(error))
    said = [*str(error).splitlines(), "This page looks again every few seconds. To fill the lake, type one of these:"]
    commands = ["scripts/quick_start.sh", "scripts/run_batch_pipeline.sh --landing DIR"]
    return _message("Nothing to show yet", said, 503, commands, live=REFRESH_SECONDS)


def _not_found(request: Request, error: Exception) -> Response:
    if request.url.path.startswith("/api/"):
        return _fault(404, f"{request.url.path}: no such address; /api/v1/openapi.json has them all")
    return _message("There is no such page", [f"{request.url.path}: the pages are in the menu above."], 404)


def _fault(status: int, said: str) -> Response:
    return JSONResponse({"error": said}, status)


def _accepted(request: Request) -> str:
    """Return the format that a request accepts; a browser, which takes anything, gets JSON."""
    accepted = request.headers.get("accept", "")
    return next((form for form, kind in FORMATS.items() if kind.split(";")[0] in accepted), "json")


async def _form(request: Request) -> dict[str, str] | None:
    """Return the fields of a small form; None where it is none of ours."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            return None
    try:
        return dict(parse_qsl(body.decode("utf-8"), strict_parsing=True, max_num_fields=20))
    except (UnicodeDecodeError, ValueError):
        return None


def _is_known(request: Request, etag: str) -> bool:
    return etag in [known.strip().removeprefix("W/") for known in request.headers.get("if-none-match", "").split(",")]


def _message(title: str, lines: list[str], status: int, commands: Sequence[str] = (), live: int = 0) -> Response:
    return HTMLResponse(render("message.html", title=title, lines=lines, commands=commands, live=live), status)
