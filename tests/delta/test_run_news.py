"""A failing run, an overdue feed, a night that is missing, and their end: told to real receivers, once each. No Spark."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloudlake.alerts import run_news
from cloudlake.cli.main import main
from cloudlake.common.clock import new_run_id, now_utc
from cloudlake.common.config import Config, load_config
from cloudlake.common.errors import ConfigurationError
from cloudlake.common.receivers import is_safe_address
from cloudlake.common.steps import StepResult
from cloudlake.runs.record import record_step
from cloudlake.runs.steps import StepRecord
from cloudlake.upkeep.run_history import RecordedRun
from receivers import Mailbox, Webhook, listening

ROOT = Path(__file__).resolve().parents[2]
LOG = {"kind": "log"}


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with listening() as hook:
        yield hook


def opened(folder: Path, **targets: Any) -> Config:
    """A lake whose conf/ has these targets; a run of it fails, because nothing has landed."""
    conf = folder / "conf"
    if not conf.exists():
        shutil.copytree(ROOT / "conf", conf)
        (folder / "landing").mkdir()
    settings = yaml.safe_load((conf / "lake.yaml").read_text())
    settings["notifications"] = {"attempts": 1, "timeout_seconds": 2, "resend_seconds": 60, "targets": targets}
    (conf / "lake.yaml").write_text(yaml.safe_dump(settings))
    return load_config(str(conf), str(folder / "lake"), str(folder / "landing"))


def cloudlake(config: Config, *arguments: str) -> int:
    return main(
        [*arguments, "--conf", str(config.conf), "--lake", str(config.lake.root), "--landing", str(config.landing)]
    )


def note(config: Config, run_id: str, status: str, at: datetime) -> None:
    record_step(config.lake, config.registry, run_id, StepRecord("run", status, at, at, StepResult()))


def event(config: Config, at: datetime) -> None:
    row = {"event_id": f"e{at}", "event_time": at, "usage_date": at.date(), "load_id": 1}
    config.lake.append_small([row], config.registry["silver.usage_events"], {"run_id": "r"})


def test_failure_overdue_and_recovery_reach_a_webhook_and_a_mailbox_once_each(tmp_path: Path, webhook: Webhook) -> None:
    with Mailbox().open() as mailbox:
        config = opened(tmp_path, chat={"kind": "webhook", "url": webhook.url}, mail=mailbox.target, log=LOG)
        now = now_utc()
        note(config, new_run_id(now - timedelta(hours=3)), "done", now - timedelta(hours=3))

        assert cloudlake(config, "batch") == 1
        ((key, body),) = webhook.told
        assert body["id"] == key and key.startswith("run:batch:") and body["kind"] == "failed"
        assert "customers_orgs.csv: missing" in body["error"] and body["served"] == "nothing is published yet"
        assert body["line"].startswith("scripts/run_batch_pipeline.sh") and f"--lake {config.lake.root}" in body["line"]
        assert datetime.fromisoformat(body["since"]) > now
        (mail,) = (message_from_bytes(one.content) for one in mailbox.mails)
        assert mail["X-Idempotency-Key"] == key and "failed" in mail["Subject"] and "missing" in str(mail.get_payload())

        event(config, now - timedelta(days=2))
        for _ in range(2):
            assert cloudlake(config, "status", "--check") == 1
        assert [body["kind"] for _, body in webhook.told] == ["failed", "overdue"]
        assert "silver.usage_events is overdue: it ends 48 h ago" in webhook.told[1][1]["subject"]
        event(config, now)
        later = now + timedelta(seconds=5)
        note(config, new_run_id(later), "done", later)
        for _ in range(2):
            cloudlake(config, "status", "--check")
        assert [body["kind"] for _, body in webhook.told] == ["failed", "overdue", "recovered", "recovered"]
        assert {body["subject"].split(" ")[-1] for _, body in webhook.told[2:]} == {key.rpartition(":")[2], "overdue"}
        assert len(mailbox.mails) == 4 and len({key for key, _ in webhook.told}) == 4


HANG = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("open", flush=True)
held = []
while True:
    held.append(listener.accept())
"""


