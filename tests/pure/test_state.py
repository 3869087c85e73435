"""What is wrong with a lake, judged from its state alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cloudlake.runs.state import problems

NOW = datetime(2025, 9, 1, 12, tzinfo=UTC)


def state(**other: Any) -> dict[str, Any]:
    """A lake in which nothing is wrong, but for what a test says."""
    batch = {"run_id": "20250901T020000Z-a", "step": "run", "status": "done", "started_at": NOW - timedelta(hours=10), "error": None}
    return {
        "last_batch": batch,
        "last_good_batch": batch,
        "last_stream": {"run_id": "20250901T030000Z-s", "step": "stream", "status": "done", "error": None},
        "locks": {"stream": None},
        "cut_off": None,
        "stream": {"problem": ""},
        "publication": {"run_id": batch["run_id"], "published_at": (NOW - timedelta(hours=10)).isoformat(), "tables": 30},
        "freshness": [{"table": "silver.usage_events", "newest": NOW, "age_hours": 1.0, "max_age_hours": 36.0, "stale": False}],
        "reconciliation": [{"table": "silver.users", "holds": True}],
        "alerts": [],
        "refused_files": [],
    } | other


def test_a_lake_in_order_has_no_problems() -> None:
    assert problems(state(), NOW) == []


def test_a_lake_that_never_ran_is_told_to_run_and_that_nothing_is_published() -> None:
    nothing = {"run_id": None, "published_at": None, "tables": 0}
    found = problems(state(last_batch=None, last_good_batch=None, publication=nothing), NOW)
    assert [problem.partition(":")[0] for problem in found] == ["no batch run has ended on this lake yet", "nothing is published yet"]


def test_a_publication_is_old_only_where_no_good_batch_has_looked_since() -> None:
    old = {"run_id": "r", "published_at": (NOW - timedelta(hours=50)).isoformat(), "tables": 30}
    assert problems(state(publication=old), NOW) == []  # the batch of ten hours ago had nothing to publish
    stale = state(publication=old, last_good_batch={"started_at": NOW - timedelta(hours=37)})
    assert problems(stale, NOW) == ["the publication is 50 h old: scripts/run_batch_pipeline.sh, and scripts/setup_cron.sh status"]
    assert problems(state(publication=old, last_good_batch={"started_at": NOW - timedelta(hours=36)}), NOW) == []
    assert len(problems(state(publication=old, last_good_batch=None), NOW)) == 1


def test_a_stream_run_that_failed_is_told_until_one_runs_or_ends_well() -> None:
    failed = {"run_id": "r4", "step": "stream", "status": "failed", "error": "the landing zone has moved"}
    (told,) = problems(state(last_stream=failed), NOW)
    assert told.startswith("the last stream run r4 failed: the landing zone has moved. Mend it, then scripts/run_streaming_pipeline.sh")
    assert problems(state(last_stream=failed, locks={"stream": {"pid": 1}}), NOW) == []
    assert problems(state(last_stream=None), NOW) == []


def test_everything_that_is_wrong_is_told_with_what_to_do() -> None:
    failed = {"run_id": "r2", "step": "run", "status": "failed", "started_at": NOW, "error": "the disk is full"}
    found = problems(
        state(
            last_batch=failed,
            cut_off="r3",
            stream={"problem": "the stream gave up"},
            freshness=[
                {"table": "silver.users", "newest": None, "age_hours": None, "max_age_hours": 36.0, "stale": True},
                {"table": "silver.billing", "newest": NOW, "age_hours": 1040.4, "max_age_hours": 36.0, "stale": True},
            ],
            reconciliation=[{"table": "silver.users", "holds": False}],
            alerts=[{"still_to_tell": ["mail", "hook"]}, {"still_to_tell": []}, {"still_to_tell": ["hook"]}],
            refused_files=[{"path": "2025-09-01/users.csv", "reason": "it is empty"}],
        ),
        NOW,
    )
    assert found == [
        "the last batch run r2 failed: the disk is full. Mend it and run scripts/run_batch_pipeline.sh",
        "run r3 was cut off before its end; scripts/run_batch_pipeline.sh goes on where it stopped",
        "the stream gave up",
        "silver.users holds nothing: check that the feed still delivers, then scripts/run_streaming_pipeline.sh once",
        "silver.billing ends 43 d ago (limit 36 h): check that the feed still delivers, then scripts/run_streaming_pipeline.sh once",
        "silver.users: landed is not accepted + quarantined + duplicates; do not trust this table, run --full-reload",
        "2 alert(s) could not be delivered to hook, mail: cloudlake alerts resend says why",
        "2025-09-01/users.csv was refused: it is empty; deliver it again corrected",
    ]
