"""Worked cases of other engines, carried over by hand as rows: what was told, and the history that must follow.

Sources (Apache-2.0): apache/spark, Scd2ForeachBatchHandlerSuite and Scd2BatchProcessorSuite (change events);
dbt-labs/dbt-adapters, simple_snapshot; TobikoData/sqlmesh, test_integration.py (snapshots). A seed history of the
source is told as the changes that make it.
"""

from __future__ import annotations

# Change events: (id, value, sequence, delete); expected: (id, value, start, end).
CHANGES: dict[str, dict[str, list[object]]] = {
    "01 insert, update, delete, re-insert": {
        "batches": [[(1, "a", 10, False), (1, "b", 20, False), (1, None, 30, True), (1, "c", 40, False)]],
        "expected": [(1, "a", 10, 20), (1, "b", 20, 30), (1, "c", 40, None)],
    },
    "02 an update closes only the open version": {
        "batches": [[(1, "a", 5, False), (1, "b", 10, False)], [(1, "c", 20, False)]],
        "expected": [(1, "a", 5, 10), (1, "b", 10, 20), (1, "c", 20, None)],
    },
    "03 a delete closes, none stays open": {
        "batches": [[(1, "a", 10, False)], [(1, None, 20, True)]],
        "expected": [(1, "a", 10, 20)],
    },
    "04 re-insert after a delete, over batches": {
        "batches": [[(1, "a", 10, False), (1, "a", 11, False)], [(1, None, 12, True)], [(1, "b", 20, False)]],
        "expected": [(1, "a", 10, 12), (1, "b", 20, None)],
    },
    "05 a late update splits a closed version": {
        "batches": [[(1, "a", 10, False), (1, "c", 20, False)], [(1, "b", 15, False)]],
        "expected": [(1, "a", 10, 15), (1, "b", 15, 20), (1, "c", 20, None)],
    },
    "06 a late event older than all": {
        "batches": [[(1, "a", 10, False)], [(1, "b", 5, False)]],
        "expected": [(1, "b", 5, 10), (1, "a", 10, None)],
    },
    "07 a late delete shortens a closed version": {
        "batches": [[(1, "a", 10, False), (1, "b", 30, False)], [(1, None, 20, True)]],
        "expected": [(1, "a", 10, 20), (1, "b", 30, None)],
    },
    "08 a delete before its insert": {
        "batches": [[(1, None, 20, True)], [(1, "x", 10, False)]],
        "expected": [(1, "x", 10, 20)],
    },
    "09 a late event splits an unchanged run": {
        "batches": [
            [(1, "Alice", 5, False), (1, "Alice", 10, False), (1, "Alice", 15, False)],
            [(1, "Charlie", 20, False)],
            [(1, "Bob", 12, False)],
        ],
        "expected": [(1, "Alice", 5, 12), (1, "Bob", 12, 15), (1, "Alice", 15, 20), (1, "Charlie", 20, None)],
    },
    "10 an unchanged value repeats": {
        "batches": [[(1, "a", 10, False)], [(1, "a", 20, False)], [(1, "b", 30, False)]],
        "expected": [(1, "a", 10, 30), (1, "b", 30, None)],
    },
    "11a identical events collapse": {
        "batches": [[(1, "a", 10, False), (1, "a", 10, False)]],
        "expected": [(1, "a", 10, None)],
    },
    "11c a delete wins a tie": {"batches": [[(1, "a", 10, False), (1, None, 10, True)]], "expected": []},
    "12a the same update again": {
        "batches": [[(1, "a", 10, False)], [(1, "b", 20, False)], [(1, "b", 20, False)]],
        "expected": [(1, "a", 10, 20), (1, "b", 20, None)],
    },
    "12b the same delete again": {
        "batches": [[(1, "a", 10, False)], [(1, None, 20, True)], [(1, None, 20, True)]],
        "expected": [(1, "a", 10, 20)],
    },
    "12c the same repeated values again": {
        "batches": [[(1, "a", 10, False), (1, "a", 20, False), (1, "a", 30, False)]] * 2,
        "expected": [(1, "a", 10, None)],
    },
    "12d an applied event again": {"batches": [[(1, "a", 10, False)]] * 2, "expected": [(1, "a", 10, None)]},
    "16 NULL equals NULL": {
        "batches": [[(1, None, 5, False), (1, None, 10, False)]],
        "expected": [(1, None, 5, None)],
    },
    "17 two late events in one batch": {
        "batches": [
            [(1, "a", 1, False), (1, "b", 5, False), (1, "c", 10, False), (1, "d", 20, False)],
            [(1, "x", 7, False), (1, "y", 15, False)],
        ],
        "expected": [
            (1, "a", 1, 5),
            (1, "b", 5, 7),
            (1, "x", 7, 10),
            (1, "c", 10, 15),
            (1, "y", 15, 20),
            (1, "d", 20, None),
        ],
    },
    "18 three keys in one batch": {
        "batches": [
            [(1, "a", 10, False), (2, "p", 10, False)],
            [(1, "b", 20, False), (2, None, 20, True), (3, "z", 20, False)],
        ],
        "expected": [(1, "a", 10, 20), (1, "b", 20, None), (2, "p", 10, 20), (3, "z", 20, None)],
    },
}

