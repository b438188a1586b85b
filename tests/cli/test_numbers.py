"""Every number that a command takes: one that can be used, or two lines that name the option."""

from __future__ import annotations

import math

import click
import pytest
from command_line import call_kitsbench

from kitsbench.cli import VERBS, cli
from kitsbench.cli.values import MOST, WIDEST_SEED, Number, Whole
from kitsbench.errors import KitsbenchError, UsageError

NINES = "9" * 5000
WORDS = ("nan", "NaN", "-nan", "inf", "-inf", "Infinity", "1e400", "-1e400", "1e309", NINES)
WORDS += (f"-{NINES}", f"1.{NINES}", f"0x{NINES}", "9" * 25, "-1", "0", "1e18", "2.5", "", " ", "+")
WORDS += ("1e400steps", "nansteps", "infs", "-5s", f"{NINES}steps", "1e300h", "1.2.3s", "0s", "s")
WORDS += ("1e400GiB", f"{NINES}GiB", "-1GiB", "nanGiB", "0GiB", "1e3x2", "nan,nan,nan", "inf,1,1")
WORDS += (f"{NINES},1,1", "0,0,0", "-1,-1,-1", f"{NINES}:1", f"kfold:{NINES}", "a\nb", "\x1b[2J")
WORDS += ("\udc80", "²", "１", "٣", "1_0", "0b11", "1" * 19, "../x.json", "\0.json", "a\0b")


def options():
    """Every parameter of every verb, with the verb's words."""
    found = []
    todo = [((verb,), cli.get_command(click.Context(cli), verb)) for verb in VERBS]
    while todo:
        words, command = todo.pop()
        if isinstance(command, click.Group):
            todo += [((*words, name), command.commands[name]) for name in command.commands]
        found += [(words, command, param) for param in command.params]
    return found


OPTIONS = options()


def test_no_number_is_read_by_a_type_that_lets_any_pass():
    for words, _, param in OPTIONS:
        kind = param.type
        plain = isinstance(kind, click.types.IntParamType | click.types.FloatParamType)
        assert not plain or isinstance(kind, Whole | Number), f"{words}: {param.name}"


WITHOUT_NUMBERS = (
    *(click.Path, click.Choice),
    *(click.types.StringParamType, click.types.BoolParamType),
)


def numbers(value):
    """The numbers in what was read."""
    if isinstance(value, bool | str | type(None)):
        return []
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, list | tuple):
        return [number for part in value for number in numbers(part)]
    return numbers(getattr(value, "amount", None))


