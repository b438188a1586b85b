"""Configuration keys: from text to values, or to a sentence that says what is allowed."""

from __future__ import annotations

import pytest
from architectures import Configured
from hypothesis import given
from hypothesis import strategies as st

from kitsbench.architecture import Architecture
from kitsbench.configuration import WIDTH, Key, all_keys, configure
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
