"""What a report says of looks: the path of every pair, what was spared, and that nothing failed."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, look_until_decided, write_workdir

from kitsbench.api import load
from kitsbench.errors import UsageError
from kitsbench.experiments.records import LooksRecord
from kitsbench.experiments.results import load_results
from kitsbench.experiments.workdir.join import join_results
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.asked.narrowing import Narrowing, narrow
from kitsbench.reporting.build import build_report
from kitsbench.reporting.first_screen.answer import amiss, details
from kitsbench.reporting.first_screen.looked import hours_of, plain, summary
from kitsbench.reporting.first_screen.next_steps import next_steps
from kitsbench.reporting.page import looks
from kitsbench.reporting.page.facts import facts

PLAN = Plan(
    {"unet3d": 0.0, "residual_unet": 0.001, "scau_unet": 0.1, "msan_v1": 0.2},
    folds=3,
    seeds=5,
    cases_per_fold=6,
    curve_points=5,
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Four architectures, of which two were decided before they had all of their seeds."""
    folder = write_workdir(tmp_path_factory.mktemp("looked") / "work", PLAN)
    look_until_decided(folder, PLAN, futility=0.0)
    return folder


@pytest.fixture(scope="module")
def results(workdir):
    return load_results(workdir)


@pytest.fixture(scope="module")
def page(workdir):
    return build_report(workdir)


def cell(table, row, head):
    return table.rows[row][table.head.index(head)]


def test_hours_are_those_of_the_trials_that_ran_and_of_those_that_did_not(results):
    hours = hours_of(results)
    ran = [trial for trial in results.trials if trial.state == "finished"]
    assert hours.spent == pytest.approx(sum(t.ledger.device_seconds for t in ran) / 3600)
    assert 0 < hours.spared_trials == hours.trials - len(ran)
    # Each trial takes 20 s and a little more.
    assert hours.spared == pytest.approx(20 * hours.spared_trials / 3600, rel=0.01)
    assert hours.fixed == hours.spent + hours.spared


def test_the_summary_names_question_looks_and_what_was_spared(results):
    told = " ".join(summary(results))
    assert "The question was a verdict on every pair" in told
    assert re.search(r"\d+ of 60 trials were never run: [\d.]+ min were spent", told)
    assert "60 trials of the plan had finished before the looks were declared" in told


def test_the_path_of_every_pair_has_each_look(results):
    analysis = analyse(results)
    table = looks.path_table(analysis)
    taken = [look.seeds for look in results.looks.looks]
    assert len(table.rows) == 6 * len(taken)
    assert [cell(table, row, "Look") for row in range(len(taken))] == [*map(str, taken)]
    states = {cell(table, row, "State").split(" (")[0] for row in range(len(table.rows))}
    words = {"open", "difference", "equivalent", "given up", "not settled", "not asked any more"}
    assert {"open", "difference"} <= states <= words


def test_what_is_not_decided_is_told_in_the_words_of_the_looks(results):
    """The answer and the table of paths must not name one pair in two ways."""
    analysis = analyse(results)
    table = looks.path_table(analysis)
    last = len(results.looks.looks)
    ends = [cell(table, row, "State") for row in range(last - 1, len(table.rows), last)]
    count = ends.count("not settled")
    assert count
    (told,) = [line for line in details(analysis) if line.startswith("How sure")]
    assert re.search(rf"\b{count} (is|are) not settled", told)
    assert "open" not in told
    assert f"{count} not settled" in " ".join(summary(results))


def test_each_look_costs_alpha_and_all_together_no_more_than_was_allowed(results):
    table = looks.looks_table(analyse(results))
    costs = [float(cell(table, row, "α here")) for row in range(len(table.rows))]
    spent = [float(cell(table, row, "α so far")) for row in range(len(table.rows))]
    assert spent[-1] == pytest.approx(sum(costs), abs=1e-4)
    assert spent == sorted(spent)
    assert spent[-1] <= 0.05


def test_trials_that_were_never_run_stand_in_a_table_of_their_own(results, page):
    table = looks.spared_table(analyse(results))
    spared = [trial for trial in results.trials if trial.state == "spared"]
    assert sum(int(cell(table, row, "Trials")) for row in range(len(table.rows))) == len(spared)
    text = (page.parent / "report.md").read_text(encoding="utf-8")
    part = text.partition("## Failures and exclusions")[2].partition("\n## ")[0]
    assert f"Every one of {len(results.trials) - len(spared)} trials finished." in part
    assert "spared" not in part


def test_the_facts_do_not_say_that_nobody_could_get_a_verdict(results):
    analysis = analyse(results)
    assert any(pair["better"] for pair in analysis.pairs)
    told = dict(facts(analysis))
    assert told["Gap that would be seen"] == "not given, since looks decided how much was run"
    assert told["Test"].endswith("adjusted by Holm over 6 pairs and all looks")


