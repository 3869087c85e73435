"""What all tests share: one small Spark session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudlake.cli.compiler import QUICK
from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[1]
os.environ["SPARK_CONF_DIR"] = str(ROOT / "conf")
os.environ["TZ"] = "UTC"
# In a test process without a main file, importing a part of pyspark ends the process: it takes that for its own doctests.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = __file__
# Tests need little memory; every other setting is the one that production has.
os.environ.setdefault("PYSPARK_SUBMIT_ARGS", "--driver-memory 1500m pyspark-shell")
# Tests run much code a few times each, over a few rows, as a short run does. So do the scripts that tests start.
os.environ.setdefault("SPARK_SUBMIT_OPTS", QUICK)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="also run the tests that take many restarts")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if ROOT / "tests" / "pure" in item.path.parents and "spark" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid}: tests in tests/pure need no Spark; move it to tests/delta")
    if not config.getoption("--soak"):
        for item in items:
            if "soak" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="runs with --soak"))


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    from cloudlake.common.session import start_session

    session = start_session("cloudlake-tests")
    yield session
    session.stop()


@pytest.fixture(autouse=True)
def _nothing_left_in_java(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hundreds of tests share one small JVM: what one has left there must not be the next one's fault."""
    from cloudlake.common.session import let_go

    yield
    if "spark" in request.fixturenames:
        let_go()
