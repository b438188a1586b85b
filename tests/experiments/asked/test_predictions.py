"""Label maps of somebody else, as the command line and a configuration file name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.predictions import Predictions, read_predictions


def test_a_folder_with_what_is_known_of_it():
    given = ("nnunet=/a,b/c=d,trained_on=KiTS19+own CT, hours=12.5", "other=maps")
    assert read_predictions(given, {}) == (
        Predictions("nnunet", Path("/a,b/c=d"), ("KiTS19", "own CT"), 12.5),
        Predictions("other", Path("maps")),
    )


def test_what_it_says_can_be_read_again():
    given = (
        Predictions("a", Path("/b,c"), ("KiTS19", "own CT"), 12.5),
        Predictions("d", Path("e")),
    )
    assert read_predictions(tuple(map(str, given)), {}) == given


def test_a_configuration_file_says_the_same_and_the_command_line_goes_before():
    section = {
        "nnunet": {"folder": "a", "trained_on": ["KiTS19", "own CT"], "hours": 12},
        "other": "elsewhere",
        "third": {"folder": "b", "trained_on": "KiTS21"},
    }
    found = read_predictions(("other=maps",), section)
    assert found == (
        Predictions("other", Path("maps")),
        Predictions("nnunet", Path("a"), ("KiTS19", "own CT"), 12.0),
        Predictions("third", Path("b"), ("KiTS21",)),
    )


@pytest.mark.parametrize(
    ("texts", "section", "what"),
    [
        (("maps",), {}, "names no folder"),
        (("a=",), {}, "names no folder"),
        (("a b=maps",), {}, "is no name for predictions"),
        (("a:b=maps",), {}, "is no name for predictions"),
        (("a=maps", "a=others"), {}, "twice"),
        (("a=maps,hours=1,hours=2",), {}, "hours twice"),
        (("a=maps,hours=none",), {}, "give the hours"),
        (("a=maps,hours=nan",), {}, "give the hours"),
        (("a=maps,hours=-1",), {}, "give the hours"),
        (("a=maps,trained_on=",), {}, "is empty"),
        (("a=maps,trained_on=KiTS19+",), {}, "is empty"),
        (("a=maps,trained_on=othr folds",), {}, "did you mean 'other folds'"),
        (("a=maps,trained_on=unknownn",), {}, "did you mean 'unknown'"),
        (("a=maps,trained_on=BTCV+kist23",), {}, "did you mean 'kits23'"),
        (("a=maps,traned_on=KiTS19",), {}, "sets traned_on"),
        ((), {"a": 3}, "no folder"),
        ((), {"a": {"trained_on": "KiTS19"}}, "no folder"),
        ((), {"a": {"folder": "maps", "epochs": 3}}, "sets 'epochs'"),
        ((), {"a": {"folder": "maps", "hours": True}}, "give the hours"),
        ((), {"a": {"folder": "maps", "trained_on": 19}}, "no name of a dataset"),
    ],
)
def test_what_cannot_be_read_is_told(texts, section, what):
    with pytest.raises(UsageError, match=what):
        read_predictions(texts, section)


@pytest.mark.parametrize("text", ["LiTS", "BTCV", "KiTS 2021", "nothing", "Other folds", "FLARE22"])
def test_other_datasets_and_words_are_no_slips(text):
    (found,) = read_predictions((f"a=maps,trained_on={text}",), {})
    assert found.trained_on == (text,)