@pytest.mark.parametrize("word", WORDS, ids=lambda word: ascii(word)[:20])
def test_a_word_is_a_number_that_can_be_used_or_refused(word):
    for words, command, param in OPTIONS:
        if isinstance(param.type, WITHOUT_NUMBERS):
            continue
        context = click.Context(command, info_name=" ".join(words))
        try:
            read = param.type.convert(word, param, context)
        except (click.UsageError, KitsbenchError) as error:
            said = error.format_message() if isinstance(error, click.UsageError) else str(error)
            assert len(said) < 700, (words, param.name)
            assert "limit (4300" not in said, (words, param.name)  # Python's own words
            continue
        found = numbers(read)
        assert all(math.isfinite(number) and abs(number) < 1e31 for number in found), param.name
        if isinstance(param.type, Whole):
            assert abs(read) <= WIDEST_SEED


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("run", "--timeout", "nan"), "--timeout"),
        (("run", "--timeout", "inf"), "--timeout"),
        (("run", "--stall", "-1"), "--stall"),
        (("run", "--budget", "nan"), "budget 'nan'"),
        (("run", "--budget", "1e400steps"), "budget '1e400steps'"),
        (("run", "--budget", f"{NINES}steps"), "budget '999"),
        (("run", "--seeds", NINES), "--seeds"),
        (("run", "--seeds", "0"), "--seeds"),
        (("run", "--batch", "99999999"), "--batch"),
        (("run", "--patch", "99999"), "patch '99999'"),
        (("run", "--spacing", "nan"), "spacing 'nan'"),
        (("run", "--max-memory", f"{NINES}GiB"), "memory '999"),
        (("run", "--split", NINES), "split '999"),
        (("run", "--tune", "-3"), "--tune"),
        (("plan", "--cases", "nan", "--folds", "2", "--seeds", "2"), "--cases"),
        (("plan", "--cases", "9", "--folds", "2", "--seeds", "2", "--gap", "nan"), "--gap"),
        (("plan", "--cases", "9", "--folds", "2", "--seeds", "2", "--tau", "inf"), "--tau"),
        (("plan", "--cases", "9", "--folds", "2", "--seeds", "2", "--power", "nan"), "--power"),
        (("compare", "x.csv", "--margin", "nan"), "--margin"),
        (("compare", "x.csv", "--alpha", "nan"), "level 'nan'"),
        (("calibrate", "--replicates", "1e9"), "--replicates"),
        (("calibrate", "--seed", str(2**63)), "--seed"),
        (("data", "phantom", "out", "--cases", "-1"), "--cases"),
        (("data", "fetch", "kits19", "-o", "out", "--timeout", "nan"), "--timeout"),
        (("data", "fetch", "kits19", "-o", "out", "--retries", NINES), "--retries"),
        (("evaluate", "a", "b", "--protocol", "kits19", "--seed", "-1"), "--seed"),
        (("compare", "a\0b"), "NUL"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_the_option_is_named_in_two_lines(words, named):
    done = call_kitsbench(*words)
    assert (done.code, done.out) == (2, "")
    assert named in done.err
    assert len(done.err.strip().splitlines()) <= 2, done.err


def test_a_number_of_a_configuration_file_is_held_to_the_same_rules(tmp_path):
    file = tmp_path / "run.toml"
    for text, named in (
        ("timeout = nan", "nan"),
        ("stall = inf", "inf"),
        ("seeds = 0", "--seeds"),
        (f"seeds = {NINES}", "digits"),
        (f"seeds = 0x{'f' * 40}", "160 bits"),
        ("timeout = 1e400", "--timeout"),
        (f"timeout = {'9' * 19}", "--timeout"),
        ('budget = "1e400steps"', "1e400steps"),
        ("patch = [1, 2, 99999]", "99999"),
        ('workdir = "a\\u0000b"', "NUL"),
        (f"x = {'[' * 5000}{']' * 5000}", "too deep"),
        (".".join("a" * 3000) + " = 1", "too deep"),
    ):
        file.write_text(text)
        done = call_kitsbench("run", "--config", file)
        assert (done.code, done.out) == (2, ""), text[:40]
        assert named in done.err, done.err
        assert len(done.err.strip().splitlines()) <= 2, done.err


@pytest.mark.parametrize(
    "section",
    [
        {"trials": 99999999},
        {"trials": 2.5},
        {"trials": True},
        {"trials": 4, "lr_factor": [0.1, 1e300]},
        {"trials": 4, "lr_factor": [math.nan, 1.0]},
        {"trials": 4, "lr_factor": ["0.1", 1.0]},
        {"trials": 4, "lr_factor": [0.1, math.inf]},
        {"trials": 4, "budget": "1e400steps"},
    ],
    ids=str,
)
def test_a_number_of_the_tuning_is_held_to_the_same_rules(section):
    from kitsbench.experiments.asked.search_space import read_tuning

    with pytest.raises(UsageError) as refused:
        read_tuning(None, section)
    assert len(str(refused.value)) < 200


def test_a_seed_beyond_two_to_the_fifty_third_is_kept_exact(tmp_path):
    seed = 2**53 + 1
    for words in (("--seed", str(seed)), ("--seed", str(WIDEST_SEED))):
        param = next(p for _, c, p in OPTIONS if c.name == "calibrate" and p.name == "seed")
        assert param.type.convert(words[1], param, None) == int(words[1])
    assert seed > MOST