def test_final_numbers_stand_beside_naive_ones(results):
    analysis = analyse(results)
    table = looks.final_table(analysis)
    assert len(table.rows) == 6
    for pair in analysis.pairs:
        low, high = pair["look"]["ordered_low"], pair["look"]["ordered_high"]
        assert low <= pair["look"]["unbiased"] <= high
        assert pair["ci_simultaneous_high"] - pair["ci_simultaneous_low"] > 0


def test_the_page_has_the_section_with_its_figure(page, results):
    text = page.read_text(encoding="utf-8")
    assert 'id="looks"' in text
    assert "Looks, and what they spared" in text
    assert "The path of every pair over the looks" in text
    assert 'id="word-look"' in text
    assert (page.parent / "figures" / "looks.svg").is_file()
    least, most = analyse(results).seeds
    assert least < most <= PLAN.seeds
    assert f"3 folds × {least} to {most} seeds" in text


def test_what_was_not_looked_at_has_no_verdict(workdir, results, tmp_path):
    with pytest.raises(UsageError, match="was looked at by tumor:dice"):
        narrow(results, Narrowing(endpoint="kidney_and_tumor:dice"))
    some, _ = narrow(results, Narrowing(architectures=("unet3d", "msan_v1")))
    analysis = analyse(some)
    (pair,) = analysis.pairs
    assert {pair["a"], pair["b"]} == {"unet3d", "msan_v1"}
    assert len(looks.path_table(analysis).rows) == len(results.looks.looks)
    other = load_results(write_workdir(tmp_path / "other", Plan({"unet3d": 0.0, "msan_v1": 0.1})))
    with pytest.raises(UsageError, match="its scores join no other's"):
        join_results([results, other])


def test_who_fails_at_once_stops_and_is_not_told_to_be_finished(tmp_path):
    failed = tuple(
        ("scau_unet", fold, seed, "out-of-memory") for fold in range(3) for seed in range(3)
    )
    gaps = {"unet3d": 0.0, "residual_unet": 0.001, "scau_unet": 0.1}
    plan = Plan(gaps, seeds=3, cases_per_fold=6, failed=failed, predictions=False)
    folder = write_workdir(tmp_path / "work", plan)
    look_until_decided(folder, plan, futility=0.0)
    analysis = analyse(load_results(folder))
    told = " ".join(summary(analysis.results))
    assert "3 of 27 trials were never run" in told
    assert "nothing tells how long those would have taken" in told
    assert "Nothing was spared" not in told
    assert amiss(analysis).startswith("6 of 24 trials failed (scau_unet)")
    assert not any("missing or failed" in step.purpose for step in next_steps(analysis))


def test_comparing_the_working_directory_gives_the_verdicts_of_its_looks(workdir, results):
    told = json.loads(call_kitsbench("compare", workdir, "--json").out)
    known = {(pair["a"], pair["b"]): pair for pair in results.compare(secondary=False).pairs}
    assert {(pair["a"], pair["b"]) for pair in told["pairs"]} == {*known}
    for pair in told["pairs"]:
        own = known[pair["a"], pair["b"]]
        for key in ("verdict", "better", "p_adjusted", "sentence", "look", "naive"):
            assert pair[key] == own[key]
    assert told["smallest_detectable_gap"] is None
    for words, refused in (
        (("--alpha", "0.1"), "--alpha was given, and experiment"),
        (("--look", "1/5", "--spent", workdir / "x.json"), "--look was given, and experiment"),
        (("--endpoint", "kidney_and_tumor:dice"), "was looked at by tumor:dice"),
        (("--margin", "0.1"), "was looked at with the margin of its endpoint"),
    ):
        result = call_kitsbench("compare", workdir, *words)
        assert result.code == 2
        assert refused in result.err
    assert not (workdir / "x.json").exists()


def test_comparing_before_the_first_look_says_when_it_comes(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "work")
    (file,) = (tmp_path / "work").glob("experiments/*/looks.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "looks": []}))
    result = call_kitsbench("compare", tmp_path / "work")
    assert result.code == 2
    assert "The first look comes after 2 seeds of every fold" in result.err


def test_a_fixed_design_has_no_word_of_looks(tmp_path):
    folder = write_workdir(tmp_path / "work", Plan({"unet3d": 0.0, "msan_v1": 0.1}))
    text = (build_report(folder).parent / "report.md").read_text(encoding="utf-8")
    assert "looks" not in text.partition("## Provenance")[0].lower().replace("looks at", "")
    found = load_results(folder)
    assert summary(found) == []
    assert plain(found) is None
    assert load(folder).looks.empty


def test_from_python_looks_are_a_table(workdir):
    outcome = load(workdir)
    table = outcome.looks
    kept = LooksRecord.find(workdir, outcome.id)
    assert len(table) == 6 * len(kept.looks)
    assert {"look", "a", "b", "state", "estimate", "low", "high", "p_adjusted"} <= {*table}
    assert outcome.hours["spared_trials"] == hours_of(load_results(workdir)).spared_trials
