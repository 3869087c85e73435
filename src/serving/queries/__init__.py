"""The named queries: declared in conf/queries.yaml, answered from one publication without a JVM.

A name is imported when it is asked for: help and completion read the declarations without what answers them.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .declaration import Column, Declarations, Filter, Query, load_queries

if TYPE_CHECKING:
    from .answering import Answer, answer
    from .reader import Moment, Reader, open_reader

__all__ = [
    "QUERIES",
    "Answer",
    "Column",
    "Declarations",
    "Filter",
    "Moment",
    "Query",
    "Reader",
    "answer",
    "load_queries",
    "open_reader",
]

_ANSWERING = ("Answer", "answer")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".answering" if name in _ANSWERING else ".reader", __name__), name)


class _Queries(Mapping[str, Query]):
    """The queries of the conf/ in use (CLOUDLAKE_CONF), loaded when they are first asked for."""

    def _loaded(self) -> Mapping[str, Query]:
        from ...common.config import load_config

        config = load_config()
        return load_queries(config.conf, config.registry).queries

    def __getitem__(self, name: str) -> Query:
        return self._loaded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())


QUERIES: Mapping[str, Query] = _Queries()
