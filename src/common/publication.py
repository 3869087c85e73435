"""Publications: which version of each gold table is, or was, in force. Written by the batch run, read by everybody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import CloudlakeError, LockedError
from .lake.tables import Lake


@dataclass(frozen=True)
class Publication:
    """What is or was in force: table → version, load_id and run, and the run that published it."""

    run_id: str = ""
    published_at: str = ""
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def version(self, table: str) -> int | None:
        """Return the published version of a table, None where it has none."""
        entry = self.tables.get(table)
        return int(entry["version"]) if entry else None

    def load_id(self, table: str) -> int:
        """Return the largest load_id of silver.usage_events that the published table has seen, 0 where it has none."""
        entry = self.tables.get(table)
        return int(entry["load_id"]) if entry else 0


@dataclass(frozen=True)
class Ledger:
    """published.json: what is in force, what was before or after it, and whether a person rolled back to it."""

    in_force: Publication
    others: tuple[Publication, ...] = ()
    rolled_back_from: str | None = None
    seen: str = field(default="", compare=False)
    """The version of published.json that it was read from."""


PUBLISHED = "published.json"
"""Where, below the lake's root, the publications are written."""


def read_ledger(lake: Lake) -> Ledger:
    """Return every publication that is kept.

    Raises:
        CloudlakeError: published.json is damaged.
    """
    try:
        entry = lake.storage.look(PUBLISHED)
        content = json.loads(lake.storage.read(PUBLISHED))
        others = tuple(_publication(entry) for entry in content.get("others", ()))
        return Ledger(_publication(content), others, content.get("rolled_back_from"), entry.version if entry else "")
    except FileNotFoundError:
        return Ledger(Publication())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CloudlakeError(
            f"{lake.storage.at(PUBLISHED)}: damaged ({error}); remove it and run scripts/run_batch_pipeline.sh --jobs gold to publish anew"
        ) from None


def _publication(entry: Mapping[str, Any]) -> Publication:
    return Publication(entry["run_id"], entry["published_at"], entry["tables"])


def published(lake: Lake) -> Publication:
    """Return the publication in force, an empty one where nothing has been published yet.

    Raises:
        CloudlakeError: published.json is damaged.
    """
    return read_ledger(lake).in_force


def publications(lake: Lake) -> list[Publication]:
    """Return every publication that can be put in force, oldest first, the one in force among them."""
    ledger = read_ledger(lake)
    return sorted((p for p in (ledger.in_force, *ledger.others) if p.run_id), key=lambda p: p.published_at)


def write_ledger(lake: Lake, ledger: Ledger) -> None:
    """Write every publication in one atomic replace; the caller holds the batch lock.

    Raises:
        LockedError: in a store, somebody else has written them since they were read: the lock was lost.
    """
    content = asdict(ledger.in_force) | {
        "rolled_back_from": ledger.rolled_back_from,
        "others": [asdict(other) for other in ledger.others],
    }
    if not lake.storage.replace_seen(PUBLISHED, json.dumps(content, indent=1, sort_keys=True).encode(), ledger.seen):
        raise LockedError(f"{lake.storage.at(PUBLISHED)}: another process has published meanwhile; this one changed nothing. Run again")
