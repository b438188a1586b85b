"""``kitsbench compare --look`` and ``plan --until decided`` as a user types them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench

COLUMNS = ["architecture", "fold", "seed", "case", "region", "metric", "value"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Tables after one to four rounds of a strong, a middling and a weak architecture."""
    rng = np.random.default_rng(2)
    rows = [
        (name, case % 5, seed, f"case_{case:05d}", "tumor", "dice", round(value, 4))
        for case, difficulty in enumerate(rng.uniform(0.4, 0.7, 80))
        for name, gain in (("weak", 0.0), ("middling", 0.01), ("strong", 0.1))
        for seed in range(4)
        for value in [difficulty + gain + rng.normal(0, 0.05)]
    ]
    whole, folder = pd.DataFrame(rows, columns=COLUMNS), tmp_path_factory.mktemp("looks")
    files = []
    for number in range(1, 5):
        files.append(folder / f"after{number}.csv")
        whole[whole["seed"] < number].to_csv(files[-1], index=False)
    return files


def look(table, which, record, *more):
    return call_kitsbench("compare", table, "--look", which, "--spent", record, *more)


def test_looks_are_taken_one_by_one_and_recorded(tables, tmp_path):
    record = tmp_path / "looks.json"
    first = look(tables[0], "1/4", record)
    assert first.code == 0
    assert f"look 1 of 4 is recorded in {record}" in first.err
    assert "Goes on: middling, strong, weak." in first.out
    assert "inf]" not in first.out  # a look that spends nothing has no intervals
    assert "could detect" not in first.out  # which is what a fixed design could
    assert "Smallest gap" not in first.out
    assert "No alpha is spent: there are too few runs" in first.out
    assert look(tables[1], "2/4", record).code == 0
    third = look(tables[2], "3/4", record, "--json")
    document = json.loads(third.out)
    told = document["look"]
    assert told["number"] == 3
    assert told["plan"]["looks"] == 4
    assert [look["number"] for look in json.loads(record.read_text())["looks"]] == [1, 2, 3]
    better = {(pair["a"], pair["b"]): pair["better"] for pair in document["pairs"]}
    states = {(pair["a"], pair["b"]): pair["state"] for pair in told["pairs"]}
    for pair, state in states.items():
        assert (state == "difference") == (better[pair] is not None)
    assert states["strong", "weak"] == "difference"
    assert {pair["a"] for pair in told["final"]} == {"middling", "strong"}


def test_a_look_is_repeated_at_no_cost_and_never_with_other_scores(tables, tmp_path):
    record = tmp_path / "looks.json"
    look(tables[1], "2/4", record)
    before = record.read_text()
    again = look(tables[1], "2/4", record)
    assert again.code == 0
    assert "is recorded" not in again.err
    other = look(tables[2], "2/4", record)
    assert other.code != 0
    assert "Look 2 was asked for, and look 2 is recorded already, of other scores" in other.err
    back = look(tables[0], "3/4", record)
    assert "were seen at look 2 and are missing now" in back.err
    assert record.read_text() == before


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda d: d["looks"][1]["pairs"][0].update(p_sequential=-3.0), "p_sequential is -3.0"),
        (lambda d: d["looks"][1]["pairs"][0].update(state="difference"), "state is 'difference'"),
        (lambda d: d["looks"][1].update(spent=0.04), "the key looks.1.spent is 0.04"),
        (lambda d: d["looks"][1]["pairs"].pop(), "not all at the same pairs"),
        (lambda d: d["plan"].update(alpha=0.5), "it was edited after the first look"),
        (lambda d: d["plan"].update(futility=0.0), "it was edited after the first look"),
        (lambda d: d["plan"].update(alpha=0.5) or d.pop("seal"), "it was edited after the first"),
        (lambda d: d["looks"][1].update(trials={"x": "y"}), "names no trial of the scores"),
        (
            lambda d: d["looks"][1]["trials"].update({"nobody": ""}),
            "names the trial 'nobody', which is no architecture with its fold",
        ),
    ],
)
def test_a_record_that_was_edited_is_found_by_its_scores(tables, tmp_path, spoil, told):
    record = tmp_path / "looks.json"
    for number in (1, 2):
        assert look(tables[number - 1], f"{number}/4", record).code == 0
    content = json.loads(record.read_text())
    spoil(content)
    record.write_text(json.dumps(content))
    refused = look(tables[2], "3/4", record)
    assert refused.code == 2
    assert told in refused.err
    assert json.loads(record.read_text()) == content


