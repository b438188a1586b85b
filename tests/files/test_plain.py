"""Words that came later: silent in hashes and files of those who do not use them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import PlainSerializer

from kitsbench.errors import DataError
from kitsbench.files import added, digest, plain, read_json, write_json
from kitsbench.files.documents import Document
from kitsbench.recipe import Inference, Intensity, Recipe
from kitsbench.spec import Spec
from kitsbench.training.recipes import MATCHED_CPU, MATCHED_GPU


@dataclass(frozen=True)
class Part:
    old: float = 1.0
    new: tuple[str, ...] = added(())
    flag: bool = added(False)


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...] = (Part(),)


class Kept(Document):
    schema_version: Literal[1] = 1
    whole: Annotated[Whole, PlainSerializer(plain)]


@pytest.mark.parametrize(
    ("value", "before"),
    [
        (Recipe(), "1ddd04fcaad54360"),
        (MATCHED_CPU, "fb90793734e24a90"),
        (MATCHED_GPU, "5158e1da434af595"),
        (Spec(), "9de8e980cbdceab7"),
        (Spec(paper=Recipe("own")), "3dc60bf84d4f8f4c"),
    ],
)
def test_who_uses_no_later_word_has_the_hash_of_before_there_were_any(value, before):
    assert value.digest() == before


def test_without_later_words_it_is_what_dataclasses_gives():
    value = {"parts": [Intensity(), Inference()]}
    assert plain(value) == {"parts": [dataclasses.asdict(part) for part in value["parts"]]}


def test_a_later_word_is_written_where_it_is_used_and_nowhere_else():
    assert plain(Whole()) == {"parts": ({"old": 1.0},)}
    assert plain(Whole((Part(new=("a",)),))) == {"parts": ({"old": 1.0, "new": ("a",)},)}
    # To Python 0 is False.
    assert plain(Part(flag=0)) == {"old": 1.0, "flag": 0}
    assert digest(plain(Part())) != digest(plain(Part(flag=True)))


def test_files_from_before_are_read_and_come_back_as_they_were(tmp_path: Path):
    file = tmp_path / "kept.json"
    before = {"schema_version": 1, "whole": {"parts": [{"old": 1}]}}
    write_json(file, before)
    found = Kept.read(file)
    assert found.whole.parts[0].new == ()
    found.write(file)
    assert read_json(file) == before
    Kept(whole=Whole((Part(2.0, ("a",)),))).write(file)
    assert Kept.read(file).whole.parts[0].new == ("a",)


def test_other_words_must_be_there(tmp_path: Path):
    file = tmp_path / "kept.json"
    write_json(file, {"schema_version": 1, "whole": {"parts": [{"new": ["a"]}]}})
    with pytest.raises(DataError, match=r"whole\.parts\.0\.old is missing"):
        Kept.read(file)
