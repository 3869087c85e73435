"""CSV files bent at random: each is refused with a reason, or holds what an independent reader counts and finds in it."""

from __future__ import annotations

import csv
import os

import pytest
from bending import BENDS, Bend, bent, records_in, rows_kept
from cloudlake.batch.bronze.exports import Export, read_export
from cloudlake.batch.bronze.scanning import FileRefusedError
from cloudlake.common.config import Config, load_config
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

SEED = int(os.environ.get("CLOUDLAKE_FUZZ_SEED", "12"))
FILES = {
    "users": b"user_id,org_id,email,role,active,created_at,last_login\n"
    + b"".join(b"user_%d,org_%d,u%d@example.com,admin,True,2025-07-%02d,\n" % (n, n % 3, n, n) for n in range(1, 10)),
    "resources": b"resource_id,org_id,service,region,created_at,state,tags_json\n"
    + b"".join(b'res_%da,org_1,genai,eu-west,2025-07-01,running,"[""team:%d"", ""a:b""]"\n' % (n, n) for n in range(1, 10)),
    "nps_surveys": b"org_id,survey_date,nps_score,comment\n"
    + b"".join(b'org_%d,2025-07-%02d,7,"good, in\nall"\norg_%d,2025-08-01,3,\n' % (n, n, n) for n in range(1, 6)),
}  # fmt: skip
NUMBER = st.integers(0, 2**20)
DELIVERY = st.tuples(
    st.sampled_from(sorted(FILES)),
    st.lists(st.builds(Bend, st.sampled_from(sorted(BENDS)), NUMBER, NUMBER, NUMBER), min_size=1, max_size=4),
)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


def keys_of_good_rows(export: Export, keys: list[str]) -> set[tuple[str, ...]]:
    rows = export.rows.to_pylist()
    return {
        tuple(row[key].strip() for key in keys) for row in rows if row["_corrupt_record"] is None and all(row[k] for k in keys)
    }


@pytest.mark.parametrize("examples", [400, pytest.param(20_000, marks=pytest.mark.soak)])
def test_a_bent_export_is_refused_or_holds_every_row_that_was_not_bent(examples: int, config: Config) -> None:
    taken: list[str] = []

    @seed(SEED)
    @settings(max_examples=examples, phases=[Phase.generate, Phase.shrink], deadline=None, database=None)
    @given(DELIVERY)
    def take(delivery: tuple[str, list[Bend]]) -> None:
        name, bends = delivery
        content = FILES[name]
        for bend in bends:
            content = bent(content, bend)
        table = config.registry[f"bronze.{name}"]
        try:
            export = read_export(content, table)
        except FileRefusedError as error:
            assert str(error)
            return
        taken.append(name)
        assert export.rows.num_rows == records_in(content) - 1
        keys = [key for key, column in table.columns.items() if column.required]
        found = keys_of_good_rows(export, keys)
        header = FILES[name].partition(b"\n")[0].decode().split(",")
        for line in rows_kept(content, FILES[name].rstrip(b"\n").split(b"\n"))[0]:
            (cells,) = csv.reader([line.decode()])
            assert tuple(cells[header.index(key)] for key in keys) in found, line

    print(f"seed {SEED}")
    take()
    assert len(taken) > examples // 3
