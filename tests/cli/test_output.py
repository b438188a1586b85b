"""What is printed: strict JSON and plain tables on stdout, messages as they are on stderr."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys

import pytest
from command_line import environment

from kitsbench.cli import output


def printed(document, encoding="utf-8"):
    """What lies in a file of some encoding after a document was printed to it."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with contextlib.redirect_stdout(stream):
        output.print_json(document)
    return stream.buffer.getvalue().decode(encoding)


def test_numbers_that_are_not_finite_are_null():
    text = printed({"a": [float("nan"), (float("inf"), 1.5)], "b": {"c": -float("inf"), "d": 1}})
    assert json.loads(text) == {"a": [None, [None, 1.5]], "b": {"c": None, "d": 1}}
    for word in ("NaN", "Infinity"):
        assert word not in text


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_every_text_can_be_printed(encoding):
    document = {"name": "Çiçek ≥ 3", "half a surrogate pair": "\udc80"}
    assert json.loads(printed(document, encoding)) == document
    assert ("Çiçek" in printed({"name": "Çiçek"}, encoding)) == (encoding != "ascii")


def shown(code):
    """Run code in a process of its own; give stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_stdout_is_given_back_after_a_document():
    code = (
        "import os\nfrom kitsbench.cli.output import only_document, print_json\n"
        "print('before')\n"
        "try:\n"
        "    with only_document():\n"
        "        print('meanwhile')\n"
        "        os.system('echo another program')\n"
        "        print_json([1])\n"
        "        raise KeyError\n"
        "except KeyError:\n"
        "    print('after')"
    )
    code, out, err = shown(code)
    assert (code, out) == (0, "before\n[\n  1\n]\nafter\n")
    assert sorted(err.splitlines()) == ["another program", "meanwhile"]


def test_a_reader_that_closes_the_pipe_sees_no_traceback():
    command = f"{sys.executable} -m kitsbench.cli list --json | true"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.stderr == ""


def test_a_message_is_text_and_no_style(capsys):
    output.tell("[/bold] :warning: \x1b[2Jgone\x07", "[weak]", "red")
    output.say("[/bold] 3", "[weak]")
    captured = capsys.readouterr()
    assert captured.err == "[weak]: [/bold] :warning: \\x1b[2Jgone\\x07\n"
    assert captured.out == "[weak]: [/bold] 3\n"


def test_a_long_line_is_left_whole(capsys):
    path = "/".join(["folder"] * 60)
    output.tell(path)
    output.say(path)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (path + "\n", path + "\n")


def test_a_table_keeps_its_cells(capsys):
    output.print_table(["name", "count"], [["[red]", 1234567], [None, None]])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["name", "count"], ["[red]", "1,234,567"], []]


@pytest.mark.parametrize(("asked", "most"), [(None, 80), ("120", 120), ("many", 80), ("3", 40)])
def test_a_table_in_a_file_is_as_wide_as_a_page_or_as_asked(capsys, monkeypatch, asked, most):
    monkeypatch.delenv("COLUMNS", raising=False)
    if asked is not None:
        monkeypatch.setenv("COLUMNS", asked)
    output.print_table(["name", "voxels", "says"], [["attention_vnet", 19_073_795, "word " * 50]])
    lines = capsys.readouterr().out.splitlines()
    assert most - 10 < max(map(len, lines)) <= most
    assert "attention_vnet" in lines[1]
    assert "19,073,795" in lines[1]
    assert " ".join(lines[1:]).count("word") == 50


def test_a_table_in_a_file_loses_nothing_where_its_words_need_more_room(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    names = [f"surface_dice_{number}" for number in range(10)]
    output.print_table(names, [["0.123456" for _ in names]])
    shown = capsys.readouterr().out
    assert shown.count("0.123456") == 10
    for name in names[1:]:  # a row told in lines begins with its name, without that column's head
        assert name in shown
