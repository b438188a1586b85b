"""The words of a paper, and what the page's own words mean, in designs that differ."""

from __future__ import annotations

import dataclasses
import shlex

from kitsbench.reporting import scores, setup
from kitsbench.reporting.first_screen.curves import watched_cases
from kitsbench.reporting.first_screen.entrants import counted
from kitsbench.reporting.first_screen.screen import first_screen
from kitsbench.reporting.glossary import glossary, term_of
from kitsbench.reporting.methods import interval_method, methods, references
from kitsbench.reporting.page.checklist import checklist
from kitsbench.reporting.page.facts import facts
from kitsbench.reporting.sections import sections


def test_the_paragraph_tells_a_design_with_verdicts(analysis):
    text = " ".join(methods(analysis))
    for words in (
        "4 entrants (unet3d, msff_net, ",
        "synthetic dataset phantom (12 cases (1 set aside); fingerprint 0123456789abcdef)",
        "in 3 folds of cross-validation (split feedbeeffeedbeef, the same for all)",
        "with 2 seeds, for 20 s a run on Test CPU",
        "voxels of 3×1.62×1.62 mm",
        "batches of 2 patches of 16×64×64 voxels",
        "protocol kits19 on 12 test cases",
        "mean tumour Dice",
        "1 of 24 trials failed",
        "6 pairs were compared by a two-way analysis of cases and training runs",
        "at α = 0.05, adjusted by Holm over all pairs",
        "±0.02, is kitsbench's own",
        "Ranks were redrawn 1000 times",
        "95 % intervals of means are two-sided t intervals by a two-way analysis",
    ):
        assert words in text, words
    found = references(analysis)
    assert any("KiTS19 challenge" in line for line in found)
    assert any(line.startswith("Holm S.") for line in found)
    assert "A paper, 2020" in found


def test_the_paragraph_tells_another_protocol_budget_and_no_verdict(small):
    text = " ".join(methods(small))
    for words in (
        "2 entrants (a and b)",
        "on the dataset kits19 (4 cases (1 set aside)",
        "on one split",
        "with 1 seed, for 400 steps a run",
        "protocol kits23 on 4 test cases",
        "None of 2 trials failed.",
        "Of 1 pair the differences have 95 % intervals of a paired t test over cases",
        "without correction, for these trained networks only: with 1 fold × 1 seed no verdict",
        "t intervals by the cases alone",
    ):
        assert words in text, words
    assert "Holm" not in text
    found = references(small)
    assert any("arXiv:2307.01984" in line for line in found)
    assert not any(line.startswith("Holm S.") for line in found)


def test_the_paragraph_tells_a_test_over_folds(by_folds):
    text = " ".join(methods(by_folds))
    assert "in 5 folds of cross-validation" in text
    assert "a t test of the differences of the folds" in text
    assert interval_method(by_folds).endswith("two-sided t intervals by the means of the folds.")
    assert "folds. From so few cases they cover a little less than they say." in text


def with_networks(analysis, patch, **changed):
    """The analysis with another patch in the trials of the first entrant, and other keys of it."""
    first = analysis.results.experiment.entrants[0]
    entrants = [first.model_copy(update=changed), *analysis.results.experiment.entrants[1:]]
    record = analysis.results.experiment.model_copy(update={"entrants": tuple(entrants)})
    trials = [
        dataclasses.replace(
            trial,
            record=trial.record.model_copy(
                update={"context": trial.record.context.model_copy(update={"patch": patch})}
            ),
        )
        if trial.name == first.name and trial.record is not None
        else trial
        for trial in analysis.results.trials
    ]
    results = dataclasses.replace(analysis.results, experiment=record, trials=trials)
    return dataclasses.replace(analysis, results=results)


def test_the_paragraph_says_for_whom_the_recipe_did_not_hold_and_what_it_does_not_hold(small):
    text, table = " ".join(methods(small)), checklist(small, set())
    assert "on 1 scan, " not in text
    assert "Heads, targets, loss and decoding were each architecture's own." in text
    assert "except" not in text
    own = with_networks(small, (28, 28, 28))
    text = " ".join(methods(own))
    assert "; except patches of 28×28×28 voxels for a. Heads, targets, loss" in text
    assert "except patches of 28×28×28 voxels for a" in dict(facts(own))["Budget and recipe"]
    answers = {row[0]: row[1] for row in checklist(own, set()).rows}
    assert answers["Were all trained under the same budget?"].startswith(
        "yes, 400 steps a training"
    )
    asked = "Were all trained by the same recipe?"
    assert answers[asked].startswith("in part: but for patches of 28×28×28 voxels for a;")
    assert {row[0]: row[1] for row in table.rows}[asked].startswith("yes; what is each")


def test_reduced_networks_are_told_wherever_they_are_compared(small):
    told = "all networks are of size “tiny”, not of their papers' (0.62 % of the parameters and 0"
    assert f"Networks were reduced: {told}" in " ".join(methods(small))
    assert told in dict(facts(small))["Size of the networks"]
    assert told in first_screen(small).compared
    caveats = next(b for s in sections(small) if s.key == "pairs" for b in s.blocks
                   if b.heading == "Caveats")  # fmt: skip
    assert told in caveats.lines[0]
    answers = {row[0]: row[1] for row in checklist(small, set()).rows}
    assert answers["Are networks of the papers' size?"].startswith(f"no, {told}")
    whole = with_networks(small, None, size="paper")
    assert "of size “paper”: a; of size “tiny”: b" in " ".join(methods(whole))


