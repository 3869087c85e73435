"""The lake's tables as files: the only room that opens a path of the lake."""

from .log import Commit, Transaction, commits_of, last_note, version_of
from .opening import is_table
from .small import Revision, noted, read_small_path, table_lock
from .tables import Lake, append_path, committing, delta_table, read_path, replace_path

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
