"""CSV as people and programs write it: each form is read right, or refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from table_by_table import ORGS, TableByTable, org

HEADER = "org_id,survey_date,nps_score,comment"
FORMS: dict[str, str | bytes] = {
    "2025-07-02": b"\xef\xbb\xbf" + f"{HEADER}\no1,2025-07-02,7,byte order mark\n".encode(),
    "2025-07-03": f"{HEADER}\r\no1,2025-07-03,7,crlf\r\n",
    "2025-07-04": "comment,nps_score,survey_date,org_id\nswapped,7,2025-07-04,o1\n",
    "2025-07-05": f"{HEADER},mood\no1,2025-07-05,7,one more column,good\n",
    "2025-07-06": "org_id,survey_date,nps_score\no1,2025-07-06,7\n",
    "2025-07-07": f'{HEADER}\no1,2025-07-07,7,"two\nlines, one cell"\n',
    "2025-07-08": f'{HEADER}\no1,2025-07-08,7,"she said ""yes"", twice"\n',
    "2025-07-09": f"{HEADER}\no1,2025-07-09,7\no1,2025-07-19,7,beside a short row\n",
    "2025-07-10": f"{HEADER}\no1,2025-07-10,7,too,long\n",
    "2025-07-11": "",
    "2025-07-12": f"{HEADER}\n",
    "2025-07-14": f"{HEADER}\no1,2025-07-14,7,no line end",
}
READ: dict[str, Any] = {
    "2025-07-02": "byte order mark",
    "2025-07-03": "crlf",
    "2025-07-04": "swapped",
    "2025-07-05": "one more column",
    "2025-07-06": None,
    "2025-07-07": "two\nlines, one cell",
    "2025-07-08": 'she said "yes", twice',
    "2025-07-14": "no line end",
    "2025-07-19": "beside a short row",
}


def test_every_form_of_csv_is_read_right_or_refused_with_a_reason(tmp_path: Path, spark: SparkSession) -> None:
    lake = TableByTable(tmp_path, spark)
    lake.deliver("2025-07-01", customers_orgs=ORGS + org("o1"))
    for day, content in FORMS.items():
        lake.deliver(day, nps_surveys=content)
    lake.run("customers_orgs")
    assert lake.ingest("nps_surveys").fault.startswith("2025-07-11/nps_surveys.csv: the file is empty")
    lake.transform("nps_surveys")
    surveys = {str(row["survey_date"]): row for row in lake.config.lake.rows("silver.nps_surveys")}
    assert {day: row["comment"] for day, row in surveys.items()} == READ
    assert {row["nps_score"] for row in surveys.values()} == {7}
    refused = {row["_source_file"][:10]: row["reasons"] for row in lake.config.lake.rows("quarantine.nps_surveys")}
    assert refused == {"2025-07-09": ["malformed_row"], "2025-07-10": ["malformed_row"]}
    assert lake.counts("nps_surveys") == (11, 9, 2)
