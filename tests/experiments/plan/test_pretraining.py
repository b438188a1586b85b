"""What is said of networks whose initial weights were trained elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.experiments.plan.pretraining import say_pretraining
from kitsbench.registry import RegisteredArchitecture
from kitsbench.spec import Member, Spec

FILE = f"sha256:{'0' * 64}"
CASES = ("case_00003", "case_00250", "case_00300")


@pytest.fixture
def dataset(phantom, tmp_path):
    """Scans that look like KiTS23's: nothing beside them says that they are synthetic."""
    return replace(open_dataset(phantom), name="kits23", root=tmp_path, synthetic=False)


def said(dataset, data="", config=(), **fields):
    told = []
    spec = Spec(config=tuple(config), pretrained_on=data, **fields)
    entrant = Entrant("net", RegisteredArchitecture("net"), spec, notes=("A note.",))
    first, *notes = say_pretraining(entrant, dataset, CASES, told.append).notes
    assert first == "A note."
    return notes, told


def test_who_begins_at_random_has_no_note(dataset):
    assert said(dataset) == ([], [])
    assert said(dataset, config=(("weights", ""),)) == ([], [])


def test_what_was_pretrained_on_is_a_note(dataset):
    assert said(dataset, "BTCV and MSD Spleen") == (["Pretrained on BTCV and MSD Spleen."], [])
    # The members of an ensemble have rows of their own, where it stands.
    assert said(dataset, "KiTS19", members=(Member("net"),)) == ([], [])


@pytest.mark.parametrize(
    ("data", "count"), [("KiTS19", 1), ("kits 2021", 2), ("LiTS, KiTS23 (public)", 2)]
)
def test_a_dataset_that_holds_the_scans_of_the_test_is_a_warning(dataset, data, count):
    (note,), (told,) = said(dataset, data)
    assert note.startswith(f"Pretrained on {data}. As for its initial weights, it was trained on")
    assert f"holds {count} of the 3 scans that it is tested on; scores may flatter it." in note
    assert told == f"net: {note}"


def test_the_dataset_in_use_is_known_by_its_name(phantom):
    dataset = open_dataset(phantom)
    assert "the dataset in use" in said(dataset, "the small phantom")[0][0]
    # A phantom's cases are called like KiTS's and are nobody.
    assert said(dataset, "KiTS19") == (["Pretrained on KiTS19."], [])


def test_a_file_of_which_nobody_says_what_it_was_trained_on_is_a_warning(dataset):
    (note,), told = said(dataset, config=(("weights", FILE),))
    assert note.startswith("It begins with the weights of a file. As for its initial weights,")
    assert "nobody says what it was trained on" in note
    assert len(told) == 1