def test_the_paragraph_says_on_how_many_scans_each_trained(analysis, by_folds):
    assert "on 8 scans, and tested on 4 scans that it had not" in " ".join(methods(analysis))
    folds = by_folds.results.experiment.folds.model_copy(update={"used": (0,)})
    record = by_folds.results.experiment.model_copy(update={"folds": folds})
    results = dataclasses.replace(by_folds.results, experiment=record)
    part = dataclasses.replace(by_folds, results=results)
    text = " ".join(methods(part))
    assert "was trained on 4 of 5 folds (split" in text
    assert "on 16 scans, and tested on 4 scans that it had not been trained on" in text
    assert dict(facts(part))["Trained on"].startswith("16 scans a run, the 4 other folds; the 4")


def test_one_count_of_entrants_stands_everywhere(analysis):
    first = analysis.results.experiment.entrants[0]
    other = first.model_copy(update={"name": "unet3d:width=0.5"})
    vote = first.model_copy(
        update={"name": "both", "architecture": "both", "members": ("unet3d", "unet3d:width=0.5"),
                "combine": "vote"}
    )  # fmt: skip
    entrants = (*analysis.results.experiment.entrants, other, vote)
    record = analysis.results.experiment.model_copy(update={"entrants": entrants})
    results = dataclasses.replace(analysis.results, experiment=record)
    whole = dataclasses.replace(analysis, results=results)
    told = "4 architectures + 1 further setting of them = 5 networks, + 1 ensemble = 6 entrants"
    assert counted(whole).told() == told
    assert told in " ".join(methods(whole))
    assert told in first_screen(whole).compared
    assert dict(facts(whole))["Entrants"] == told
    assert counted(analysis).told() == "4 architectures"


def test_the_command_that_repeats_spells_what_was_left_to_defaults(small, analysis):
    rows = dict(setup.provenance(small).rows)
    assert rows["To repeat the experiment"] == "kitsbench run --all --seeds 2"
    assert shlex.split(rows["The same, every value spelled out"])[:4] == [
        "kitsbench",
        "run",
        "a",
        "b",
    ]
    spelled = rows["The same, every value spelled out"]
    for part in ("--budget 400steps", "--size tiny", "--protocol kits23", "--endpoint tumor:dice",
                 "--patch 16,64,64", "--spacing 3,1.62,1.62", "--recipe matched", "--folds 0",
                 "--precision float32"):  # fmt: skip
        assert part in spelled, part
    assert spelled.count("--seeds") == 1
    assert "--all" not in spelled


def test_another_level_and_correction_are_told(analysis):
    comparison = {**analysis.comparison, "alpha": 0.01, "correction": "hommel"}
    other = dataclasses.replace(analysis, comparison=comparison)
    assert "α = 0.01, adjusted by Hommel" in " ".join(methods(other))
    assert any(line.startswith("Hommel G.") for line in references(other))
    assert "(Hommel)" in dict(glossary(other))["p"]


def test_words_mean_what_the_design_allows(analysis, small):
    wide, narrow = dict(glossary(analysis)), dict(glossary(small))
    assert "luck of training." in wide["95 % CI"]
    assert "training again is not in it" in narrow["95 % CI"]
    assert "adjusted (Holm) for the 6 pairs" in wide["p"]
    assert "no verdict" in narrow["p"]
    for word in ("mean ± SD", "group", "P(first)", "rank 95 %"):
        assert word in wide, word
        assert word not in narrow, word


def test_captions_speak_of_what_their_table_has(analysis, small):
    assert "Mean ± SD over folds, 95 % CI below." in scores.region_tables(analysis)[0][1].caption
    captions = [table.caption for _, table in scores.region_tables(small)]
    assert all("Mean, 95 % CI below." in caption for caption in captions)
    assert watched_cases(small) == "2 cases"
    assert watched_cases(analysis) == "2 cases in each of 3 folds"


def test_heads_lead_to_the_words_of_the_page(analysis):
    known = glossary(analysis)
    found = {head: term_of(head, known) for head in scores.ranking(analysis).head}
    assert {head: term and term[0] for head, term in found.items()} == {
        "Rank": None,
        "Architecture": "architecture",
        "Mean tumour Dice": "Dice",
        "95 % CI": "95 % CI",
        "Official KiTS rank": "official KiTS rank",
        "Group": "group",
        "Rank 95 %": "rank 95 %",
        "P(first)": "P(first)",
        "SD over seeds": "SD over seeds",
        "Parameters": None,
        "Device time, all runs": None,
        "Trials": "trial",
    }


def test_the_official_rank_stands_beside_ours(analysis):
    table = scores.ranking(analysis)
    column = table.head.index("Official KiTS rank")
    told = {row[1].split("\n")[0]: row[column] for row in table.rows}
    for row in analysis.comparison["official"]["rows"]:
        assert told[row["architecture"]] == f"{row['rank']}\n{row['composite']:.3f}"
    assert (
        "mean of two Dice scores, of kidney and tumour together and of tumour alone"
        in table.caption
    )


def test_every_trial_has_its_id_and_leads_to_its_folder(analysis):
    ways = {trial.id: f"../trials/{trial.id}/" for trial in analysis.results.trials}
    table = setup.trials(analysis, ways)
    assert {row[0] for row in table.rows} == {trial.id for trial in analysis.results.trials}
    assert table.links[analysis.results.trials[0].id] == f"../trials/{table.rows[0][0]}/"
    means = {row[0]: row[-1] for row in table.rows}
    trial = next(t for t in analysis.results.trials if t.state == "finished")
    own = analysis.results.scores.query(
        "architecture == @trial.name and fold == @trial.fold and seed == @trial.seed "
        "and protocol == 'kits19' and region == 'tumor' and metric == 'dice'"
    )
    assert means[trial.id] == f"{own['value'].mean():.3f}"
    assert setup.trials(analysis, {}).links == {}
