"""Looks at score tables: what is decided, what stands, what is refused."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from score_tables import dice_table, long_table

from kitsbench.errors import DataError, UsageError
from kitsbench.statistics import (
    Look,
    LookPlan,
    LooksRecord,
    compare,
    compare_at_look,
    final_pairs,
    take_look,
)
from kitsbench.statistics.calibration.looks import LookCell
from kitsbench.statistics.calibration.simulation import simulate
from kitsbench.statistics.looks.clock import Clock
from kitsbench.statistics.looks.course import STATES
from kitsbench.statistics.looks.simulated import Rounds, follow

PLAN = LookPlan(4, margin=0.02)


def table(offsets, folds=5, cases=20, seeds=4, tau=0.005, rng=1):
    """Scores of architectures, the same for all but an offset and their luck."""
    scores = simulate(np.random.default_rng(rng), 1, len(offsets), folds, cases, seeds, tau)[0]
    scores = scores.reshape(len(offsets), folds * cases, seeds) * 0.6 + 0.1
    scores += np.reshape(offsets, (-1, 1, 1))
    return long_table(scores, np.repeat(np.arange(folds), cases))


def looks_at(scores, plan, rounds=None):
    found = []
    for number in rounds or range(1, plan.looks + 1):
        found.append(take_look(scores[scores["seed"] < number], plan, found, number=number))
    return found


@pytest.fixture(scope="module")
def followed():
    return looks_at(table([0.12, 0.0, 0.004, 0.05]), PLAN)


def test_what_is_settled_stays_settled_with_the_figures_it_was_settled_by(followed):
    settled = {}
    for look in followed:
        for pair in look.pairs:
            if pair.name in settled:
                then = settled[pair.name]
                assert (pair.state, pair.better, pair.estimate, pair.settled_at) == then
            elif pair.settled:
                assert pair.settled_at == look.number
                settled[pair.name] = pair.state, pair.better, pair.estimate, look.number
    assert {"arch0"} == {name[0] for name, found in settled.items() if found[1] == "arch0"}
    assert len(settled) >= 4
    assert any(at < 4 for *_, at in settled.values())


def test_p_values_over_all_looks_never_rise_and_alpha_never_comes_back(followed):
    for before, after in itertools.pairwise(followed):
        assert before.spent <= after.spent <= PLAN.alpha + 1e-12
        assert after.price == pytest.approx(after.spent - before.spent)
        for one, two in zip(before.pairs, after.pairs, strict=True):
            assert two.p_sequential <= one.p_sequential
            assert two.fraction >= (one.fraction or 0.0)
    # A pair that is settled early leaves the rest of its share unspent.
    assert 0 < followed[-1].spent < PLAN.alpha
    assert followed[-1].decided


def test_an_architecture_goes_on_while_one_of_its_pairs_is_open(followed):
    for look in followed:
        assert set(look.open) == {name for pair in look.open_pairs for name in pair.name}
    assert followed[0].open == followed[0].architectures
    assert all(pair.reason for look in followed for pair in look.pairs)


def recorded(looks):
    record = LooksRecord(plan=PLAN, looks=())
    for look in looks:
        record = record.with_look(look)
    return record


def test_a_look_is_a_pure_function_and_survives_a_file(followed, tmp_path):
    record = recorded(followed[:2])
    record.write(tmp_path / "looks.json")
    kept = LooksRecord.read(tmp_path / "looks.json")
    assert kept == record
    again = take_look(table([0.12, 0.0, 0.004, 0.05]).query("seed < 3"), PLAN, kept.looks)
    assert again == followed[2]
    assert Look.from_dict(json.loads(json.dumps(again.to_dict(), allow_nan=False))) == again


def test_the_bound_is_what_decides(followed):
    # Where no other pair passes anything on afterwards, p is below its bound or the pair is open.
    for look in followed:
        for pair in look.pairs:
            if pair.tested_at == look.number and pair.settled_at == look.number:
                assert pair.p_value < pair.bound or pair.state == "equivalence"
            elif pair.tested_at == look.number and not pair.settled and pair.bound is not None:
                assert pair.p_value >= pair.bound
    # Four degrees of freedom between five folds are too few to spend anything on.
    assert {pair.bound for pair in followed[0].pairs} == {None}
    assert followed[0].spent == 0


def test_final_estimates_lie_near_the_naive_ones_and_know_their_looks(followed):
    for final, last in zip(final_pairs(followed, PLAN), followed[-1].pairs, strict=True):
        assert final.ordered_low < final.unbiased < final.ordered_high
        assert abs(final.unbiased - final.estimate) < last.se
        assert final.ordered_high - final.ordered_low > 2 * last.se
        if final.looks == 2:  # the first look spent nothing, so the second one is like a first
            assert final.unbiased == pytest.approx(final.estimate, abs=1e-9)
    assert {final.looks for final in final_pairs(followed, PLAN)} >= {2, 4}
    states = {(one.a, one.b): one.state for one in final_pairs(followed, PLAN)}
    assert states == {pair.name: pair.state for pair in followed[-1].pairs}


def test_one_look_at_all_rounds_is_the_fixed_design():
    scores = table([0.12, 0.0, 0.004, 0.05])
    look = take_look(scores, LookPlan(1, margin=0.02))
    plain = compare(scores, bootstrap=20)
    for pair, row in zip(look.pairs, plain.pairs, strict=True):
        assert pair.p_adjusted == pytest.approx(row["p_adjusted"], rel=2e-3, abs=1e-8)
        assert pair.better == row["better"]
        assert pair.low == pytest.approx(row["ci_simultaneous_low"], abs=2e-4)
    for final in final_pairs([look], LookPlan(1, margin=0.02)):
        assert final.unbiased == pytest.approx(final.estimate, abs=1e-9)
        assert final.ordered_low == pytest.approx(final.ci_low, abs=1e-9)


def test_simulated_looks_are_the_looks_that_tables_get():
    cell = LookCell("specification", 4, 5, 100, 4, "0.01", "ladder")
    scores = simulate(np.random.default_rng(5), 1, 4, 5, 20, 4, 0.01, shifts=[0.6, 0.3, 0.0, -0.3])
    plan = cell.plan
    found = follow(Rounds(scores), plan, Clock(plan.spending, plan.share))
    rows = long_table(scores[0].reshape(4, 100, 4), np.repeat(np.arange(5), 20))
    looks, running = [], set(rows["architecture"])
    seeds = dict.fromkeys(running, 0)
    for number in range(1, 5):
        for name in running:
            seeds[name] = number
        there = rows[rows["seed"] < rows["architecture"].map(seeds)]
        looks.append(take_look(there, plan, looks, number=number))
        running &= set(looks[-1].open)
        if not running:
            break
    states = [STATES.index(pair.state) for pair in looks[-1].pairs]
    assert states == list(found.standing.state[0])
    assert len({*states}) > 1
    assert list(seeds[name] for name in sorted(seeds)) == list(found.seeds[0])
    assert [p.p_sequential for p in looks[-1].pairs] == pytest.approx(list(found.standing.p[0]))


def test_a_changed_or_missing_score_of_an_earlier_look_is_refused():
    scores = table([0.1, 0.0])
    first = take_look(scores[scores["seed"] < 2], PLAN, number=2)
    with pytest.raises(DataError, match=r"arch0, fold 0, seed 0 were seen at look 2 and are miss"):
        take_look(scores[scores["seed"] > 0], PLAN, [first])
    changed = scores.copy()
    changed.loc[changed.index[0], "value"] += 0.01
    with pytest.raises(DataError, match=r"fold 0, seed 0 were seen at look 2 and are others"):
        take_look(changed, PLAN, [first])
    with pytest.raises(UsageError, match="Look 2 was asked for, and look 2 is recorded"):
        take_look(scores, PLAN, [first], number=2)
    assert take_look(scores[scores["seed"] < 2], PLAN, [first], number=2) is first


def test_a_trial_that_failed_may_be_repeated_and_not_left_out():
    scores = table([0.3, 0.0]).assign(status="ok")
    run = (scores["architecture"] == "arch1") & (scores["fold"] == 0) & (scores["seed"] == 0)
    first_case = scores[run].index[0]
    scores.loc[first_case, ["status", "value"]] = ["failed", np.nan]
    first = take_look(scores[scores["seed"] < 2], PLAN, number=2)
    with pytest.raises(DataError, match="arch1, fold 0, seed 0 were seen at look 2 and are miss"):
        take_look(scores[~run & (scores["seed"] < 3)], PLAN, [first])
    scores.loc[first_case, ["status", "value"]] = ["ok", 0.4]
    assert take_look(scores[scores["seed"] < 3], PLAN, [first]).number == 3


def test_a_pair_without_new_runs_keeps_its_chance():
    scores = table([0.0, 0.0, 0.004])
    first = take_look(scores[scores["seed"] < 1], PLAN)
    assert {pair.bound for pair in first.pairs} == {None}  # it spent nothing
    more = (scores["seed"] < 1) | ((scores["architecture"] == "arch0") & (scores["seed"] < 2))
    second = take_look(scores[more], PLAN, [first])
    assert [pair.chance for pair in second.pairs] == [pair.chance for pair in first.pairs]
    assert second.open == first.open == ("arch0", "arch1", "arch2")


def test_folds_that_come_later_must_have_been_told_of():
    scores = table([0.01, 0.0])
    early = scores[(scores["fold"] < 3) & (scores["seed"] < 2)]
    first = take_look(early, PLAN)
    with pytest.raises(DataError) as refused:
        take_look(scores[scores["seed"] < 2], PLAN, [first])
    assert "Look 1 took 3 folds for all that are planned" in str(refused.value)
    assert "the scores have fold 3, 4 too" in str(refused.value)
    told = LookPlan(4, margin=0.02, fold_count=5)
    half = take_look(early, told)
    assert half.pairs[0].cases == pytest.approx(3 / 5)
    assert take_look(scores[scores["seed"] < 2], told, [half]).pairs[0].cases == 1


def test_a_fold_that_one_architecture_lacks_slows_the_clock_of_its_pairs():
    scores = table([0.01, 0.0, 0.005])
    gone = (scores["architecture"] == "arch1") & (scores["fold"] == 3)
    look = take_look(scores[~gone & (scores["seed"] < 2)], PLAN, number=2)
    assert look.pair("arch0", "arch1").cases == pytest.approx(4 / 5)
    assert look.pair("arch0", "arch2").cases == 1


@pytest.mark.parametrize("number", [0, -1, 1.5, "2", True])
def test_a_look_has_a_whole_number(number):
    with pytest.raises(UsageError, match="The number of the look is"):
        take_look(table([0.1, 0.0]), PLAN, number=number)


def test_estimates_hold_where_a_new_fold_leaves_less_known():
    """One run of a large fold beside nine of the others: fewer runs than before, in effect."""
    scores = table([0.0, 0.0], folds=4, seeds=10, rng=3)
    plan, looks = LookPlan(10, fold_count=4, futility=0.0), []
    for number, seeds in ((3, (9, 9, 9, 0)), (5, (9, 9, 9, 1)), (10, (10, 10, 10, 10))):
        seen = scores[scores["seed"] < scores["fold"].map(dict(enumerate(seeds)))]
        looks.append(take_look(seen, plan, looks, number=number))
        (final,) = final_pairs(looks, plan)
        assert final.ordered_low < final.unbiased < final.ordered_high
        assert abs(final.unbiased - final.estimate) < 0.2 * looks[-1].pairs[0].se
    assert looks[1].pairs[0].runs < looks[0].pairs[0].runs


def test_who_was_trained_elsewhere_keeps_nobody_waiting_for_what_no_seed_can_settle():
    scores = table([0.1, 0.0, 0.3], folds=3, cases=30)
    scores["trained_elsewhere"] = scores["architecture"].map({"arch2": "compared"}).fillna("")
    scores = scores[(scores["architecture"] != "arch2") | (scores["seed"] == 0)]
    looks = looks_at(scores, LookPlan(4, margin=0.02, futility=0.0), (2, 3))
    outside = looks[0].pair("arch0", "arch2")
    assert outside.state == "futile"
    assert "so few folds allow no test of it" in outside.reason
    assert looks[0].open == ("arch0", "arch1")
    assert looks[1].decided


def test_scores_without_any_spread_are_found_apart_once_there_are_runs_enough():
    scores = table([0.0, 0.0])
    scores["value"] = np.where(scores["architecture"] == "arch0", 0.7, 0.5)
    looks = looks_at(scores, PLAN, (1, 2))
    assert looks[0].pairs[0].state == "open"
    assert (looks[0].pairs[0].chance, looks[1].pairs[0].better) == (1.0, "arch0")
    same = looks_at(scores.assign(value=0.5), PLAN, (1, 2))
    assert same[0].pairs[0].state == "futile"  # alike, as nothing shows how surely


def test_who_has_no_scores_yet_shares_alpha_in_what_rules_out_misses_too():
    scores = table([0.0, 0.0, 0.0])
    plan = LookPlan(4, margin=0.02, architectures=("arch0", "arch1", "arch2"))
    some = take_look(scores[scores["architecture"] != "arch2"], plan, number=4)
    whole = take_look(scores, plan, number=4)
    # Of 100 cases a family of three cannot rule out misses that cost 0.02, and one pair could.
    assert some.pair("arch0", "arch1").p_within == whole.pair("arch0", "arch1").p_within is None
    alone = take_look(scores[scores["architecture"] != "arch2"], PLAN, number=4)
    assert alone.pairs[0].p_within is not None


def test_nobody_joins_the_family_later():
    scores = table([0.1, 0.0, 0.02])
    early = scores[(scores["seed"] < 2) & (scores["architecture"] != "arch2")]
    first = take_look(early, PLAN, number=2)
    with pytest.raises(DataError, match="arch2 is in the scores and not in the family"):
        take_look(scores, PLAN, [first])


def test_an_unplanned_look_is_said_and_priced():
    scores = table([0.0, 0.0], tau=0.02, rng=2)
    plan = LookPlan(4, planned=(2, 4), futility=0.0)
    looks = looks_at(scores, plan, (2, 3))
    assert looks[0].planned
    assert not looks[1].planned
    assert f"it spends {looks[1].price:.2g} of alpha" in looks[1].notes[0]
    last = take_look(scores, plan, looks, number=4)
    assert last.spent == pytest.approx(0.05)
    late = take_look(scores, plan, [*looks, last], number=5)
    assert "no alpha is left for it" in late.notes[0]
    assert late.price == 0


def test_designs_without_a_verdict_spend_nothing_until_there_is_one():
    looks = looks_at(table([0.2, 0.0], folds=1, cases=60), PLAN)
    assert [look.spent > 0 for look in looks] == [False, False, False, True]
    assert looks[0].open == ("arch0", "arch1")
    assert "so few runs allow no test yet" in looks[1].pairs[0].reason
    assert looks[-1].pairs[0].better == "arch0"


def test_missing_trials_slow_the_clock_and_break_nothing():
    scores = table([0.01, 0.0, 0.005], tau=0.02)
    gone = (scores["architecture"] == "arch1") & (scores["fold"] == 3) & (scores["seed"] > 0)
    plan = LookPlan(4, futility=0.0)
    whole, holed = looks_at(scores, plan), looks_at(scores[~gone], plan)
    one, two = whole[2], holed[2]
    assert two.pair("arch0", "arch1").fraction < one.pair("arch0", "arch1").fraction
    assert two.pair("arch0", "arch2").fraction == one.pair("arch0", "arch2").fraction
    # Where a fold lacks its second run, a look after two rounds has too few to spend anything.
    assert holed[1].pair("arch0", "arch1").bound is None
    # The last round took place, if not for all: what is left is spent.
    assert holed[-1].pair("arch0", "arch1").fraction == 1


@pytest.mark.parametrize("number", [5, 6, 9])
def test_to_call_a_look_the_last_brings_no_run_and_settles_nothing(number):
    scores = table([0.02, 0.0], seeds=5, tau=0.01)
    plan = LookPlan(5, futility=0.0)
    looks = looks_at(scores, plan)[:2]
    early = scores[scores["seed"] < 2]
    pair = looks[-1].pairs[0]
    assert pair.state == "open"
    assert pair.p_value < 0.05  # at a last look it would be a difference
    called = take_look(early, plan, looks, number=number)
    assert called.pairs[0].state == "futile"
    assert called.spent == looks[-1].spent
    assert any("no pair has 95 % of the planned cases and runs" in note for note in called.notes)
    assert called.pairs[0].p_sequential == pair.p_sequential
    # Nor does it where a run more is there, of five that are planned.
    more = take_look(scores[scores["seed"] < 3], plan, looks, number=number)
    assert more.pairs[0].fraction == looks_at(scores, plan)[2].pairs[0].fraction
    assert more.pairs[0].bound == looks_at(scores, plan)[2].pairs[0].bound


def test_pairs_of_networks_that_learned_nothing_are_given_up_and_never_equivalent():
    scores = table([0.1, 0.1, 0.1], cases=60)
    scores.loc[scores["architecture"] != "arch0", "value"] = 0.0
    rng = np.random.default_rng(0)
    lost = scores["architecture"] != "arch0"
    scores.loc[lost, "value"] = rng.uniform(0, 0.004, lost.sum())
    looks = looks_at(scores, LookPlan(3, margin=0.02))
    pair = looks[1].pair("arch1", "arch2")
    assert (pair.state, pair.reason) == ("futile", "neither has learned the endpoint")
    assert looks[1].pair("arch0", "arch1").better == "arch0"


def test_failed_predictions_leave_a_pair_without_a_verdict():
    scores = table([0.3, 0.0]).assign(status="ok")
    failed = (scores["architecture"] == "arch1") & (scores["fold"] == 0)
    scores.loc[failed, "status"] = "failed"
    scores.loc[failed, "value"] = np.nan
    look = take_look(scores[scores["seed"] < 2], PLAN, number=2)
    assert look.pairs[0].state == "open"
    assert look.pairs[0].reason == "more than 10 % of the predictions of arch1 failed"
    assert look.spent == 0
    # A trial with failed predictions may be repeated, and then looks go on.
    again = table([0.3, 0.0]).assign(status="ok")
    later = take_look(again[again["seed"] < 3], PLAN, [look], number=3)
    assert later.pairs[0].better == "arch0"


def test_going_on_with_a_pair_that_was_given_up_may_still_settle_it():
    scores = table([0.03, 0.0, 0.0], tau=0.02, rng=8)
    strict = LookPlan(4, margin=0.02, futility=0.99)
    looks = looks_at(scores, strict)
    assert all(pair.state in ("futile", "difference") for pair in looks[1].pairs)
    free = looks_at(scores, LookPlan(4, margin=0.02, futility=0.0))
    for one, two in zip(looks[-1].pairs, free[-1].pairs, strict=True):
        assert one.p_sequential == pytest.approx(two.p_sequential)


def test_the_question_who_is_best_asks_no_more_about_who_is_out():
    scores = table([0.12, 0.11, 0.0, 0.01])
    looks = looks_at(scores, LookPlan(4, "top", margin=0.02))
    out = looks[-1].pair("arch2", "arch3")
    assert out.state == "not asked"
    pairs = looks_at(scores, LookPlan(4, margin=0.02))
    assert all(set(a.open) <= set(b.open) for a, b in zip(looks, pairs, strict=True))


def test_a_baseline_or_one_pair_makes_a_smaller_family():
    scores = table([0.1, 0.0, 0.02, 0.03])
    base = take_look(scores, LookPlan(1, "baseline", baseline="arch1"))
    assert [pair.name for pair in base.pairs] == [
        ("arch0", "arch1"), ("arch2", "arch1"), ("arch3", "arch1")
    ]  # fmt: skip
    one = take_look(scores, LookPlan(1, "pair", pair=("arch3", "arch0")))
    assert [pair.name for pair in one.pairs] == [("arch3", "arch0")]
    assert one.pairs[0].p_adjusted <= base.pair("arch3", "arch1").p_adjusted
    with pytest.raises(UsageError, match="asks about 'nobody'"):
        take_look(scores, LookPlan(1, "baseline", baseline="nobody"))


def test_verdicts_groups_and_ranks_of_a_comparison_rest_on_the_look():
    scores = table([0.04, 0.0, 0.01], rng=3)
    early = scores[scores["seed"] < 1]
    naive = compare(early, bootstrap=20)
    found, look = compare_at_look(early, PLAN, bootstrap=20)
    assert any(row["better"] for row in naive.pairs)
    assert not any(row["better"] for row in found.pairs)  # so early the bound is out of reach
    assert {row["group"] for row in found.ranking} == {"a"}
    assert found.to_dict()["look"]["number"] == look.number == 1
    assert "look" not in naive.to_dict()
    late, _ = compare_at_look(scores, PLAN, [look], number=4, bootstrap=20)
    assert late.pairs[0]["better"] == "arch0"
    assert late.pairs[0]["p_adjusted"] > compare(scores, bootstrap=20).pairs[0]["p_adjusted"]


def test_a_comparison_says_nothing_of_pairs_that_were_never_looked_at():
    scores = table([0.2, 0.1, 0.0])
    plan = LookPlan(1, "pair", pair=("arch0", "arch1"), margin=0.02)
    found, _ = compare_at_look(scores, plan, bootstrap=20)
    assert [(row["a"], row["b"], row["better"]) for row in found.pairs] == [
        ("arch0", "arch1", "arch0")
    ]
    told = {(row["group"], row["rank_low"], row["p_first"]) for row in found.ranking}
    assert told == {(None, None, None)}
    whole, _ = compare_at_look(scores, LookPlan(1, margin=0.02), bootstrap=20)
    assert {row["p_first"] for row in whole.ranking} == {None}
    assert [row["group"] for row in whole.ranking] == ["a", "b", "c"]


def test_a_sentence_has_the_estimate_that_its_interval_is_of():
    scores = table([0.12, 0.0])
    _, look = compare_at_look(scores[scores["seed"] < 2], PLAN, number=2, bootstrap=20)
    assert look.pairs[0].state == "difference"
    higher = (scores["architecture"] == "arch0") & (scores["seed"] > 1)
    better = (scores["value"] + 0.2).clip(upper=1.0)
    scores["value"] = scores["value"].where(~higher, better)  # as if later seeds were far better
    found, _ = compare_at_look(scores, PLAN, [look], number=4, bootstrap=20)
    (row,) = found.pairs
    means = {one["architecture"]: one["mean"] for one in found.ranking}
    assert means["arch0"] - means["arch1"] > look.pairs[0].high
    assert row["difference"] == look.pairs[0].estimate  # and it stands beside that interval
    assert "5 folds, 2 seeds; adjusted p" in row["sentence"]
    assert "Nadeau-Bengio" not in row["sentence"]  # which would be of all scores
    assert f"by {look.pairs[0].estimate:.3f} [{look.pairs[0].low:.3f}" in row["sentence"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"looks": 0}, "looks is 0"),
        ({"question": "best"}, "There is no question 'best'"),
        ({"baseline": "a"}, "they go together"),
        ({"question": "pair", "pair": ("a", "a")}, "two different architectures"),
        ({"question": "pair", "pair": "ab"}, "it must be a tuple"),
        ({"spending": "linear"}, "There is no spending 'linear'"),
        ({"futility": 1.0}, "futility is 1.0"),
        ({"margin": -1.0}, "The margin is -1.0"),
        ({"share": 1.0}, "The share of the cases is 1.0"),
        ({"planned": (1, 2)}, "they must rise"),
        ({"planned": (2, 9)}, "planned is 9"),
        ({"alpha": 2.0}, "alpha is 2.0"),
        ({"architectures": ("a", "a")}, "names an architecture twice"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        LookPlan(**{"looks": 4, **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"architectures": "ab"}, "it must be a tuple"),
        ({"planned": 4}, "it must be a tuple"),
        ({"question": "pair", "pair": ([], [])}, "two different architectures"),
        ({"endpoint": None}, "write it as region:metric"),
        ({"margin": True}, "The margin is True"),
        ({"conservative": "no"}, "must be True or False"),
    ],
)
def test_values_of_another_kind_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        LookPlan(**{"looks": 4, **wrong})


def test_earlier_looks_are_a_list_of_them_in_their_order(followed):
    scores = table([0.12, 0.0, 0.004, 0.05])
    one, two = followed[:2]
    for earlier in (one, [two, one], [one, one], [None]):
        with pytest.raises(UsageError, match="earlier looks"):
            take_look(scores[scores["seed"] < 3], PLAN, earlier)
    other = LookPlan(PLAN.looks, question="baseline", baseline="arch0")
    with pytest.raises(UsageError, match="at other pairs than the plan asks about"):
        take_look(scores[scores["seed"] < 3], other, [one, two])
    for change in ({"margin": 0.05}, {"spending": "pocock"}, {"alpha": 0.1}, {"futility": 0.2}):
        with pytest.raises(UsageError, match="Look 1 was taken by another plan than this one"):
            take_look(scores[scores["seed"] < 3], replace(PLAN, **change), [one, two])
    with pytest.raises(UsageError, match="at least one"):
        final_pairs([], PLAN)
    listed = LookPlan(4, question="pair", pair=["arch0", "arch1"])
    assert len(take_look(scores[scores["seed"] < 2], listed, number=2).pairs) == 1


def test_a_record_that_was_tampered_with_is_refused(tmp_path):
    looks = looks_at(table([0.1, 0.0]), PLAN, (1, 2))
    file = tmp_path / "looks.json"
    recorded(looks).write(file)
    plain = json.loads(file.read_text())
    for change, message in (
        (lambda d: d["looks"].reverse(), "the looks 2, 1 do not rise"),
        (lambda d: d["looks"][1].update(spent=-1.0), "a later look has spent less"),
        (lambda d: d["plan"].update(looks=0), "looks is 0"),
        (lambda d: d["looks"][0]["pairs"][0].update(more=1), r"looks\.0\.pairs\.0\.more"),
    ):
        damaged = json.loads(json.dumps(plain))
        change(damaged)
        file.write_text(json.dumps(damaged))
        with pytest.raises(DataError, match=message):
            LooksRecord.read(file)


def test_a_look_of_another_call_is_not_overwritten(tmp_path):
    first, second = looks_at(table([0.1, 0.0]), PLAN, (1, 2))
    file = tmp_path / "looks.json"
    mine = LooksRecord(plan=PLAN, looks=())
    LooksRecord(plan=PLAN, looks=()).extended(file, first)
    with pytest.raises(UsageError, match=r"1 looks now, and held 0 (.|\n)*repeat the command"):
        mine.extended(file, second)
    kept = LooksRecord.read(file)
    assert kept.looks == (first,)
    assert kept.extended(file, second) == LooksRecord.read(file)
    assert LooksRecord.read(file).looks == (first, second)


def test_a_table_of_one_architecture_has_nothing_to_look_at():
    look = take_look(dice_table(1), LookPlan(3))
    assert look.pairs == ()
    assert look.decided
