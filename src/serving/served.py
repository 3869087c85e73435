"""The served tables: each is the answer that a live read gives, upserted so that BI tools find it as a table.

The law of serving.org_daily_usage: each commit names S = max(L, the newest load_id whose increments are committed),
and equals gold rebuilt from the silver rows with load_id ≤ S.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from ..common import live
from ..common.config import Config
from ..common.contracts.schemas import arrow_schema
from ..common.lake.books import CLEARED, Books, require_own
from ..common.lake.duck import connected
from ..common.lake.provenance import MadeFrom, fingerprint
from ..common.lake.small import Revision
from ..common.names import INCREMENTS
from ..common.steps import StepResult
from . import customer_live


@dataclass(frozen=True)
class Answer:
    """A served table: what it would be made from now, and its rows made from that."""

    pin: Callable[[Config], live.LivePins]
    """Pins the state of the inputs."""
    rows: Callable[[Config, live.LivePins], pa.Table]


SERVED: dict[str, Answer] = {
    live.DAILY: Answer(live.pin, live.org_daily_usage),
    live.WINDOWS: Answer(live.pin, live.usage_windows),
    customer_live.TABLE: Answer(customer_live.pin, customer_live.customer_live),
}


def read_live(config: Config, table: str) -> pa.Table:
    """Return a served table as of this moment: the same grain, columns and digits, computed now and not written."""
    answer = SERVED[table]
    _require_own_increments(config)
    return answer.rows(config, answer.pin(config))


def serve(config: Config, table: str, run_id: str) -> StepResult:
    """Bring a served table to this moment by one upsert; a no-op where what it is made from, or the answer, is the same."""
    contract, answer = config.registry[table], SERVED[table]
    _require_own_increments(config)
    config.lake.create(contract)
    if Books.of(config.lake).compare([table]):  # what another program wrote is no answer
        config.lake.replace_small(arrow_schema(contract).empty_table(), contract, note={CLEARED: run_id})
    pins = answer.pin(config)
    how = fingerprint(contract.model_dump_json(), config.stream.live.model_dump_json())
    made_from = MadeFrom(pins.versions, {"load_id": pins.load_id, "fingerprint": how})
    if made_from.holds(config.lake.last_note(table)):
        return StepResult(skipped=True, message="nothing new")
    rows = answer.rows(config, pins)
    note = {**made_from.note, "run_id": run_id, "served": live.served_up_to(config, pins)}
    revision = config.lake.revise(contract, lambda kept: difference(kept, rows, contract.key), note)
    changed = revision.changed.num_rows
    gone = revision.gone.num_rows if revision.gone is not None else 0
    if not changed + gone:
        return StepResult(rows_in=rows.num_rows, skipped=True, message="nothing has changed")
    message = f"{gone:,} row(s) left" if gone else ""
    return StepResult(rows_in=rows.num_rows, rows_out=changed, message=message)


def _require_own_increments(config: Config) -> None:
    remedy = "Nothing is served of it; scripts/run_batch_pipeline.sh makes the increments anew from silver."
    require_own(config.lake, [INCREMENTS], remedy, keep=False)


def difference(kept: pa.Table, answer: pa.Table, key: tuple[str, ...]) -> Revision:
    """Return the rows of an answer that differ from what a table keeps, and those it keeps that the answer lacks."""
    keys = ", ".join(key)
    with connected(kept=kept, answer=answer) as connection:
        changed = connection.sql("FROM answer EXCEPT FROM kept").to_arrow_table()
        gone = connection.sql(f"SELECT kept.* FROM kept ANTI JOIN answer USING ({keys})").to_arrow_table()
    return Revision(changed.cast(answer.schema), gone.cast(answer.schema))
