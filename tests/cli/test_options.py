"""Every command at once: an option of one name is one option, and ``--json`` gives one document."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict

import click
import numpy as np
import pandas as pd
import pytest
from command_line import SMALL, call_kitsbench, run_kitsbench

from kitsbench.cli import cli
from kitsbench.cli.verbs.run import command as run

# Two options of one name that mean different things: a value of a column, a number of things, or
# a choice among others. Everything else is the same wherever it stands.
OF_THEIR_OWN = {
    ("data fetch", "--cases"), ("evaluate", "--cases"), ("compare", "--cases"), ("plan", "--cases"),
    ("evaluate", "--seed"), ("plan", "--folds"), ("plan", "--seeds"),
    ("data phantom", "--labels"), ("data phantom", "--size"), ("data fetch", "--timeout"),
    ("run", "--device"),  # several GPUs
    ("data fetch", "--jobs"),  # not more than a server bears
    ("evaluate", "--out"), ("profile", "--out"),  # files
    ("profile", "--max-memory"),  # what a search may take
    ("check", "--labels"),  # a paper has its own labels, which only `show` may take
    ("export", "--to"), ("leaderboard add", "--to"),  # a format, and a board
    ("leaderboard add", "--predictions"), ("leaderboard add", "--trained-on"),  # of one folder
    # what is shown of a report, and what lies over a scan
    ("report", "--architectures"), ("report", "--margin"), ("view", "--predictions"),
    ("run", "--until"), ("run", "--question"),  # trains, and knows who takes part
    ("run", "--yes"),  # asks before it spends hours, not before it removes
    # of trials, not of architectures; and instead of what was asked for before
    ("trials retry", "--all"), ("trials retry", "--timeout"), ("trials retry", "--max-memory"),
}  # fmt: skip
# What they are for differs from verb to verb, and a help says it.
MEANING = {
    "--dataset", "--device", "--endpoint", "--folds", "--jobs", "--out", "--patch", "--protocol",
    "--recipe", "--spacing", "--split", "--strict", "--tta", "--workdir",
}  # fmt: skip
# And so do their defaults.
DEFAULT = {"--endpoint", "--folds", "--jobs", "--recipe", "--split"}


def commands(command=cli, name=""):
    """Every command that can be run, with its name."""
    if not isinstance(command, click.Group):
        return {name: command}
    context = click.Context(command)
    found = {}
    for word in command.list_commands(context):
        found |= commands(command.get_command(context, word), f"{name} {word}".strip())
    return found


ALL = commands()


def shared():
    """The options that several commands take, by name: of each command, the option."""
    found = defaultdict(dict)
    for name, command in ALL.items():
        for option in command.params:
            word = next((word for word in option.opts if word.startswith("--")), None)
            if word is not None and (name, word) not in OF_THEIR_OWN:
                found[word][name] = option
    return {word: where for word, where in found.items() if len(where) > 1}


@pytest.mark.parametrize("word", sorted(shared()))
def test_an_option_of_one_name_is_one_option(word):
    def facts(option):
        about = option.to_info_dict()
        # The text of a split's rule may be `none` where a folder is exported, which the help says.
        keys = ["opts", "type", "nargs", "multiple", "is_flag", "envvar"]
        keys += ["help"] * (word not in MEANING) + ["default"] * (word not in DEFAULT)
        return {key: str(about[key]) for key in keys} | {
            "metavar": option.metavar,
            "callback": option.callback,
        }

    where = shared()[word]
    first, *others = where
    for other in others:
        assert facts(where[other]) == facts(where[first]), f"{first} and {other}"


def test_the_exceptions_exist():
    for name, word in OF_THEIR_OWN:
        assert any(word in option.opts for option in ALL[name].params), (name, word)
    assert set(shared()) >= MEANING | DEFAULT
    assert {"--json", "--layout", "--alpha", "--seed"} <= set(shared()) - MEANING - DEFAULT


def test_the_layouts_of_the_help_are_those_that_can_be_read():
    from kitsbench.data.datasets.layouts import LAYOUTS

    (option,) = [option for option in run.params if option.name == "layout"]
    for layout in LAYOUTS:
        assert layout in option.help


@pytest.mark.parametrize("name", ALL)
def test_a_help_fits_into_a_terminal(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = call_kitsbench(*name.split(), "--help")
    assert done.code == 0
    assert max(len(line) for line in done.out.splitlines()) <= 80


def test_no_help_imports_what_is_slow():
    code = (
        "import contextlib, io, sys\n"
        "from kitsbench.cli import main\n"
        "for name in sys.argv[1:]:\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        main([*name.split(), '--help'])\n"
        "    print(name, [m for m in ('torch', 'pandas', 'numpy', 'rich') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, *ALL]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{name} []" for name in ALL]


# -- the same words, the same sentences -----------------------------------------------------


def refused(*arguments):
    done = call_kitsbench(*arguments)
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert lines[0].startswith("Error: ")
    assert len(lines) <= 2
    return lines


@pytest.mark.parametrize("patch", ["0", "x", "8,8", "1.5"])
def test_a_wrong_patch_gets_the_same_answer_everywhere(patch):
    answers = {
        tuple(refused(*verb, "--patch", patch))
        for verb in (["run", "--all"], ["show", "unet3d"], ["profile", "--all"])
    }
    ((answer,),) = answers
    assert f"The patch '{patch}' cannot be read" in answer
    assert "such as 64 or 32,48,48" in answer


@pytest.mark.parametrize("spacing", ["0", "x", "1,2", "nan", "100"])
def test_a_wrong_spacing_gets_the_same_answer_everywhere(spacing):
    answers = {
        tuple(refused(*verb, "--spacing", spacing))
        for verb in (
            ["run", "--all"],
            ["data", "prepare", "scans", "-o", "out"],
            ["data", "phantom", "out", "--anatomy", "masks"],
        )
    }
    ((answer,),) = answers
    assert f"The spacing '{spacing}' cannot be read" in answer
    assert "such as 4 or 3,0.78,0.78" in answer


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "scores.csv", "--alpha", "1"], "The level '1' is none"),
        (["claims", "--alpha", "nan"], "The level 'nan' is none"),
        (["run", "--all", "--endpoint", "tumor"], "one region and one metric"),
        (["compare", "scores.csv", "--endpoint", ":"], "one region and one metric"),
        (["run", "--all", "--folds", "first"], "write all, or indices"),
        (["predict", "t", "i", "-o", "o", "--folds", "-1"], "write all, or indices"),
        (["run", "--all", "--split", "nnunett"], "The split 'nnunett' is not known"),
        (["data", "split", "scans", "nnunett"], "The split 'nnunett' is not known"),
        (["data", "export", "scans", "-o", "out", "--split", "1"], "use 2 or more"),
        (["run", "--all", "--max-memory", "11"], "write for example 11GiB"),
        (["run", "--all", "--budget", "long"], "such as 90s, 10min"),
        (["run", "--all", "--stall", "nan"], "nan is no number of seconds"),
        (["run", "--all", "--jobs", "0"], "0 is not in the range"),
        (["run", "--all", "--jobz", "0"], "--jobz"),
        (["plan", "--cases", "3"], "--folds"),
    ],
)
def test_a_wrong_value_is_one_line_or_two(arguments, words):
    lines = refused(*arguments)
    assert words in lines[0]
    assert lines[1:] in ([], [f"Try 'kitsbench {arguments[0]} --help'."])


# -- one document ---------------------------------------------------------------------------

TALKER = """
import os, subprocess
print("talks")
os.write(1, b"talks past Python")
subprocess.run(["echo", "lets another program talk"])
from torch import nn
from kitsbench.architecture import Architecture, Plain

