"""One small lake for the tests that damage it: each finds it as it was built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from books_lake import ANSWERS, rows_of, run
from cloudlake.common.config import Config
from flow import deliver, given_back, opened


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Config:
    """A small lake, dirt and all, made by one run."""
    root = tmp_path_factory.mktemp("books")
    deliver(root / "landing", 7, orgs=8, days=6, events=30, files=3)
    config = opened(root / "lake", root / "landing")
    run(config)
    return config


@pytest.fixture(scope="session")
def answers(built: Config) -> dict[str, list[str]]:
    return {name: rows_of(built, name) for name in ANSWERS}


@pytest.fixture
def config(built: Config) -> Iterator[Config]:
    """The lake, given back as it was."""
    with given_back(built):
        yield built
