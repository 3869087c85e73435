"""SCD type 2 histories on Delta tables: the same facts give the same table, in whatever order they are told.

`apply_changes` takes change records, `apply_snapshot` takes full snapshots; `as_of` and `join_as_of` read what they
wrote; `history_of` makes a history of changes without a table. The modules: `shape` (what a history looks like),
`words` (facts, pure), `replay` (facts to versions, pure), `memory` (the facts that were told), `batches` (one batch on its
way), `difference` (the one commit), `changes` and `snapshots` (the two inputs; `snapshot`, `newest` and `late` are how a
snapshot is told), `reading` (pure).
"""

from .changes import apply_changes
from .difference import MergeResult
from .reading import as_of, changes_of, join_as_of
from .shape import Declared, HistoryRefusedError
from .snapshots import apply_snapshot
from .words import history_of

__all__ = [
    "Declared",
    "HistoryRefusedError",
    "MergeResult",
    "apply_changes",
    "apply_snapshot",
    "as_of",
    "changes_of",
    "history_of",
    "join_as_of",
]
