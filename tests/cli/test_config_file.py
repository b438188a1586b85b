"""``kitsbench run --config``: a file sets options, as the command line does."""

from __future__ import annotations

import pytest
from command_line import call_kitsbench

from kitsbench.cli.config_file import sections
from kitsbench.cli.verbs.run import command
from kitsbench.training.budget import Budget


@pytest.fixture
def read(tmp_path):
    """Return a function that gives the options of a run by a file's text and more arguments."""

    def read(text, *arguments):
        (tmp_path / "run.toml").write_text(text)
        context = command.make_context("run", ["--config", str(tmp_path / "run.toml"), *arguments])
        with context:
            found = sections(context.params["executor"])
            return context.params | dict(zip(("executor_", "tune_"), found, strict=True))

    return read


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("patch = 64", "patch", (64, 64, 64)),
        ('patch = "64"', "patch", (64, 64, 64)),
        ("patch = [32, 48, 48]", "patch", (32, 48, 48)),
        ('patch = "32x48x48"', "patch", (32, 48, 48)),
        ("spacing = 4.5", "spacing", (4.5, 4.5, 4.5)),
        ("spacing = [3, 0.78, 0.78]", "spacing", (3.0, 0.78, 0.78)),
        ("folds = 0", "folds", (0,)),
        ("folds = [2, 0]", "folds", (0, 2)),
        ('folds = "all"', "folds", "all"),
        ("split = 5", "split", "5"),
        ('log = "mlflow"', "log", ("mlflow",)),
        ('log = ["tensorboard", "mlflow"]', "log", ("tensorboard", "mlflow")),
        ('split = "90:10"', "split", "90:10"),
        ('budget = "2h"', "budget", Budget.parse("2h")),
        ('max-memory = "1GiB"', "max_memory", 2**30),
        ('device = ["cuda:0", "cuda:1"]', "device", "cuda:0,cuda:1"),
        ('architectures = "unet3d"', "architectures", ("unet3d",)),
        ('architectures = ["unet3d", "mine.py"]', "architectures", ("unet3d", "mine.py")),
        ("all = true", "all_installed", True),
        ("json = true", "as_json", True),
        ("stall = 60", "stall", 60.0),
        ('checkpoint-every = "10min"', "checkpoint_every", 600.0),
        ("checkpoint-every = 300", "checkpoint_every", 300.0),
    ],
)
def test_a_value_is_read_as_on_the_command_line(read, text, name, value):
    assert read(text)[name] == value


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_does_not_matter(tmp_path, mark):
    (tmp_path / "run.toml").write_text("patch = 64", encoding=mark)
    with command.make_context("run", ["--config", str(tmp_path / "run.toml")]) as context:
        assert context.params["patch"] == (64, 64, 64)


def test_the_command_line_goes_before(read):
    found = read("patch = 64\nspacing = 4\nworld-size = 2", "--patch", "32")
    assert (found["patch"], found["spacing"]) == ((32, 32, 32), (4.0, 4.0, 4.0))
    assert found["world_size"] == 2


def test_sections_are_kept_for_those_who_read_them(read):
    found = read('[executor]\nname = "slurm"\npartition = "gpu"\n[tune]\ntrials = 4')
    assert found["executor"] == "slurm"
    assert found["executor_"] == {"partition": "gpu"}
    assert (found["tune"], found["tune_"]) == (None, {"trials": 4})
    assert read("")["executor_"] == {}
    # Another executor has other options.
    found = read('[executor]\nname = "slurm"\npartition = "gpu"', "--executor", "local")
    assert (found["executor"], found["executor_"]) == ("local", {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('colour = "red"', "sets 'colour', which is no option of run"),
        ("patch = [16, 16]", "The patch '16,16' cannot be read"),
        ("patch = true", "patch = True is wrong; write a number or a text"),
        ("patch = [16, 16, 16.5]", "The patch '16,16,16.5' cannot be read"),
        ("spacing = 0", "The spacing '0' cannot be read"),
        ("folds = []", "The folds '' cannot be read"),
        ('all = "yes"', "all = 'yes' is wrong; write true or false"),
        ("strict = [1]", "write true or false"),
        ("seeds = 1.5", "seeds = 1.5 is wrong; write a whole number"),
        ("jobs = [1]", "write one value, no list"),
        ('log = "wandb"', "'wandb' is not one of 'tensorboard', 'mlflow', 'none'"),
        ("stall = 2024-01-01", "write a number or a text"),
        ("stall = nan", "is no number of seconds"),
        ("dataset = {a = 1}", "write a number or a text"),
        ("max-memory = 11", "The memory '11' cannot be read"),
        ("[executor]\npartition = 'gpu'", "has no name"),
        ("= 3", "is no TOML"),
        ("x = '\udcff'", "is no TOML"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_or_two(tmp_path, text, words):
    file = tmp_path / "run.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    done = call_kitsbench("run", "--config", file)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert words in done.err
    assert len(done.err.splitlines()) <= 2


def test_a_file_that_is_not_there_is_named(tmp_path):
    done = call_kitsbench("run", "--config", tmp_path / "none.toml")
    assert done.code == 2
    assert f"The configuration {tmp_path / 'none.toml'} cannot be read" in done.err
