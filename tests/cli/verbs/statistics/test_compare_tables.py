"""``kitsbench compare`` on tables of other tools and programs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench
from score_tables import dice_table


@pytest.fixture
def write(tmp_path):
    def write(frame, end=""):
        file = tmp_path / "scores.csv"
        file.write_text(frame.to_csv(index=False) + end)
        return file

    return write


def table(metric, **columns):
    """Two architectures; the values of arch1 are larger."""
    data = dice_table(2, 2, 4, 2, offsets=[0, 0.2])
    return data.assign(metric=metric, status="ok", **columns)


def compare(*arguments):
    return call_kitsbench("compare", *arguments)


def refused(*arguments):
    done = compare(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    return " ".join(done.err.split())


def first(*arguments):
    return compare(*arguments, "--json").json["ranking"][0]["architecture"]


def test_an_unknown_metric_asks_for_its_direction(write):
    file = write(table("hd95"))
    message = refused(file, "--endpoint", "tumor:hd95")
    assert "does not know the metric 'hd95' (did you mean hd95_mm?)" in message
    assert "--lower-is-better or --higher-is-better, and its --range LOW:HIGH" in message


@pytest.mark.parametrize(
    ("options", "winner"),
    [
        (["--lower-is-better", "--range", "0:"], "arch0"),
        (["--higher-is-better", "--range", "-1:1"], "arch1"),
        (["--declare", "ece:lower:0:1"], "arch0"),
    ],
)
def test_the_declared_direction_decides(write, options, winner):
    assert first(write(table("ece")), "--endpoint", "tumor:ece", *options) == winner


def test_a_failure_costs_the_worse_end_of_the_range(write):
    data = table("ece")
    data.loc[data["architecture"] == "arch0", ["value", "status"]] = [np.nan, "failed"]
    file = write(data)
    options = ["--endpoint", "tumor:ece", "--lower-is-better"]
    rows = compare(file, *options, "--range", "0:1", "--json").json["ranking"]
    assert [(row["architecture"], row["mean"]) for row in rows][1] == ("arch0", 1)
    assert "has the status failed and no tumor:ece that could count" in refused(file, *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lower-is-better", "--higher-is-better"], "ece can be one only"),
        (["--range", "0:1"], "not which of two values is better; add --lower-is-better or"),
        (["--lower-is-better", "--range", "0"], "The range is '0'; write LOW:HIGH"),
        (["--lower-is-better", "--range", "a:b"], "The range is 'a:b'"),
        (["--lower-is-better", "--range", "1:0"], "the range 1:0; its ends must be numbers"),
        (["--lower-is-better", "--range", "nan:1"], "must be numbers"),
        (["--lower-is-better", "--range", "0:0.1"], "but ece lies between 0 and 0.1"),
        (["--declare", "ece"], "The declaration is 'ece'; write METRIC:lower"),
        (["--declare", "ece:lower:0"], "The range is '0'"),
        (["--declare", "dice:lower"], "kitsbench knows it: higher is better"),
    ],
)
def test_declarations_that_cannot_be(write, options, message):
    assert message in refused(write(table("ece")), "--endpoint", "tumor:ece", *options)


def test_a_known_metric_needs_none_and_takes_no_other(write):
    file = write(table("dice"))
    assert first(file, "--higher-is-better", "--range", "0:1") == "arch1"
    assert "dice was declared as lower is better" in refused(file, "--lower-is-better")


def test_a_table_that_contradicts_itself_is_refused(write):
    data = pd.concat([table("dice"), table("recall")])
    data.iloc[3, data.columns.get_indexer(["value", "status"])] = [0.0, "empty_prediction"]
    message = refused(write(data))
    assert "line 37: recall has the status ok" in message
    assert "line 5: dice has empty_prediction" in message
    data = table("dice")
    data.loc[3, "status"] = "false_positive"
    assert "line 5: the status is false_positive" in refused(write(data))