def test_a_plan_holds_for_all_looks_and_an_unplanned_one_is_priced(tables, tmp_path):
    record = tmp_path / "looks.json"
    look(tables[1], "2/3", record, "--futility", "0", "--question", "top")
    for more, message in (
        (("--alpha", "0.1"), "alpha 0.05, and this look asks for alpha 0.1."),
        (("--question", "pairs"), "question top, and this look asks for question pairs."),
        (("--fold-count", "9"), "fold count none, and this look asks for fold count 9."),
    ):
        refused = look(tables[2], "3/3", record, *more)
        assert refused.code != 0
        assert message in refused.err
    assert "looks 3, and this look asks for looks 5." in look(tables[2], "3/5", record).err
    assert look(tables[2], "3/3", record).code == 0
    late = look(tables[3], "4/3", record)
    assert "Look 4 is not planned (planned: 1 to 3)" in late.out
    assert "no alpha is left for it" in late.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--look", "1/4"), "--look was given without --spent FILE"),
        (("--spent", "looks.json"), "--spent was given without --look K/M"),
        (("--futility", "0.1"), "--futility is about looks"),
        (("--look", "first", "--spent", "x.json"), "'first' is no look"),
        (("--look", "1/4", "--spent", "x.json", "--test", "wilcoxon"), "speaks of trained models"),
        (("--look", "1/0", "--spent", "x.json"), "looks is 0"),
        (("--look", "0/4", "--spent", "x.json"), "The number of the look is 0"),
        (
            ("--look", "1/4", "--spent", "x.json", "--question", "top", "--baseline", "weak"),
            "--question and --baseline were both given",
        ),
    ],
)
def test_options_of_looks_that_do_not_go_together_are_refused(tables, more, message):
    result = call_kitsbench("compare", tables[0], *more)
    assert result.code != 0
    assert message in result.err


def test_a_plan_says_what_looks_will_take(tables):
    words = ("plan", "--cases", "60", "--folds", "5", "--seeds", "3", "--architectures", "3",
             "--tau", "0.01", "--until", "decided", "--run-hours", "2")  # fmt: skip
    result = call_kitsbench(*words)
    assert result.code == 0
    assert "Until decided: tau 0.01, at most 3 seeds (45 runs)" in " ".join(result.out.split())
    assert "ladder" in result.out
    found = json.loads(call_kitsbench(*words, "--json").out)["until_decided"]
    (scenario,) = found["scenarios"]
    for state in scenario["states"]:
        assert state["hours"] == pytest.approx(2 * state["runs"])
        assert state["hours_sd"] >= 0
        assert state["fixed_hours"] == 90
    assert found["gap"] == 0.02


def test_a_plan_refuses_options_of_looks_without_any_and_more_looks_than_there_may_be():
    words = ("plan", "--cases", "60", "--folds", "5", "--seeds")
    assert "--question is about looks" in call_kitsbench(*words, "3", "--question", "top").err
    many = call_kitsbench(*words, "60", "--until", "decided")
    assert "--seeds is 60, and a look comes after each" in many.err
    assert many.code == 2


def test_whoever_is_alone_begins_no_record(tables, tmp_path):
    table, record = pd.read_csv(tables[0]), tmp_path / "looks.json"
    alone = tmp_path / "alone.csv"
    table[table["architecture"] == table["architecture"].min()].to_csv(alone, index=False)
    refused = look(alone, "1/4", record)
    assert refused.code == 2
    assert "looks compare pairs, so nothing was recorded" in refused.err
    assert not record.exists()


def test_a_cluster_and_a_direction_hold_for_all_looks(tables, tmp_path):
    record = tmp_path / "looks.json"
    with_site = []
    for number, file in enumerate(tables[:2]):
        table = pd.read_csv(file)
        table["site"] = table["case"].astype(str).str[-1]
        with_site.append(tmp_path / f"sites{number}.csv")
        table.to_csv(with_site[-1], index=False)
    assert look(with_site[0], "1/4", record).code == 0
    before = record.read_text()
    refused = look(with_site[1], "2/4", record, "--cluster", "site")
    assert refused.code == 2
    assert "has a plan with cluster none, and this look asks for cluster site" in refused.err
    assert record.read_text() == before


def test_of_a_trial_with_failed_predictions_nothing_else_changes_unsaid(tables, tmp_path):
    record, files = tmp_path / "looks.json", []
    for number, file in enumerate(tables[:3]):
        table = pd.read_csv(file)
        table["status"] = "ok"
        trial = (table["architecture"] == table["architecture"].max()) & (table["seed"] == 0)
        trial &= table["fold"] == table["fold"].min()
        table.loc[table[trial].index[0], ["value", "status"]] = [np.nan, "failed"]
        if number == 2:
            repeated = table.copy()
            others = repeated[trial].index[1:]
            repeated.loc[others, "value"] = (repeated.loc[others, "value"] + 0.1).clip(upper=1)
            repeated.to_csv(tmp_path / "repeated.csv", index=False)
        files.append(tmp_path / f"failed{number}.csv")
        table.to_csv(files[-1], index=False)
    for number in (1, 2):
        assert look(files[number - 1], f"{number}/4", record).code == 0
    text = record.read_text()
    # Where nothing was repeated, looks are taken once more as always.
    edited = json.loads(text)
    edited["looks"][1]["pairs"][0]["p_sequential"] = 1e-9
    record.write_text(json.dumps(edited))
    assert "the file was edited" in look(files[2], "3/4", record).err
    record.write_text(text)
    found = look(tmp_path / "repeated.csv", "3/4", record)
    assert found.code == 0
    assert "which had failed predictions, are others now" in " ".join(found.out.split())
