"""SCD type 2 histories on Delta tables: the same facts give the same table, in whatever order they are told.

`apply_changes` takes change records, `apply_snapshot` a full snapshot, `apply_snapshots` many at once; `as_of` and
`join_as_of` read what they wrote; `history_of` makes a history of changes without a table. The modules: `shape` (what a
history looks like), `words` (facts, pure), `replay` (facts to versions, pure), `memory` (the facts that were told),
`batches` (one batch on its way), `difference` (the one commit), `changes` and `snapshots` (the inputs; `snapshot`,
`newest`, `late` and, of many, `several` are how snapshots are told), `reading` (pure).
"""

from .changes import apply_changes
from .difference import MergeResult
from .memory import last_snapshot
from .reading import as_of, changes_of, join_as_of
from .shape import Declared, HistoryRefusedError
from .snapshots import apply_snapshot, apply_snapshots
from .words import history_of

__all__ = [
    "Declared",
    "HistoryRefusedError",
    "MergeResult",
    "apply_changes",
    "apply_snapshot",
    "apply_snapshots",
    "as_of",
    "changes_of",
    "history_of",
    "join_as_of",
    "last_snapshot",
]