# Untracked and new columns; only `name` is tracked: (id, name, score or age, sequence).
UNTRACKED = {
    "batches": [
        [(14, "alice", 39, 39), (191, "alice", None, 1), (192, "bob", None, 1)],
        [(14, "alice", 41, 41), (192, "bob-v2", 25, 2), (193, "carol", 30, 1)],
        [(14, "bob", 42, 42)],
        [(14, "carol", 43, 43)],
    ],
    "expected": [
        (14, "alice", 41, 39, 42),
        (14, "bob", 42, 42, 43),
        (14, "carol", 43, 43, None),
        (191, "alice", None, 1, None),
        (192, "bob", None, 1, 2),
        (192, "bob-v2", 25, 2, None),
        (193, "carol", 30, 1, None),
    ],
}

COMPOSITE = {
    "batch": [("US", "Springfield", 100, 10), ("CA", "Springfield", 200, 10), ("US", "Springfield", 150, 20)],
    "expected": [
        ("CA", "Springfield", 200, 10, None),
        ("US", "Springfield", 100, 10, 20),
        ("US", "Springfield", 150, 20, None),
    ],
}

# sqlmesh by time: (id, name, updated_at); first versions start in 1970.
BY_TIME = {
    "snapshots": {
        "2023-01-01": [(1, "a", "2022-01-01"), (2, "b", "2022-01-02"), (3, "c", "2022-01-03")],
        "2023-01-05": [(1, "x", "2022-01-04"), (3, "c", "2022-01-03"), (4, "d", "2022-01-04")],
    },
    # The source starts id 4 in 1970 too; the snapshot of 2023-01-01 lacked it, and so did every time before, so by
    # our rule neither 1970 nor its updated_at holds, and it starts when it was first seen.
    "expected": [
        (1, "a", "1970-01-01", "2022-01-04"),
        (1, "x", "2022-01-04", None),
        (2, "b", "1970-01-01", "2023-01-05"),
        (3, "c", "1970-01-01", None),
        (4, "d", "2023-01-05", None),
    ],
}

# sqlmesh by column: (id, name, status).
BY_COLUMN = {
    "snapshots": {
        "2023-01-01": [(1, "a", "active"), (2, "b", "inactive"), (3, "c", "active"), (4, "d", "active")],
        "2023-01-05": [(1, "x", "active"), (3, "c", "active"), (4, "d", "inactive"), (5, "e", "inactive")],
    },
    "expected": [
        (1, "a", "active", "1970-01-01", "2023-01-05"),
        (1, "x", "active", "2023-01-05", None),
        (2, "b", "inactive", "1970-01-01", "2023-01-05"),
        (3, "c", "active", "1970-01-01", None),
        (4, "d", "active", "1970-01-01", "2023-01-05"),
        (4, "d", "inactive", "2023-01-05", None),
        (5, "e", "inactive", "2023-01-05", None),
    ],
}

