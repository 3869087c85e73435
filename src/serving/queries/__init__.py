"""The named queries: declared in conf/queries.yaml, answered from one publication without a JVM."""

from collections.abc import Iterator, Mapping

from ...common.config import load_config
from .answering import Answer, answer
from .declaration import Column, Declarations, Filter, Query, load_queries
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


class _Queries(Mapping[str, Query]):
    """The queries of the conf/ in use (CLOUDLAKE_CONF), loaded when they are first asked for."""

    def _loaded(self) -> Mapping[str, Query]:
        config = load_config()
        return load_queries(config.conf, config.registry).queries

    def __getitem__(self, name: str) -> Query:
        return self._loaded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())


QUERIES: Mapping[str, Query] = _Queries()
