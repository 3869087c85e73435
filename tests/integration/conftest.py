"""One small dirty lake after one batch run, which took the stream with it. Tests of a file may go on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cloudlake.common.config import Config
from flow import cloudlake, deliver, opened
from oracle import Oracle
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def landing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("landing")
    return folder, deliver(folder, seed=11)


@pytest.fixture(scope="session")
def first_run(
    spark: SparkSession, landing: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Config:
    lake = tmp_path_factory.mktemp("lake")
    assert cloudlake(lake, landing[0], "batch") == 0
    return opened(lake, landing[0])


@pytest.fixture(scope="session")
def oracle(landing: tuple[Path, dict[str, Any]]) -> Oracle:
    return Oracle(landing[0])
