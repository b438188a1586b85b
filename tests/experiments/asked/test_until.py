"""What is said of a run that stops by itself, and how it is kept and asked for again."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest
from command_line import call_kitsbench

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.again import (
    Design,
    add_to,
    go_on_with,
    keep_request,
    read_request,
)
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.until import Until, parse_question, read_until
from kitsbench.training.budget import Budget

ID = "0123456789abcdef"
DESIGN = Design(ID, (0, 1), 5, Budget(4, "steps"))


@pytest.fixture
def asked(tmp_path):
    """A request that was written down and read again."""
    steps = (("unet3d", "msan_v1", "tumor:dice"),)
    until = Until(5, "claim:CL-1", "pocock", 0.2, steps)
    request = Request(tmp_path, ("unet3d", "msan_v1"), until=until, max_hours=3.0)
    keep_request(tmp_path / "request.json", ID, request, [("unet3d", {}), ("msan_v1", {})])
    return read_request(tmp_path / "request.json", tmp_path)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("pairs", "pairs"),
        (" top ", "top"),
        ("baseline: unet3d:width=0.5", "baseline:unet3d:width=0.5"),
    ],
)
def test_a_question_is_read(text, question):
    assert parse_question(text) == question


@pytest.mark.parametrize("text", ["", "best", "pairs:all", "baseline", "claim:", "top:3"])
def test_a_wrong_question_is_told_with_those_that_there_are(text):
    with pytest.raises(UsageError, match="none of pairs, top, baseline:NAME and claim:ID"):
        parse_question(text)


def test_a_word_of_looks_needs_until_decided():
    assert read_until(None, None, None, None, None) is None
    assert read_until("decided", None, None, None, None) == Until()
    with pytest.raises(UsageError, match="--max-seeds was given without --until decided"):
        read_until(None, 3, None, None, None)


def test_what_was_asked_is_kept_and_asked_again(asked):
    assert asked.until == Until(
        5, "claim:CL-1", "pocock", 0.2, (("unet3d", "msan_v1", "tumor:dice"),)
    )
    again = go_on_with(asked, {"max_hours": 30.0}, DESIGN)
    assert again.until == asked.until
    assert again.seeds is None
    assert again.max_hours == 30.0
    with pytest.raises(UsageError, match="--until was given besides"):
        go_on_with(asked, {"until": Until(6)}, DESIGN)


def test_a_request_of_a_fixed_design_has_no_word_of_it(tmp_path):
    keep_request(tmp_path / "request.json", ID, Request(tmp_path, ("unet3d",)), [("unet3d", {})])
    options = json.loads((tmp_path / "request.json").read_text())["options"]
    assert not {"until", "max_hours"} & {*options}


def test_seeds_that_are_added_make_it_a_fixed_design(asked):
    fixed = add_to(asked, {"seeds": 5}, DESIGN)
    assert (fixed.until, fixed.max_hours, fixed.seeds) == (None, None, 5)
    more = add_to(asked, {"architectures": ("scau_unet",)}, DESIGN)
    assert more.until == asked.until
    before = replace(asked, until=None, max_hours=None, seeds=3)
    until = add_to(before, {"until": Until(6)}, replace(DESIGN, seeds=3))
    assert (until.until, until.seeds) == (Until(6), None)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--max-seeds 3", "--max-seeds was given without --until decided"),
        ("--until decided --question best", "The question 'best' is none of"),
        (
            "--until decided --question claim:CL-9",
            "There is no claim 'CL-9'; choose one of CL-000-1",
        ),
        ("--until decided --seeds 3", "--seeds 3 is a fixed design"),
        ("--max-hours 2", "--max-hours was given without --until decided"),
        ("--until decided --max-seeds 0", "Invalid value for '--max-seeds'"),
    ],
)
def test_wrong_words_are_told_before_anything_is_made(words, told, tmp_path):
    done = call_kitsbench("run", "unet3d", *shlex.split(words), "--workdir", tmp_path / "work")
    assert done.code == 2
    assert told in " ".join(done.err.split())
    assert not (tmp_path / "work" / "datasets").exists()
