"""Runs that are copies, that never took off, or that are not there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from score_tables import dice_table, long_table

from kitsbench.errors import DataError
from kitsbench.statistics import Endpoint, score_blocks, validate_scores
from kitsbench.statistics.table.grid import missing_notes, missing_runs
from kitsbench.statistics.table.runs import check_copies, collapsed_runs

DICE = Endpoint("tumor", "dice")


def check(data, endpoint=DICE):
    return check_copies(validate_scores(data), endpoint)


def copied(data, one, other, folds=None):
    """Give a run, (architecture, seed), the scores of another."""
    run = (data["architecture"] == other[0]) & (data["seed"] == other[1])
    if folds is not None:
        run &= data["fold"].isin(folds)
    source = data[(data["architecture"] == one[0]) & (data["seed"] == one[1])]
    scores = data["case"].map(source.set_index("case")["value"])
    return data.assign(value=data["value"].mask(run, scores))


# -- copies ---------------------------------------------------------------------------------


def test_independent_runs_are_no_copies():
    assert check(dice_table(3, 5, 6, 3)) == []


@pytest.mark.parametrize("digits", [15, 4, 2])
def test_a_copied_seed_is_refused(digits):
    data = dice_table(2, 5, 6, 3)
    data = copied(data.assign(value=data["value"].round(digits)), ("arch1", 0), ("arch1", 2))
    with pytest.raises(DataError) as told:
        check(data)
    first, second = str(told.value).splitlines()
    assert first.startswith(
        "Seeds 0 and 2 of arch1 have the same tumor:dice on every case of all 5 folds:"
    )
    assert second == "Leave out seed 2, or train it again with a seed of its own."


def test_a_copy_that_was_written_with_fewer_digits_is_one():
    data = copied(dice_table(2, 1, 12, 2), ("arch0", 0), ("arch0", 1))
    data.loc[data["seed"] == 1, "value"] += 1e-9
    with pytest.raises(DataError, match="have the same tumor:dice on every case: one run"):
        check(data)


def test_a_fold_that_was_entered_again_under_other_names_is_refused():
    data = dice_table(2, 5, 12, 2)
    again = data[data["fold"] == 1].assign(fold=9)
    again["case"] = "scan_" + again["case"].str[::-1]
    again["seed"] += 7
    with pytest.raises(DataError) as told:
        check(pd.concat([data, again.sample(frac=1, random_state=0)]))
    first, second = str(told.value).splitlines()
    assert first.startswith(
        "Fold 1, seed 0 and fold 9, seed 7 of arch0 have the same tumor:dice on all their cases:"
    )
    assert second == "Leave out fold 9, or score the cases that it tests."


def test_folds_of_networks_that_find_nothing_are_no_copies():
    assert check(dice_table(2, 5, 12, 2).assign(value=0.0)) == []


def test_a_run_that_was_copied_in_one_fold():
    data = copied(dice_table(2, 5, 6, 2), ("arch0", 0), ("arch0", 1), folds=[3])
    with pytest.raises(DataError, match="on every case of fold 3: one run"):
        check(data)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.37])
def test_networks_that_give_one_number_are_no_copies(value):
    assert check(dice_table(3, 2, 8, 2).assign(value=value)) == []


def test_distances_of_networks_that_found_nothing_are_no_copies():
    # The diagonal of each scan, once said by the status and once by the Dice of the run.
    data = dice_table(2, 2, 8, 2).assign(metric="hd95_mm")
    data["value"] = 300 + data["case"].str[-2:].astype(float) * 1.23
    distance = Endpoint("tumor", "hd95_mm")
    assert check(data.assign(status="empty_prediction"), distance) == []
    assert check(pd.concat([data, data.assign(metric="dice", value=0.0)]), distance) == []
    with pytest.raises(DataError, match="Seeds 0 and 1 of arch0"):
        check(data, distance)


def test_networks_that_mark_everything_are_no_copies():
    data = dice_table(2, 2, 8, 2)
    data["value"] = 0.01 + data["case"].str[-2:].astype(float) * 0.00123
    everything = data.assign(metric="recall", value=1.0)
    assert check(pd.concat([data, everything])) == []


def test_scores_of_a_few_steps_may_be_equal():
    shares = np.tile(np.array([0, 1, 0.5, 1 / 3, 2 / 3, 1, 0.8, 0])[None, :, None], (2, 1, 2))
    lesions = long_table(shares, [0] * 8, metric="lesion_sensitivity")
    assert check(lesions, Endpoint("tumor", "lesion_sensitivity")) == []
    assert check(long_table(np.round(shares, 1), [0] * 8)) == []


def few_cases(*metrics):
    """A hold-out of two cases, measured by several metrics in two regions."""
    rng = np.random.default_rng(3)
    parts = [
        dice_table(2, 1, 2, 2).assign(region=region, metric=metric)
        for region in ("tumor", "kidney_and_tumor")
        for metric in metrics
    ]
    data = pd.concat(parts, ignore_index=True)
    return data.assign(value=rng.uniform(0.3, 0.9, len(data)))


def twin(data, name="arch0"):
    """Let the second seed of an architecture be the first of ``arch0``."""
    keys = ["case", "region", "metric"]
    first = data[(data["architecture"] == "arch0") & (data["seed"] == 0)].set_index(keys)["value"]
    mine = (data["architecture"] == name) & (data["seed"] == 1)
    return data.assign(value=data["value"].mask(mine, data.set_index(keys).index.map(first)))


@pytest.mark.parametrize("endpoint", [DICE, Endpoint("tumor", "lesion_sensitivity")])
def test_a_copy_in_a_small_hold_out_is_known_by_all_that_was_measured(endpoint):
    data = few_cases("dice", "precision", "recall", "lesion_sensitivity")
    assert check(data, endpoint) == []
    with pytest.raises(DataError, match="Seeds 0 and 1 of arch0"):
        check(twin(data), endpoint)
    (note,) = check(twin(data, "arch1"), endpoint)
    assert note.startswith("arch0 and arch1 have runs with the same")


def test_a_small_hold_out_with_one_region_tells_no_copies():
    data = few_cases("dice", "lesion_sensitivity")
    assert check(twin(data[data["region"] == "tumor"])) == []


def test_networks_that_mark_everything_in_a_small_hold_out_are_no_copies():
    data = few_cases("dice", "precision", "recall")
    assert check(twin(data.assign(value=data["value"].mask(data["metric"] == "recall", 1.0)))) == []


def test_two_names_of_one_network_are_told():
    data = copied(dice_table(4, 3, 6, 2), ("arch0", 0), ("arch2", 1))
    data = copied(data, ("arch0", 0), ("arch3", 0))
    notes = check(data)
    assert notes == [
        "arch0, arch2 and arch3 have runs with the same tumor:dice on every case of folds 0, 1 "
        "and 2, as one network under 3 names has."
    ]


# -- collapsed ------------------------------------------------------------------------------


def collapsed(data, endpoint=DICE):
    return collapsed_runs(score_blocks(validate_scores(data), endpoint))


def fallen(data, share, **where):
    here = np.all([data[column] == value for column, value in where.items()], axis=0)
    return data.assign(value=data["value"].mask(here, data["value"] * share))


def test_a_run_that_never_took_off_is_named():
    data = dice_table(2, 5, 8, 2, offsets=[0.3, 0.3])
    assert collapsed(data) == []
    assert collapsed(fallen(data, 0.6, architecture="arch1", fold=3, seed=1)) == []
    found = collapsed(fallen(data, 0.2, architecture="arch1", fold=3, seed=1))
    assert [(one.run.architecture, one.run.fold, one.run.seed) for one in found] == [
        ("arch1", 3, 1)
    ]
    mine = data[data["architecture"] == "arch1"].groupby(["fold", "seed"])["value"].mean()
    assert found[0].mean == pytest.approx(0.2 * mine[3, 1])
    assert found[0].siblings == pytest.approx(mine.drop((3, 1)).median())


@pytest.mark.parametrize(("folds", "seeds"), [(5, 1), (1, 3), (1, 2)])
def test_other_folds_or_other_seeds_alone_tell_it(folds, seeds):
    data = dice_table(3, folds, 8, seeds, offsets=[0.3] * 3)
    found = collapsed(fallen(data, 0.1, architecture="arch2", fold=folds - 1, seed=seeds - 1))
    assert [one.run.architecture for one in found] == ["arch2"]


def test_a_hard_fold_is_no_collapse():
    data = dice_table(3, 5, 8, 2, offsets=[0.3] * 3)
    assert collapsed(fallen(data, 0.2, fold=4)) == []


def test_networks_that_learned_nothing_did_not_collapse():
    data = dice_table(2, 5, 8, 2)
    data["value"] *= 0.01
    assert collapsed(fallen(data, 0.0, architecture="arch0", fold=0, seed=0)) == []


def test_a_run_that_failed_is_no_collapse():
    data = dice_table(2, 5, 8, 2, offsets=[0.3, 0.3]).assign(status="ok")
    lost = (data["architecture"] == "arch0") & (data["fold"] == 2) & (data["seed"] == 0)
    data.loc[lost, ["value", "status"]] = [0.0, "failed"]
    assert collapsed(data) == []


def test_distances_have_no_share():
    data = dice_table(2, 5, 8, 2).assign(metric="hd95_mm")
    data = fallen(data, 20, architecture="arch0", fold=0, seed=0)
    assert collapsed(data, Endpoint("tumor", "hd95_mm")) == []


def test_runs_can_be_left_out():
    data = dice_table(2, 3, 4, 2)
    blocks = score_blocks(validate_scores(data), DICE)
    assert blocks.seeds["arch0"] == dict.fromkeys(range(3), (0, 1))
    part = blocks.without_runs({("arch1", 1, 0)})
    there = data[(data["architecture"] != "arch1") | (data["fold"] != 1) | (data["seed"] != 0)]
    again = score_blocks(validate_scores(there), DICE)
    assert part.seeds == again.seeds
    for name in blocks.architectures:
        for one, other in zip(part.values[name], again.values[name], strict=True):
            np.testing.assert_array_equal(one, other)
    gone = blocks.without_runs({("arch1", 1, 0), ("arch1", 1, 1)})
    assert (gone.folds, gone.n_cases) == ((0, 2), 8)
    every = {("arch0", fold, seed) for fold in range(3) for seed in range(2)}
    assert blocks.without_runs(every) is None


# -- missing --------------------------------------------------------------------------------


def lacking(data, **where):
    here = np.all([data[column] == value for column, value in where.items()], axis=0)
    return data[~here]


def said(data, once=()):
    return missing_notes(missing_runs(data, once))


def test_missing_trials_are_counted_and_placed():
    data = dice_table(2, 5, 2, 2)
    assert said(data) == []
    end = "; missing runs are not imputed."
    one = lacking(data, architecture="arch1", fold=3, seed=1)
    assert said(one) == [f"1 of 10 trials of arch1 is missing (fold 3, seed 1){end}"]
    seed = lacking(data, architecture="arch1", seed=1)
    assert said(seed) == [
        f"5 of 10 trials of arch1 are missing (folds 0, 1, 2, 3 and 4, seed 1){end}"
    ]
    fold = lacking(lacking(data, architecture="arch1", fold=3), architecture="arch0", fold=0)
    assert said(fold) == [
        "2 of 10 trials of arch0 are missing (fold 0, seeds 0 and 1); "
        f"2 of 10 trials of arch1 are missing (fold 3, seeds 0 and 1){end}"
    ]


def test_seeds_with_numbers_of_their_own_are_not_missing():
    data = dice_table(2, 3, 2, 2)
    data.loc[data["architecture"] == "arch1", "seed"] += 40
    assert said(data) == []
    assert said(lacking(data, fold=1, seed=41)) == [
        "1 of 6 trials of arch1 is missing (fold 1, seed 41); missing runs are not imputed."
    ]


def test_who_was_planned_with_one_run_in_a_fold_lacks_no_seed():
    data = lacking(dice_table(2, 3, 2, 2), architecture="arch1", seed=1)
    assert said(data) == [
        "3 of 6 trials of arch1 are missing (folds 0, 1 and 2, seed 1); "
        "missing runs are not imputed."
    ]
    assert said(data, once=["arch1"]) == []
    assert said(lacking(data, architecture="arch1", fold=2), once=["arch1"]) == [
        "1 of 3 trials of arch1 is missing (fold 2, seed 0); missing runs are not imputed."
    ]


def test_many_that_lack_runs_make_one_note():
    data = dice_table(6, 2, 2, 2)
    data = data[(data["architecture"] == "arch0") | (data["fold"] + data["seed"] < 2)]
    assert said(data) == [
        "5 trials of 5 architectures are missing (arch1, arch2, arch3, arch4 and arch5); "
        "missing runs are not imputed."
    ]
