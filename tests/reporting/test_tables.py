"""Numbers and tables as text."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest

from kitsbench.experiments.records import TrialRecord
from kitsbench.reporting import costs, scores, setup, words
from kitsbench.reporting.first_screen.curves import with_end
from kitsbench.reporting.page import fairness
from kitsbench.reporting.tables import Table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.number(0.8234), "0.823"),
        (words.number(-0.02, signed=True), "−0.020"),
        (words.number(math.nan), "–"),
        (words.number(None), "–"),
        (words.interval(0.1, math.inf), "–"),
        (words.probability(0.0001), "<0.001"),
        (words.probability(0.04), "0.040"),
        (words.percent(0.005, 1), "0.5 %"),
        (words.big(0), "0"),
        (words.big(123), "123"),
        (words.big(16_300_000), "16.3 M"),
        (words.big(4.1e11, "FLOP"), "410 GFLOP"),
        (words.big(9_500_000), "9.50 M"),
        (words.big(7.5), "7.5"),
        (words.memory(400 * 2**20), "400 MiB"),
        (words.memory(3 * 2**30), "3.0 GiB"),
        (words.duration(20.04), "20.0 s"),
        (words.duration(600), "10.0 min"),
        (words.duration(9000), "2.5 h"),
        (words.listing(["a"]), "a"),
        (words.listing(["a", "b", "c"]), "a, b and c"),
        (words.listing(list("abcdefgh")), "a, b, c, d, e, f and 2 more"),
    ],
)
def test_numbers_read_as_people_write_them(text, expected):
    assert text == expected


def test_short_names_stay_different():
    names = [f"a_very_long_architecture:width={w}" for w in (0.25, 0.5, 0.75)] + ["short"]
    short = words.short_names(names, most=20)
    assert len(set(short.values())) == 4
    assert short["short"] == "short"
    assert all(len(text) <= 22 for text in short.values())


def test_a_bar_in_a_cell_does_not_break_a_markdown_table():
    table = Table(["Name", "Value"], [["a|b\nc", "1"]])
    assert table.markdown().splitlines()[2] == r"| a\|b c | 1 |"


def test_ranking_shows_groups_titles_and_failures(analysis):
    table = scores.ranking(analysis)
    assert [row[0] for row in table.rows] == ["1", "2", "3", "4"]
    last = table.rows[-1]
    assert last[1].startswith("late")
    assert last[-1] == "5/6, 1 failed"


def test_intervals_of_dice_end_at_one(analysis):
    for _, table in scores.region_tables(analysis):
        for row in table.rows:
            bounds = row[1].split("[")[1].rstrip("]").split(", ")
            assert 0 <= float(bounds[0]) <= float(bounds[1]) <= 1


def test_a_label_that_equals_a_region_is_not_shown_twice(analysis):
    headings = [heading for heading, _ in scores.region_tables(analysis)]
    assert headings == ["Kidney and tumour", "Tumour", "Kidney alone"]


def test_the_audit_judges_what_was_spent(analysis):
    table, sentence = fairness.audit(analysis)
    assert [row[0] for row in table.rows] == analysis.names
    assert sentence == (
        "Every finished training spent 100.0 % of its budget of 20s, and no trial went over it by "
        "more than 1 step."
    )


def test_the_audit_tells_a_planted_control_from_a_contestant(planted):
    analysis, last = planted
    table, sentence = fairness.audit(analysis)
    rows = [row[0] for row in table.rows]
    assert rows == [*analysis.names[:-1], f"{last}\nplanted: the first under another name"]
    assert sentence.endswith(
        f" {last} (the first under another name) was planted as a control, whose outcome was known "
        "before."
    )


def test_precision_and_layout_are_a_column_where_trials_ran_on_gpus(analysis):
    assert "Precision, layout" not in fairness.audit(analysis)[0].head
    on_gpu = {"device": "cuda", "precision": "bfloat16", "layout": "channels_last_3d"}
    trials = [
        dataclasses.replace(trial, ledger=trial.ledger.model_copy(update=on_gpu))
        if trial.ledger
        else trial
        for trial in analysis.results.trials
    ]
    results = dataclasses.replace(analysis.results, trials=trials)
    table, _ = fairness.audit(dataclasses.replace(analysis, results=results))
    assert table.head[-1] == "Precision, layout"
    cells = {row[-1] for row in table.rows}
    assert "bfloat16\nchannels last" in cells
    assert all(len(row) == len(table.head) for row in table.rows)


def test_energy_is_a_column_only_where_a_device_reports_it(analysis):
    assert "Energy" not in fairness.audit(analysis)[0].head
    first = analysis.names[0]
    trials = [
        dataclasses.replace(trial, ledger=trial.ledger.model_copy(update={"energy_joules": 5230.0}))
        if trial.name == first
        else trial
        for trial in analysis.results.trials
    ]
    results = dataclasses.replace(analysis.results, trials=trials)
    table, _ = fairness.audit(dataclasses.replace(analysis, results=results))
    assert table.head[-1] == "Energy"
    assert [row[-1] for row in table.rows[:2]] == ["5.23 kJ", "–"]


def test_an_ensemble_spends_nothing_itself(analysis):
    first = analysis.names[0]
    nothing = {"device_seconds": 0.0, "steps": 0, "budget_spent_fraction": 0.0, "stages": ()}

    def combined(trial):
        identity = trial.record.identity.model_copy(update={"members": ("a", "b")})
        return dataclasses.replace(
            trial,
            record=TrialRecord.of(identity, trial.record.context),
            ledger=trial.ledger.model_copy(update=nothing),
        )

    trials = [
        combined(trial) if trial.name == first else trial for trial in analysis.results.trials
    ]
    results = dataclasses.replace(analysis.results, trials=trials)
    table, sentence = fairness.audit(dataclasses.replace(analysis, results=results))
    assert table.rows[0][0] == f"{first}\nensemble"
    assert table.rows[0][2] == "–"
    assert sentence.startswith("Every finished training spent 100.0 %")


def test_an_ensemble_costs_the_sum_of_its_members(analysis):
    first, second, *_ = analysis.names
    known = [t for t in analysis.results.trials if t.name == second and t.ledger is not None]
    own = next(t for t in analysis.results.trials if t.name == first and t.state == "finished")
    identity = own.record.identity.model_copy(update={"members": tuple(t.id for t in known[:2])})
    ensemble = dataclasses.replace(
        own,
        record=TrialRecord.of(identity, own.record.context),
        ledger=own.ledger.model_copy(update={"device_seconds": 0.0, "steps": 0, "stages": ()}),
    )
    trials = [t for t in analysis.results.trials if t.name != first] + [ensemble]
    results = dataclasses.replace(analysis.results, trials=trials)
    row = fairness.audit(dataclasses.replace(analysis, results=results))[0].rows[0]
    spent = sum(t.ledger.device_seconds for t in known[:2])
    assert row[0] == f"{first}\nensemble"
    assert row[2].split("\n")[0] == words.duration(spent)
    assert row[3] == "sum of members"
    assert row[4] == words.big(sum(t.ledger.steps for t in known[:2]))
    # From Python, too, where a sum over the trials must not count it twice.
    ledger = results.ledger.set_index("trial")
    assert ledger.loc[ensemble.id, "device_seconds"] == 0
    assert ledger.loc[ensemble.id, "members"] == 2
    assert ledger.loc[ensemble.id, "members_device_seconds"] == pytest.approx(spent)
    assert ledger.drop(ensemble.id)["members_device_seconds"].isna().all()


def test_curves_end_with_the_scores_of_the_cases_that_were_watched(analysis):
    curves = with_end(analysis)
    last = curves[(curves["fraction"] == 1.0) & (curves["name"] == "tumor:dice")]
    assert len(last) == 23  # one trial failed
    trial = next(t for t in analysis.results.trials if t.state == "finished")
    table = pd.read_parquet(trial.folder.scores)
    own = table[
        (table["protocol"] == "kits19") & (table["region"] == "tumor") & (table["metric"] == "dice")
    ]
    watched = trial.record.context.curve_cases
    expected = own[own["case"].isin(watched)]["value"].mean()
    assert last.set_index("trial").loc[trial.id, "value"] == pytest.approx(expected)


def test_the_cost_table_compares_with_the_paper(analysis):
    rows = {row[0]: row for row in costs.cost(analysis).rows}
    size = "tiny, width 0.25\npatch 16×64×64"
    assert rows["unet3d"][1:4] == [size, "100 k", "0.62 %"]


def test_an_architecture_is_told_with_the_versions_that_it_is_made_from(analysis):
    first = analysis.names[0]

    def made(trial):
        identity = trial.record.identity.model_copy(update={"packages": {"monai": "1.6.1"}})
        return dataclasses.replace(trial, record=TrialRecord.of(identity, trial.record.context))

    trials = [made(t) if t.name == first else t for t in analysis.results.trials]
    results = dataclasses.replace(analysis.results, trials=trials)
    rows = setup.architectures(dataclasses.replace(analysis, results=results)).rows
    told = {row[0].splitlines()[0]: row[2] for row in rows}
    assert told[first].splitlines()[1:] == ["monai 1.6.1"]
    assert all(len(text.splitlines()) == 1 for name, text in told.items() if name != first)
