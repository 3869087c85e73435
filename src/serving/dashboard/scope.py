"""What a page's figures are of: of what its filters say, or of more, which is then said beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...common.errors import did_you_mean
from .model import Block, Figures, Links, Page, Section, Source

ALL = {
    "org": "all organisations", "from": "all dates", "to": "all dates", "service": "all services",
    "severity": "all severities", "search": "all customers", "band": "all customers", "segment": "all customers",
}  # fmt: skip
"""Filters that narrow a page → what a figure is of whose query was not narrowed so. Others (a tag, the state of alerts) choose
what one block shows, and its title says so."""


def scope(source: Source, given: Mapping[str, str]) -> str:
    """Return what an answer covers beyond the page's filters, "" where it keeps to all of them."""
    wider = dict.fromkeys(ALL[name] for name in given if name in ALL and not source.filters.get(name))
    said = ", ".join(wider)
    return said[:1].upper() + said[1:]


def finished(page: Page) -> Page:
    """Return the page with each block marked that covers more than the filters say; with wrong filters there are no blocks.

    Figures beside a filter that could not be used would be of everybody, or the same fault many times.
    """
    if page.faults:
        return replace(page, sections=())
    given = {field.name: field.value for field in page.fields if field.value}
    sections = [replace(part, blocks=[_marked(block, given) for block in part.blocks]) for part in page.sections]
    return replace(page, sections=sections)


def of_one(page: Page, name: str, value: str) -> Page:
    """Return what of a page was asked with a filter at a value, and nothing else: what may go to the one it is about."""
    sections = [replace(part, blocks=list(_kept(part, name, value))) for part in page.sections]
    return replace(page, sections=[part for part in sections if part.blocks])


def sources(page: Page) -> Iterator[Source]:
    """Give the source of every figure, chart and table of a page."""
    for section in page.sections:
        for block in section.blocks:
            if isinstance(block, Figures):
                yield from (figure.source for figure in block.items)
            elif not isinstance(block, Links):
                yield block.source


def _marked(block: Block, given: Mapping[str, str]) -> Block:
    if isinstance(block, Links):
        return block
    if isinstance(block, Figures):
        return replace(block, items=[replace(one, scope=scope(one.source, given)) for one in block.items])
    return replace(block, scope=scope(block.source, given))


def _kept(section: Section, name: str, value: str) -> Iterator[Block]:
    for block in section.blocks:
        if isinstance(block, Figures):
            items = [one for one in block.items if one.source.filters.get(name) == value]
            if items:
                yield replace(block, items=items)
        elif not isinstance(block, Links) and block.source.filters.get(name) == value:
            yield block


def page_of(make: Callable[..., Page]) -> Callable[..., Page]:
    """Return a page's function that gives the page finished; its last argument is the filters of the address.

    A filter that the page does not have (`orgs`) is a fault: left aside, the figures of all would pass for those of one.
    """

    def made(*given: Any) -> Page:
        page = make(*given)
        known = [field.name for field in page.fields]
        unknown = [f"{name}: this page has no such filter{did_you_mean(name, known)}" for name in given[-1] if name not in known]
        return finished(replace(page, faults=[*page.faults, *unknown]))

    return made
