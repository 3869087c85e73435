"""CSV exports on their way to bronze, without Spark: counted, decoded, named, dated; taken or refused with the reason."""

from __future__ import annotations

import gzip
import json
import os
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cloudlake.batch.bronze import ingestion, landed
from cloudlake.batch.bronze.exports import read_export
from cloudlake.batch.bronze.scanning import FileRefusedError, count_records
from cloudlake.common.config import Config
from cloudlake.common.contracts.table import Dialect, Table
from cloudlake.common.errors import CloudlakeError
from cloudlake.common.steps import StepResult
from flow import opened
from pydantic import ValidationError

HEADER = b"org_id,survey_date,nps_score,comment\n"
ROW = b"o1,2025-07-01,7,fine\n"
NOW = datetime(2025, 9, 10, 12, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "landing").mkdir()
    return opened(tmp_path / "lake", tmp_path / "landing")


@pytest.fixture
def surveys(config: Config) -> Table:
    return config.registry["bronze.nps_surveys"]


def land(config: Config, name: str, content: bytes, at: datetime = NOW) -> None:
    path = config.landing / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (at.timestamp(), at.timestamp()))


def ingest(config: Config, table: Table, minute: int = 0, **options: Any) -> StepResult:
    return ingestion.ingest(config, table, now=NOW.replace(minute=minute), run_id=f"r{minute}", **options)


def files_of(config: Config) -> dict[str, str | None]:
    """Path → why it was refused, None where it was ingested."""
    return {row["path"]: row["reason"] for row in config.lake.rows("ops.landed_files")}


@pytest.mark.parametrize(
    ("body", "records"),
    [
        (ROW * 3, 4),
        (b"\n\r\n" + ROW, 2),
        (b'o1,2025-07-01,7,"two\nlines"\n', 2),
        (b'o1,2025-07-01,7,"she said ""yes"",\ntwice"\r\n', 2),
        (b'o1,2025-07-01,7,a 5" disk\n' + ROW, 3),
        (b'o1,2025-07-01,7,"a"b\n' + ROW, 3),
        (b"o1,2025-07-01,7,no line end", 2),
        (b"o1,2025-07-01,7,\0\0\n\0\0\0\n", 3),
        (b"o1,2025-07-01\n" + ROW, 3),
    ],
)
def test_the_records_counted_from_bytes_are_those_the_parser_returns(body: bytes, records: int, surveys: Table) -> None:
    assert count_records(HEADER + body, [0, 1]) == records
    assert read_export(HEADER + body, surveys).rows.num_rows == records - 1


REFUSED = {
    'an open quote in a row': (HEADER + b'o1,2025-07-01,7,"open\n' + ROW, r"opens in line 2 \(byte 53\) is never closed"),
    "one in the last line": (HEADER + ROW + b'o1,2025-07-02,7,"open', "opens in line 3 .* is never closed"),
    "one in the header": (b'org_id,"survey_date\n' + ROW, "header can't be read"),
    "two that make a pair": (HEADER + b'o1,2025-07-01,7,"a\no2,2025-07-02,8,b\no3,2025-07-03,9,c"\n', "line 2 holds line 3, which looks like a row"),
    "two that leave no row beside them": (HEADER + b'x,y,7,"a\no2,2025-07-02,8,b\no3,2025-07-03,9,c\nz,q,1,d"\n', "line 2 holds line 3, which looks like a row"),
    "two that close amid a cell": (HEADER + b'o1,2025-07-01,7,"a\nx,y,"b\n', "closes within line 3, amid a cell"),
    "a cut last line": (HEADER + ROW + b"o1,2025-0", "its last line has 2 of 4 cells and no line end: the file was cut"),
    "line ends of old Macs": ((HEADER + ROW).replace(b"\n", b"\r"), "lone CR"),
    "UTF-16 by its mark": ((HEADER + ROW).decode().encode("utf-16"), r"UTF-16, by its mark at byte 0 .*dialect: \{encoding"),
    "UTF-16 without": ((HEADER + ROW).decode().encode("utf-16-be"), r"header is no UTF-8 text at line 1 \(byte 0\), and looks like UTF-16"),
    "a header in Latin-1": (b"org_id,survey_date,gr\xf6\xdfe\n" + ROW, r"header is no UTF-8 text at line 1 \(byte 21\)"),
    "two names of one column": (b"org_id,survey_date,NPS score,nps_score\n", "column named twice: NPS score, nps_score"),
    "new names alike but for case": (b"org_id,survey_date,Mood,mood\n", "column named twice: Mood, mood"),
    "no key": (b"org,survey_date\n", r"key column missing: org_id \(found: org, survey_date\)"),
    "rows as columns": (b"org_id,survey_date" + b",x1,x2" * 600 + b"\n", "names 1,202 columns, more than 1,000"),
    "nothing": (b"", "the file is empty"),
    "delimiters alone": (b",,,\n", "the header names no column"),
}  # fmt: skip


