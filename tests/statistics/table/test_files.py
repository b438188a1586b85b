"""Files as spreadsheets, other programs and full disks leave them."""

from __future__ import annotations

import datetime
import gzip

import numpy as np
import pandas as pd
import pytest
from score_tables import long_table

from kitsbench.errors import DataError
from kitsbench.statistics import read_scores, validate_scores
from kitsbench.statistics.compare.strata import read_cases

HEADER = "architecture,fold,seed,case,region,metric,value,status"
ROWS = [f"net,0,{seed},c{case},tumor,dice,0.{case}{seed},ok" for seed in (1, 2) for case in (5, 6)]


@pytest.fixture
def read(tmp_path):
    def read(text, encoding="utf-8"):
        file = tmp_path / "scores.csv"
        file.write_bytes(text.encode(encoding))
        return read_scores(file)

    return read


@pytest.mark.parametrize(
    "end", ["", "\n", "\n\n", "\n   \n\t\n", "\n,,,,,,,\n", "\r\n\r\n", "\n\n\n\n \n"]
)
def test_blank_lines_at_the_end_are_no_rows(read, end):
    assert len(read("\n".join([HEADER, *ROWS]) + end)) == 4


def test_blank_lines_before_the_header_are_none(read):
    found = read("\n\n" + "\n".join([HEADER, *ROWS]))
    assert found["value"].tolist() == [0.51, 0.61, 0.52, 0.62]


@pytest.mark.parametrize("blank", ["", "  ", ",,,,,,,"])
def test_a_blank_line_in_the_middle_is_named(read, blank):
    with pytest.raises(DataError, match=r"scores.csv, line 4 is blank, but more follows"):
        read("\n".join([HEADER, *ROWS[:2], blank, blank, *ROWS[2:]]))


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_line_ends_and_byte_order_marks(read, ends, encoding):
    assert len(read(ends.join([HEADER, *ROWS, ""]), encoding)) == 4


def test_lines_are_counted_as_an_editor_counts_them(read):
    # A quoted cell that holds a line end takes two lines of the file.
    note = [HEADER + ",note", ROWS[0] + ',"two\nlines"', ROWS[1] + ",", "x" + ROWS[2] + ",one"]
    with pytest.raises(DataError, match="line 5: column 'fold' holds 'one'"):
        read("\n".join(note).replace("xnet,0", "net,one"))


def test_decimal_commas_are_named(read):
    table = "\n".join([HEADER, *ROWS])
    with pytest.raises(DataError, match=r"line 2: .*'0,51', which is no number \(a decimal comma"):
        read(table.replace(",", ";").replace("0.", "0,"))
    with pytest.raises(DataError, match=r"line 2 has 9 cells, but the header 8; write numbers w"):
        read(table.replace("0.", "0,"))


def test_a_line_that_was_cut_is_named(read):
    with pytest.raises(DataError, match=r"line 5 has 6 cells, but the header 8; was the file cut"):
        read("\n".join([HEADER, *ROWS])[:-8])


def test_cells_without_a_name_are_left_out(read):
    assert len(read("\n".join([HEADER + ",,", *(row + ",," for row in ROWS)]))) == 4
    assert len(read("\n".join([HEADER, *(row + "," for row in ROWS)]))) == 4
    # The row numbers that pandas writes.
    assert len(read("\n".join(["," + HEADER, *(f"{i},{row}" for i, row in enumerate(ROWS))]))) == 4


@pytest.mark.parametrize("again", ["value", "note"])
def test_a_name_twice_in_the_header_is_named(read, again):
    header = HEADER + ",note," + again
    with pytest.raises(DataError, match=f"has the column '{again}' twice; keep one"):
        read("\n".join([header, *(row + ",1,2" for row in ROWS)]))


def test_a_table_of_cases_is_read_by_the_same_rules(tmp_path):
    file = tmp_path / "cases.csv"
    file.write_text("case,hospital\nc5,north\nc6,south\n\n \n")
    assert read_cases(file)["hospital"].to_dict() == {"c5": "north", "c6": "south"}
    file.write_text("case,hospital,hospital\nc5,north,n\n")
    with pytest.raises(DataError, match="column 'hospital' twice"):
        read_cases(file)
    file.write_text("")
    with pytest.raises(DataError, match="is empty; a table of cases has"):
        read_cases(file)


