"""Pages to HTML, by Jinja2: everything is escaped, links are made in one place, and no template computes a number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup, escape

from .model import Page, Source

MENU = (
    ("", "Overview"),
    ("finops", "FinOps"),
    ("customers", "Customers"),
    ("support", "Support"),
    ("product", "Product"),
    ("operations", "Operations"),
)
_HERE = resources.files(__package__)


@cache
def static_file(name: str) -> bytes:
    """Return a file that pages load: the charts' library, the script, the styles.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    if "/" in name or name.startswith("."):
        raise FileNotFoundError(name)
    return (_HERE / "static" / name).read_bytes()


@cache
def static_address(name: str) -> str:
    """Return a static file's address, which changes with its content: browsers may keep it for ever."""
    return f"/static/{name}?v={hashlib.sha256(static_file(name)).hexdigest()[:12]}"


def query_address(source: Source) -> str:
    """Return the address of the page that shows a query's answer, its columns and where they come from."""
    asked = {name: value for name, value in source.filters.items() if value}
    return f"/queries/{source.query}" + (f"?{urlencode(asked)}" if asked else "")


def time_tag(moment: datetime | str) -> Markup:
    """Return a time as people read it, to the minute, and as machines do, in UTC; what is no time stays as it is."""
    try:
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        return escape(moment)
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M}")


def as_json(value: Any) -> Markup:
    """Return a value as JSON that may stand in a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter, code in (
        ("&", "\\u0026"),
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(letter, code)
    return Markup(text)


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(lambda name: (_HERE / "templates" / name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["json"] = as_json
    environment.globals |= {"time": time_tag, "static": static_address, "menu": MENU}
    return environment


def render(template: str, link: Callable[[Source], str] = query_address, **values: Any) -> str:
    """Fill a template; what a page does not say about itself is empty."""
    empty: Mapping[str, Any] = {
        "live": 0, "etag": "", "here": None, "run_id": "", "published_at": "", "as_of": "", "served_at": "", "csrf": "",
        "said": "", "go": lambda address: address,
    }  # fmt: skip
    return _environment().get_template(template).render({**empty, "link": link, **values})


def render_page(page: Page, **about: Any) -> str:
    """Return a page as HTML; `about` says which publication it is of, and how often it renews itself."""
    return render("page.html", page=page, title=page.title, here=page.name, **about)
