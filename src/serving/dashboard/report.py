"""The dashboard's pages as one file: it opens from disk, without a server and without a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime

from markupsafe import Markup

from ...common.config import Config
from ...common.errors import ConfigurationError
from .asking import Ask
from .lookup import Asked, state_of
from .model import Page, Source
from .pages import PAGES, customer
from .rendering import render, static_file
from .scope import of_one, sources
from .snapshots import Snapshot

_SCRIPTS = ("echarts.common.min.js", "dashboard.js")
_OF_ONE = ("finops", "support", "product")
"""Pages that can be of one organisation."""


def report(config: Config, now: datetime, org: str | None = None) -> str:
    """Return the report as HTML: every page, or, of one organisation, its own page and what of the others is of it alone.

    What is mailed to one customer tells nothing of another, nor of all together.

    Raises:
        ConfigurationError: no organisation has this id.
        CloudlakeError: nothing has been published yet.
    """
    asked = Asked(config)
    snapshot = Snapshot(asked, state_of(config))
    try:
        pages = list(_pages(snapshot.ask, org))
    finally:
        asked.close()
    found = {anchor(source): source for page in pages for source in sources(page)}
    scripts = [Markup(static_file(name).decode()) for name in _SCRIPTS]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    return render(
        "report.html",
        link=lambda source: f"#{anchor(source)}",
        go=lambda address: "",
        title=f"cloudlake report{f': {org}' if org else ''}",
        pages=pages,
        covers=f"{pages[0].title} ({org})" if org else "",
        sources=[found[key] for key in sorted(found)],
        anchor=anchor,
        made_at=now,
        policy=policy,
        styles=Markup(static_file("dashboard.css").decode()),
        scripts=scripts,
        run_id=asked.run_id,
        published_at=asked.published_at,
        as_of=asked.as_of,
    )


def anchor(source: Source) -> str:
    """Return the place of a source within the report."""
    said = "&".join(f"{name}={value}" for name, value in sorted(source.filters.items()))
    return f"source-{source.query}-{hashlib.sha256(said.encode()).hexdigest()[:8]}" if said else f"source-{source.query}"


def _pages(ask: Ask, org: str | None) -> Iterator[Page]:
    filters: Mapping[str, str] = {"org": org} if org else {}
    if org is None:
        yield from (page(ask, filters) for page in PAGES.values())
        return
    known = ask("customer", filters)
    if known.failure:
        raise ConfigurationError(known.failure.replace("org:", "--org:", 1))
    made = (customer(ask, org, {}), *(PAGES[name](ask, filters) for name in _OF_ONE))
    yield from (page for page in (of_one(page, "org", org) for page in made) if page.sections)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