# -- whole numbers, and types that are none of a table's -------------------------------------


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_huge_seeds_stay_what_they_are(tmp_path, kind):
    table = long_table(np.full((1, 2, 2), 0.5), [0, 0])
    table["seed"] = table["seed"] + 2**53 + 1  # 2^53 + 1 has no float
    file = tmp_path / f"scores.{kind}"
    table.to_csv(file, index=False) if kind == "csv" else table.to_parquet(file)
    found = read_scores(file)
    assert sorted(found["seed"].unique()) == [2**53 + 1, 2**53 + 2]
    assert found["seed"].dtype == np.int64


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        ("9223372036854775808", "a seed must lie below 2\\^63"),
        ("1e300", "with a point or an exponent is not exact"),
        ("9007199254740993.0", "holds '9007199254740993.0'"),
        ("1_0", "holds '1_0'; a seed is a whole number such as 0"),
        ("0x1F", "holds '0x1F'"),
        ("nan", "holds 'nan'"),
        ("True", "holds 'True'"),
    ],
)
def test_seeds_that_are_none(read, seed, message):
    with pytest.raises(DataError, match=message):
        read("\n".join([HEADER, ROWS[0].replace(",1,", f",{seed},")]))


@pytest.mark.parametrize("text", ["3", " 3 ", "+3", "3.0", "3e0"])
def test_ways_to_write_a_whole_number(read, text):
    assert read("\n".join([HEADER, ROWS[0].replace(",1,", f",{text},")]))["seed"][0] == 3


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("seed", [True, False], "column 'seed' holds True"),
        ("seed", [0.5, 1.0], "column 'seed' holds 0.5"),
        ("seed", [2.0**60, 1.0], "not exact"),
        ("seed", np.array([2**63, 1], dtype=np.uint64), "below 2"),
        ("fold", pd.to_datetime(["2026-01-01", "2026-01-02"]), "column 'fold' holds Timestamp"),
        ("fold", pd.array([1, None], dtype="Int64"), "row 2: column 'fold' holds <NA>"),
        ("value", [True, False], "column 'value' holds True, which is no number"),
        ("value", pd.to_datetime(["2026-01-01", "2026-01-02"]), "column 'value' holds Timestamp"),
        ("value", pd.to_timedelta([1, 2]), "column 'value' holds Timedelta"),
        ("value", [datetime.date(2026, 1, 1)] * 2, r"holds datetime.date\(2026, 1, 1\), which"),
        ("case", [b"c1", b"c2"], r"column 'case' holds b'c1' \(bytes\); names must be text"),
        ("architecture", [["net"], ["net"]], r"\(ndarray\); names must be text"),
        ("region", [True, True], r"holds True \(bool\)"),
        ("metric", [{"a": 1}] * 2, r"\(dict\); names must be text"),
    ],
)
def test_parquet_of_other_types_is_refused(tmp_path, column, value, message):
    table = long_table(np.full((1, 2, 1), 0.5), [0, 0])
    table[column] = value
    table.to_parquet(tmp_path / "scores.parquet")
    with pytest.raises(DataError, match=message):
        read_scores(tmp_path / "scores.parquet")


def test_parquet_of_kindred_types_is_read(tmp_path):
    table = long_table(np.full((2, 3, 1), 0.5), [0, 0, 1])
    other = table.astype(
        {"architecture": "category", "fold": "Int8", "seed": "float32", "value": "float32"}
    )
    other["case"] = pd.Series([7, 8, 9] * 2, dtype=float)
    other.set_index("region").to_parquet(tmp_path / "scores.parquet")
    found = read_scores(tmp_path / "scores.parquet")
    assert found["case"].tolist() == ["7", "8", "9"] * 2
    expected = validate_scores(table)
    pd.testing.assert_frame_equal(found.drop(columns="case"), expected.drop(columns="case"))


def test_a_compressed_table_is_read_as_the_one_in_it(tmp_path):
    text = "\n".join([HEADER, *ROWS]).encode()
    packed, plain = tmp_path / "scores.csv.gz", tmp_path / "scores.csv"
    packed.write_bytes(gzip.compress(text))
    plain.write_bytes(text)
    pd.testing.assert_frame_equal(read_scores(packed), read_scores(plain))
    packed.write_bytes(gzip.compress(text)[:-9])
    with pytest.raises(DataError, match=r"scores.csv.gz cannot be read"):
        read_scores(packed)
    packed.write_bytes(gzip.compress(b"0" * 2**20) * 257)
    with pytest.raises(DataError, match="more than 256 MiB of text"):
        read_scores(packed)