# dbt, snapshots 1 to 7 of case 20, mode new_record: (id, email, updated_at). Ids 1 and 2 share an email; 10 changes
# its email, 20 from NULL to a value; 1 is deleted, told again, comes back with an updated_at in the future, is deleted.
DBT = {
    "first": [
        (1, "(not provided)", "2015-12-24 12:19:28"),
        (2, "(not provided)", "2015-10-28 16:22:15"),
        (10, "rlopez9@themeforest.net", "2016-08-20 15:44:49"),
        (20, None, "2016-08-21 10:35:19"),
    ],
    "updated": [
        (2, "(not provided)", "2015-10-28 16:22:15"),
        (10, "new_rlopez9@themeforest.net", "2016-08-20 16:44:49"),
        (20, "pfoxj@creativecommons.org", "2016-08-21 11:35:19"),
    ],
    "id_1": [(1, "(not provided)", "2015-12-24 12:19:28")],
    "id_1_back": [(1, "(not provided)", "2200-01-01 12:00:00")],
    "expected": [
        (1, "2015-12-24 12:19:28", "2024-01-03 00:00:00", False),
        (1, "2024-01-03 00:00:00", "2024-01-05 00:00:00", True),
        (1, "2024-01-05 00:00:00", "2024-01-06 00:00:00", False),
        (1, "2024-01-06 00:00:00", None, True),
        (2, "2015-10-28 16:22:15", None, False),
        (10, "2016-08-20 15:44:49", "2016-08-20 16:44:49", False),
        (10, "2016-08-20 16:44:49", None, False),
        (20, "2016-08-21 10:35:19", "2016-08-21 11:35:19", False),
        (20, "2016-08-21 11:35:19", None, False),
    ],
}

# dbt, case 21: six scenarios from one base, told as one table by (scenario, id); rows shortened to what differs.
# (scenario, id, email, full_name, updated_at). Expected: the ids with an open and those with a closed version.
# In `updates` the source changes updated_at alone; that is a change in dbt's timestamp strategy and none in ours.
SCENARIOS = {
    "base": [
        (14, "w@x", None, "2016-10-06"),
        (15, "r@x", None, "2016-10-31"),
        (16, "ra@x", None, "2016-10-03"),
        (18, "a@x", None, "2015-12-11"),
        (20, None, None, "2016-08-21"),
    ],
    "updates": [
        (14, "w@x", None, "2016-10-06"),
        (15, "r@x", None, "2016-10-31"),
        (16, "ra@x", None, "2016-10-04"),
        (18, "a@x", None, "2015-12-12"),
        (20, None, None, "2016-08-22"),
    ],
    "inserts": [
        (14, "w@x", None, "2016-10-06"),
        (15, "r@x", None, "2016-10-31"),
        (16, "ra@x", None, "2016-10-03"),
        (18, "a@x", None, "2015-12-11"),
        (20, None, None, "2016-08-21"),
        (21, "j@x", None, "2016-09-18"),
    ],
    "deletes": [(14, "w@x", None, "2016-10-06"), (15, "r@x", None, "2016-10-31")],
    "new_column": [
        (14, "w@x", "Walter Castillo", "2016-10-07"),
        (15, "r@x", "Robin Mills", "2016-11-01"),
        (16, "ra@x", None, "2016-10-03"),
        (18, "a@x", "Anna Riley", "2015-12-12"),
        (20, None, "Phyllis Fox", "2016-08-22"),
    ],
    "revives": [
        (14, "w@x", None, "2016-10-06"),
        (15, "r@x", None, "2016-10-31"),
        (16, "ra@x", None, "2016-10-03"),
        (18, "a@x", None, "2015-12-11"),
    ],
}
SCENARIOS_EXPECTED = {
    "updates": ({14, 15, 16, 18, 20}, set()),
    "inserts": ({14, 15, 16, 18, 20, 21}, set()),
    "deletes": ({14, 15}, {16, 18, 20}),
    "revives": ({14, 15, 16, 18}, {16, 18, 20}),
    "new_column": ({14, 15, 16, 18, 20}, {14, 15, 18, 20}),
}
