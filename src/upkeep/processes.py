"""What dead processes left: locks that still name them, and the stream's pid file."""

from __future__ import annotations

from collections.abc import Callable

from ..common.config import Config
from ..common.lake.locks import Holder, clear_left_lock, holders
from .findings import Finding

PID = "run/stream.pid"
_HARMLESS = "No answer is wrong by it: what was committed is kept, and the next run goes on"


def dead_processes(config: Config, record: Callable[[Holder], None]) -> list[Finding]:
    """Return a finding for each lock that a killed process left, and for a pid file without a stream.

    Args:
        config: the lake.
        record: notes the run of a dead process before its lock is cleared.
    """
    lake, found = config.lake, []
    known = holders(lake)
    for holder in known:
        if not holder.alive:
            what = (
                f"process {holder.pid} on {holder.host} was killed in run {holder.run_id or '?'} and still stands in it"
            )

            def mend(holder: Holder = holder) -> str:
                record(holder)
                clear_left_lock(lake, holder.lock)
                return f"lock {holder.lock}: cleared, and run {holder.run_id} noted as interrupted"

            where = lake.storage.at(f".locks/{holder.lock}.lock")
            found.append(Finding("dead_lock", where, what, _HARMLESS, "cloudlake doctor --fix", mend=mend))
    pid = lake.storage.at(PID)
    if lake.storage.is_file(PID) and not any(holder.alive and holder.lock == "stream" for holder in known):

        def remove() -> str:
            lake.storage.delete(PID)
            return f"{pid}: removed"

        what = "no stream runs, and its pid file is still there"
        found.append(Finding("dead_pid", pid, what, _HARMLESS, "cloudlake doctor --fix", mend=remove))
    return found