def test_a_cell_of_several_lines_is_one_record_also_where_no_column_is_a_key() -> None:
    assert count_records(b'a,b\n1,"x\n2,y"\n') == 2


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_whose_rows_or_columns_can_not_be_told_is_refused_and_says_where(kind: str, surveys: Table) -> None:
    content, reason = REFUSED[kind]
    with pytest.raises(FileRefusedError, match=reason):
        read_export(content, surveys)


def test_a_row_that_is_no_text_is_refused_alone_and_a_key_known_in_part_is_not_known(surveys: Table) -> None:
    lost = "o5,2025-07-01,7,Z\ufffdrich\n".encode()
    latin = b"o1,2025-07-01,7,Z\xfcrich\no\xfc,2025-07-01,7,x\no3,2025-07-01,7,a\0b\no4,2025-07-01,7,Z\xc3\xbcrich\n"
    found = read_export(HEADER + latin + lost, surveys)
    rows = found.rows.to_pylist()
    assert [row["org_id"] for row in rows] == ["o1", None, "o3", "o4", "o5"]
    assert [row["comment"] for row in rows] == [r"Z\xfcrich", "x", r"a\x00b", "Zürich", r"Z\ufffdrich"]
    assert [row["_corrupt_record"] is None for row in rows] == [False, False, False, True, False]
    assert found.not_text == 4 and found.where.startswith("line 2 (byte 54)") and "conf/bronze.yaml" in found.where


def test_a_declared_encoding_is_read_and_a_file_that_is_not_so_is_refused(surveys: Table) -> None:
    text = HEADER.decode() + "o1,2025-07-01,7,Zürich 東\n"
    for encoding in ("utf-16", "utf-16-le", "utf-8-sig"):
        table = surveys.model_copy(update={"dialect": Dialect(encoding=encoding)})
        assert read_export(text.encode(encoding), table).rows["comment"].to_pylist() == ["Zürich 東"]
    strict = surveys.model_copy(update={"dialect": Dialect(encoding="ascii")})
    with pytest.raises(FileRefusedError, match=r"no ascii text at line 2 \(byte 54\)"):
        read_export(text.encode(), strict)
    with pytest.raises(ValidationError, match="'latin-one' is no encoding"):
        Dialect(encoding="latin-one")
    with pytest.raises(ValidationError, match="'base64' encodes no text"):
        Dialect(encoding="base64")


def test_names_of_a_header_are_data(surveys: Table) -> None:
    header = "ORG_ID, Survey Date ,nps-score,Kostenstelle (CostCenter),project.id,,_source_file,2025,Größe,MOOD,;{},,\n"
    found = read_export((header + "o1,2025-07-01,7,a,b,c,d,e,f,g,h,,\n").encode(), surveys, ["mood", "_source_file"])
    assert found.columns == [
        "org_id", "survey_date", "nps_score", "Kostenstelle_CostCenter", "project_id", "column_6", "source_file",
        "column_2025", "Größe", "mood", "column_11",
    ]  # fmt: skip
    assert found.rows.to_pylist()[0]["_corrupt_record"] is None and found.renamed["project.id"] == "project_id"
    beyond = read_export(b"org_id,survey_date,\no1,2025-07-01,\no2,2025-07-01,lost\no3,2025-07-01\n", surveys)
    assert [row["_corrupt_record"] for row in beyond.rows.to_pylist()] == [None, "o2,2025-07-01,lost", "o3,2025-07-01"]


def test_each_file_fails_alone_and_columns_that_are_new_widen_the_table(config: Config, surveys: Table) -> None:
    land(config, "2025-09-01/nps_surveys.csv", HEADER + ROW)
    land(config, "2025-09-02/nps_surveys.csv", HEADER[:-1] + b",Mood (new)\n" + ROW[:-1] + b",good\n")
    land(config, "2025-09-03/nps_surveys.csv", HEADER + b'o1,2025-07-01,7,"open\n')
    land(config, "2025-09-04/nps_surveys.csv.gz", gzip.compress(HEADER + ROW * 500)[:40])
    land(config, "2025-09-05/nps_surveys.csv.gz", gzip.compress(HEADER + ROW))
    land(config, "nps_surveys[1].csv", HEADER + ROW)
    done = ingest(config, surveys)
    assert done.rows_out == 3 and done.detail["refused"] == [
        "2025-09-03/nps_surveys.csv",
        "2025-09-04/nps_surveys.csv.gz",
    ]
    assert "new column Mood_new" in done.message and "'Mood (new)' is kept as Mood_new" in done.message
    rows = config.lake.rows("bronze.nps_surveys")
    assert sorted(str(row["Mood_new"]) for row in rows) == ["None", "None", "good"]
    reasons = files_of(config)
    assert len(reasons) == 5 and reasons["2025-09-04/nps_surveys.csv.gz"].startswith("the file can't be read")  # type: ignore[union-attr]
    assert ingest(config, surveys, 1).skipped, "what was refused is told once"
    land(config, "2025-09-06/nps_surveys.csv", HEADER[:-1] + b",MOOD_NEW\n" + ROW[:-1] + b",bad\n")
    assert ingest(config, surveys, 2).rows_out == 1
    assert {row["Mood_new"] for row in config.lake.rows("bronze.nps_surveys")} == {None, "good", "bad"}


