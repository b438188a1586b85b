"""Configuration keys: from text to values, or to a sentence that says what is allowed."""

from __future__ import annotations

import hashlib
import os
from typing import ClassVar

import pytest
from architectures import Configured
from hypothesis import given
from hypothesis import strategies as st

from kitsbench.architecture import Architecture
from kitsbench.configuration import WIDTH, Key, all_keys, configure, files_of
from kitsbench.errors import ContractError, UsageError

EVERYTHING = {"size": "paper", "width": 1.0, "blocks": 2, "act": "relu", "kernel": (3, 3, 3)}


def test_every_key_has_a_value():
    assert configure(Configured) == EVERYTHING
    assert list(configure(Configured())) == list(all_keys(Configured))


def test_text_becomes_the_type_of_the_default():
    given_text = {"width": "0.25", "blocks": "3", "act": "gelu", "kernel": "1x3x3"}
    expected = {"size": "paper", "width": 0.25, "blocks": 3, "act": "gelu", "kernel": (1, 3, 3)}
    assert configure(Configured, given_text) == expected


def test_values_are_taken_as_well_as_text():
    assert configure(Configured, {"kernel": [1, 3, 3]})["kernel"] == (1, 3, 3)
    assert configure(Configured, {"width": 2})["width"] == 2.0


def test_a_size_sets_keys_and_what_is_given_wins():
    assert configure(Configured, {"size": "tiny"}) == EVERYTHING | {
        "size": "tiny",
        "width": 0.5,
        "blocks": 1,
    }
    assert configure(Configured, {"size": "tiny", "blocks": 4})["blocks"] == 4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"widht": 1}, "'widht' is no configuration key of this architecture; it has size, width"),
        ({"width": "wide"}, "width=wide is wrong: the value must be of type float"),
        ({"width": "nan"}, "allowed are 0.015625 to 4"),
        ({"width": "0"}, "allowed are 0.015625 to 4"),
        ({"blocks": "2.5"}, "must be of type int"),
        ({"blocks": 2.5}, "must be of type int"),
        ({"blocks": "6"}, "allowed are 1 to 5"),
        ({"act": "tanh"}, "choose from relu, gelu"),
        ({"kernel": "3"}, "kernel=3 is wrong: the value must be edges like 3x3x3"),
        ({"kernel": "axbxc"}, "edges like"),
        ({"size": "huge"}, "choose from tiny, small, paper"),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(setting, message):
    with pytest.raises(UsageError) as error:
        configure(Configured, setting)
    assert message in str(error.value)


def test_a_size_may_set_declared_keys_only():
    class Odd(Architecture):
        sizes = {"tiny": {"depth": 2}}  # noqa: RUF012

    assert configure(Odd) == {"size": "paper"}
    with pytest.raises(ContractError, match=r"sizes\['tiny'\] sets \['depth'\]"):
        configure(Odd, {"size": "tiny"})


@given(st.floats(1 / 64, 4))
def test_numbers_survive_their_text(width):
    assert WIDTH.parse("width", repr(width)) == width


def test_a_key_without_bounds_takes_any_number():
    assert Key(3).parse("n", "-7") == -7


class Filed(Architecture):
    keys: ClassVar = {"weights": Key.file(), "blocks": Key(2)}


def test_a_file_is_known_by_what_it_holds_wherever_it_lies(tmp_path):
    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    one.write_bytes(b"weights")
    other.write_bytes(b"weights")
    content = f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
    assert configure(Filed)["weights"] == ""
    assert configure(Filed, {"weights": str(one)}) == configure(Filed, {"weights": str(other)})
    assert configure(Filed, {"weights": str(one)})["weights"] == content
    # A value is read again as it is, without the file.
    assert configure(Filed, {"weights": content})["weights"] == content
    assert files_of(Filed, {"weights": str(one), "blocks": 3}) == {"weights": one}
    assert files_of(Filed, {"weights": content}) == files_of(Filed, {"weights": ""}) == {}
    one.write_bytes(b"others, longer")
    assert configure(Filed, {"weights": str(one)})["weights"] != content


def test_a_file_that_cannot_be_read_is_one_clear_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for value, why in (
        ("none.pt", "there is no such file"),
        ("folder", "a folder; a file belongs there"),
        ("pipe", "a file belongs there"),
        ("a\0b", "no file can have this name"),
        ("sha256:abc", "there is no such file"),
        (3, "there is no such file"),
    ):
        with pytest.raises(UsageError, match=r"^weights=") as error:
            configure(Filed, {"weights": value})
        assert why in str(error.value)
        assert "or leave weights out" in str(error.value)


def test_only_who_runs_an_architecture_names_a_file():
    with pytest.raises(ContractError, match="leave it empty"):
        Key("w.pt", kind="file")

    class Sized(Filed):
        sizes: ClassVar = {"tiny": {"weights": "w.pt"}}

    with pytest.raises(ContractError, match="only who runs it names a file"):
        configure(Sized, {"size": "tiny"})
