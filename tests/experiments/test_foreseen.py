"""What a dry run says of both designs."""

from __future__ import annotations

from dataclasses import replace

from command_line import call_kitsbench

from kitsbench.experiments.foreseen import Designs

DESIGNS = Designs(trials=36, least_trials=24, hours=1.5, least_hours=1.0)


def test_both_designs_are_told_with_their_hours():
    fixed, until, more = DESIGNS.told()
    assert fixed == "All seeds: 36 trials, 1.5 device hours of training."
    assert until.startswith("Until decided: 24 to 36 trials, 1.0 device hours to 1.5 device hours.")
    assert "kitsbench plan --until decided" in more


def test_a_first_look_after_all_trials_is_said():
    same = replace(DESIGNS, least_trials=36, least_hours=1.5).told()[1]
    assert same == "Until decided: the same, since the first look comes after all of them."


def test_the_command_that_is_told_needs_nothing_but_the_scores(plugin, phantom, tmp_path):
    told = call_kitsbench(
        *("run", plugin("alpha", "Smallest"), plugin("beta", "Smallest"), "--dataset", phantom),
        *("--workdir", tmp_path / "work", "--budget", "2steps", "--device", "cpu"),
        *("--split", "stratified:3"),
        *("--until", "decided", "--max-seeds", "4", "--endpoint", "kidney_and_tumor:dice"),
        *("--patch", "16", "--spacing", "9", "--dry-run"),
    )
    assert told.code == 0, told.err
    words = " ".join((told.out + told.err).split())
    command = words[words.index("kitsbench plan") :].split("`")[0].split()
    assert command[-2:] == ["--pilot", "SCORES"]
    assert "--endpoint kidney_and_tumor:dice" in " ".join(command)
    planned = call_kitsbench(*command[1:-2], "--json")
    assert planned.code == 0, planned.err
