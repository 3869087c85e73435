"""Who may ask and who may write: host names, the token, same origin, and the headers of every answer."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...common.errors import ConfigurationError

COOKIE = "cloudlake_session"
LEAST_TOKEN = 16
"""Characters that a token must have at least: a shorter one can be guessed from another machine."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    # Everything comes from this server. Charts set style attributes, so those are allowed; style elements and scripts
    # within a page are not.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.com")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Doors:
    """What is let in: the host names this server answers to, and the token where it asks for one."""

    hosts: frozenset[str] = LOOPBACK_NAMES
    token: str = ""
    takes_addresses: bool = False
    """Whether any numeric address is a host of ours, which it is where the server is bound to all of them."""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def made(self, purpose: str) -> str:
        """Return a value that only this process can make: what a form or a session proves itself with."""
        return hmac.new(self.secret, purpose.encode(), "sha256").hexdigest()

    def is_token(self, text: str) -> bool:
        """Compare with the token, in a time that does not tell how much of it was right."""
        return bool(self.token) and hmac.compare_digest(text.encode(), self.token.encode())

    def is_form(self, text: str) -> bool:
        """Tell whether a form came from a page that this process made."""
        return hmac.compare_digest(text.encode(), self.made("form").encode())

    def knows_host(self, header: str) -> bool:
        """Tell whether a Host header names this server; any other is a name that somebody points here (DNS rebinding)."""
        name = (urlsplit(f"//{header}").hostname or "") if _is_authority(header) else ""
        if name in self.hosts:
            return True
        return self.takes_addresses and _is_address(name)

    def lets_in(self, headers: Mapping[str, str]) -> bool:
        """Tell whether a request carries the token or a session of it; everybody is let in where there is no token."""
        if not self.token:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(given.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.made("session").encode())


def _is_authority(header: str) -> bool:
    return bool(header) and not any(letter in header for letter in "/?#@\\ ")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def doors(host: str, token: str | None, names: tuple[str, ...] = ()) -> Doors:
    """Return what a server bound to `host` lets in.

    Raises:
        ConfigurationError: others can reach the server and no token is set, or one that can be guessed.
    """
    if is_loopback(host):
        return Doors(LOOPBACK_NAMES | {host, *names})
    if not token:
        raise ConfigurationError(
            f"--host {host}: other machines can reach that, so a token is needed; set CLOUDLAKE_DASHBOARD_TOKEN (of at least "
            f"{LEAST_TOKEN} characters, such as `openssl rand -hex 16` gives), or leave --host out"
        )
    if len(token) < LEAST_TOKEN:
        raise ConfigurationError(
            f"CLOUDLAKE_DASHBOARD_TOKEN: has {len(token)} characters and could be guessed; take at least {LEAST_TOKEN}"
        )
    own = {socket.gethostname().lower(), socket.getfqdn().lower()}
    return Doors(LOOPBACK_NAMES | own | {host.lower(), *(name.lower() for name in names)}, token, takes_addresses=True)


def is_same_origin(headers: Mapping[str, str], scheme: str) -> bool:
    """Tell whether a form was sent by a page of this server; every browser of today says where a POST comes from.

    >>> is_same_origin({"host": "localhost:8090", "origin": "http://localhost:8090"}, "http")
    True
    >>> is_same_origin({"host": "localhost:8090", "origin": "http://evil.example"}, "http")
    False
    >>> is_same_origin({"host": "localhost:8090"}, "http")
    False
    """
    origin = headers.get("origin")
    # "null" says nothing (a page without a referrer): the browser's own word then decides.
    if origin is not None and origin != "null":
        return origin == f"{scheme}://{headers.get('host', '')}"
    return headers.get("sec-fetch-site") == "same-origin"


class Guard:
    """Refuses what the doors do not let in, before anything is read, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self.app = app
        self.doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        if not self.doors.knows_host(headers.get("host", "")):
            return PlainTextResponse("This server does not go by that name.\n", 421)
        if scope["method"] == "POST" and not is_same_origin(headers, scope.get("scheme", "http")):
            return PlainTextResponse("A form of another site cannot write here.\n", 403)
        if path == "/login" or path.startswith("/static/") or self.doors.lets_in(headers):
            return None
        if path.startswith("/api/"):
            return _unauthorised()
        asked = scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
        return RedirectResponse(f"/login?then={quote(asked, safe='')}", 303)


def _unauthorised() -> Response:
    said: dict[str, Any] = {"error": "a token is needed: send the header Authorization: Bearer TOKEN"}
    return JSONResponse(said, 401, {"WWW-Authenticate": 'Bearer realm="cloudlake"'})


def local_path(text: str) -> str:
    """Return where to go after the token was given: an address of this server, whatever was asked for.

    >>> [local_path(text) for text in ("/finops?org=o", "//evil.example", "https://evil.example", "/\\\\evil")]
    ['/finops?org=o', '/', '/', '/']
    """
    is_ours = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if is_ours else "/"
