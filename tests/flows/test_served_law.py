"""The law of the served view: whatever has been committed, and whoever is writing, it equals gold rebuilt from silver now."""

from __future__ import annotations

import random
import re
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from cloudlake.common.config import Config
from cloudlake.common.lake.locks import process_lock
from cloudlake.runs.stream_run import serve_stream
from cloudlake.serving import live_org_daily_usage, published
from cloudlake.streaming.silver_events import SilverQuery
from flow import SERVED_KEY, assert_the_law_holds, cloudlake, deliver, land_events, opened, wait_for
from oracle import assert_same
from pyspark.sql import DataFrame, SparkSession

DAYS, FILES, BATCHES, GROUPS = 60, 12, 3, 2
DATE = re.compile(r'"timestamp": ?"(\d{4}-\d\d-\d\d)')
BATCH = ("batch", "--jobs", "usage_daily", "org_daily_usage_by_service", "--parallel", "1")
FROM_SILVER = """
SELECT org_id, usage_date, service, count(*) AS events, sum(cost_usd) AS cost_usd,
    coalesce(sum(value) FILTER (metric = 'requests'), 0) AS requests,
    coalesce(sum(value) FILTER (metric = 'cpu_hours'), 0) AS cpu_hours,
    coalesce(sum(value) FILTER (metric = 'storage_gb_hours'), 0) AS storage_gb_hours,
    CAST(sum(genai_tokens) AS BIGINT) AS genai_tokens, sum(carbon_kg) AS carbon_kg, count(carbon_kg) AS carbon_events,
    coalesce(sum(cost_usd) FILTER (carbon_kg IS NOT NULL), 0) AS carbon_cost_usd,
    count(*) FILTER (value IS NULL) AS events_without_value
FROM silver GROUP BY ALL
"""


def summed_in_sql(config: Config) -> pa.Table:
    """The mart in plain SQL over silver, without Spark: cheap enough to ask after every micro-batch."""
    with duckdb.connect() as connection:
        connection.register("silver", config.lake.read_small("silver.usage_events"))
        return connection.sql(FROM_SILVER).to_arrow_table()


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Checks the law right after each micro-batch, in the stream's own thread; says what was found."""
    seen: dict[str, list[Any]] = {"events": [], "speed": [], "faults": []}
    take = SilverQuery.take

    def take_and_check(self: SilverQuery, lines: DataFrame, batch_id: int) -> None:
        take(self, lines, batch_id)
        try:
            live, expected = live_org_daily_usage(self.config), summed_in_sql(self.config)
            assert_same(live.drop_columns(["speed_events"]), expected, SERVED_KEY, f"after micro-batch {batch_id}")
        except Exception as fault:
            seen["faults"].append(fault)
        else:
            seen["events"].append(sum(live["events"].to_pylist()))
            seen["speed"].append(sum(live["speed_events"].to_pylist()))

    monkeypatch.setattr(SilverQuery, "take", take_and_check)
    return seen


def test_the_law_holds_after_every_micro_batch_while_batches_publish_beside_the_stream(
    spark: SparkSession, tmp_path: Path, checked: dict[str, list[Any]]
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    draw = random.Random(seed)
    landing, waiting, lake = tmp_path / "landing", tmp_path / "waiting", tmp_path / "lake"
    deliver(landing, seed=seed, days=DAYS, events=100, files=FILES)
    folder = landing / "usage_events_stream"
    folder.rename(waiting)
    folder.mkdir()
    files = sorted(waiting.iterdir())
    for file in files:
        thin_out(file)
    draw.shuffle(files)  # so that events of the first days come last: late by up to sixty days
    config, stop, results = opened(lake, landing), threading.Event(), []

    def stream() -> None:
        with process_lock(config.lake, "stream", "a stream"):
            results.append(serve_stream(lambda: spark, config, "law", stop, print))

    thread = threading.Thread(target=stream)
    thread.start()
    loads = []
    try:
        for batch in range(BATCHES):
            for group in range(GROUPS):
                seen = len(checked["events"])
                for number, file in enumerate(files[batch * GROUPS + group :: BATCHES * GROUPS]):
                    lines = file.read_text().splitlines()
                    land_events(landing, file.name, lines)
                    if number % 3 == 0:  # and once more under another name: every line a repeat
                        land_events(landing, f"again_{file.name}", lines)
                    time.sleep(draw.uniform(0, 0.3))
                wait_for(lambda seen=seen: len(checked["events"]) > seen or checked["faults"] or not thread.is_alive(), 120)
            assert cloudlake(lake, landing, *BATCH) == 0
            loads.append(published(config.lake).load_id("gold.org_daily_usage_by_service"))
        lands = len(list(folder.iterdir()))
        wait_for(lambda: len(config.lake.rows("ops.landed_files")) == lands, 120)
    finally:
        stop.set()
        thread.join(120)
    (done,) = results
    assert not checked["faults"], checked["faults"][0]
    assert len(checked["events"]) == done.micro_batches >= BATCHES * GROUPS
    assert loads == sorted(set(loads)), "each batch run published what the stream had brought by then"
    assert min(checked["speed"]) < max(checked["speed"]), "gold has taken over from the increments"
    assert done.quarantined > 0 and done.duplicates > 0
    assert cloudlake(lake, landing, "serve") == 0
    assert_the_law_holds(spark, config)


def thin_out(file: Path) -> None:
    """Keep the events of every tenth date, and lines without one: a date costs each micro-batch a file of its own."""
    kept = [line for line in file.read_text().splitlines() if not (date := DATE.search(line)) or date[1].endswith("1")]
    file.write_text("\n".join(kept) + "\n")
