"""The lake's tables as files: the only room that opens a path of the lake."""

from .tables import (
    Commit,
    Lake,
    Revision,
    Transaction,
    append_path,
    commits_of,
    committing,
    delta_table,
    is_table,
    last_note,
    noted,
    read_path,
    read_small_path,
    replace_path,
    table_lock,
    version_of,
)

__all__ = [
    "Commit",
    "Lake",
    "Revision",
    "Transaction",
    "append_path",
    "commits_of",
    "committing",
    "delta_table",
    "is_table",
    "last_note",
    "noted",
    "read_path",
    "read_small_path",
    "replace_path",
    "table_lock",
    "version_of",
]
