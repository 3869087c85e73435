"""OpenLineage events of a run: written to its file, taken by a real receiver, and in the form that the library's types demand."""

from __future__ import annotations

import json
import time
import types
import typing
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attr
import pytest
from cloudlake.common.config import Config, load_config
from cloudlake.common.receivers import LineageSettings
from cloudlake.upkeep.open_lineage import Journal, StepEnd, Story
from openlineage.client import facet_v2
from openlineage.client.event_v2 import RunEvent
from openlineage.client.generated import base
from receivers import Webhook, free_port, listening

AT = datetime(2025, 8, 31, 2, tzinfo=UTC)
FACETS = {
    cls._get_schema(): cls
    for module in vars(facet_v2).values() if isinstance(module, types.ModuleType)
    for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, base.BaseFacet)
}  # fmt: skip
"""The library's types of facets, which are made from the official JSON schemas, by the schema that each stands for."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with listening() as hook:
        yield hook


def opened(folder: Path, **lineage: Any) -> Config:
    config = load_config(lake=str(folder / "lake"), landing=str(folder))
    settings = config.settings.model_copy(update={"lineage": LineageSettings.model_validate(lineage)})
    return replace(config, settings=settings)


def required(value: Any, kind: Any, where: str) -> None:
    """Check a JSON value against a type of the library: no key that it does not know, none missing that it requires."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        assert any(fits(value, one, where) for one in arguments), (where, value, kind)
    elif origin is dict:
        assert isinstance(value, dict), where
        for key, one in value.items():
            is_facet = isinstance(arguments[1], type) and issubclass(arguments[1], base.BaseFacet)
            required(one, FACETS[one["_schemaURL"]] if is_facet else arguments[1], f"{where}.{key}")
    elif origin is list:
        assert isinstance(value, list), where
        for place, one in enumerate(value):
            required(one, arguments[0], f"{where}[{place}]")
    elif attr.has(kind):
        assert isinstance(value, dict), where
        hints = typing.get_type_hints(kind)
        fields = {field.name: field for field in attr.fields(kind)}
        assert set(value) <= set(fields), (where, set(value) - set(fields))
        assert {name for name, field in fields.items() if field.default is attr.NOTHING} <= set(value), where
        for name, one in value.items():
            required(one, hints[name], f"{where}.{name}")
        kind(**{name.lstrip("_"): one for name, one in value.items() if fields[name].init})  # its own checks
    elif isinstance(kind, type) and issubclass(kind, base.EventType):
        assert value in kind.__members__, where
    elif kind is not Any:
        assert isinstance(value, (int, float) if kind is float else kind), (where, value, kind)


def fits(value: Any, kind: Any, where: str) -> bool:
    if kind is type(None):
        return value is None
    required(value, kind, where)
    return True


def run(config: Config, run_id: str = "20250831T020000Z-aaaaaa") -> tuple[list[dict[str, Any]], Journal]:
    """The events of a run with a mart, an audit and a failure."""
    result = {"run_id": run_id, "table": "gold.usage_daily", "level": "fail", "rows": 7, "checked_at": AT}
    config.lake.append_small(
        [
            result
            | {
                "rule": "profile",
                "kind": "volume",
                "status": "passed",
                "detail": '{"nulls": {"org_id": 0}, "means": {}}',
            },
            result
            | {"rule": "key_is_unique", "kind": "uniqueness", "status": "failed", "observed": 2.0, "expected": "≤ 0"},
        ],
        config.registry["ops.quality_results"],
    )
    story, journal = Story.of(config, run_id), Journal(config, run_id)
    journal.write([story.begun(AT)])
    later = AT + timedelta(seconds=9)
    journal.write(story.step(StepEnd("gold.usage_daily", "done", AT, later, 7, 4096)))
    journal.write(story.step(StepEnd("quality", "done", AT, later)))
    journal.write(story.step(StepEnd("publish", "failed", AT, later, error="it went wrong")))
    journal.write([story.ended(later, "failed", "it went wrong")])
    journal.close()
    written = Path(journal.path)
    lines = written.read_text().splitlines() if written.exists() else []
    return [json.loads(line) for line in lines], journal


def test_a_run_is_told_with_schema_columns_statistics_and_quality_and_every_event_is_well_formed(
    tmp_path: Path,
) -> None:
    events, _ = run(opened(tmp_path))
    for number, event in enumerate(events):
        required(event, RunEvent, f"event {number}")
    assert [(e["job"]["name"], e["eventType"]) for e in events] == [
        ("batch", "START"), ("batch.gold.usage_daily", "START"), ("batch.gold.usage_daily", "COMPLETE"),
        ("batch.quality", "START"), ("batch.quality", "COMPLETE"), ("batch.publish", "START"), ("batch.publish", "FAIL"),
        ("batch", "FAIL"),
    ]  # fmt: skip
    whole, mart, audit, failed = events[0], events[2], events[4], events[6]
    assert {e["run"]["facets"]["parent"]["run"]["runId"] for e in events[1:7]} == {whole["run"]["runId"]}
    (output,) = mart["outputs"]
    assert (
        output["name"].endswith("/gold/usage_daily")
        and output["facets"]["symlinks"]["identifiers"][0]["name"] == "gold.usage_daily"
    )
    assert (
        output["outputFacets"]["outputStatistics"] | {"rowCount": 7, "size": 4096}
        == output["outputFacets"]["outputStatistics"]
    )
    assert "cost_usd" in {field["name"] for field in output["facets"]["schema"]["fields"]}
    made_from = output["facets"]["columnLineage"]["fields"]["cost_usd"]["inputFields"]
    assert [(one["name"].rpartition("/lake/")[2], one["field"]) for one in made_from] == [
        ("silver/usage_events", "cost_usd")
    ]
    assert [one["name"].rpartition("/")[2] for one in mart["inputs"]] == ["usage_events"]
    (audited,) = audit["inputs"]
    (assertion,) = audited["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (assertion["name"], assertion["success"], assertion["severity"], assertion["actual"]) == (
        "key_is_unique",
        False,
        "error",
        "2",
    )
    metrics = audited["inputFacets"]["dataQualityMetrics"]
    assert metrics["rowCount"] == 7 and metrics["columnMetrics"]["org_id"]["nullCount"] == 0
    assert failed["run"]["facets"]["errorMessage"]["message"] == "it went wrong"


def test_a_receiver_is_told_the_same_events_and_a_dead_or_slow_one_holds_nothing_up(
    tmp_path: Path, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    events, _ = run(opened(tmp_path / "a", url=webhook.url))
    assert [body for _, body in webhook.told] == events
    started = time.monotonic()
    written, _ = run(opened(tmp_path / "b", url=f"http://127.0.0.1:{free_port()}/", timeout_seconds=1))
    assert time.monotonic() - started < 15 and len(written) == 8
    assert "8 event(s) were not taken (ConnectionError); they are in" in caplog.text
    webhook.answer = 500
    assert len(run(opened(tmp_path / "c", url=webhook.url))[0]) == 8 and "it answers 500" in caplog.text
    assert run(opened(tmp_path / "d", file=False))[0] == []
