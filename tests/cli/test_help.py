"""Help of verbs with many options."""

from __future__ import annotations

import re

from click.testing import CliRunner

from kitsbench.cli.verbs import doctor
from kitsbench.cli.verbs.leaderboard import command as leaderboard
from kitsbench.cli.verbs.run import EXAMPLES, GROUPS, command
from kitsbench.cli.verbs.trials import command as trials


def shown() -> str:
    return CliRunner().invoke(command, ["--help"], terminal_width=80).output


def test_every_option_stands_in_one_group_of_its_own_heading():
    text = "".join(shown().partition("What is compared:")[1:])
    for parameter in command.params:
        names = [name for name in parameter.opts if name.startswith("--")]
        if names:
            found = re.findall(rf"^  (?:-\w, )?{re.escape(names[0])}(?![\w-])", text, re.MULTILINE)
            assert len(found) == 1, names
    headings = [line[:-1] for line in text.splitlines() if re.fullmatch(r"[A-Z][\w ]+:", line)]
    assert headings[: len(GROUPS)] == [*GROUPS]
    assert "Examples" in headings


def test_a_new_option_needs_a_group():
    """What stands under Others was forgotten; --help alone belongs there."""
    rest = shown().partition("\nOthers:\n")[2].partition("\nExamples:\n")[0]
    assert re.findall(r"--[a-z-]+", rest) == ["--help"]


def test_examples_are_commands():
    for line in EXAMPLES.values():
        program, verb, *words = line.split()
        assert (program, verb) == ("kitsbench", "run")
        with command.make_context("run", [*words]) as context:
            assert (context.params["budget"] is None) == ("--budget" not in words)
        assert f"  {line}\n" in shown()
        assert max(map(len, shown().splitlines())) <= 80


def test_no_sentence_about_a_verb_is_cut():
    for group in (trials, leaderboard):
        text = CliRunner().invoke(group, ["--help"], terminal_width=80).output
        listed = text.split("Commands:")[1]
        assert "..." not in listed
        for verb in group.commands.values():
            assert verb.help.split(".")[0].split()[-1] in listed


def test_architectures_that_are_fine_are_one_row():
    rows = [{"what": "disk", "status": "ok", "found": "9 GB", "remedy": ""}]
    rows += [
        {"what": f"architecture {name}", "status": status, "found": status, "remedy": ""}
        for name, status in (("a", "ok"), ("broken", "missing"), ("c", "ok"))
    ]
    shown = doctor._brief(rows)
    assert [row["what"] for row in shown] == ["disk", "2 architectures", "architecture broken"]
    assert shown[1]["found"] == "a, c"
    assert doctor._brief(rows[:2]) == rows[:2]