def test_a_file_that_cannot_be_opened_for_a_night_is_told_once_and_not_taken_again(config: Config, surveys: Table) -> None:
    land(config, "2025-09-01/nps_surveys.csv", HEADER + ROW)
    assert ingest(config, surveys).rows_out == 1
    place, aside = config.landing / "2025-09-01" / "nps_surveys.csv", config.landing / "aside"
    place.rename(aside)
    place.symlink_to("/proc/self/mem")  # a file whose first byte nobody can read, root included
    assert ingest(config, surveys, 1).detail["refused"] == ["2025-09-01/nps_surveys.csv"]
    assert ingest(config, surveys, 2).skipped, "what can't be opened is told once"
    place.unlink()
    aside.rename(place)
    assert ingest(config, surveys, 3).skipped, "its content is the one that was taken"
    assert len(config.lake.rows("bronze.nps_surveys")) == 1
    land(config, "2025-09-01/nps_surveys.csv", HEADER + ROW * 2)
    assert ingest(config, surveys, 4).rows_out == 2


def test_files_that_look_like_deliveries_and_are_none_are_told_and_odd_folders_stop_nothing(
    config: Config, surveys: Table
) -> None:
    land(config, "2025-09-01/nps_surveys.csv", HEADER + ROW)
    told = ["2025-09-01/NPS_Surveys.CSV", "2025-09-01/nps_surveys (1).csv", "nps_surveys.xlsx", "2025-09-01/nps_surveys.zip"]
    silent = ["2025-09-01/nps_surveys_old.csv", "2025-09-01/.nps_surveys.csv.swp", "2025-09-01/nps_surveys.csv.tmp", "other/NPS_SURVEYS.csv"]
    for name in told + silent:
        land(config, name, HEADER + ROW)
    (config.landing / "2025-09-02" / "nps_surveys.csv").mkdir(parents=True)
    for folder in (b"2025-09-03\xff", b"2025-09-04\n"):
        odd = os.path.join(os.fsencode(config.landing), folder)
        os.mkdir(odd)
        Path(os.fsdecode(odd), "nps_surveys.csv").write_bytes(HEADER + ROW)
    for minute in (0, 1):
        done = ingest(config, surveys, minute)
        assert done.skipped == bool(minute)
        assert done.message.count("is not read: the file of this source is called nps_surveys.csv") == len(told)
        assert all(name in done.message for name in told) and not any(name in done.message for name in silent)
        assert "2025-09-02/nps_surveys.csv is no file" in done.message
    assert files_of(config) == {
        "2025-09-01/nps_surveys.csv": None,
        r"2025-09-03\xff/nps_surveys.csv": r"its folder 2025-09-03\xff is no date; name the folder YYYY-MM-DD",
        r"2025-09-04\x0a/nps_surveys.csv": r"its folder 2025-09-04\x0a is no date; name the folder YYYY-MM-DD",
    }


@pytest.mark.parametrize(
    ("folder", "modified", "reason"),
    [
        ("2025-13-45", NOW, "its folder 2025-13-45 is no date; name the folder YYYY-MM-DD"),
        ("20250901", NOW, "is no date"),
        ("2025-9-1", NOW, "is no date"),
        ("0001-01-01", NOW, "dates it before 1990-01-01"),
        ("9999-12-31", NOW, "dates it more than 14 h ahead of the clock"),
        ("2062-01-01", NOW, "dates it more than 14 h ahead of the clock"),
        ("", datetime(1970, 1, 1, tzinfo=UTC), "its modification time dates it before 1990-01-01"),
        ("", datetime(2025, 9, 11, 13, tzinfo=UTC), "its modification time dates it more than 14 h ahead"),
    ],
)
def test_a_snapshot_that_can_not_be_dated_is_refused_and_told(
    folder: str, modified: datetime, reason: str, config: Config, surveys: Table
) -> None:
    land(config, f"{folder}/nps_surveys.csv".lstrip("/"), HEADER + ROW, modified)
    land(config, "2025-09-11/nps_surveys.csv", HEADER + ROW)  # today, in Kiritimati
    done = ingest(config, surveys)
    assert reason in done.fault and done.rows_out == 1


