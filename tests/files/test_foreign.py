"""Files of others: their bytes, or why there are none; their JSON and TOML, or what is wrong."""

from __future__ import annotations

import json
import os

import pytest

from kitsbench.files import foreign


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ("[" * 200 + "]" * 200, "nested too deep"),
        ('{"a":' * 150 + "1" + "}" * 150, "nested too deep"),
        ("9" * 5000, "an integer of 5000 digits"),
        ("1e400", "the number 1e400"),
        ("-1e400", "the number -1e400"),
        ("NaN", "NaN, which JSON does not know"),
        ("[Infinity]", "Infinity"),
        ('{"a": 1, "a": 2}', "the key 'a' twice"),
        ("{", "Expecting property name"),
        ("", "Expecting value"),
    ],
)
def test_json_that_no_program_can_use(text, why):
    for content in (text, text.encode()):
        with pytest.raises(ValueError, match=why.replace("(", r"\(")):
            foreign.parse_json(content)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "nested too deep"),
        (".".join("a" * 500) + " = 1", "nested too deep"),
        ("a = " + "9" * 5000, "thousands of digits"),
        ("a = 0x" + "f" * 5000, "20000 bits"),
        ("a = nan", "the number nan"),
        ("a = -inf", "the number -inf"),
        ("a = 1e400", "the number 1e400"),
        ("a = 1\na = 2", "overwrite"),
        ("a", "after a key"),
    ],
)
def test_toml_that_no_program_can_use(text, why):
    for content in (text, text.encode()):
        with pytest.raises(ValueError, match=why):
            foreign.parse_toml(content)


def test_a_byte_order_mark_is_no_letter(tmp_path):
    assert foreign.parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    assert foreign.parse_toml(b"\xef\xbb\xbfa = 1") == {"a": 1}
    (tmp_path / "names").write_bytes(b"\xef\xbb\xbfcase_00000\n")
    assert foreign.read_text(tmp_path / "names") == "case_00000\n"


@pytest.mark.parametrize("content", [b"\xe9t\xe9", b"\xed\xb2\x80", b"\xff{}"])
def test_other_encodings_are_named(content):
    for parse in (foreign.parse_json, foreign.parse_toml):
        with pytest.raises(ValueError, match=r"no text in UTF-8 \(byte \d is 0x"):
            parse(content)


def test_integers_are_kept_exact():
    seed = 2**53 + 1
    assert foreign.parse_json(json.dumps({"seed": seed, "big": 2**200}))["seed"] == seed
    assert foreign.parse_toml(f"seed = {2**63 - 1}")["seed"] == 2**63 - 1


def test_what_is_no_file_is_told(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    places = {
        tmp_path: "it is a folder; a file belongs there",
        tmp_path / "pipe": "it is a pipe; a file belongs there",
        tmp_path / "device": "it is a device; a file belongs there",
        tmp_path / "loop": "Too many levels",
        tmp_path / "nothing": "No such file",
        tmp_path / ("a" * 5000): "File name too long",
        "a\0b": "no file can have this name",
        "a\ud800b": "no file can have this name",
    }
    for place, why in places.items():
        with pytest.raises(OSError) as refused:  # noqa: PT011
            foreign.read_bytes(place)
        assert why in refused.value.strerror


def test_a_file_is_no_larger_than_it_may_be(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 2_000_001)
    with pytest.raises(OSError, match="more than 2 MB"):
        foreign.read_bytes(tmp_path / "large", most=2_000_000)
    assert len(foreign.read_bytes(tmp_path / "large")) == 2_000_001


def test_a_long_list_of_names_is_no_path(tmp_path):
    names = ",".join(f"case_{number:05d}" for number in range(2000))
    assert foreign.names_or_file(names) == names
    (tmp_path / "names").write_text("a\nb")
    assert foreign.names_or_file(str(tmp_path / "names")) == "a\nb"
