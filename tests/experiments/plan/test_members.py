"""Members that name folds, seeds and settings: what they are, and what is refused."""

from __future__ import annotations

import pytest

from kitsbench.architecture import KITS19, Member
from kitsbench.data.splits.rules import choose_rule
from kitsbench.errors import ContractError, UsageError
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import resolve
from kitsbench.experiments.plan.entrants import choose_entrants
from kitsbench.experiments.plan.members import (
    check_leaks,
    ending_of,
    resolve_members,
    run_of,
    with_inner_folds,
)

CASES = [f"case_{number:05d}" for number in range(12)]


def entrants_of(tmp_path, *names, **fields):
    request = Request(architectures=tuple(map(str, names)), workdir=tmp_path, **fields)
    return choose_entrants(request, resolve(request, dict(KITS19), "cpu"), KITS19)


def test_a_member_without_a_fold_is_an_entrant_of_its_own(plugin, tmp_path):
    mean, first, second = entrants_of(tmp_path, plugin("mean_of_folds", "MeanOfFolds"))
    assert mean.members == (first.name, second.name)
    assert [e.name for e in (first, second)] == ["residual_unet+fold0", "residual_unet+fold1"]
    assert [e.left_out for e in (first, second)] == [0, 1]
    assert {e.alone for e in (first, second)} == {"residual_unet"}
    assert (first.spec, first.recipe) == (second.spec, second.recipe)
    assert not first.asked
    assert "without inner fold 0" in first.notes[-1]


def test_runs_of_an_ensemble_of_seeds_share_no_seed(plugin, tmp_path):
    once = entrants_of(tmp_path, plugin("mean_of_seeds", "MeanOfSeeds"))
    # In a single run the first is the network that everybody trains.
    assert [e.name for e in once[1:]] == [
        "residual_unet",
        "residual_unet+run1of3",
        "residual_unet+run2of3",
    ]
    twice = entrants_of(tmp_path, plugin("mean_of_seeds", "MeanOfSeeds"), seeds=2)
    seeds = [[member.seed(run) for member in twice[1:]] for run in range(2)]
    assert seeds == [[0, 1, 2], [3, 4, 5]]


def test_a_setting_of_the_papers_recipe_counts_in_that_mode_alone():
    members = (Member("unet3d", paper=(("paper_recipe", "msan"),)), Member("msan_v1", seed=2))
    assert resolve_members(members, "matched", None)[0] == Member("unet3d")
    sized = resolve_members(members, "paper", "small")
    assert dict(sized[0].config) == {"size": "small", "paper_recipe": "msan"}
    assert run_of(sized[0], sized) == (0, 1)
    assert run_of(sized[1], sized) == (2, 3)
    assert ending_of(sized[1], sized, 1) == "+run2of3"


@pytest.mark.parametrize("wrong", [-1, 1000, 1.0, True, "0"])
@pytest.mark.parametrize("word", ["fold", "seed"])
def test_a_fold_or_seed_that_is_none_is_refused(word, wrong):
    with pytest.raises(ContractError, match=rf"Member\({word}=.*whole number from 0 to 999"):
        Member("unet3d", **{word: wrong})


@pytest.mark.parametrize("rule", ["5", "80:20", "nnunet", "5/2"])
def test_a_split_on_which_members_know_the_test_cases_is_refused(plugin, tmp_path, rule):
    """Five folds of a cross-validation: four of five members train on any case that is scored."""
    five = entrants_of(tmp_path, "boundary_aware_five")
    for split in (rule, choose_rule(rule, CASES)):
        with pytest.raises(
            UsageError, match=r"five: networks are averaged .*--split .*80:20/5"
        ) as refused:
            with_inner_folds(five, (), split, print)
        has = "has 2 of them" if rule == "5/2" else "train on what is scored"
        assert has in str(refused.value)
    enough = choose_rule("80:20/5", CASES)
    assert with_inner_folds(five, (), "80:20/5", print) == five
    assert with_inner_folds(five, (), enough, print) == five
    # A file may hold inner folds, which is known when it is read.
    assert with_inner_folds(five, (), "splits_final.json", print) == five


def test_everything_that_is_installed_goes_without_what_the_split_does_not_allow(tmp_path):
    names = ("unet3d", "boundary_aware", "boundary_aware_five", "attention_vnet_five")
    entrants = entrants_of(tmp_path, *names)
    told = []
    kept = with_inner_folds(entrants, names[1:], "5", told.append)
    assert [e.name for e in kept] == ["unet3d", "boundary_aware"]
    (line,) = told
    assert line == (
        "Left out: boundary_aware_five, attention_vnet_five: they average networks of 5 inner "
        "folds, and the split has none. The same command with --split 5/5 includes them."
    )


def test_a_member_that_has_seen_a_case_is_found_wherever_it_comes_from():
    check_leaks("mean", ["c"], {"one": ["a", "b"], "other": ["b"]})
    with pytest.raises(UsageError, match=r"mean .* 2 cases that its member other .*\(a, b\)"):
        check_leaks("mean", ["a", "b", "c"], {"one": ["d"], "other": ["b", "a"]})
