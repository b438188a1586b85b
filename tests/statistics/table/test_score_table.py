"""Reading score tables: what is accepted, and what a user is told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from score_tables import long_table

from kitsbench.errors import DataError
from kitsbench.statistics import Endpoint, read_scores, score_blocks, validate_scores


@pytest.fixture
def table():
    scores = np.random.default_rng(0).uniform(0.5, 1, (2, 4, 2)).round(3)
    return long_table(scores, [0, 0, 1, 1])


def write(tmp_path, table, name="scores.csv", **options):
    file = tmp_path / name
    table.to_csv(file, index=False, **options)
    return file


def test_csv_and_parquet_give_the_same_table(tmp_path, table):
    file = write(tmp_path, table)
    table.to_parquet(tmp_path / "scores.parquet")
    found = read_scores([file])
    pd.testing.assert_frame_equal(found, read_scores(tmp_path / "scores.parquet"))
    assert found["value"].tolist() == table["value"].tolist()
    assert set(found["status"]) == {"ok"}


def test_a_case_keeps_its_leading_zeros(tmp_path, table):
    file = write(tmp_path, table.assign(case=table["case"].str.removeprefix("case_")))
    assert read_scores(file)["case"][0] == "00000"


@pytest.mark.parametrize("kind", ["csv", "parquet", "text"])
def test_seeds_beyond_two_to_the_fifty_third_are_kept_exact(tmp_path, table, kind):
    first = 2**53 + 1
    big = table.assign(seed=table["seed"] + first)
    file = tmp_path / f"scores.{'csv' if kind == 'csv' else 'parquet'}"
    if kind == "csv":
        big.to_csv(file, index=False)
    else:
        big.astype({"seed": str} if kind == "text" else {}).to_parquet(file)
    assert read_scores(file)["seed"].tolist() == big["seed"].tolist()
    assert validate_scores(big)["seed"].tolist() == big["seed"].tolist()


@pytest.mark.parametrize(
    "seed", ["9007199254740993.5", "1e400", "nan", "inf", "9" * 19, "9" * 5000]
)
def test_a_seed_that_cannot_be_kept_is_refused(tmp_path, table, seed):
    file = write(tmp_path, table.assign(seed=[seed] + ["0"] * (len(table) - 1)))
    with pytest.raises(DataError, match="line 2: column 'seed' holds") as refused:
        read_scores(file)
    assert len(str(refused.value)) < 300
    big = table.assign(seed=table["seed"] + 2.0**60)  # a column with points knows no neighbours
    with pytest.raises(DataError, match="column 'seed' holds"):
        validate_scores(big)


@pytest.mark.parametrize("name", ["=1+1", "-x", "@a", "'=x"])
def test_a_name_that_looks_like_a_formula_comes_back(tmp_path, table, name):
    from kitsbench.text import csv_table

    named = table.replace({"architecture": {"arch0": name}})
    (tmp_path / "scores.csv").write_text(csv_table(named))
    assert (tmp_path / "scores.csv").read_text().count(f"'{name}") == (
        table["architecture"] == "arch0"
    ).sum()
    assert set(read_scores(tmp_path / "scores.csv")["architecture"]) == {name, "arch1"}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_a_byte_order_mark(tmp_path, table, separator):
    file = write(tmp_path, table, sep=separator, encoding="utf-8-sig")
    assert len(read_scores(file)) == len(table)


def test_several_files_are_one_table(tmp_path, table):
    first = write(tmp_path, table[table["architecture"] == "arch0"], "a.csv")
    second = write(tmp_path, table[table["architecture"] == "arch1"], "b.csv")
    assert len(read_scores([first, second])) == len(table)


def test_a_score_in_two_files_is_found(tmp_path, table):
    first, second = write(tmp_path, table, "a.csv"), write(tmp_path, table[3:4], "b.csv")
    with pytest.raises(DataError, match=r"b\.csv, line 2 repeats .*a\.csv, line 5: .*arch0"):
        read_scores([first, second])


def test_the_users_table_is_not_changed(table):
    table = table.rename(columns={"value": " value "})
    copy = table.copy(deep=True)
    validate_scores(table)
    pd.testing.assert_frame_equal(table, copy)


def test_the_alias_of_a_status(table):
    table.loc[0, "value"] = 0.0
    found = validate_scores(table.assign(status=["empty_pred"] + ["ok"] * (len(table) - 1)))
    assert found["status"][0] == "empty_prediction"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("value", "good", r"line 4: column 'value' holds 'good'"),
        ("value", "0,81", r"line 4: column 'value' holds '0,81'.*a point"),
        ("value", "inf", r"line 4: column 'value' is infinite"),
        ("value", "", r"line 4: column 'value' is empty, but the status is ok"),
        ("value", "82.3", r"line 4: column 'value' holds 82.3.*divide percentages"),
        ("value", "-0.1", r"line 4: column 'value' holds -0.1"),
        ("fold", "one", r"line 4: column 'fold' holds 'one'.*whole number"),
        ("fold", "0.5", r"line 4: column 'fold' holds '0.5'"),
        ("seed", "", r"line 4: column 'seed' holds ''"),
        ("case", "", r"line 4: column 'case' is empty"),
        ("architecture", " ", r"line 4: column 'architecture' is empty"),
        ("status", "crashed", r"line 4: column 'status' holds 'crashed'.*failed, timeout"),
        (
            "fold",
            "1",
            r"line 5: column 'fold' puts case case_00001 into fold 0.*line 4 into fold 1;",
        ),
    ],
)
def test_a_wrong_cell_is_named(tmp_path, table, column, value, message):
    table = table.assign(status="ok").astype(str)
    table.loc[2, column] = value
    with pytest.raises(DataError, match=message):
        read_scores(write(tmp_path, table))


@pytest.mark.parametrize(
    ("metric", "value", "message"),
    [
        ("hd95_mm", "-3", "line 4: column 'value' holds -3, but hd95_mm lies at or above 0[.]"),
        ("lesion_sensitivity", "80", "holds 80, but lesion_sensitivity lies between 0 and 1; div"),
    ],
)
def test_a_value_outside_the_range_of_its_metric_is_named(tmp_path, table, metric, value, message):
    table = table.assign(metric=metric).astype(str)
    table.loc[2, "value"] = value
    with pytest.raises(DataError, match=message):
        read_scores(write(tmp_path, table))


@pytest.mark.parametrize(("metric", "value"), [("volume_error_ml", -300.5), ("nsd_percent", 97.0)])
def test_a_range_that_is_open_or_not_known_refuses_nothing(tmp_path, table, metric, value):
    found = read_scores(write(tmp_path, table.assign(metric=metric, value=value)))
    assert set(found["value"]) == {value}


def test_a_repeated_row_is_named(tmp_path, table):
    file = write(tmp_path, pd.concat([table, table[:1]]))
    with pytest.raises(DataError, match=r"line 18 repeats .*line 2: architecture arch0, fold 0"):
        read_scores(file)


def test_missing_columns_are_named(tmp_path, table):
    with pytest.raises(DataError, match=r"lacks the columns fold, seed.*use fold 0"):
        read_scores(write(tmp_path, table.drop(columns=["fold", "seed"])))


def test_a_column_twice_is_named(tmp_path, table):
    with pytest.raises(DataError, match="column 'case' twice"):
        validate_scores(pd.concat([table, table[["case"]]], axis=1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"",
            r"scores.csv is empty; a long score table has a header[^\n]*\n.*Write the file again",
        ),
        (b"\xef\xbb\xbf\n  \n", "is empty"),
        (b"architecture,fold,seed,case,region,metric,value\n", "no rows"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "cannot be read as a long score table"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, message):
    file = tmp_path / "scores.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_scores(file)


def test_a_damaged_parquet_file(tmp_path):
    file = tmp_path / "scores.parquet"
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read as a long score table"):
        read_scores(file)
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"scores.parquet is empty"):
        read_scores(file)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        read_scores(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder; give a long score table"):
        read_scores(tmp_path)
    with pytest.raises(DataError, match="No score table"):
        read_scores([])


def test_a_score_that_no_prediction_can_have_may_be_empty(table):
    table.loc[table["case"] == "case_00001", ["value", "status"]] = (np.nan, "undefined")
    endpoint = Endpoint("tumor", "dice")
    blocks = score_blocks(validate_scores(table), endpoint)
    assert blocks.n_cases == 3
    assert blocks.notes == ["tumor:dice: left out 1 case that cannot have it."]
    # One architecture's word is enough: the scan decides, and a crash is no score.
    lost = (table["case"] == "case_00001") & (table["architecture"] == "arch0")
    table.loc[lost, ["value", "status"]] = (0.0, "failed")
    again = score_blocks(validate_scores(table), endpoint)
    np.testing.assert_array_equal(again.values["arch0"][0], blocks.values["arch0"][0])
    table[["value", "status"]] = (np.nan, "undefined")
    with pytest.raises(DataError, match="No case of the table can have tumor:dice"):
        score_blocks(validate_scores(table), endpoint)
