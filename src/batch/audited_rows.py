"""The rows that the audit checks: all of a small table; of a large one those of the days or months that have changed.

Rows that were found to hold and have not changed hold still, and keys of two parts never meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ..common.config import Config
from ..common.contracts.table import Table
from ..common.lake.duck import connected
from ..common.quality.checks import key_of
from ..common.session import Sessions
from .gold import mart_of

if TYPE_CHECKING:
    import pandas as pd


PERSONAL = "(personal data)"


def rows_to_check(
    sessions: Sessions, config: Config, table: Table, version: int, sound: int | None
) -> pd.DataFrame | DataFrame:
    """Return the columns that checks of rows look at, without personal data; of a large table the parts that changed.

    Args:
        version: the version of the table to check.
        sound: the version at which all of its rows were last found to hold, None where there is none.
    """
    limit = config.settings.quality.pandas_rows
    names = list(dict.fromkeys([*key_of(table), *(n for n, column in table.columns.items() if column.required)]))
    is_large = config.lake.is_for_spark(table.name, version, limit)
    part = _part(table) if is_large else ""
    days = config.lake.changed_values(table.name, part, sound, version) if part and sound is not None else None
    chosen = None if days is None else pc.field(part).isin(pa.array(sorted(days), pa.date32()))
    if is_large and chosen is not None:
        is_large = config.lake.dataset(table.name, version).count_rows(filter=chosen) > limit
    if is_large:
        rows = config.lake.read(sessions(), table.name, version)
        rows = rows if days is None else rows.where(F.col(part).isin(sorted(days)))
        hidden = {name: F.when(F.col(name).isNotNull(), F.lit(PERSONAL)) for name in names if name in table.personal}
        return rows.select(*(hidden.get(name, F.col(name)).alias(name) for name in names))
    shown = [
        f"CASE WHEN {name} IS NOT NULL THEN '{PERSONAL}' END AS {name}" if name in table.personal else name
        for name in names
    ]
    data = config.lake.dataset(table.name, version)
    with connected(rows=data if chosen is None else data.to_table(columns=names, filter=chosen)) as connection:
        frame: pd.DataFrame = connection.sql(f"SELECT {', '.join(shown) or '1 AS one'} FROM rows").df()
    return frame


def _part(table: Table) -> str:
    """Return the date by which a table changes in parts that share no key, "" where it has none."""
    parts = [mart_of(table).part] if table.layer == "gold" else table.layout.partition
    dates = [name for name in parts if name in key_of(table) and table.columns[name].type == "date"]
    return dates[0] if dates else ""
