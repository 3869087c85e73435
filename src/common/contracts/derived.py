"""Tables whose contract follows from another's: its quarantine, and what its history was told."""

from __future__ import annotations

from collections.abc import Iterable

from .table import Column, History, Layout, Table


def quarantine_of(table: Table) -> Table:
    """Return the contract of the table that keeps what `table` refuses: one row for each distinct refused payload."""
    text: dict[str, tuple[str, str]] = {
        "quarantine_id": (
            "string",
            "sha256 of table and payload: a refused row is stored once, however often it arrives",
        ),
        "payload": ("string", "The refused row as it arrived: the bronze row as JSON, or the raw line"),
        "reasons": ("array<string>", "Every rule of level quarantine that the row breaks, sorted"),
        "_source_file": ("string", "Where it first arrived, relative to the landing root"),
        "_source_sha256": ("string", "Hash of that file (NULL for event lines)"),
        "_snapshot_at": ("timestamp", "Snapshot time of that delivery (NULL for event lines)"),
        "load_id": ("bigint", "The micro-batch that refused it (NULL for CSV rows)"),
        "quarantined_at": ("timestamp", "When it was first refused"),
        "run_id": ("string", "The run that first refused it"),
        "status": ("string", "open, replayed or discarded"),
        "resolved_at": ("timestamp", "When it was replayed or discarded"),
    }
    pii = bool(table.personal)
    return Table(
        name=f"quarantine.{table.short_name}",
        description=f"Rows that {table.name} refused, with every reason, kept until replayed or discarded.",
        grain="One row for each distinct refused payload",
        key=("quarantine_id",),
        inputs=tuple(name for name in table.inputs if name.startswith("bronze.")),
        writer=table.writer,
        history=History(kind="insert_only"),
        columns={
            name: Column(type=kind, description=text, pii=pii and name == "payload")
            for name, (kind, text) in text.items()
        },
        no_statistics=("payload",),
    )


_MEMORY: dict[str, tuple[str, str]] = {
    "_at": ("timestamp", "The time that the word speaks of"),
    "_record": ("string", "telling (one batch) or word (what was said of one key)"),
    "_word": ("string", "Whether the key was said to be there, to be missing, or was refused (no word)"),
    "_columns": ("string", "The columns that the telling had, as JSON"),
    "_fact": ("bigint", "Hash of a change's values (NULL of snapshots)"),
    "_told": ("bigint", "The number of the telling"),
    "_changes": ("boolean", "Of a telling: whether it had to change the history"),
    "_no_word": ("bigint", "Of a telling: keys whose rows were refused"),
    "_missing": ("bigint", "Of a telling: known keys that it lacked"),
}
_OF_VERSIONS = ("effective_from", "effective_to", "is_current", "is_deleted", "record_hash")


_MEMORY_ENDS = "__memory"


def memory_name(table: str) -> str:
    """Return the name of the table that remembers what a history was told."""
    return f"{table}{_MEMORY_ENDS}"


def owner_of(table: str) -> str:
    """Return the table that a memory belongs to; of any other table its own name."""
    return table.removesuffix(_MEMORY_ENDS)


def is_of_a_history(table: Table) -> bool:
    """Tell whether a table is a history, or the memory of one."""
    return table.history.kind == "scd2" or owner_of(table.name) != table.name


def with_memories(tables: Iterable[Table]) -> list[Table]:
    """Return tables, and after them the memories of those with a history."""
    own = list(tables)
    return [*own, *(memory_of(table) for table in own if table.history.kind == "scd2")]


def memory_of(table: Table) -> Table:
    """Return the contract of the table that remembers what a history was told."""
    own = {name: Column(type=kind, description=text) for name, (kind, text) in _MEMORY.items()}
    left_out = {*_OF_VERSIONS, table.history.surrogate_key}
    return Table(
        name=memory_name(table.name),
        description=f"What {table.name} was told, snapshot by snapshot; the history is a function of it.",
        grain="One row for each snapshot told, and for each key that a snapshot changed",
        key=(),
        inputs=table.inputs,
        history=History(kind="append"),
        layout=Layout(partition=("_record",)),
        columns={name: column for name, column in table.columns.items() if name not in left_out} | own,
        # What is personal in the history is so in its memory.
        no_statistics=table.no_statistics,
        history_days=table.history_days,
    )