def test_a_receiver_that_hangs_delays_nothing_keeps_nobody_else_waiting_and_hears_of_it_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        Mailbox().open() as mailbox,
        subprocess.Popen([sys.executable, "-c", HANG, str(port)], stdout=subprocess.PIPE) as hanging,
    ):
        assert hanging.stdout and hanging.stdout.readline() == b"open\n"
        config = opened(tmp_path, chat={"kind": "webhook", "url": f"http://127.0.0.1:{port}/"}, mail=mailbox.target)
        note(config, new_run_id(now_utc() - timedelta(hours=1)), "done", now_utc())
        quick = time.monotonic()
        assert cloudlake(opened(tmp_path, mail=mailbox.target), "batch") == 1
        quick = time.monotonic() - quick
        config = opened(tmp_path, chat={"kind": "webhook", "url": f"http://127.0.0.1:{port}/"}, mail=mailbox.target)
        started = time.monotonic()
        assert cloudlake(config, "batch") == 1
        assert time.monotonic() - started < quick + 2 + 5, "not longer than one attempt"
        assert len(mailbox.mails) == 2 and "chat: no answer in" in caplog.text
        os.kill(hanging.pid, signal.SIGKILL)
    with listening() as hook:
        assert run_news.tell(opened(tmp_path, chat={"kind": "webhook", "url": hook.url}), now_utc()) == []
        assert [body["kind"] for _, body in hook.told] == ["failed", "failed"], "kept, and told when somebody answers"


def test_a_killed_run_and_a_missing_night_are_told(tmp_path: Path, webhook: Webhook) -> None:
    config = opened(tmp_path, chat={"kind": "webhook", "url": webhook.url})
    now = now_utc()
    note(config, new_run_id(now - timedelta(days=2)), "done", now - timedelta(days=2))
    killed = StepRecord("silver.users", "done", now, now, StepResult())
    record_step(config.lake, config.registry, new_run_id(now), killed)
    ledger = {"run_id": "r", "published_at": (now - timedelta(days=2)).isoformat(), "tables": {}}
    (config.lake.root / "published.json").write_text(json.dumps(ledger))
    assert cloudlake(config, "status", "--check") == 1
    assert {body["kind"]: body["served"] for _, body in webhook.told} == {
        "interrupted": "the publication of run r, 48 h old",
        "overdue": "the publication of run r, 48 h old",
    }
    assert "the nightly run is overdue" in webhook.told[-1][1]["subject"]


def test_nothing_goes_over_the_network_in_the_clear_nor_where_a_redirect_leads(
    tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    safe = ["https://example.com/x", "http://127.0.0.1:8/x", "http://localhost/x", "http://[::1]:9/"]
    unsafe = [
        "http://example.com/",
        "http://127.0.0.1.example.com/",
        "http://10.0.0.1/",
        "ftp://127.0.0.1/",
        "https://",
        "http://[::2]/",
    ]
    assert [url for url in [*safe, *unsafe] if is_safe_address(url)] == safe
    with pytest.raises(ConfigurationError, match=r"targets.chat.*https://…"):
        opened(tmp_path / "a", chat={"kind": "webhook", "url": "http://example.com/"}) if (
            tmp_path / "a"
        ).mkdir() is None else None
    monkeypatch.setenv("CLOUDLAKE_TEST_URL", "http://example.com/hook?secret=abc")
    config = opened(tmp_path, chat={"kind": "webhook", "url": "${CLOUDLAKE_TEST_URL}"})
    note(config, new_run_id(now_utc()), "failed", now_utc())
    (fault,) = run_news.tell(config, now_utc())
    assert "${CLOUDLAKE_TEST_URL} holds is neither https" in fault and "secret" not in fault and "example" not in fault
    webhook.answer = 302
    monkeypatch.setenv("CLOUDLAKE_TEST_URL", webhook.url)
    (fault,) = run_news.tell(config, now_utc())
    assert "refuses the notification with 302" in fault and webhook.asked == 1


def test_news_older_than_a_day_and_the_end_of_what_nobody_heard_of_are_not_told() -> None:
    at = datetime(2025, 8, 31, 2, tzinfo=UTC)
    runs = [
        RecordedRun("1", "batch", "failed", at - timedelta(days=3), at, 1.0),
        RecordedRun("2", "batch", "failed", at, at, 1.0, "boom\nand more", ("gold.x",)),
        RecordedRun("3", "stream", "interrupted", at, None, None),
        RecordedRun("4", "batch", "done", at, at, 1.0),
    ]
    news = run_news.of_runs(runs, ["2"], {"2": "line"}, run_news.Told({}), at)
    assert [(one.key, one.kind, one.error) for one in news] == [
        ("run:batch:2", "refused", "boom"),
        ("run:stream:3", "interrupted", ""),
        ("recovered:run:batch:2", "recovered", ""),
    ]
    told = run_news.Told({"run:batch:2": {"a": at}, "overdue:x:1": {"a": at}})
    assert [one.key for one in run_news.of_overdue([], told)] == ["recovered:overdue:x:1"]