class Talker(Architecture):
    def build(self, spec):
        print("talks while it builds")
        return Plain(nn.Conv3d(1, spec.classes, 1))
"""
TALKING = {"run", "show"}
# Tests of their own, since they fetch, measure or take long.
ELSEWHERE = {"data fetch", "profile", "calibrate", "check", "trials retry"}


@pytest.fixture(scope="module")
def place(tmp_path_factory, phantom):
    """A folder with something for every verb to work on."""
    from reporting.workdirs import Plan, write_workdir

    folder = tmp_path_factory.mktemp("documents")
    (folder / "talker.py").write_text(TALKER)
    rng = np.random.default_rng(0)
    rows = [
        (name, case % 2, seed, f"case_{case:05d}", "tumor", "dice", rng.uniform(0.4, 0.6))
        for case in range(12)
        for name in "ab"
        for seed in range(2)
    ]
    columns = ["architecture", "fold", "seed", "case", "region", "metric", "value"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "scores.csv", index=False)
    for name in ("truth", "predictions"):
        (folder / name).mkdir()
        for case in range(2):
            source = phantom / "data" / f"case_{case:05d}" / "segmentation.nii.gz"
            shutil.copy(source, folder / name / f"case_{case:05d}.nii.gz")
    plan = Plan({"a": 0.0, "b": 0.1}, folds=1, showcase=0, predictions=False)
    write_workdir(folder / "finished", plan)
    call_kitsbench("leaderboard", "add", folder / "finished", "--to", folder / "boards" / "mine")
    return folder


def works(place, phantom):
    """Arguments that make each verb succeed."""
    talker = place / "talker.py"
    return {
        "run": (talker, "--dataset", phantom, *SMALL, "--budget", "1steps", "--seeds", "1",
                "--dry-run", "--workdir", place / "work"),
        "list": (),
        "show": (talker,),
        "data verify": (phantom,),
        "data prepare": (phantom, "-o", place / "prepared", "--spacing", "9"),
        "data info": (phantom,),
        "data split": (phantom, "3"),
        "evaluate": (place / "predictions", place / "truth", "--protocol", "all", "--jobs", "1"),
        "compare": (place / "scores.csv",),
        "plan": ("--cases", "12", "--folds", "2", "--seeds", "2"),
        "claims": (place / "finished",),
        "watch": (place / "finished",),
        "trials list": (place / "finished",),
        "trials experiments": (place / "finished",),
        "trials delete": ("--unused", "--workdir", place / "finished"),
        "trials merge": (place / "finished", "--workdir", place / "merged"),
        "trials log": (next((place / "finished" / "trials").iterdir()),
                       "--workdir", place / "finished"),
        "leaderboard check": (place / "boards",),
        "doctor": ("--workdir", place / "work"),
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["trials list", "trials", "trials experiments", "watch", "claims"])
def test_a_working_directory_is_named_with_or_without_its_option(verb, place):
    where = place / "finished"
    answers = {
        re.sub('"age_s": .*,', '"age_s": 0,', call_kitsbench(*verb.split(), *named, "--json").out)
        for named in ([where], ["--workdir", where], [where, "--workdir", where])
    }
    assert len(answers) == 1
    assert strictly(answers.pop())


@pytest.mark.parametrize(
    "verb", [["trials"], ["watch"], ["claims"], ["report"], ["leaderboard", "add", "--to", "b"]]
)
def test_two_working_directories_where_one_is_meant_are_refused(verb):
    (line,) = refused(*verb, "one", "--workdir", "two")
    assert "Two working directories are named: one, and two by --workdir" in line


def test_a_report_takes_its_working_directory_by_option(tmp_path):
    (line, *_) = refused("report", "--workdir", tmp_path / "gone")
    assert f"{tmp_path / 'gone'}" in line


def with_json():
    return {
        name
        for name, command in ALL.items()
        if any("--json" in option.opts for option in command.params)
    }


def strictly(text):
    """Read one document of JSON as a strict reader does."""

    def refuse(constant):
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", sorted(with_json() - ELSEWHERE))
def test_json_is_one_document_on_stdout(name, place, phantom, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    # Where a plugin talks, in a process of its own, whose stdout is a file with a number.
    call = run_kitsbench if name in TALKING else call_kitsbench
    done = call(*name.split(), *works(place, phantom)[name], "--json")
    assert done.code == 0, done.err
    document = strictly(done.out)
    assert document
    assert done.out == json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if name in TALKING:
        for words in ("talks", "talks past Python", "lets another program talk"):
            assert words in done.err


def test_without_json_what_a_plugin_prints_goes_to_stderr_too(place):
    done = call_kitsbench("show", place / "talker.py")
    assert "talks while it builds" in done.err
    assert "talks" not in done.out.replace("talker", "").replace("Talker", "")