def test_a_snapshot_dated_ahead_is_taken_when_its_day_has_come(config: Config, surveys: Table) -> None:
    land(config, "2025-09-12/nps_surveys.csv", HEADER + ROW)
    for minute in (0, 1):  # nothing can be made of a source of which nothing could be taken, also where that was told
        with pytest.raises(CloudlakeError, match=r"nps_surveys has no delivery that could be taken.*14 h ahead"):
            ingest(config, surveys, minute)
    later = ingestion.ingest(config, surveys, now=datetime(2025, 9, 12, 3, tzinfo=UTC), run_id="later")
    assert later.rows_out == 1 and not later.fault


def test_a_flat_file_speaks_of_the_time_given_and_a_dated_one_of_its_folder(config: Config, surveys: Table) -> None:
    land(config, "nps_surveys.csv", HEADER + ROW, datetime(1970, 1, 1, tzinfo=UTC))
    land(config, "2025-09-01/nps_surveys.csv", HEADER + ROW)
    ingest(config, surveys, snapshot_at=datetime(2025, 9, 5, 6, tzinfo=UTC))
    found = {row["path"]: row["snapshot_at"] for row in config.lake.rows("ops.landed_files")}
    assert found == {
        "nps_surveys.csv": datetime(2025, 9, 5, 6, tzinfo=UTC),
        "2025-09-01/nps_surveys.csv": datetime(2025, 9, 1, tzinfo=UTC),
    }


def test_a_path_that_is_delivered_as_a_then_b_then_a_is_taken_three_times(config: Config, surveys: Table) -> None:
    other = ROW.replace(b"fine", b"bad")
    for minute, body in enumerate([ROW, other, ROW, ROW]):
        land(config, "2025-09-01/nps_surveys.csv", HEADER + body)
        assert ingest(config, surveys, minute).skipped == (minute == 3)
    assert [row["comment"] for row in config.lake.rows("bronze.nps_surveys")].count("fine") == 2


def test_an_encoding_that_is_declared_later_lets_in_what_was_refused(config: Config, surveys: Table) -> None:
    land(config, "2025-09-01/nps_surveys.csv", HEADER + "o1,2025-07-01,7,Zürich\n".encode("latin-1"))
    land(config, "2025-09-02/nps_surveys.csv", HEADER.replace(b"\n", b",gr\xf6\xdfe\n") + ROW[:-1] + b",1\n")
    done = ingest(config, surveys)
    assert "1 row(s) hold what is no text, the first in line 2" in done.message and "header is no UTF-8" in done.fault
    assert json.loads(config.lake.rows("ops.landed_files")[0]["drift"])["not_text"] == 1
    declared = surveys.model_copy(update={"dialect": Dialect(encoding="latin-1")})
    assert ingest(config, declared, 1).rows_out == 2
    assert "Zürich" in [row["comment"] for row in config.lake.rows("bronze.nps_surveys")]
    assert ingest(config, declared, 2).skipped


def test_no_address_stands_in_the_log_of_bronze(config: Config) -> None:
    users = config.registry["bronze.users"]
    land(
        config,
        "2025-09-01/users.csv",
        b"user_id,org_id,email,extra\nu1,o1,someone@example.com,1\nu2,o1,someone@example.com\n",
    )
    assert ingest(config, users).rows_out == 2
    log = Path(config.lake.path("bronze.users")) / "_delta_log"
    assert not [path for path in log.iterdir() if path.is_file() and b"someone@" in path.read_bytes()]


def test_a_last_line_without_an_end_is_taken_and_told(config: Config, surveys: Table) -> None:
    land(config, "2025-09-01/nps_surveys.csv", HEADER + ROW + ROW.replace(b"07-01", b"07-02").rstrip())
    land(config, "2025-09-02/nps_surveys.csv", HEADER + ROW.replace(b"\n", b"\r\n"))
    done = ingest(config, surveys)
    assert done.rows_out == 3
    assert done.message.startswith("2025-09-01/nps_surveys.csv: its last line has no line end") and done.message.count(".csv") == 1
    drifts = {row["path"][:10]: json.loads(row["drift"]) for row in config.lake.rows("ops.landed_files")}
    assert drifts["2025-09-01"].get("open_ended") and "open_ended" not in drifts["2025-09-02"]


def test_an_archive_that_holds_more_than_conf_lets_it_is_refused_and_unpacked_no_further() -> None:
    packed = gzip.compress(HEADER + ROW * 500)
    whole = len(HEADER + ROW * 500)
    assert len(landed.unpacked(packed, whole)) == whole
    with pytest.raises(FileRefusedError, match=r"unpack to more than .* \(landing.most_unpacked_mb in conf/lake.yaml\)"):
        landed.unpacked(packed, whole - 1)
    bomb = gzip.compress(b"0" * (1 << 20)) * 512
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FileRefusedError):
        landed.unpacked(bomb, 1 << 20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
